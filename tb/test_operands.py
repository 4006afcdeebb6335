"""Operands whose switching is measured: their statistics, and that all forms are of one layer."""

import re

import numpy as np
import pytest

from golden.formats import FORMATS
from golden.parameters import SETS, ArrayParameters
from golden.rivals import RIVALS, dequantise
from scripts.activity import GROUPS, _accumulators
from scripts.operands import (
    KINDS,
    PARTIAL,
    STALL,
    WIDE,
    busy,
    cycles,
    operands,
    outputs,
    rival_operands,
    source_of,
    streams_of,
    sums,
    warm_up,
)
from tb.random_layer import steps

TINY  = SETS["tiny"]
MIXED = SETS["mixed"]

#: All but those of the shortest groups, in which codes spread nearly as uniform ones do.
QUICK = [SETS["edge"].baseline(), *(SETS[name] for name in ("edge", "shift", "w4a16_aligned"))]
PARAMETERS = [*QUICK, *(pytest.param(each, marks=pytest.mark.full) for each in SETS.values()
                        if each not in [TINY, *QUICK])]
LAYERS = ("gaussian", "heavy", "fixture")


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda parameters: parameters.name)
def test_layers_are_numbers_that_bunch_in_the_middle(parameters, kind):
    p = parameters
    x, w = operands(p, kind)
    assert x.shape == (cycles(p), streams_of(p), p.tile_rows, p.lanes)
    assert w.shape == (cycles(p), streams_of(p), p.tile_columns, p.lanes)
    assert (cycles(p) - warm_up(p)) % p.beats == 0
    assert streams_of(p) * (cycles(p) - warm_up(p)) >= 512
    x, w = steps(p.x_format, x), steps(p.w_format, w)
    for values, fmt in ((x, p.x_format), (w, p.w_format)):
        assert fmt.low <= values.min() < values.max() <= fmt.high
    # Uniform codes would spread twice as far.
    spread = np.std(w) / (p.w_format.high - p.w_format.low)
    assert spread < 0.9 / np.sqrt(12)


def test_tails_and_outlier_channels():
    p = SETS["edge"].baseline()
    kurtosis = {}
    for kind in ("gaussian", "heavy", "random"):
        x, w = (steps(p.x_format, codes).astype(float) for codes in operands(p, kind))
        kurtosis[kind] = np.mean((w - w.mean())**4) / np.var(w)**2
        channels = np.sqrt(np.mean(x**2, axis=(1, 2)))
        # In a few channels of the layers activations are some 20 times larger.
        assert (channels.max() > 10 * np.median(channels)) == (kind != "random")
    assert kurtosis["random"] < 2 < kurtosis["gaussian"] < 3.3 < kurtosis["heavy"]


def spread(parameters, kind):
    """How often each number of activations and weights is measured, all told one."""
    counts = []
    for fmt, codes in zip((parameters.x_format, parameters.w_format), operands(parameters, kind),
                          strict=True):
        found = np.bincount(codes[warm_up(parameters):].ravel(), minlength=1 << fmt.bits)
        counts.append(found / found.sum())
    return counts


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("w", ["uint4", "int8"])
def test_designs_of_all_shapes_see_one_layer(kind, w):
    single = ArrayParameters(name="single", w=w, mac="product", lanes=1, tile_rows=1,
                             tile_columns=1)
    shapes = ({}, {"lanes": 16, "tile_rows": 2, "tile_columns": 2},
              {"lanes": 16, "tile_rows": 4, "tile_columns": 4},
              {"lanes": 32, "tile_rows": 4, "tile_columns": 8})
    first, *others = (spread(single.replace(**shape), kind) for shape in shapes)
    for other in others:
        np.testing.assert_allclose(other[0], first[0], rtol=1e-12)
        np.testing.assert_allclose(other[1], first[1], rtol=1e-12)


def test_rivals_see_the_layer_of_the_tiles():
    for name, kind in (("int8_first", "gaussian"), ("fp16_first", "heavy"), ("int8_pe", "fixture")):
        source = source_of(RIVALS[name])
        x, w = operands(source, kind)
        given = rival_operands(RIVALS[name], kind)
        np.testing.assert_array_equal(given.x, x)
        if name != "int8_first":
            np.testing.assert_array_equal(given.w, w)
    # Dequantised inside and before they are the same numbers.
    first = RIVALS["fp16_first"].replace(tile_rows=1, tile_columns=1)
    given, single = rival_operands(first, "fixture"), rival_operands(RIVALS["fp16_fma"], "fixture")
    np.testing.assert_array_equal(
        dequantise(first, given.w, given.zeros[..., None], given.scales[..., None]), single.w)
    np.testing.assert_array_equal(given.x, single.x)
    # With two levels of scales they are nearly those of int8 with a scale for each group.
    codes = rival_operands(RIVALS["int8_first"], "heavy")
    _, w = operands(source_of(RIVALS["int8_first"]).replace(w="int8"), "heavy")
    factors = FORMATS["int8"].decode(dequantise(
        RIVALS["int8_first"], codes.w, codes.zeros[..., None], codes.scales[..., None]))
    assert np.corrcoef(factors.ravel(), FORMATS["int8"].decode(w).ravel())[0, 1] > 0.9
    # Scales and zero points change with the group, not before.
    changed = np.diff(given.scales, axis=0).any(axis=(1, 2))
    assert np.flatnonzero(changed).tolist() == [127, 255, 383, 511]
    held = rival_operands(first, "constant")
    assert all((each == each[0]).all() for each in vars(held).values())
    assert not rival_operands(RIVALS["fp16_fma"], "zero").w.any()


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_a_tiles_beats_is_that_of_a_layer(kind):
    """Streams have rows of their own, and walk along K; held codes are held."""
    x, w = operands(TINY, kind)
    for codes in (x, w):
        if kind == "zero":
            assert not codes.any()
        elif kind == "constant":
            assert (codes == codes[0]).all()
            assert codes.any()
        else:
            assert (codes[:, 0] != codes[:, 1]).any()
            assert (codes[0] != codes[1]).any()
    again = operands(TINY, kind)
    np.testing.assert_array_equal(x, again[0])
    np.testing.assert_array_equal(w, again[1])


