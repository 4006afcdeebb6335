"""The rivals: their specification against numpy, their Verilog and netlists against that."""

import re

import numpy as np
import pytest

from golden.formats import FORMATS
from golden.rivals import RIVALS, RivalParameters, dequantise, dot, fma
from hdl.export import export, verilog
from hdl.rivals.block import rival
from scripts.activity import rival_activity
from scripts.operands import KINDS
from synth.liberty import Library
from synth.mapping import simulation_model, synthesise
from tb.runner import SimulationError, simulate

FP16, FP32 = FORMATS["fp16"], FORMATS["fp32"]
TILE = {"tile_rows": 2, "tile_columns": 3}

#: Each kind, small.
SMALL = [
    RIVALS["int8_pe"], RIVALS["fp16_fma"], RIVALS["fp16_fma_fp32"],
    RivalParameters(name="small_int8", kind="int8_first", lanes=16, tile_rows=1, tile_columns=2),
    RivalParameters(name="small_fp32", kind="fp16_first", acc="fp32", **TILE),
]

OTHERS = [
    RIVALS["int8_pe_shadow"],
    RivalParameters(name="int8_pe_64", kind="int8_pe", group=64),
    RivalParameters(name="small_int8_4", kind="int8_first", lanes=4, **TILE),
    RivalParameters(name="small_fp16", kind="fp16_first", acc="fp16", **TILE),
    RIVALS["int8_first"], RIVALS["fp16_first"],
]


def check(parameters, count, source=None):
    """Run the bench with ``count`` random operands of each kind."""
    simulate(source or verilog(rival(parameters)), f"mixpe_{parameters.name}", "tb.bench_rival",
             parameters=parameters.to_dict(), count=count)


@pytest.mark.parametrize("parameters", SMALL, ids=lambda parameters: parameters.name)
def test_rival(parameters):
    check(parameters, 5000 if parameters.kind == "fp16_fma" else 1000)


@pytest.mark.full
@pytest.mark.parametrize("parameters", OTHERS, ids=lambda parameters: parameters.name)
def test_other_rivals(parameters):
    check(parameters, 1 << 16 if parameters.name == "small_fp16" else 1000)


@pytest.mark.full
@pytest.mark.parametrize("name", ["fp16_fma", "fp16_fma_fp32"])
def test_a_million_fused_multiply_adds(name):
    check(RIVALS[name], 250_000)


@pytest.mark.parametrize("parameters", [SMALL[1], SMALL[-1]], ids=lambda each: each.name)
def test_given_operands(parameters, tmp_path):
    p, rng = parameters, np.random.default_rng(3)
    x, w, zeros, scales = (rng.integers(0, high, (300, *shape)) for high, *shape in (
        (0x7c00, p.tile_rows, p.lanes), (1 << p.w_format.bits - 1, p.tile_columns, p.lanes),
        (16, p.tile_columns), (0x3c00, p.tile_columns)))
    np.savez(tmp_path / "operands.npz", x=x, w=w, zeros=zeros, scales=scales)
    block = rival(p)
    assert simulate(verilog(block), block.module, "tb.bench_rival", tests="given_operands",
                    parameters=p.to_dict(), operands=str(tmp_path / "operands.npz")) == 1


def mapped(parameters, folder):
    """Rival mapped to cells."""
    block = rival(parameters)
    return synthesise(export(block, folder), block.module, Library.load(), folder, flatten=False)


def netlist(parameters, folder):
    """Verilog of the mapped netlist."""
    return simulation_model(mapped(parameters, folder))


def test_netlist_of_the_element(tmp_path):
    check(RIVALS["int8_pe"], 1000, netlist(RIVALS["int8_pe"], tmp_path))


@pytest.mark.full
@pytest.mark.parametrize("parameters", SMALL[1:], ids=lambda parameters: parameters.name)
def test_netlists(parameters, tmp_path):
    check(parameters, 5000, netlist(parameters, tmp_path))


