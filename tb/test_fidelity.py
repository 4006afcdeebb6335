"""Fidelity: known noise, theory, real arithmetic, and the command."""

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from golden.fidelity import (
    SCHEMES,
    SHARES,
    SIGMAS,
    SOFTMAX_UNITS,
    Noise,
    Scheme,
    feature_errors,
    measure,
    product,
    selections,
    softmax_errors,
    sqnr,
    standard_errors,
    total,
)
from golden.formats import FORMATS
from golden.gemm import gemm
from golden.mixed import quantise_mixed, salience, select_features
from golden.parameters import SETS
from golden.quantise import quantise_activations, quantise_weights
from golden.rivals import RIVALS, progressive
from golden.synthetic import OUTLIER, activations, layer, outlier_channels
from scripts import checkpoint, fidelity
from scripts.checkpoint import CheckpointError
from scripts.fidelity import Amount
from tb.attention_head import errors
from tb.command_line import refuse, run
from tb.test_cli import write_layer

DATA = Path(__file__).parent / "data"
REFERENCE = DATA / "awq_reference.safetensors"
LAYER = "model.layers.0.mlp.down_proj"

#: Enough to see every table and curve.
LITTLE = Amount({128: 3, 256: 2}, tokens=4, features=16, heads=1, rankings=4)

MADE = layer("heavy", 320, tokens=8, features=24, samples=2, seed=3)


def refuse_value(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


# Ratios


@pytest.mark.parametrize("ratio", [-3.0, 20.0, 73.5])
def test_ratio_of_a_known_noise(ratio):
    rng = np.random.default_rng(1)
    reference, noise = rng.normal(size=(2, 40, 50)) * 7
    noise *= math.sqrt((reference**2).sum() / (noise**2).sum()) * 10**(-ratio / 20)
    assert sqnr(reference, reference + noise) == pytest.approx(ratio, abs=1e-9)


def test_ratios_without_a_number():
    assert sqnr([1.0, -2.0], [1.0, -2.0]) == math.inf
    assert sqnr([1.0, -2.0], [1.0, math.inf]) == sqnr([1.0], [math.nan]) == -math.inf
    with refuse_value("Shape of what was computed must be (2,), not (1,)"):
        sqnr([1.0, 2.0], [1.0])
    for reference in (0.0, math.inf):
        with refuse_value(f"Power of the reference must be positive and finite, not {reference}"):
            sqnr([reference], [1.0])


@pytest.mark.parametrize(("w", "steps"), [("int3", 6), ("int4", 14), ("uint4", 15), ("int8", 254)])
def test_uniform_weights_have_the_noise_of_theory(w, steps):
    """Noise step²/12 below signal range²/12: 20·log10 of the steps, 6.02 dB for a bit."""
    weights = np.random.default_rng(2).uniform(-1, 1, (2000, 16))
    weights[:2] = [[1.0], [-1.0]]
    scheme = Scheme(name="uniform", w=w, group=None, scale="fp32", x="fp16", y="fp32")
    x = np.random.default_rng(3).normal(size=(500, 2000))
    assert measure(scheme, x, weights).decibels()["weights"] == pytest.approx(
        20 * math.log10(steps), abs=0.3)
    found = product(scheme, x[:1], weights).w
    assert sqnr(weights, found) == pytest.approx(20 * math.log10(steps), abs=0.1)


def test_more_bits_are_closer():
    noise = {name: measure(scheme, MADE.x, MADE.w, MADE.gradients).decibels()
             for name, scheme in SCHEMES.items()}
    for part in ("weights", "outputs"):
        for names in (["FP16, fp32 sums", "INT8, groups", "int4", "int3", "int2"],
                      ["int3", "ternary", "int2"], ["INT8, groups", "W4.4A8 MixLLM", "W4A8"],
                      ["DenseShift, 4 bits", "DenseShift, 3 bits", "DenseShift, 2 bits"]):
            assert all(noise[more][part] > noise[less][part] for more, less in pairwise(names))
    # Activations alone: 16 bits, aligned to 12, int8 by group, int8 by token.
    names = ["W4A16", "W4A16 aligned", "W4.4A8 MixLLM", "W4A8"]
    assert all(noise[more]["activations"] > noise[less]["activations"] + 3
               for more, less in pairwise(names))
    assert (noise["FP16, fp32 sums"]["arithmetic"] > noise["FP16, fp16 sums"]["arithmetic"] + 10)


# Schemes


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.name)
def test_outputs_are_the_product_of_the_operands(scheme):
    """Against float64 of the dequantised operands: off by the output's rounding alone."""
    found = product(scheme, MADE.x, MADE.w, MADE.gradients)
    real = found.x @ found.w
    if scheme.rival == "fp16_fma":
        assert np.abs(found.y - real).max() < 320 * 2.0**-11 * np.abs(real).max()
        return
    ulp = 2.0**-FORMATS[scheme.y].man_bits
    # Sums in float32 add some of its roundings, of terms that may cancel.
    slack = 40 * 2.0**-24 * (np.abs(found.x) @ np.abs(found.w))
    assert (np.abs(found.y - real) <= np.abs(real) * ulp / 2 + 2.0**-25 + slack).all()
    # Not more accurate than the format: outputs are its numbers.
    np.testing.assert_array_equal(FORMATS[scheme.y].decode(FORMATS[scheme.y].encode(found.y)),
                                  found.y)