def test_partial_work_is_on_the_layer_of_the_fixture():
    p = SETS["edge"]
    x, w = operands(p, "fixture")
    idle, same = operands(p, "idle")
    np.testing.assert_array_equal(same, w)
    np.testing.assert_array_equal(idle[..., :p.lanes // 2], x[..., :p.lanes // 2])
    assert not idle[..., p.lanes // 2:].any()
    where = busy(p, "stall")
    assert len(where) == cycles(p, "stall") == STALL * np.count_nonzero(where)
    assert (cycles(p, "stall") - warm_up(p, "stall")) % (STALL * p.beats) == 0
    for codes, slow in zip((x, w), operands(p, "stall"), strict=True):
        count = min(len(codes), np.count_nonzero(where))
        np.testing.assert_array_equal(slow[where][:count], codes[:count])
        # The next beat waits at the inputs.
        np.testing.assert_array_equal(slow[:-1][~where[:-1]], slow[1:][~where[:-1]])


@pytest.mark.parametrize(("parameters", "kind"), [
    (TINY.replace(name="feet", mesh_rows=1, mesh_columns=1, bands=1, x_zero=True), "gaussian"),
    (MIXED.replace(mesh_columns=1), WIDE),
], ids=["zeros", "wide"])
def test_sums_are_of_the_layer_of_the_tile(parameters, kind):
    p = parameters
    groups = cycles(p) // p.beats
    x, w = operands(p, kind)
    found = sums(p, kind, groups)
    x, w = (steps(fmt, codes).reshape(groups, p.beats, *codes.shape[1:])
            for fmt, codes in ((p.x_format, x), (p.w_format, w)))
    np.testing.assert_array_equal(np.einsum("gbsrl,gbscl->grsc", x, w), found.sum)
    np.testing.assert_array_equal(np.einsum("gbsrl->grs", x), found.row_sum)
    if kind == WIDE:
        w = w[..., ::2, :] + 16 * w[..., 1::2, :]  # whole weights
        np.testing.assert_array_equal(np.einsum("gbsrl,gbscl->grsc", x, w), found.joined[..., ::2])
        assert np.unique(found.zero[..., ::2]).tolist() == [128]
        assert not (found.joined | found.zero | found.scale)[..., 1::2].any()
        return
    np.testing.assert_array_equal(found.joined, found.sum)
    np.testing.assert_array_equal(
        np.einsum("gbscl->gsc", w)[:, None] - p.group * found.zero, found.column_sum)
    assert found.x_zero.any()
    assert found.scale.all()


@pytest.mark.parametrize("kind", ["fixture", "heavy", "constant"])
def test_outputs_are_those_of_the_sums(kind):
    p = SETS["w4a16_aligned"]
    found, scales = outputs(p, kind)
    assert found.shape == (32, 64)
    assert scales.shape == (32,)
    if kind == "constant":
        assert np.unique(found).size == 1
        return
    assert GROUPS >= 3  # of which the layer's K has three
    column = p.replace(tile_columns=1, y_lanes=1)
    wanted = _accumulators(column, sums(column, kind, 3, streams=64))[-1].view(np.float32)
    rows = np.arange(wanted.size).reshape(len(wanted), -1, order="F") % 32
    np.testing.assert_array_equal(wanted[..., 0], found[rows, np.arange(64)])


def test_refusals():
    with pytest.raises(ValueError, match=r"^Operands must be one of zero, .*, not 'real'$"):
        operands(TINY, "real")
    with pytest.raises(ValueError, match=re.escape("random, not 'wide'")):
        operands(TINY, WIDE)
    with pytest.raises(ValueError, match=re.escape("random, wide, not 'real'")):
        sums(MIXED, "real", 8)
    with pytest.raises(ValueError, match=r"^Activations must be integers, not fp16$"):
        sums(SETS["w4a16"], "zero", 8)
    for kind in PARTIAL:
        with pytest.raises(ValueError, match=rf"^Operands must be one of zero, .*, not '{kind}'$"):
            sums(TINY, kind, 8)