@pytest.mark.parametrize(("parameters", "kinds"), [
    (RIVALS["int8_pe"], ["fixture", "random"]),
    (SMALL[3].replace(name="four", lanes=4, tile_rows=2, tile_columns=1), ["fixture"]),
    (SMALL[4].replace(name="one", tile_rows=1, tile_columns=1, group=16), ["fixture"]),
    *(pytest.param(each, list(KINDS), marks=pytest.mark.full)
      for each in (RIVALS["int8_pe_shadow"], *SMALL)),
], ids=lambda each: getattr(each, "name", None))
def test_sums_of_the_bench_are_checked(parameters, kinds, tmp_path, monkeypatch):
    """On operands of layers, whose switching is measured."""
    mapping = mapped(parameters, tmp_path)
    for kind in kinds:
        activity = rival_activity(mapping, parameters, kind, streams=2)
        clock, = mapping.netlist.ports["clk"][1]
        # Whole passes through the layer's K.
        assert activity.toggles[clock] % (2 * 2 * 384 // parameters.lanes) == 0
    monkeypatch.setattr("scripts.activity.dot", lambda *operands: dot(*operands) ^ 1)
    with pytest.raises(SimulationError, match=r"^Netlist of mixpe_\w+ is wrong in cycle \d"):
        rival_activity(mapping, parameters, kinds[0], streams=2)


def halves(codes):
    """Numbers of codes of fp16."""
    return np.asarray(codes).astype(np.uint16).view(np.float16)


def odd_sum(a, b):
    """Sum of doubles, rounded to odd if it is not exact, so that it can be rounded again.

    S. Boldo and G. Melquiond, "Emulation of FMA and correctly rounded sums", IEEE Transactions on
    Computers 57, 2008. The rest is that of D. Knuth's two-sum.
    """
    total = a + b
    other = total - a
    rest  = (a - (total - other)) + (b - other)
    away  = np.nextafter(total, np.where(rest > 0, np.inf, -np.inf))
    even  = total.view(np.int64) & 1 == 0
    return np.where((rest != 0) & even, away, total)


def triples(rng, count):
    """Codes of fp16, some of which nearly cancel."""
    x, w, acc = rng.integers(0, 1 << 16, (3, count))
    with np.errstate(all="ignore"):
        near = (-(halves(x) * halves(w))).view(np.uint16).astype(np.int64)
    return x, w, np.where(rng.random(count) < 0.3, near + rng.integers(-1, 2, count) & 0xffff, acc)


def check_fp16(x, w, acc):
    """Golden's fused multiply-add against numpy's doubles."""
    with np.errstate(all="ignore"):
        total = odd_sum(halves(x).astype(float) * halves(w), halves(acc).astype(float))
        wanted = total.astype(np.float16)
    wanted = np.where(np.isnan(wanted), FP16.nan, wanted.view(np.uint16))
    np.testing.assert_array_equal(fma(x, w, acc, FP16), wanted)


def test_fma_to_fp16_is_numpys():
    corners = np.array([0, 1, 2, 0x3ff, 0x400, 0x3bff, 0x3c00, 0x3c01, 0x7bff, 0x7c00, 0x7e00])
    check_fp16(*(each.ravel() for each in np.meshgrid(*3 * [np.append(corners, corners | 0x8000)])))
    check_fp16(*triples(np.random.default_rng(1), 50_000))


def test_fma_to_fp32_is_numpys():
    rng = np.random.default_rng(2)
    x, w, _ = triples(rng, 50_000)
    with np.errstate(all="ignore"):
        product = halves(x).astype(np.float32) * halves(w).astype(np.float32)  # exact
        near = -product.view(np.uint32).astype(np.int64) + rng.integers(-1, 2, len(x))
        near = (near + (1 << 31)) % (1 << 32)
        acc = np.where(rng.random(len(x)) < 0.5, near, rng.integers(0, 1 << 32, len(x)))
        wanted = product + acc.astype(np.uint32).view(np.float32)
    wanted = np.where(np.isnan(wanted), FP32.nan, wanted.view(np.uint32))
    np.testing.assert_array_equal(fma(x, w, acc, FP32), wanted)


def test_dequantised_weights_are_numpys():
    codes, zeros, scales = np.meshgrid(range(16), range(17), np.arange(0, 1 << 16, 37))
    with np.errstate(all="ignore"):
        wanted = (codes - zeros).astype(np.float16) * halves(scales)
    wanted = np.where(np.isnan(wanted), FP16.nan, wanted.view(np.uint16))
    np.testing.assert_array_equal(dequantise(RIVALS["fp16_first"], codes, zeros, scales), wanted)
    scales %= 256
    wanted = np.clip((codes - zeros) * scales, -128, 127).astype(np.int8).view(np.uint8)
    np.testing.assert_array_equal(dequantise(RIVALS["int8_first"], codes, zeros, scales), wanted)


def test_dot_is_in_order():
    """1 + 2**-11 ties to 1, twice; 2**-11 + 2**-11 + 1 does not."""
    one, small = 0x3c00, 0x1000
    fp16 = RIVALS["fp16_fma"]
    assert dot(fp16, [[one, small, small]], [[one]] * 3).tolist() == [[one]]
    assert dot(fp16, [[small, small, one]], [[one]] * 3).tolist() == [[one + 1]]
    assert dot(RIVALS["int8_pe"], [[0x80, 2]], [[0x80], [0xff]]).tolist() == [[128 * 128 - 2]]


@pytest.mark.parametrize("name", ["fp16_fma", "fp16_fma_fp32"])
@pytest.mark.parametrize("mask", [0xffff, 0xbfff, 0x87ff], ids=["any", "small", "subnormal"])
def test_dot_is_a_chain_of_fused_multiply_adds(name, mask):
    p, rng = RIVALS[name], np.random.default_rng(4)
    x, w = (rng.integers(0, 1 << 16, shape) & mask for shape in ((2, 9, 12), (2, 12, 10)))
    acc = np.zeros((2, 9, 10), dtype=np.int64)
    for k in range(12):
        acc = fma(x[..., k, None], w[..., k, None, :], acc, p.acc_format)
    np.testing.assert_array_equal(dot(p, x, w), acc)


def test_a_sum_has_a_length():
    x = np.zeros((1, 129), dtype=np.int64)
    with pytest.raises(ValueError, match=r"^K must be at most 128, not 129$"):
        dot(RIVALS["int8_pe"], x, x.T)


def test_widths():
    assert [each.sum_bits for each in RIVALS.values()] == [23, 23, 16, 32, 31, 32]
    assert [each.macs for each in RIVALS.values()] == [1, 1, 1, 1, 256, 16]


@pytest.mark.parametrize(("changes", "message"), [
    ({"kind": "int4_pe"},
     "Parameter kind must be one of int8_pe, fp16_fma, int8_first, fp16_first, not 'int4_pe'"),
    ({"acc": "fp32"}, "Parameter acc must be exact for kind int8_pe, not 'fp32'"),
    ({"kind": "fp16_fma"}, "Parameter acc must be fp16 or fp32 for kind fp16_fma, not 'exact'"),
    ({"kind": "fp16_fma", "acc": "fp16", "shadow": True},
     "Parameter shadow must be False for kind fp16_fma, not True"),
    ({"lanes": 2}, "Parameter lanes must be 1 for kind int8_pe, not 2"),
    ({"kind": "fp16_first", "acc": "fp32", "lanes": 2},
     "Parameter lanes must be 1 for kind fp16_first, not 2"),
    ({"tile_rows": 0}, "Parameter tile_rows must be an integer from 1 to 64, not 0"),
    ({"kind": "int8_first", "lanes": 3}, "Parameter lanes must divide the group size 128, not 3"),
    ({"kind": "int8_first", "lanes": 3, "group": 3}, "Parameter lanes must divide 32768, not 3"),
])
def test_bad_parameters(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RIVALS["int8_pe"].replace(**changes)
