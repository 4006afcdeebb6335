"""Streams: an array that reads payloads bit by bit, and computes the layer from them alone."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.formats import FORMATS, Format
from golden.gemm import gemm
from golden.mixed import MixedWeights
from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights, groups
from golden.stream import LayerStreams, column_passes, group_beats, pack, unpack

#: Six rows, six columns, two lanes; every factor of a shape differs from the others.
P = ArrayParameters(name="ragged", lanes=2, tile_rows=1, tile_columns=2, mesh_rows=3,
                    mesh_columns=3, bands=2, group=8, y_lanes=3)
#: M, K, N: one of each, whole tiles, more than a tile; last groups of every kind.
SHAPES = [(1, 8, 1), (6, 16, 6), (7, 8, 5), (13, 24, 14), (5, 19, 19), (2, 9, 7), (3, 5, 2)]

SETS = {
    "int4":       P.replace(w="int4"),
    "uint4":      P,
    "int8":       P.replace(w="int8", y="fp32"),
    "int2-e8m0":  P.replace(w="int2", scale="e8m0", y="int8"),
    "ternary":    P.replace(w="ternary", scale="bf16"),
    "shift3":     P.replace(w="shift3", mac="shift"),
    "e2m1-e4m3":  P.replace(w="e2m1", scale="e4m3", y="bf16"),
    "zero":       P.replace(x_zero=True),
    "group":      P.replace(x_scale="bf16"),
    "zero-group": P.replace(x_zero=True, x_scale="fp16", y="fp32"),
    "aligned":    P.replace(x="fp16", x_align=11, x_scale="e8m0"),
    "float":      P.replace(x="fp16", mac="float"),
    "wide":       P.replace(wide=True),
    "wide-zero":  P.replace(wide=True, x_zero=True, x_scale="fp16"),
}


def field(word, index, bits):
    """The ``index``th field of a word, unsigned."""
    return word >> index * bits & (1 << bits) - 1


def grouped(rng, w, p, k, n, group, whole=1):
    """Weights that differ from their neighbours."""
    fmt = FORMATS[w]
    numbers = np.unique(fmt.decode(np.arange(1 << fmt.bits)) / fmt.step).astype(int)
    shape = groups(k, group), n
    return GroupedWeights(w, p.scale, group, rng.choice(numbers, (k, n)),
                          rng.integers(0, fmt.max_zero + 1, shape),
                          p.scale_format.encode(rng.lognormal(size=shape)), np.float32(whole))


def layer(p, m, k, n, *, group=P.group, wide=0):
    """A layer of ordinary numbers for a set; ``wide`` of its features have 8 bits."""
    rng = np.random.default_rng(m * k * n)
    count = groups(k, group)
    q = (rng.integers(p.x_format.low, p.x_format.high + 1, (m, k)) if p.x_format.is_integer
         else p.x_format.encode(rng.normal(size=(m, k))))
    x = Activations(
        q, rng.normal(size=m).astype(np.float32), p.x_format, group,
        rng.integers(-128, 128, (m, count)) if p.x_zero else None,
        "fp16" if p.x_scale == "token" else p.x_scale,
        None if p.x_scale == "token" else p.x_scale_format.encode(rng.lognormal(size=(m, count))))
    if not p.wide:
        return x, grouped(rng, p.w, p, k, n, group, 0.75)
    return x, MixedWeights(grouped(rng, "int8", p, k, wide, group, 0.75),
                           grouped(rng, "uint4", p, k, n - wide, group, 0.75),
                           rng.permutation(n))


def steps(code, fmt: Format):
    """Number of a code in fractions."""
    return Fraction(fmt.decode(code).item())


class Array:
    """What the array does with its streams, in the words of docs/ports.md.

    Reads one tile after the other and nothing but payloads.
    """

    def __init__(self, p, payloads):
        self.p = p
        self.streams = {name: iter(beats) for name, beats in payloads.items()}

    def tile(self):
        """Beats of ``y`` of the next output tile."""
        p, last = self.p, False
        acc = [[np.float32(0)] * p.columns for _ in range(p.rows)]
        while not last:
            sums, entries, wide, last = self.group()
            for row, column in np.ndindex(p.rows, p.columns):
                scale = entries["s"][column]
                if "t" in entries:
                    scale = scale * entries["t"][row]
                acc[row][column] += np.float32(float(sums[row][column])) * scale
        sx = [np.uint32(next(self.streams["sx"])).view(np.float32) for _ in range(p.rows)]
        outputs = [p.y_format.encode(acc[row][column] * sx[row]).item()
                   for row in range(p.rows) for column in range(0, p.columns, 1 + wide)]
        bits, lanes = p.y_format.bits, p.y_lanes
        beats = [sum(code << lane * bits for lane, code in enumerate(outputs[start:start + lanes]))
                 for start in range(0, len(outputs), lanes)]
        return [*beats[:-1], beats[-1] | 1 << lanes * bits]

    def group(self):
        """Sums of the next group, its scales, whether it is wide and whether its tile's last."""
        p = self.p
        x, w, ends = [], [], False
        while not ends:
            beat, weights = next(self.streams["x"]), next(self.streams["w"])
            ends, beat = divmod(beat, 1 << p.rows * p.lanes * p.x_format.bits)
            assert ends in (0, 1)
            assert weights < 1 << p.columns * p.lanes * p.w_format.bits
            x.append([field(beat, i, p.x_format.bits) for i in range(p.rows * p.lanes)])
            w.append([field(weights, i, p.w_format.bits) for i in range(p.columns * p.lanes)])
        assert p.least_beats <= len(x) <= p.beats

        beat, width = next(self.streams["s"]), p.scale_format.bits + p.zero_bits
        last, wide = divmod(beat >> width * p.columns, 2) if p.wide else (
            beat >> width * p.columns, 0)
        assert last in (0, 1)
        columns = [field(beat, column, width) for column in range(p.columns)]
        zeros = [column >> p.scale_format.bits for column in columns]
        entries = {"s": [np.float32(p.scale_format.decode(field(column, 0, p.scale_format.bits)))
                         for column in columns]}
        x_zeros = [Fraction(0)] * p.rows
        if p.x_groups:
            bits = p.x_scale_format.bits if p.x_scale_format else 0
            width = bits + p.x_format.bits * p.x_zero
            beat = next(self.streams["t"])
            assert beat < 1 << width * p.rows
            rows = [field(beat, row, width) for row in range(p.rows)]
            if bits:
                entries["t"] = [np.float32(p.x_scale_format.decode(field(row, 0, bits)))
                                for row in rows]
            if p.x_zero:
                x_zeros = [steps(row >> bits, p.x_format) for row in rows]

        sums = [[self.dot(x, w, row, column, x_zeros[row], zeros[column], wide)
                 for column in range(p.columns)] for row in range(p.rows)]
        return sums, entries, wide, last

    def dot(self, x, w, row, column, x_zero, zero, wide):
        """Σ (x − zx)·(q − z) of a group, exact; 0 in the upper column of a wide feature."""
        p, total = self.p, Fraction(0)
        if wide and column % 2:
            return total
        for xs, ws in zip(x, w, strict=True):
            for lane in range(p.lanes):
                q = steps(ws[column * p.lanes + lane], p.w_format)
                if wide:
                    q += 16 * ws[(column + 1) * p.lanes + lane]
                total += (steps(xs[row * p.lanes + lane], p.x_format) - x_zero) * (
                    q - zero * Fraction(p.w_format.step))
        return total


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