@pytest.mark.parametrize("name", ["W4A8", "W4A16, FP16 first", "W4A8, INT8 first", "INT8"])
def test_noise_is_that_of_the_operands(name):
    found = product(SCHEMES[name], MADE.x, MADE.w)
    exact = MADE.x.astype(float) @ MADE.w
    noise = measure(SCHEMES[name], MADE.x, MADE.w).decibels()
    assert noise == pytest.approx({
        "weights": sqnr(exact, MADE.x.astype(float) @ found.w),
        "activations": sqnr(exact, found.x @ MADE.w), "outputs": sqnr(exact, found.y),
        "arithmetic": 10 * math.log10((exact**2).sum() / ((found.y - found.x @ found.w)**2).sum())})
    # Independent noises add up.
    parts = sum(10**(-noise[part] / 10) for part in ("weights", "activations", "arithmetic"))
    assert -10 * math.log10(parts) == pytest.approx(noise["outputs"], abs=0.6)


@pytest.mark.parametrize(("scheme", "source"), [
    ("W4A8", "edge"), ("W4A16", "w4a16"), ("W4A16 aligned", "w4a16_aligned"),
    ("W4.4A8 MixLLM", "mixed"), ("DenseShift, 3 bits", "shift"), ("MXFP4", "mxfp4"),
    ("NVFP4", "nvfp4")])
def test_schemes_are_those_of_the_sets(scheme, source):
    own, p = SCHEMES[scheme], SETS[source]
    for field in ("w", "group", "scale", "x", "x_align", "x_scale", "y"):
        assert getattr(own, field) == getattr(p, field)
    assert (own.wide_share > 0) == p.wide


def test_mean_bits_of_a_weight():
    bits = {name: scheme.weight_bits for name, scheme in SCHEMES.items()}
    assert bits["FP16, fp32 sums"] == 16
    assert bits["INT8"] == 8
    assert bits["W4A8"] == 4 + (16 + 4) / 128
    assert bits["W4A8, INT8 first"] == 4 + (8 + 4) / 128
    assert bits["W4.4A8 MixLLM"] == pytest.approx(4.4 + (16 + 0.9 * 4) / 128)
    assert bits["MXFP4"] == 4.25
    assert bits["NVFP4"] == 4.5


