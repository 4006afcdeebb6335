"""Quantisers: bounds of their error, and each rule one weight at a time."""

import math
import re
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from golden.formats import FORMATS
from golden.quantise import Activations, GroupedWeights, quantise_activations, quantise_weights

INTEGERS = {"int2": (-2, 1), "int3": (-4, 3), "int4": (-8, 7), "uint4": (0, 15),
            "int8": (-128, 127), "uint8": (0, 255)}
SHIFTS = {"shift2": [1, 2], "shift3": [1, 2, 4, 8], "shift4": [1, 2, 4, 8, 16, 32, 64, 128]}
E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
SCALES = ["fp16", "bf16", "fp32", "e8m0", "e4m3"]


# Seven rows in groups of three: the last has one.
weights = st.sampled_from([1e-320, 1e-9, 1e-4, 1.0, 1e3]).flatmap(
    lambda size: arrays(np.float64, (7, 2), elements=st.floats(-size, size)))
tokens = st.sampled_from([1e-44, 1e-40, 1e-37, 1.0, 3e38]).flatmap(
    lambda size: arrays(np.float32, (3, 4), elements=st.floats(
        -float(np.float32(size)), float(np.float32(size)), width=32)))


def groups_of(matrix, group):
    """(group index, column, values as Python floats) of each group."""
    k, n = matrix.shape
    for g in range(-(-k // group)):
        for column in range(n):
            yield g, column, matrix[g * group:(g + 1) * group, column].tolist()


def numbers_of(scale):
    """Positive numbers of a small scale format in ascending order, their places being codes."""
    if scale == "e8m0":
        return [2.0**(code - 127) for code in range(255)]
    return [m * 2.0**-9 for m in range(8)] + [(8 + m) * 2.0**(e - 10)
                                              for e in range(1, 16) for m in range(8)][:-1]


def nearest(value, numbers):
    """Place of the nearest number, ties to the even place."""
    gaps = [(abs(Fraction(value) - Fraction(number)), place % 2, place)
            for place, number in enumerate(numbers)]
    return min(gaps)[2]


def range_of(values, w):
    """What the scale of a group is a fraction of."""
    low, high = min(0, *values), max(0, *values)
    return high - low if w.startswith("u") else max(high, -low)


def count_of(w):
    """Number of steps in that."""
    low, high = INTEGERS[w]
    return high - low if w.startswith("u") else high


def global_of(matrix, w, scale):
    """Global scale by its definition."""
    if scale != "e4m3":
        return 1.0
    largest = max(range_of(values, w) / count_of(w) for _, _, values in groups_of(matrix, 3))
    return max(float(np.float32(largest / 448)), 2.0**-149) if largest else 1.0


@pytest.mark.parametrize("w", INTEGERS)
@given(st.sampled_from(SCALES), weights)
def test_error_is_at_most_half_a_step(w, scale, matrix):
    quantised = quantise_weights(matrix, w=w, scale=scale, group=3)
    restored = quantised.dequantise()
    steps = FORMATS[scale].decode(quantised.scales) * float(quantised.global_scale)
    for g, column, values in groups_of(matrix, 3):
        step, count = float(steps[g, column]), count_of(w)
        exact = range_of(values, w) / count
        if exact == 0:
            assert step == quantised.global_scale
        if scale in ("e8m0", "e4m3") and quantised.global_scale > 2.0**-120:
            assert step >= exact * (1 - 2.0**-23), "a weight would clip"
        # Past the end of the codes lies only what the rounding of the scale left there.
        bound = step / 2 + max(0.0, exact - step) * count
        for value, back in zip(values, restored[3 * g:3 * g + 3, column].tolist(), strict=True):
            assert abs(value - back) <= bound * (1 + 1e-12)
            assert value != 0 or back == 0


@pytest.mark.parametrize("w", INTEGERS)
@given(st.sampled_from(SCALES), weights)
def test_integers_one_at_a_time(w, scale, matrix):
    quantised = quantise_weights(matrix, w=w, scale=scale, group=3)
    whole = global_of(matrix, w, scale)
    assert quantised.global_scale == whole
    for g, column, values in groups_of(matrix, 3):
        values = [value / whole for value in values]
        exact = range_of((matrix[3 * g:3 * g + 3, column]).tolist(), w) / count_of(w) / whole
        if exact == 0:
            code = FORMATS[scale].encode(1).item()
        elif scale in ("e8m0", "e4m3"):  # rounded up
            numbers = numbers_of(scale)
            code = next((place for place, number in enumerate(numbers) if number >= exact),
                        len(numbers) - 1)
        else:
            code = max(FORMATS[scale].encode(exact).item(), 1)
        step = FORMATS[scale].decode(code).item()
        low = min(0, *values)
        zero = min(max(-round(low / step), 0), INTEGERS[w][1]) if w.startswith("u") else 0
        q = [min(max(round(value / step) + zero, INTEGERS[w][0]), INTEGERS[w][1])
             for value in values]
        assert quantised.scales[g, column] == code
        assert quantised.zeros[g, column] == zero
        assert quantised.q[3 * g:3 * g + 3, column].tolist() == q


@given(st.sampled_from(SCALES), arrays(np.int64, (7, 2), elements=st.integers(-2048, 2047)))
def test_ternary_one_at_a_time(scale, matrix):
    """BitNet b1.58: the mean magnitude is the scale. These have exact sums."""
    matrix = matrix / 64
    quantised = quantise_weights(matrix, w="ternary", scale=scale, group=3)
    means = [sum(map(abs, values)) / len(values) for _, _, values in groups_of(matrix, 3)]
    whole = (float(np.float32(max(means) / 448)) or 1.0) if scale == "e4m3" else 1.0
    assert quantised.global_scale == whole
    for (g, column, values), mean in zip(groups_of(matrix, 3), means, strict=True):
        numbers = {"e8m0": numbers_of("e8m0"), "e4m3": numbers_of("e4m3")}.get(scale)
        code = FORMATS[scale].encode(1).item()
        if mean:
            code = (max(nearest(mean / whole, numbers), scale != "e8m0") if numbers
                    else FORMATS[scale].encode(mean).item())
        step = FORMATS[scale].decode(code).item()
        assert quantised.scales[g, column] == code
        assert quantised.q[3 * g:3 * g + 3, column].tolist() == [
            min(max(round(value / whole / step), -1), 1) for value in values]


def shifted(values, step, numbers):
    """Nearest powers of two in steps, and the squared error."""
    q = [math.copysign(numbers[nearest(abs(value / step if step else 0), numbers)], value)
         for value in values]
    return q, math.fsum((sign * step - value)**2 for sign, value in zip(q, values, strict=True))


@pytest.mark.parametrize("w", SHIFTS)
@given(st.sampled_from(["fp16", "e8m0"]), arrays(np.float64, (4, 2), elements=st.floats(-1, 1)))
def test_shifts_one_at_a_time(w, scale, matrix):
    quantised = quantise_weights(matrix, w=w, scale=scale, group=3)
    steps = FORMATS[scale].decode(quantised.scales)
    for g, column, values in groups_of(matrix, 3):
        exact, step = max(map(abs, values)) / SHIFTS[w][-1], steps[g, column].item()
        if exact == 0:
            assert quantised.scales[g, column] == 0
            continue
        candidates = [FORMATS[scale].decode(max(FORMATS[scale].encode(exact * i / 16).item(),
                                                int(scale != "e8m0"))).item()
                      for i in range(4, 17)]
        assert step in candidates
        q, error = shifted(values, step, SHIFTS[w])
        assert quantised.q[3 * g:3 * g + 3, column].tolist() == q
        least = min(shifted(values, other, SHIFTS[w])[1] for other in candidates)
        assert error <= least * (1 + 1e-9) + 1e-30


@pytest.mark.parametrize(("w", "limit"), [("shift2", 0.22), ("shift3", 0.82),
                                            ("shift4", 0.89)])
def test_shifts_gain_from_the_search(w, limit):
    """Share of the squared error at ``max|w| / high`` that remains, of normal weights."""
    matrix = np.random.default_rng(2).normal(size=(1024, 16))
    found = quantise_weights(matrix, w=w, group=128).dequantise()
    errors = []
    for part in matrix.reshape(8, 128, 16):
        plain = np.abs(part).max(axis=0) / FORMATS[w].high
        numbers = FORMATS[w].decode(FORMATS[w].encode(part / plain))
        errors.append((numbers * plain - part)**2)
    assert ((found - matrix)**2).sum() < limit * np.sum(errors)


def block_weights(seed):
    """Weights of LLM size, one block of them far larger, one of zeros."""
    matrix = (np.random.default_rng(seed).standard_t(4, (96, 5)) * 0.02).astype(np.float32)
    matrix[:16, 1] *= 1000
    matrix[32:64, 2] = 0
    return matrix


def e2m1(values):
    """Values after a conversion by ml_dtypes, which does not saturate."""
    return np.clip(values, -6, 6).astype(ml_dtypes.float4_e2m1fn).astype(np.float64)


@pytest.mark.parametrize("seed", range(3))
def test_mxfp4(seed):
    """OCP Microscaling Formats 1.0, 6.3: the greatest power of two in a block over that of e2m1."""
    matrix = block_weights(seed)
    quantised = quantise_weights(matrix, w="e2m1", scale="e8m0", group=32)
    for g, column, values in groups_of(matrix, 32):
        largest = max(map(abs, values))
        exponent = math.floor(math.log2(largest)) - 2 if largest else 0
        scale = np.float32(2.0**exponent)
        assert quantised.scales[g, column] == scale.astype(ml_dtypes.float8_e8m0fnu).view(np.uint8)
        assert quantised.q[32 * g:32 * g + 32, column].tolist() == (
            2 * e2m1(np.float32(values) / scale)).tolist()
    assert np.abs(quantised.q).max() == 12
    assert quantised.global_scale == 1


@pytest.mark.parametrize("seed", range(3))
def test_nvfp4(seed):
    """A scale in e4m3 for each 16, which brings the largest to 6, below one in float32."""
    matrix = block_weights(seed)
    quantised = quantise_weights(matrix, w="e2m1", scale="e4m3", group=16)
    whole = np.float32(np.abs(matrix).max() / (6 * 448))
    assert quantised.global_scale == whole
    for g, column, values in groups_of(matrix, 16):
        largest = max(map(abs, values))
        block = np.float32(largest / 6 / float(whole) if largest else 1)
        scale = np.maximum(block, np.float32(2.0**-9)).astype(ml_dtypes.float8_e4m3fn)
        assert quantised.scales[g, column] == scale.view(np.uint8)
        assert quantised.q[16 * g:16 * g + 16, column].tolist() == (
            2 * e2m1(np.array(values) / (float(scale) * float(whole)))).tolist()
    assert quantised.scales.max() == 0x7e
    np.testing.assert_allclose(quantised.dequantise()[:16, 1], matrix[:16, 1], rtol=0.34,
                               atol=0.3 * np.abs(matrix[:16, 1]).max() / 6)


@pytest.mark.parametrize(("value", "scale", "code"), [
    (4.0, "e8m0", 127), (7.99, "e8m0", 127), (3.99, "e8m0", 126),
    (2.0**-126, "e8m0", 0), (1e-300, "e8m0", 0), (2.0**129, "e8m0", 254),
    (math.nextafter(2.0**130, 0), "e8m0", 254), (6.0, "fp16", 0x3c00), (5e-7, "fp16", 1),
])
def test_scales_of_e2m1(value, scale, code):
    quantised = quantise_weights([[value], [-value / 2]], w="e2m1", scale=scale, group=2)
    assert quantised.scales.tolist() == [[code]]


@pytest.mark.parametrize(("values", "w", "scale", "code"), [
    ([7.0, -1], "int4", "e8m0", 127), ([7.01, -1], "int4", "e8m0", 128),
    ([3.0 * 2**127, 0], "int3", "e8m0", 254), ([0.0, -0.0], "shift3", "fp16", 0),
    ([0.0, -0.0], "shift3", "e8m0", 0), ([0.0, 0.0], "shift3", "e4m3", 0),
    ([0.0, 0.0], "ternary", "e8m0", 127), ([0.0, 0.0], "int4", "e4m3", 0x38),
    ([2.0**-130, 2.0**-130], "ternary", "e8m0", 0), ([1e-50, 0], "int4", "e4m3", 0x01),
])
def test_scales_of_note(values, w, scale, code):
    quantised = quantise_weights(np.reshape(values, (2, 1)), w=w, scale=scale, group=2)
    assert quantised.scales.tolist() == [[code]]
    if not any(values) and w != "shift3":
        assert quantised.q.ravel().tolist() == [0, 0]


@pytest.mark.parametrize(("values", "w", "q", "zero", "step"), [
    ([0, 0],               "uint4", [0, 0],    0,  1),
    ([0, 0],               "int4",  [0, 0],    0,  1),
    ([-0.0, 0],            "int8",  [0, 0],    0,  1),
    ([15, 15],             "uint4", [15, 15],  0,  1),
    ([-15, -15],           "uint4", [0, 0],    15, 1),
    ([-1.5, 13.5],         "uint4", [0, 15],   2,  1),
    ([7, -7],              "int4",  [7, -7],   0,  1),
    ([-127, 0.5],          "int8",  [-127, 0], 0,  1),
    ([7 * 2.0**-25, 0],    "int4",  [4, 0],    0,  2.0**-24),  # 3.5 of the least number of fp16
    ([7 * 65504, -65504],  "int4",  [7, -1],   0,  65504),
])
def test_groups_of_note(values, w, q, zero, step):
    quantised = quantise_weights(np.reshape(values, (2, 1)), w=w, group=2)
    assert quantised.q.ravel().tolist() == q
    assert quantised.zeros.item() == zero
    assert FORMATS["fp16"].decode(quantised.scales).item() == step


def test_groups_are_independent():
    matrix = np.random.default_rng(1).normal(size=(12, 3)) * [1, 10, 100]
    matrix[4:8] *= 1000
    whole = quantise_weights(matrix, w="uint4", group=4)
    for g, column, values in groups_of(matrix, 4):
        alone = quantise_weights(np.reshape(values, (4, 1)), w="uint4", group=4)
        assert alone.q.ravel().tolist() == whole.q[4 * g:4 * g + 4, column].tolist()
        assert alone.zeros.item() == whole.zeros[g, column]
        assert alone.scales.item() == whole.scales[g, column]


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("scale", [None, "fp16", "bf16"])
@given(tokens)
def test_activations_one_at_a_time(scale, zero, x):
    if scale == "fp16":  # which has no scales for the largest
        x = np.clip(x, -1e6, 1e6)
    quantised = quantise_activations(x, group=3, group_scale=scale, zero=zero)
    assert quantised.scales.dtype == np.float32
    assert (quantised.zeros is None, quantised.group_scales is None) == (not zero, scale is None)
    count, name = 255 if zero else 127, scale or "fp32"
    fmt = FORMATS[name]
    for m, g in np.ndindex(3, 2):
        part = slice(3 * g, 3 * g + 3)
        values = x[m, part if scale else slice(None)].tolist()
        low, high = min(0.0, *values), max(0.0, *values)
        exact = (high - low if zero else max(high, -low)) / count
        code = max(fmt.encode(exact).item(), 1) if exact else fmt.encode(1).item()
        step = fmt.decode(code).item()
        z = min(max(round(-128 - low / step), -128), 127) if zero else 0
        q = [min(max(round(value / step) + z, -128 if zero else -127), 127)
             for value in x[m, part].tolist()]
        assert quantised.q[m, part].tolist() == q
        if zero:
            assert quantised.zeros[m, g] == z
        if scale:
            assert (quantised.group_scales[m, g], quantised.scales[m]) == (code, 1)
        else:
            assert quantised.scales[m] == step
        bound = Fraction(step) / 2 + max(0, Fraction(exact) - Fraction(step)) * count
        for value, back in zip(x[m, part].tolist(), quantised.dequantise()[m, part].tolist(),
                               strict=True):
            assert abs(Fraction(value) - Fraction(back)) <= bound * (1 + Fraction(1, 2**40))


@pytest.mark.parametrize(("fmt", "oracle"), [("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_floats_are_converted(fmt, oracle):
    x = np.random.default_rng(3).standard_t(2, (5, 200)).astype(np.float32)
    quantised = quantise_activations(x, fmt=fmt)
    np.testing.assert_array_equal(quantised.q, x.astype(oracle).view(np.uint16))
    np.testing.assert_array_equal(quantised.dequantise(), x.astype(oracle).astype(np.float64))
    assert (quantised.fmt, quantised.group_scales, quantised.zeros) == (FORMATS[fmt], None, None)
    # One rounding, of a number that float32 would make a tie; overflow.
    x = np.array([[1 + 2.0**-11 + 2.0**-40, 1 + 2.0**-8 + 2.0**-40, 1e300]])
    assert quantise_activations(x, fmt=fmt).q.tolist() == [
        [0x3c01, 0x3c04, 0x7c00] if fmt == "fp16" else [0x3f80, 0x3f81, 0x7f80]]


@pytest.mark.parametrize(("row", "q", "scale"), [
    ([0, 0],                  [0, 0],       1),
    ([127, -63.5],            [127, -64],   1),
    ([-128, 64],              [-127, 64],   float(np.float32(128) / np.float32(127))),
    ([3 * 2.0**-149, 0],      [3, 0],       2.0**-149),
    ([2.0**-149, -2.0**-149], [1, -1],      2.0**-149),
    ([np.finfo(np.float32).max, -np.finfo(np.float32).max], [127, -127],
     float(np.finfo(np.float32).max / np.float32(127))),
])
def test_tokens_of_note(row, q, scale):
    quantised = quantise_activations([row])
    assert quantised.q.tolist() == [q]
    assert quantised.scales.tolist() == [scale]
    np.testing.assert_array_equal(quantised.dequantise(), np.array([q]) * scale)


def test_no_token_and_no_weight():
    assert quantise_activations(np.zeros((0, 4))).scales.shape == (0,)
    assert quantise_activations(np.zeros((2, 0))).scales.tolist() == [1, 1]
    assert quantise_weights(np.zeros((0, 3)), w="int4", group=4).scales.shape == (0, 3)
    grouped = quantise_activations(np.zeros((2, 0)), group=4, group_scale="fp16", zero=True)
    assert grouped.zeros.shape == grouped.group_scales.shape == (2, 0)
    assert quantise_weights(np.zeros((4, 0)), w="e2m1", scale="e4m3", group=2).shape == (4, 0)


@pytest.mark.parametrize("w", ["uint4", "ternary", "shift3", "e2m1"])
def test_last_group_and_whole_columns(w):
    matrix = np.random.default_rng(1).normal(size=(10, 3))
    whole = quantise_weights(matrix, w=w, group=4)
    assert whole.scales.shape == (3, 3)
    last = quantise_weights(matrix[8:], w=w, group=2)
    np.testing.assert_array_equal(whole.q[8:], last.q)
    np.testing.assert_array_equal(whole.scales[2:], last.scales)
    column = quantise_weights(matrix, w=w, group=10)
    assert column.scales.shape == (1, 3)
    longer = quantise_weights(matrix, w=w, group=4096)
    np.testing.assert_array_equal(longer.q, column.q)
    np.testing.assert_array_equal(longer.scales, column.scales)


WEIGHTS = ("Parameter w must be one of int2, int3, int4, uint4, int8, uint8, ternary, shift2, "
           "shift3, shift4, e2m1, not ")


def matrix_with(value, index=(1, 0)):
    matrix = np.ones((4, 2))
    matrix[index] = value
    return matrix


@pytest.mark.parametrize(("matrix", "options", "message"), [
    (np.ones(4), {}, "Weights must be a matrix, not of shape (4,)"),
    (matrix_with(np.nan), {}, "Weights must be finite, not nan as at index (1, 0)"),
    (matrix_with(-np.inf), {}, "Weights must be finite, not -inf as at index (1, 0)"),
    *((np.ones((4, 2)), {"group": group}, f"Group size must be at least 1, not {group}")
      for group in (0, -1)),
    *((np.ones((4, 2)), {"w": w}, f"{WEIGHTS}{w!r}") for w in ("int5", "fp16")),
    (np.ones((4, 2)), {"scale": "int8"},
     "Parameter scale must be one of fp16, bf16, fp32, e8m0, e4m3, not 'int8'"),
    (matrix_with(7 * 65520, (2, 1)), {"w": "int4"},
     "Scale of group 1, column 1 must be a number of fp16, not 65520.0"),
    (matrix_with(-1e308) + matrix_with(1e308, (0, 0)), {"w": "uint4"},
     "Scale of group 0, column 0 must be a number of fp16, not inf"),
    (matrix_with(math.nextafter(7 * 2.0**127, 1e99), (2, 1)), {"scale": "e8m0"},
     f"Scale of group 1, column 1 must be a number of e8m0, not {math.nextafter(2.0**127, 1e99)}"),
    (matrix_with(2.0**130, (2, 1)), {"scale": "e8m0", "w": "e2m1"},
     f"Scale of group 1, column 1 must be a number of e8m0, not {2.0**128}"),
    (matrix_with(2.0**129, (2, 1)), {"scale": "e8m0", "w": "ternary"},
     f"Scale of group 1, column 1 must be a number of e8m0, not {2.0**128}"),
    (matrix_with(1e300), {"scale": "e4m3", "w": "e2m1"},
     f"Largest scale must be at most 448 times a number of fp32, not {1e300 / 6}"),
])
def test_errors_of_weights(matrix, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        quantise_weights(matrix, **{"w": "int4", "group": 2} | options)


def test_just_below_the_largest_scale():
    quantised = quantise_weights(matrix_with(7 * math.nextafter(65520, 0), (2, 1)), w="int4",
                                 group=2)
    assert FORMATS["fp16"].decode(quantised.scales)[1, 1] == 65504


@pytest.mark.parametrize(("x", "options", "message"), [
    (np.ones(4), {}, "Activations must be a matrix, not of shape (4,)"),
    (matrix_with(np.nan), {}, "Activations must be finite, not nan as at index (1, 0)"),
    (matrix_with(np.nan), {"fmt": "bf16"},
     "Activations must be finite, not nan as at index (1, 0)"),
    (matrix_with(1e39), {}, "Activations must be finite, not inf as at index (1, 0)"),
    (np.ones((4, 2)), {"fmt": "int4"}, "Parameter fmt must be one of int8, fp16, bf16, not 'int4'"),
    *((np.ones((4, 2)), {"fmt": "fp16"} | options,
       "Parameter fmt must be int8 for group scales or zero points, not 'fp16'")
      for options in ({"zero": True}, {"group": 2, "group_scale": "fp16"})),
    *((np.ones((4, 2)), options, "Group size must be given for group scales or zero points")
      for options in ({"zero": True}, {"group_scale": "fp16"})),
    (np.ones((4, 2)), {"group": 0}, "Group size must be at least 1, not 0"),
    (np.ones((4, 2)), {"group": 1, "group_scale": "e8m0"},
     "Parameter group_scale must be one of fp16, bf16, not 'e8m0'"),
    (matrix_with(127 * 65520, (2, 1)), {"group": 1, "group_scale": "fp16"},
     "Scale of token 2, group 1 must be a number of fp16"),
])
def test_errors_of_activations(x, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        quantise_activations(x, **options)


def activations(**changes):
    """Valid activations but for ``changes``."""
    values = {"q": np.zeros((4, 6), int), "scales": np.ones(4, np.float32), "group": 4}
    return Activations(**values | changes)


@pytest.mark.parametrize(("changes", "message"), [
    ({"group": 0}, "Group size must be at least 1, not 0"),
    ({"scales": np.ones(3, np.float32)}, "Shape of scales must be (4,), not (3,)"),
    ({"group": None, "zeros": np.zeros((4, 2), int)}, "Group size must be given with zeros"),
    ({"group": None, "group_scales": np.zeros((4, 2), int)},
     "Group size must be given with group_scales"),
    ({"zeros": np.zeros((4, 1), int)}, "Shape of zeros must be (4, 2), not (4, 1)"),
    ({"group_scales": np.zeros((4, 3), int)}, "Shape of group_scales must be (4, 2), not (4, 3)"),
    ({"fmt": FORMATS["fp16"], "zeros": np.zeros((4, 2), int)},
     "Format of activations with zero points must be int8, not fp16"),
    ({"q": np.full((4, 6), 128)}, "Values of q must be from -128 to 127 for int8, not 128 to 128"),
    ({"q": np.full((4, 6), -1), "fmt": FORMATS["bf16"]},
     "Values of q must be from 0 to 65535 for bf16, not -1 to -1"),
    ({"zeros": np.full((4, 2), -129)},
     "Values of zeros must be from -128 to 127 for int8, not -129 to -129"),
])
def test_errors_of_activation_values(changes, message):
    activations()
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        activations(**changes)


def grouped(**changes):
    """A valid layer but for ``changes``."""
    values = {"w": "uint4", "scale": "fp16", "group": 2, "q": np.zeros((4, 3), int),
              "zeros": np.zeros((2, 3), int), "scales": np.full((2, 3), 0x3c00)}
    return GroupedWeights(**values | changes)


def filled(shape, value, index):
    array = np.zeros(shape, dtype=np.int64)
    array[index] = value
    return array


@pytest.mark.parametrize(("changes", "message"), [
    ({"w": "int5"}, f"{WEIGHTS}'int5'"),
    ({"scale": "int8"}, "Parameter scale must be one of fp16, bf16, fp32, e8m0, e4m3, not 'int8'"),
    ({"group": 0}, "Group size must be at least 1, not 0"),
    ({"group": 5}, "Shape of zeros must be (1, 3), not (2, 3)"),
    ({"w": "shift3", "q": filled((4, 3), 8, np.s_[:])[:] - filled((4, 3), 8, (1, 2))},
     "Values of q must be numbers of shift3, not 0 as at index (1, 2)"),
    ({"w": "e2m1", "q": filled((4, 3), 5, (1, 2))},
     "Values of q must be numbers of e2m1, not 5 as at index (1, 2)"),
    ({"scale": "e8m0", "scales": filled((2, 3), 0xff, (1, 2))},
     "Scales must be finite, not nan as at index (1, 2)"),
    ({"global_scale": np.float32(np.inf)}, "Global scale must be finite, not inf"),
    ({"zeros": np.zeros((4, 3), int)}, "Shape of zeros must be (2, 3), not (4, 3)"),
    ({"scales": np.zeros((2, 1), int)}, "Shape of scales must be (2, 3), not (2, 1)"),
    ({"q": filled((4, 3), 16, (3, 2))}, "Values of q must be from 0 to 15 for uint4, not 0 to 16"),
    ({"q": filled((4, 3), -1, (0, 0))}, "Values of q must be from 0 to 15 for uint4, not -1 to 0"),
    ({"zeros": filled((2, 3), 17, (1, 1))},
     "Values of zeros must be from 0 to 16 for uint4, not 0 to 17"),
    ({"w": "int4", "zeros": filled((2, 3), 1, (1, 1))},
     "Values of zeros must be from 0 to 0 for int4, not 0 to 1"),
    ({"scales": filled((2, 3), 0xfc00, (1, 2))},
     "Scales must be finite, not -inf as at index (1, 2)"),
    ({"scales": filled((2, 3), 0x7e00, (0, 1))},
     "Scales must be finite, not nan as at index (0, 1)"),
    ({"scales": filled((2, 3), 0x10000, (0, 1))},
     "Codes of fp16 must be in range(65536), not 0 to 65536"),
])
def test_errors_of_grouped_weights(changes, message):
    grouped()
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        grouped(**changes)


def test_scale_in_another_format():
    codes = FORMATS["fp16"].encode([[0.5, -2.0, 0.0], [1.0, 2.0**-24, 128]])
    layer = grouped(scales=codes, q=np.arange(12).reshape(4, 3))
    converted = layer.with_scale("bf16")
    assert (converted.w, converted.scale, converted.group) == ("uint4", "bf16", 2)
    np.testing.assert_array_equal(converted.dequantise(), layer.dequantise())
    with pytest.raises(ValueError, match=re.escape(
            "Scales must be numbers of bf16, not 0.7998046875 as at index (1, 1)")):
        grouped(scales=filled((2, 3), 0x3a66, (1, 1))).with_scale("bf16")
    with pytest.raises(ValueError, match=r"^Parameter scale must be one of fp16, bf16, fp32, "
                                         r"e8m0, e4m3, not 'int4'$"):
        layer.with_scale("int4")


@given(arrays(np.int64, (3, 4), elements=st.integers(-127, 127)),
       st.integers(-20, 20))
def test_what_the_codes_can_say_returns(q, exponent):
    """Quantising dequantised activations changes nothing."""
    q[:, 0] = 127
    layer = Activations(q, np.full(3, 2.0**exponent, dtype=np.float32))
    again = quantise_activations(layer.dequantise())
    np.testing.assert_array_equal(again.q, q)
    np.testing.assert_array_equal(again.scales, layer.scales)
