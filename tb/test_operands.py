"""Operands whose switching is measured: their statistics, and that both forms are of one layer."""

import numpy as np
import pytest

from golden.parameters import SETS
from scripts.operands import (
    KINDS,
    PARTIAL,
    STALL,
    busy,
    cycles,
    operands,
    streams_of,
    sums,
    warm_up,
)
from tb.random_layer import steps

TINY = SETS["tiny"]

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


def test_sums_are_of_the_layer_of_the_tile():
    p = TINY.replace(name="column", mesh_rows=1, mesh_columns=1, tile_columns=1, bands=1,
                     x_zero=True, y_lanes=1)
    groups = cycles(p) // p.beats
    x, w = operands(p, "gaussian")
    found = sums(p, "gaussian", groups)
    x, w = (steps(fmt, codes).reshape(groups, p.beats, *codes.shape[1:])
            for fmt, codes in ((p.x_format, x), (p.w_format, w)))
    np.testing.assert_array_equal(np.einsum("gbsrl,gbscl->grsc", x, w), found.sum)
    np.testing.assert_array_equal(np.einsum("gbsrl->grs", x), found.row_sum)
    np.testing.assert_array_equal(
        np.einsum("gbscl->gsc", w)[:, None] - p.group * found.zero, found.column_sum)
    assert found.x_zero.any()
    assert found.scale.all()


def test_refusals():
    with pytest.raises(ValueError, match=r"^Operands must be one of zero, .*, not 'real'$"):
        operands(TINY, "real")
    with pytest.raises(ValueError, match=r"^Activations must be integers, not fp16$"):
        sums(SETS["w4a16"], "zero", 8)
    for kind in PARTIAL:
        with pytest.raises(ValueError, match=rf"^Operands must be one of zero, .*, not '{kind}'$"):
            sums(TINY, kind, 8)