def test_wide_features_are_the_most_salient():
    scheme = SCHEMES["W4.4A8 MixLLM"]
    narrow = quantise_weights(MADE.w, w="uint4", group=128)
    chosen = np.argsort(-salience(MADE.w, narrow, MADE.gradients))[:2]
    wide = quantise_weights(MADE.w, w="int8", group=128).dequantise()
    expected = narrow.dequantise()
    expected[:, chosen] = wide[:, chosen]
    np.testing.assert_array_equal(product(scheme, MADE.x, MADE.w, MADE.gradients).w, expected)
    with refuse_value("Gradients must be given for W4.4A8 MixLLM"):
        product(scheme, MADE.x, MADE.w)


@pytest.mark.parametrize(("changes", "message"), [
    ({"x": "int4"}, "Parameter x must be one of int8, fp16, bf16, not 'int4'"),
    ({"rival": "int4_pe"},
     f"Parameter rival must be one of none, {', '.join(RIVALS)}, not 'int4_pe'"),
    ({"wide_share": 1.5}, "Parameter wide_share must be from 0 to 1, not 1.5"),
    ({"w": "fp16"}, "Parameter rival must be one that multiplies fp16 for w fp16, not none"),
    ({"rival": "fp16_first"},
     ("Parameters w, x, x_align, x_scale and wide_share must be ('uint4', 'fp16', 0, 'token', 0) "
      "for fp16_first, not ('uint4', 'int8', 0, 'token', 0.0)")),
])
def test_errors_of_schemes(changes, message):
    with refuse_value(message):
        replace(SCHEMES["W4A8"], **changes)


def test_standard_error():
    """Of a mean of equal signals the jackknife is the usual one."""
    noises = [Noise(1.0, 1.0, each, 1.0, 1.0) for each in (0.98, 1.0, 1.02, 1.0)]
    usual = np.std([0.98, 1.0, 1.02, 1.0], ddof=1) / 2 * 10 / math.log(10)
    found = standard_errors(noises)
    assert found["activations"] == pytest.approx(usual, rel=0.01)
    assert found["weights"] == 0
    assert total(noises) == Noise(4.0, 4.0, 4.0, 4.0, 4.0)
    with refuse_value("Layers must be at least 2 for a standard error, not 1"):
        standard_errors(noises[:1])


# Progressive weights