def compare(p, x, weights):
    """The array, given the payloads, computes what golden says of the layer."""
    streams = LayerStreams(x, weights, p)
    array = Array(p, streams.payloads)
    beats = [beat for _ in range(streams.tiles) for beat in array.tile()]
    assert {name: next(stream, None) for name, stream in array.streams.items()} == dict.fromkeys(
        streams.payloads)
    assert len(beats) == streams.output_beats
    np.testing.assert_array_equal(streams.outputs(beats), gemm(x, weights, y=p.y), strict=True)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("m", "k", "n"), [(7, 19, 8), (3, 5, 2)])
def test_payloads_are_the_layer(name, m, k, n):
    p = SETS[name]
    compare(p, *layer(p, m, k, n, wide=n // 2 if p.wide else 0))


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_shapes(m, k, n):
    compare(P, *layer(P, m, k, n))


@pytest.mark.parametrize("wide", [0, 1, 3, 4, 8])
def test_wide_passes(wide):
    p = SETS["wide"]
    x, weights = layer(p, 2, 8, 8, wide=wide)
    passes = column_passes(weights, p)
    assert [(each.wide, len(each.features)) for each in passes] == {
        0: [(False, 6), (False, 2)], 1: [(True, 1), (False, 6), (False, 1)],
        3: [(True, 3), (False, 5)], 4: [(True, 3), (True, 1), (False, 4)],
        8: [(True, 3), (True, 3), (True, 2)]}[wide]
    assert np.concatenate([each.features for each in passes]).tolist() == weights.features.tolist()
    compare(p, x, weights)


@pytest.mark.parametrize("w", ["int8", "uint8"])
def test_eight_bits_alone(w):
    p = SETS["wide"]
    x, _ = layer(p, 2, 8, 1)
    compare(p, x, grouped(np.random.default_rng(4), w, p, 8, 5, 8))


def test_operands_without_what_the_set_has():
    """Absent group scales are 1, absent zero points 0."""
    p = SETS["zero-group"]
    x, weights = layer(p, 3, 12, 4)
    compare(p, Activations(x.q, x.scales), weights)


def test_rows_and_columns_past_the_layer_are_zeros():
    p = P.replace(y="fp32")
    x, weights = layer(p, 1, 8, 1)
    payloads = LayerStreams(x, weights, p).payloads
    assert all(beat & ~(1 << p.rows * p.lanes * 8) < 1 << p.lanes * 8 for beat in payloads["x"])
    assert all(beat < 1 << p.lanes * 4 for beat in payloads["w"])
    assert payloads["sx"][1:] == [0] * (p.rows - 1)


@pytest.mark.parametrize(("k", "group", "beats"), [
    (8, 8, [4]), (16, 8, [4, 4]), (9, 8, [4, 4]), (7, 8, [4]), (1, 8, [4]), (8, 4, None),
    (24, 16, [8, 4]), (27, 16, [8, 6]), (17, 16, [8, 4]), (9, 16, [5]), (5, 5, [4]),
])
def test_beats_of_groups(k, group, beats):
    p = P.replace(group=16)
    if beats is None:
        with pytest.raises(ValueError, match=r"^Group size must be a multiple of 2 from 8 to 16 "
                                             r"for set ragged, not 4$"):
            group_beats(k, group, p)
    else:
        assert group_beats(k, group, p) == beats


def with_x(**changes):
    """Activations of a layer of 4 by 16 but for ``changes``."""
    values = {"q": np.zeros((4, 16), int), "scales": np.ones(4, np.float32), "group": 8}
    return Activations(**values | changes)


def with_w(**changes):
    """Weights of a layer of 16 by 3 but for ``changes``."""
    values = {"w": "uint4", "scale": "fp16", "group": 8, "q": np.zeros((16, 3), int),
              "zeros": np.zeros((2, 3), int), "scales": np.zeros((2, 3), int)}
    return GroupedWeights(**values | changes)


PAIR = np.zeros((4, 2), int)


@pytest.mark.parametrize(("p", "x", "weights", "message"), [
    (P, with_x(fmt=FORMATS["fp16"]), with_w(),
     "Format of the activations must be that of the set ragged, int8, not fp16"),
    (SETS["group"], with_x(zeros=PAIR), with_w(),
     "Activations must have no zero points for set ragged"),
    (P, with_x(group_scales=PAIR), with_w(),
     "Format of the activations' group scales must be that of the set ragged, token, not fp16"),
    (SETS["group"], with_x(group_scales=PAIR), with_w(),
     "Format of the activations' group scales must be that of the set ragged, bf16, not fp16"),
    (P, with_x(q=np.zeros((4, 15), int)), with_w(),
     "Shapes (4, 15) and (16, 3) do not form a matrix product"),
    (P, with_x(group=16), with_w(),
     "Group size of the activations must be that of the weights, 8, not 16"),
    (P, with_x(), with_w(w="int4"),
     "Format of the weights must be that of the set ragged, uint4, not int4"),
    (P, with_x(), with_w(w="int8"),
     "Format of the weights must be that of the set ragged, uint4, not int8"),
    (P, with_x(), with_w(scale="bf16"),
     "Format of the scales must be that of the set ragged, fp16, not bf16"),
    (P, with_x(group=None), with_w(group=16, zeros=np.zeros((1, 3), int),
                                   scales=np.zeros((1, 3), int)),
     "Group size must be a multiple of 2 from 8 to 8 for set ragged, not 16"),
])
def test_layers_that_do_not_fit(p, x, weights, message):
    LayerStreams(with_x(), with_w(), P)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        LayerStreams(x, weights, p)


def beats_of(tiles, codes, p):
    """Beats of ``y`` of tiles of equal outputs."""
    lane = sum(codes << i * p.y_format.bits for i in range(p.y_lanes))
    size = p.rows * p.columns // p.y_lanes
    return ([lane] * (size - 1) + [lane | 1 << p.y_format.bits * p.y_lanes]) * tiles


@pytest.mark.parametrize(("change", "message"), [
    (lambda beats: beats[:-1], "a tile of 12 beats at beat 12"),
    (lambda beats: [*beats, 0], "24 beats, not 25"),
    (lambda beats: beats[1:], "a tile of 12 beats at beat 0"),
    (lambda beats: beats[:5] + beats[11:], "a tile of 12 beats at beat 0"),
    (lambda beats: [*beats[:-1], 2 * beats[-1]], "a tile of 12 beats at beat 12"),
    (lambda beats: beats[:-1] + beats[:1], "a tile of 12 beats at beat 12"),
])
def test_ends_of_y_are_checked(change, message):
    streams = LayerStreams(*layer(P, 6, 8, 12), P)
    beats = beats_of(2, 0x1234, P)
    assert (streams.outputs(beats) == 0x1234).all()
    with pytest.raises(ValueError, match=f"^Stream y must have {message}$"):
        streams.outputs(change(beats))
