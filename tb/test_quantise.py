"""Quantisers: bounds of their error, and MixLLM's formulas one weight at a time."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from golden.formats import FORMATS
from golden.quantise import Activations, GroupedWeights, quantise_activations, quantise_weights

WEIGHTS = ["int4", "uint4", "int8"]
SCALES  = ["fp16", "bf16"]


weights = st.sampled_from([1e-320, 1e-9, 1e-4, 1.0, 1e3]).flatmap(
    lambda size: arrays(np.float64, (6, 2), elements=st.floats(-size, size)))
tokens = st.sampled_from([1e-44, 1e-40, 1e-37, 1.0, 3e38]).flatmap(
    lambda size: arrays(np.float32, (3, 4), elements=st.floats(
        -float(np.float32(size)), float(np.float32(size)), width=32)))


def groups_of(matrix, group):
    """(group index, column, values as Python floats) of each group."""
    k, n = matrix.shape
    for g in range(k // group):
        for column in range(n):
            yield g, column, matrix[g * group:(g + 1) * group, column].tolist()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("w", WEIGHTS)
@given(weights)
def test_error_is_at_most_half_a_step(w, scale, matrix):
    fmt = FORMATS[w]
    quantised = quantise_weights(matrix, w=w, scale=scale, group=3)
    restored = quantised.dequantise()
    steps = FORMATS[scale].decode(quantised.scales)
    for g, column, values in groups_of(matrix, 3):
        low, high, step = min(0, *values), max(0, *values), float(steps[g, column])
        count = 15 if w == "uint4" else fmt.high
        exact = (high - low if w == "uint4" else max(high, -low)) / count
        if exact == 0:
            assert step == 1
        # Past the end of the codes lies only what the rounding of the scale left there.
        bound = step / 2 + max(0.0, exact - step) * count
        for value, back in zip(values, restored[3 * g:3 * g + 3, column].tolist(), strict=True):
            assert abs(value - back) <= bound * (1 + 1e-12)
            assert value != 0 or back == 0


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("w", WEIGHTS)
@given(weights)
def test_formulas_of_mixllm(w, scale, matrix):
    quantised = quantise_weights(matrix, w=w, scale=scale, group=3)
    for g, column, values in groups_of(matrix, 3):
        if w == "uint4":
            low, high = min(0, *values), max(0, *values)
            exact = (high - low) / 15
        else:
            exact = max(map(abs, values)) / (7 if w == "int4" else 127)
        code = FORMATS[scale].encode(exact).item() if exact else FORMATS[scale].encode(1).item()
        code = max(code, 1)
        step = FORMATS[scale].decode(code).item()
        zero = min(max(-round(low / step), 0), 15) if w == "uint4" else 0
        limits = {"int4": (-8, 7), "uint4": (0, 15), "int8": (-128, 127)}[w]
        q = [min(max(round(value / step) + zero, limits[0]), limits[1]) for value in values]
        assert quantised.scales[g, column] == code
        assert quantised.zeros[g, column] == zero
        assert quantised.q[3 * g:3 * g + 3, column].tolist() == q


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


@given(tokens)
def test_error_of_activations(x):
    quantised = quantise_activations(x)
    assert quantised.scales.dtype == np.float32
    for row, q, scale in zip(x.tolist(), quantised.q.tolist(), quantised.scales.tolist(),
                             strict=True):
        largest = max(map(abs, row))
        if largest == 0:
            assert scale == 1
            assert q == [0] * len(row)
            continue
        exact = Fraction(largest) / 127
        if exact >= 2**-126:
            assert abs(Fraction(scale) - exact) <= exact / 2**24
        else:
            assert abs(Fraction(scale) - exact) <= Fraction(1, 2**150) or scale == 2.0**-149
        for value, code in zip(row, q, strict=True):
            assert -127 <= code <= 127
            error = abs(Fraction(value) - code * Fraction(scale))
            bound = (Fraction(scale) / 2 + abs(Fraction(value)) / 2**23
                     + (max(0, exact - Fraction(scale)) * 127 if exact < 2**-126 else 0))
            assert error <= bound
        assert max(map(abs, q)) == 127 or exact < 2**-126


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


def matrix_with(value, index=(1, 0)):
    matrix = np.ones((4, 2))
    matrix[index] = value
    return matrix


@pytest.mark.parametrize(("matrix", "options", "message"), [
    (np.ones(4), {}, "Weights must be a matrix, not of shape (4,)"),
    (matrix_with(np.nan), {}, "Weights must be finite, not nan as at index (1, 0)"),
    (matrix_with(-np.inf), {}, "Weights must be finite, not -inf as at index (1, 0)"),
    (np.ones((6, 2)), {"group": 4}, "K must be a multiple of the group size 4, not 6"),
    (np.ones((4, 2)), {"group": 0}, "K must be a multiple of the group size 0, not 4"),
    (np.ones((4, 2)), {"w": "int5"},
     "Parameter w must be one of int4, uint4, int8, not 'int5'"),
    (np.ones((4, 2)), {"w": "fp16"},
     "Parameter w must be one of int4, uint4, int8, not 'fp16'"),
    (np.ones((4, 2)), {"scale": "e8m0"},
     "Parameter scale must be one of fp16, bf16, fp32, not 'e8m0'"),
    (matrix_with(7 * 65520, (2, 1)), {"w": "int4"},
     "Scale of group 1, column 1 must be a number of fp16, not 65520.0"),
    (matrix_with(-1e308) + matrix_with(1e308, (0, 0)), {"w": "uint4"},
     "Scale of group 0, column 0 must be a number of fp16, not inf"),
])
def test_errors_of_weights(matrix, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        quantise_weights(matrix, **{"w": "int4", "group": 2} | options)


def test_just_below_the_largest_scale():
    quantised = quantise_weights(matrix_with(7 * math.nextafter(65520, 0), (2, 1)), w="int4",
                                 group=2)
    assert FORMATS["fp16"].decode(quantised.scales)[1, 1] == 65504


@pytest.mark.parametrize(("x", "fmt", "message"), [
    (np.ones(4), "int8", "Activations must be a matrix, not of shape (4,)"),
    (matrix_with(np.nan), "int8", "Activations must be finite, not nan as at index (1, 0)"),
    (matrix_with(1e39), "int8", "Activations must be finite, not inf as at index (1, 0)"),
    (np.ones((4, 2)), "uint4", "Parameter fmt must be one of int4, int8, not 'uint4'"),
])
def test_errors_of_activations(x, fmt, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        quantise_activations(x, fmt=fmt)


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
    ({"w": "int3"}, "Parameter w must be one of int4, uint4, int8, not 'int3'"),
    ({"scale": "int8"}, "Parameter scale must be one of fp16, bf16, fp32, not 'int8'"),
    ({"group": 3}, "K must be a multiple of the group size 3, not 4"),
    ({"group": 0}, "K must be a multiple of the group size 0, not 4"),
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
                                         r"not 'int4'$"):
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