@pytest.mark.parametrize(("group", "spread"), [(128, "heavy"), (100, "gaussian"), (16, "heavy")])
def test_progressive_weights(group, spread):
    w = layer(spread, 300, tokens=1, features=20, seed=group).w
    w[:, 0] = np.abs(w[:, 0])
    w[:, 1] = 0
    found = progressive(w, group)
    count = -(-300 // group)
    assert found.scales.shape == found.zeros.shape == (count, 20)
    assert 1 <= found.scales.min() <= found.scales.max() <= 16
    assert 0 <= found.q.min() <= found.q.max() <= 15
    zeros, scales = (np.repeat(each, group, axis=0)[:300] for each in (found.zeros, found.scales))
    wide = (found.q - zeros) * scales
    assert -128 <= wide.min() <= wide.max() <= 127
    steps = FORMATS["fp16"].decode(found.features)
    np.testing.assert_allclose(steps[2:], np.abs(w[:, 2:]).max(axis=0) / 119, rtol=2.0**-11)
    # Half a step of each level, and what clips where the lower of two scales was better.
    assert (np.abs(wide * steps - w) <= steps * (0.5 + 1.5 * scales + 7.5 / scales)).all()
    best = np.abs(wide * steps - w)**2
    plain = quantise_weights(w, w="uint4", group=group).dequantise()
    assert best.sum() < 1.5 * ((plain - w)**2).sum()


def test_errors_of_progressive_weights():
    with refuse_value("Group size must be at least 1, not 0"):
        progressive(np.ones((4, 4)), 0)
    assert RIVALS["int8_first"].w_format.name == "uint4"


# Softmax


def test_softmax_errors_against_the_attention_head():
    """A head of the benches has the same relative error of its outputs."""
    found = softmax_errors(2.0, 3, heads=1, tokens=128, columns=16, seed=5)
    expected = errors(2.0, 3, seed=5, tokens=128, columns=16)
    assert found.outputs == pytest.approx(expected.unit_output, rel=1e-9)
    assert found.lo == expected.lo


@pytest.mark.parametrize("sigma", [SIGMAS[0], SIGMAS[-1]])
def test_softmax_errors_fall_with_the_bits(sigma):
    found = [softmax_errors(sigma, bits, heads=1, tokens=96, columns=16)
             for bits in SOFTMAX_UNITS.values()]
    for name in ("absolute", "variation", "outputs"):
        values = [getattr(each, name) for each in found]
        assert all(more > 1.5 * less for more, less in pairwise(values))
    assert found[-1].lo is None
    # fp16 probabilities: half a unit of each. V in int8 is what its outputs are off by.
    assert found[-1].variation < 2.0**-11
    assert 0.003 < found[-1].outputs < 0.015
    # Rows have (tokens + 1) / 2 elements in the mean.
    assert found[0].absolute == pytest.approx(2 * found[0].variation / 48.5)


# Selection


def features(seed=1):
    return feature_errors(length=128, features=32, tokens=4, seed=seed)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_salience_beats_random(seed):
    found, rng = features(seed), np.random.default_rng(seed)
    salient = {name: each.ranks for name, each in found.items()}
    random = [{name: rng.random(32) for name in found} for _ in range(20)]
    for share in SHARES:
        (best,), others = selections(found, share, [salient]), selections(found, share, random)
        losses = [each.loss for each in others]
        if share in (0, 1):
            assert all(each == best for each in others)
        else:
            assert best.loss < min(losses)
    assert selections(found, 0, [salient])[0].loss == 1
    assert selections(found, 1, [salient])[0].loss < 0.15


def test_selection_is_a_mixed_layer():
    """Each feature's noise and loss are those of the layer quantised as a whole."""
    found = {"o_proj": features()["o_proj"]}
    made = layer("heavy", 256, tokens=4, features=10, samples=3, seed=7)
    x, exact = quantise_activations(made.x, group=128, group_scale="fp16"), made.x @ made.w
    parts = [quantise_weights(made.w, w=fmt, group=128) for fmt in ("uint4", "int8")]
    noises = [((FORMATS["fp16"].decode(gemm(x, part)) - exact)**2).sum(axis=0) for part in parts]
    losses = [salience(made.w, part, made.gradients) for part in parts]
    own = replace(found["o_proj"], ranks=losses[0], narrow_loss=losses[0], wide_loss=losses[1],
                  narrow_noise=noises[0], wide_noise=noises[1], signal=(exact**2).sum(axis=0))
    (selection,) = selections({"layer": own}, 0.3, [{"layer": own.ranks}])
    chosen = select_features({"layer": losses[0]}, 0.3)["layer"]
    mixed = quantise_mixed(made.w, chosen, group=128)
    assert selection.sqnr == pytest.approx(sqnr(exact, FORMATS["fp16"].decode(gemm(x, mixed))))
    change = (made.gradients * (mixed.dequantise() - made.w)).sum(axis=1)
    assert selection.loss == pytest.approx(
        np.abs(change + change**2 / 2).mean(axis=0).sum() / losses[0].sum())


# Made tensors


def test_share_of_outlier_channels():
    rng = np.random.default_rng(1)
    for length, count in ((16, 1), (1000, 10), (4096, 41)):
        factors = outlier_channels(rng, length)
        assert (factors == OUTLIER).sum() == count
        assert (factors == 1).sum() == length - count
    channels = np.sqrt((activations(rng, 500, 1000, factors[:1000])**2).mean(axis=0))
    np.testing.assert_allclose(channels, factors[:1000], rtol=0.2)


def test_unknown_weights():
    with refuse_value("Weights must be one of gaussian, heavy, not 'real'"):
        layer("real", 8, tokens=1, features=1)


# The command


def reported(folder, *, workers=1, page=None):
    return fidelity.main(None, None, 1, workers, folder, page, LITTLE)


def test_command(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- fidelity: begin -->\nold\n<!-- fidelity: end -->\n\nMore.\n")
    report = reported(tmp_path / "a", page=page)
    written = (tmp_path / "a" / "fidelity.json").read_text()
    assert json.loads(written) == report
    assert [list(each["sqnr_db"]) for each in report["synthetic"]] == [list(SCHEMES)] * 4
    assert len(report["softmax"]) == len(SIGMAS) * len(SOFTMAX_UNITS)
    assert [each["share"] for each in report["selection"]] == list(SHARES)
    out, text = capsys.readouterr().out, page.read_text()
    outputs = report["synthetic"][1]["sqnr_db"]["W4A8"]["outputs"]
    assert f"{outputs:.1f}" in out
    assert text.startswith("# Title\n\n<!-- fidelity: begin -->\n### ")
    assert text.endswith("<!-- fidelity: end -->\n\nMore.\n")
    assert f"| W4A8 | 4.16 | {report['synthetic'][1]['sqnr_db']['W4A8']['weights']:.1f} |" in text
    ElementTree.parse(tmp_path / "a" / "fidelity.svg")

    reported(tmp_path / "b", workers=2)
    for name in ("fidelity.json", "fidelity.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    one, other = (fidelity._layer_noises("heavy", 128, 0, seed, LITTLE) for seed in (1, 2))
    assert one["W4A8"] != other["W4A8"]


@pytest.fixture
def alone(monkeypatch):
    """Nothing but the layers of files is measured."""
    monkeypatch.setattr(fidelity, "_synthetic", lambda *args: {})
    monkeypatch.setattr(fidelity, "_selected", lambda *args: {})
    found = {("layer", kind, k, i): None for kind in ("gaussian", "heavy")
             for k, count in LITTLE.layers.items() for i in range(count)}
    found |= {("softmax", sigma, unit): softmax_errors(2.0, 2, heads=1, tokens=8, columns=1)
              for sigma in SIGMAS for unit in SOFTMAX_UNITS}
    found["selection",] = None
    monkeypatch.setattr(fidelity, "_results", lambda *args: found.items())


def layers_of(path, chosen=None):
    return fidelity.report_of(path, chosen, 1, 1, LITTLE)["layers"]


@pytest.mark.usefixtures("alone")
def test_floats_of_a_file():
    both = layers_of(REFERENCE)
    assert [each["layer"] for each in both] == checkpoint.matrices(REFERENCE)
    (one,) = layers_of(REFERENCE, LAYER)
    assert one == both[0]
    assert (one["k"], one["n"], one["features"], one["weights"]) == (384, 64, 16, "float")
    weights, n = checkpoint.features(REFERENCE, LAYER, 64, 1)
    assert (weights.shape, n) == ((384, 64), 64)
    drawn, _ = checkpoint.features(REFERENCE, LAYER, 16, 1)
    assert all((weights == column[:, None]).all(axis=0).any() for column in drawn.T)
    rng = np.random.default_rng(1)
    x = activations(rng, 4, 384, outlier_channels(rng, 384)).astype(float)
    found = quantise_weights(drawn, w="uint4", group=128).dequantise()
    assert one["sqnr_db"]["W4A16"]["weights"] == pytest.approx(sqnr(x @ drawn, x @ found), abs=1e-3)


@pytest.mark.usefixtures("alone")
def test_quantised_weights_of_a_file():
    """Weights that are rounded to uint4 already lose nothing more."""
    (one,) = layers_of(DATA / "awq_gemm.safetensors", LAYER)
    assert one["weights"] == "dequantised uint4"
    assert one["sqnr_db"]["W4A8"]["weights"] == "exact"
    assert one["sqnr_db"]["W4A8"]["activations"] < 40
    assert one["sqnr_db"]["int3"]["weights"] < 10


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_float_types(tmp_path, dtype):
    weights = np.random.default_rng(1).normal(size=(9, 40)).astype(dtype)
    save_file({"up.weight": weights, "down": weights[:, :8].copy(), "norm": weights[0].copy(),
               "ids": np.zeros((2, 2), np.int32)}, tmp_path / "x.safetensors")
    assert checkpoint.matrices(tmp_path / "x.safetensors") == ["down", "up"]
    for name in ("up", "up.weight"):
        found, n = checkpoint.features(tmp_path / "x.safetensors", name, 5, 1)
        assert (found.shape, n) == ((40, 5), 9)
        places = [np.flatnonzero((weights.astype(float) == column).all(axis=1)).item()
                  for column in found.T]
        assert places == sorted(set(places))


def test_files_that_cannot_be_measured(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a.weight": np.ones((2, 3), np.int32), "b.weight": np.full((2, 2), np.nan, "f4"),
               "c.weight": np.zeros((4, 4), "f4"), "d": np.ones((1, (1 << 15) + 1), "f2")}, path)
    for name, message in (
            ("a", ": tensor a.weight must be a matrix of F16, BF16, F32, not I32 of shape [2, 3]"),
            ("b", ": tensor b.weight must be finite"),
            ("c", (": layer c, FP16, fp32 sums: Power of the reference must be positive and "
                   "finite, not 0.0")),
            ("d", (": tensor d must have 1 to 32768 inputs and an output, not shape "
                   f"[1, {(1 << 15) + 1}]")),
            ("bb", " has no float matrix 'bb'; near to it are b")):
        with pytest.raises(CheckpointError, match=f"^{re.escape(f'{path}{message}')}$"):
            fidelity.report_of(path, name, 1, 1, LITTLE)
    save_file({"a": np.ones((2, 3), np.int32)}, path)
    with pytest.raises(CheckpointError, match=r"has no matrix of F16, BF16, F32$"):
        fidelity.report_of(path, None, 1, 1, LITTLE)


def test_refusals_of_the_command(tmp_path):
    refuse(tmp_path, "fidelity", "-l", "a",
           message="Option '--checkpoint' must be given for --layer")
    refuse(tmp_path, "fidelity", "-c", "none",
           message="Checkpoint must be a .safetensors file or a folder; none is none")
    (tmp_path / "text.safetensors").write_text("hello")
    process = run("fidelity", "-c", "text.safetensors", cwd=tmp_path)
    assert process.returncode == 2
    assert re.fullmatch(r"mixpe: error: text\.safetensors: header must .*\n", process.stderr)
    (tmp_path / "page.md").write_text("no markers")
    refuse(tmp_path, "fidelity", "--page", "page.md", message="page.md must have the lines "
           "<!-- fidelity: begin --> and <!-- fidelity: end -->")
    write_layer(tmp_path / "q.safetensors", "one")
    refuse(tmp_path, "fidelity", "-c", "q.safetensors", "-l", "two",
           message="q.safetensors has no float matrix 'two'")
    save_file({name: np.ones((2, 2), "f4") for name in "abcde"}, tmp_path / "x.safetensors")
    refuse(tmp_path, "fidelity", "-c", "x.safetensors", message="Layer must be given, one of the "
           "5 of x.safetensors: a, b, c, d, ...")


# The page


@pytest.mark.full
def test_page_is_current(tmp_path):
    """Tables and drawing of the documents are what the command gives."""
    page = Path(__file__).parent.parent / "docs" / "fidelity.md"
    (tmp_path / "fidelity.md").write_text(page.read_text())
    fidelity.main(None, None, 1, 2, tmp_path, tmp_path / "fidelity.md")
    assert (tmp_path / "fidelity.md").read_text() == page.read_text(), "run `mixpe fidelity`"
