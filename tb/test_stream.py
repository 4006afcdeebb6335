"""Packing of the streams, lane by lane."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights
from golden.stream import (
    output_tiles,
    pack,
    s_beats,
    sx_beats,
    unpack,
    w_beats,
    x_beats,
    y_matrix,
)

#: Six rows, six columns, two lanes; every factor of a shape differs from the others.
P = ArrayParameters(name="ragged", lanes=2, tile_rows=1, tile_columns=2, mesh_rows=3,
                    mesh_columns=3, bands=2, group=8, y_lanes=3)
SHAPES = [(1, 8, 1), (6, 16, 6), (7, 8, 5), (13, 24, 14), (5, 16, 19)]


def field(word, index, bits):
    """The ``index``th field of a word, unsigned."""
    return word >> index * bits & (1 << bits) - 1


def layer(m, k, n, w="uint4"):
    """Every element of the layer different from its neighbours."""
    rng = np.random.default_rng(m * k * n)
    p = P.replace(w=w)
    x = Activations(rng.integers(-128, 128, (m, k)), rng.normal(size=m).astype(np.float32))
    weights = GroupedWeights(w, "fp16", P.group,
                             rng.integers(p.w_format.low, p.w_format.high + 1, (k, n)),
                             rng.integers(0, p.w_format.max_zero + 1, (k // P.group, n)),
                             rng.integers(0, 0x7c00, (k // P.group, n)))
    return p, x, weights


def tiles_of(m, n):
    """First row and column of each output tile in the array's order."""
    return [(row, column) for column in range(0, n, P.columns) for row in range(0, m, P.rows)]


@given(st.integers(1, 40).flatmap(lambda bits: st.tuples(st.just(bits), st.integers(1, 9).flatmap(
    lambda count: st.lists(st.lists(st.integers(0, (1 << bits) - 1), min_size=count,
                                    max_size=count), min_size=1, max_size=5)))))
def test_unpack_inverts_pack(case):
    bits, rows = case
    words = pack(np.array(rows), bits)
    assert words == [sum(value << index * bits for index, value in enumerate(row)) for row in rows]
    assert unpack(words, bits, len(rows[0])).tolist() == rows


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=9))
def test_pack_takes_twos_complement(values):
    word, = pack(np.array([values]), 8)
    assert [field(word, index, 8) for index in range(len(values))] == [
        value % 256 for value in values]
    assert word < 1 << 8 * len(values)


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_output_tiles(m, k, n):
    tiles = list(output_tiles(m, n, P))
    assert [(rows.start, columns.start) for rows, columns in tiles] == tiles_of(m, n)
    assert all((rows.stop - rows.start, columns.stop - columns.start) == (P.rows, P.columns)
               for rows, columns in tiles)


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_x_beats(m, k, n):
    p, x, _ = layer(m, k, n)
    beats = iter(x_beats(x, n, p))
    for first, _ in tiles_of(m, n):
        for start in range(0, k, p.lanes):
            beat = next(beats)
            assert beat < 1 << 8 * p.rows * p.lanes
            for row in range(p.rows):
                for lane in range(p.lanes):
                    token = first + row
                    wanted = x.q[token, start + lane] % 256 if token < m else 0
                    assert field(beat, row * p.lanes + lane, 8) == wanted
    assert next(beats, None) is None


@pytest.mark.parametrize("w", ["int4", "uint4", "int8"])
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_w_beats(m, k, n, w):
    p, _, weights = layer(m, k, n, w)
    bits = 8 if w == "int8" else 4
    beats = iter(w_beats(weights, m, p))
    for _, first in tiles_of(m, n):
        for start in range(0, k, p.lanes):
            beat = next(beats)
            assert beat < 1 << bits * p.columns * p.lanes
            for column in range(p.columns):
                for lane in range(p.lanes):
                    feature = first + column
                    wanted = weights.q[start + lane, feature] % (1 << bits) if feature < n else 0
                    assert field(beat, column * p.lanes + lane, bits) == wanted
    assert next(beats, None) is None


@pytest.mark.parametrize("w", ["int4", "uint4"])
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_s_beats(m, k, n, w):
    p, _, weights = layer(m, k, n, w)
    bits = 21 if w == "uint4" else 16  # a zero point of 16 takes five bits
    beats = iter(s_beats(weights, m, p))
    for _, first in tiles_of(m, n):
        for group in range(k // p.group):
            beat = next(beats)
            for column in range(p.columns):
                entry, feature = field(beat, column, bits), first + column
                scale, zero = ((weights.scales[group, feature], weights.zeros[group, feature])
                               if feature < n else (0, 0))
                assert (entry & 0xffff, entry >> 16) == (scale, zero)
            assert beat >> bits * p.columns == (group == k // p.group - 1)
    assert next(beats, None) is None


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_sx_beats(m, k, n):
    p, x, _ = layer(m, k, n)
    beats = iter(sx_beats(x, n, p))
    for first, _ in tiles_of(m, n):
        for row in range(first, first + p.rows):
            wanted = x.scales[row].view(np.uint32) if row < m else 0
            assert next(beats) == wanted
    assert next(beats, None) is None


@pytest.mark.parametrize("y", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_y_matrix(m, k, n, y):
    p = P.replace(y=y)
    bits = {"fp32": 32, "fp16": 16, "int8": 8}[y]
    codes = np.random.default_rng(3).integers(0, 1 << bits, (m, n))
    beats = []
    for first_row, first_column in tiles_of(m, n):
        for row in range(first_row, first_row + p.rows):
            for column in range(first_column, first_column + p.columns, p.y_lanes):
                beat = 0
                for lane in range(p.y_lanes):
                    # What lies past the matrix is of no account.
                    inside = row < m and column + lane < n
                    code = int(codes[row, column + lane]) if inside else (1 << bits) - 1
                    beat |= code << lane * bits
                beats.append(beat)
        beats[-1] |= 1 << bits * p.y_lanes
    np.testing.assert_array_equal(y_matrix(beats, m, n, p), codes, strict=True)


END = 1 << 3 * 16


@pytest.mark.parametrize(("beats", "found"), [
    ([0] * 12, "12 beats with ends at []"),
    ([0] * 11 + [END, 0], "13 beats with ends at [11]"),
    ([0] * 10 + [END], "11 beats with ends at [10]"),
    ([0] * 5 + [END] + [0] * 5 + [END], "12 beats with ends at [5, 11]"),
    ([0] * 11 + [2 * END], "12 beats with ends at [11]"),
    ([], "0 beats with ends at []"),
])
def test_ends_of_y_are_checked(beats, found):
    message = re.escape(f"Stream y must have 1 tiles of 12 beats, not {found}")
    with pytest.raises(ValueError, match=f"^{message}$"):
        y_matrix(beats, 6, 6, P)
