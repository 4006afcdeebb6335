"""Aligned activations: the definition one number at a time, its bound, and what it costs."""

import math
import re
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.align import align
from golden.formats import FORMATS, aligned
from golden.gemm import gemm, group_sums
from golden.quantise import GroupedWeights, quantise_activations, quantise_weights

ORACLES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}
LOWEST = {"fp16": -14, "bf16": -126}
MANTISSA = {"fp16": 10, "bf16": 7}


def values_of(codes, fmt):
    """Numbers of codes as the oracle's library has them."""
    return np.array(codes, dtype=np.uint16).view(ORACLES[fmt]).astype(np.float64)


def codes_of(values, fmt):
    return np.array(values, dtype=np.float32).astype(ORACLES[fmt]).view(np.uint16).astype(np.int64)


def expected(values, lowest, bits):
    """Numbers and code of the scale of a group."""
    if not all(map(math.isfinite, values)):
        return [0] * len(values), 255
    exponent = max([lowest, *(math.frexp(value)[1] - 1 for value in values if value)])
    step = Fraction(2)**(exponent + 2 - bits)
    # Python's round takes ties to the even integer.
    q = [min(round(Fraction(value) / step), 2**(bits - 1) - 1) for value in values]
    return q, exponent + 127


@pytest.mark.parametrize("fmt", ORACLES)
@given(st.integers(3, 24), st.data())
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # signalling NaNs
def test_align_one_at_a_time(fmt, bits, data):
    special = FORMATS[fmt].infinity
    code = st.integers(0, 0xffff) if data.draw(st.booleans()) else st.tuples(
        st.integers(0, special - 1), st.booleans()).map(lambda pair: pair[0] | pair[1] << 15)
    codes = data.draw(st.lists(st.lists(code, min_size=7, max_size=7), min_size=1, max_size=3))
    x = align(codes, fmt=fmt, bits=bits, group=3)
    assert (x.fmt, x.group, x.group_scale) == (aligned(bits), 3, "e8m0")
    assert x.scales.tolist() == [1] * len(codes)
    for row, values in enumerate(values_of(codes, fmt).tolist()):
        for g in range(3):
            q, scale = expected(values[3 * g:3 * g + 3], LOWEST[fmt], bits)
            assert x.q[row, 3 * g:3 * g + 3].tolist() == q
            assert x.group_scales[row, g] == scale
            if scale != 255:
                step = 2.0**(scale - 127 + 2 - bits)
                assert x.dequantise()[row, 3 * g:3 * g + 3].tolist() == [
                    value * step for value in q]


def sum_error(values, weights, fmt, bits):
    """Error of an aligned group's sum, and its bound without the factor c."""
    codes = codes_of([values], fmt)
    q = np.array(weights)[:, None]
    w = GroupedWeights("int8", "fp16", len(q), q, np.zeros((1, 1), int), np.zeros((1, 1), int))
    x = align(codes, fmt=fmt, bits=bits, group=len(q))
    unit = Fraction(2)**(int(x.group_scales.item()) - 127 + 2 - bits)
    exact = sum(Fraction(value) * int(weight)
                for value, weight in zip(values_of(codes, fmt)[0].tolist(), weights, strict=True))
    return abs(int(group_sums(x, w).item()) * unit - exact), unit * int(np.abs(weights).sum())


#: Groups that lose most: one huge activation and many tiny ones, just below or above half of a
#: step; a largest one that saturates; nothing but subnormal numbers.
ADVERSARIES = {
    "lost":      lambda step, lowest: [1.0] + [0.498 * step] * 127,
    "lifted":    lambda step, lowest: [1.0] + [0.502 * step] * 127,
    "saturated": lambda step, lowest: [1.984375] * 128,
    "negative":  lambda step, lowest: [-1.984375] * 128,
    "subnormal": lambda step, lowest: [2.0**lowest * (1 + i) / 128 for i in range(127)] + [0.0],
    "zeros":     lambda step, lowest: [0.0] * 128,
}


@pytest.mark.parametrize("fmt", ORACLES)
@pytest.mark.parametrize("bits", [4, 6, 8, 10, 12, 16])
@pytest.mark.parametrize("name", ADVERSARIES)
def test_error_of_a_sum(name, bits, fmt):
    step = 2.0**(2 - bits)
    values = ADVERSARIES[name](step, LOWEST[fmt])
    signs = np.where(np.arange(128) % 3, 127, -128)
    error, bound = sum_error(values, signs, fmt, bits)
    saturates = name == "saturated" and bits < 8
    assert error <= bound * (1 if saturates else Fraction(1, 2))
    # All weights alike: the errors add up, and the bound is nearly reached.
    error, bound = sum_error(values, np.full(128, 127), fmt, bits)
    assert error <= bound * (1 if saturates else Fraction(1, 2))
    if name in ("lost", "lifted"):
        assert error >= bound * Fraction(47, 100)
    if name == "saturated" and bits == 4:
        assert error > bound * Fraction(9, 10)
    if name == "zeros":
        assert error == 0


@pytest.mark.parametrize("fmt", ORACLES)
@given(st.data())
def test_error_of_any_sum(fmt, data):
    bits = data.draw(st.integers(3, 20))
    values = values_of([data.draw(st.lists(st.integers(0, FORMATS[fmt].infinity - 1), min_size=1,
                                           max_size=9))], fmt)[0]
    values *= [data.draw(st.sampled_from([-1, 1])) for _ in values]
    error, bound = sum_error(values.tolist(), [data.draw(st.integers(-128, 127)) for _ in values],
                             fmt, bits)
    assert error <= bound


@pytest.mark.parametrize("fmt", ORACLES)
@pytest.mark.parametrize("spare", [0, 1, 5])
def test_near_exponents_are_exact(fmt, spare):
    """Those of at most A - 2 - m less than the largest, and no others."""
    bits = MANTISSA[fmt] + 2 + spare
    odd = 1 + 2.0**-MANTISSA[fmt]
    values = [odd, -odd * 2.0**-spare, 2 - 2.0**-MANTISSA[fmt], odd * 2.0**-(spare + 1)]
    back = align(codes_of([values], fmt), fmt=fmt, bits=bits, group=4).dequantise()[0]
    assert back[:3].tolist() == values[:3]
    assert back[3] != values[3]


@pytest.mark.parametrize("fmt", ORACLES)
def test_product_of_aligned_activations(fmt):
    rng = np.random.default_rng(4)
    x = quantise_activations(rng.normal(size=(4, 20)), fmt=fmt)
    codes = x.q.copy()
    codes[1, 9], codes[2, 17] = FORMATS[fmt].infinity, FORMATS[fmt].nan
    weights = quantise_weights(rng.normal(size=(20, 3)), w="int4", group=8)
    coarse = align(codes, fmt=fmt, bits=9, group=8)
    y = FORMATS["fp32"].decode(gemm(coarse, weights, y="fp32"))
    assert np.isnan(y[1:3]).all()
    np.testing.assert_allclose(y[[0, 3]], (coarse.dequantise() @ weights.dequantise())[[0, 3]],
                               rtol=1e-5)
    # With bits for every exponent of the data the float way is met exactly.
    x = quantise_activations(2.0**rng.integers(-3, 4, (4, 20)) * 1.5, fmt=fmt)
    np.testing.assert_array_equal(gemm(align(x.q, fmt=fmt, bits=12, group=8), weights),
                                  gemm(x, weights))


def test_no_activation():
    assert align(np.zeros((2, 0), int), fmt="fp16", bits=8, group=4).group_scales.shape == (2, 0)
    assert align(np.zeros((0, 8), int), fmt="fp16", bits=8, group=4).group_scales.shape == (0, 2)


@pytest.mark.parametrize(("codes", "options", "message"), [
    ([[0]], {"fmt": "int8"}, "Parameter fmt must be one of fp16, bf16, not 'int8'"),
    ([[0]], {"bits": 2}, "Parameter bits must be from 3 to 24, not 2"),
    ([[0]], {"bits": 25}, "Parameter bits must be from 3 to 24, not 25"),
    ([[0]], {"group": 0}, "Group size must be at least 1, not 0"),
    ([0], {}, "Activations must be a matrix, not of shape (1,)"),
    ([[1 << 16]], {}, "Codes of fp16 must be in range(65536), not 65536 to 65536"),
])
def test_errors(codes, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        align(codes, **{"fmt": "fp16", "bits": 8, "group": 4} | options)


SEED, M, K, N, G = 1, 32, 1024, 128, 128


def test_figures_of_the_page():
    """The table in docs/numerics.md: a layer with heavy tails and outlier channels."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    real = rng.standard_t(4, (M, K))
    real[:, rng.choice(K, K // 100, replace=False)] *= rng.uniform(20, 100, K // 100)
    weights = quantise_weights(rng.standard_t(5, (K, N)) * 0.02, w="uint4", group=G)

    def error(y, exact):
        return np.sqrt(((FORMATS["fp16"].decode(y) - exact)**2).mean() / (exact**2).mean())

    columns = []
    for fmt in ORACLES:
        x = quantise_activations(real, fmt=fmt)
        exact, floats = x.dequantise() @ weights.dequantise(), gemm(x, weights)
        rows = [(f"{(y == floats).mean():.2%}", f"{error(y, exact):.1e}") for y in (
            *(gemm(align(x.q, fmt=fmt, bits=bits, group=G), weights) for bits in range(8, 25)),
            floats)]
        columns.append(rows)
    names = [*map(str, range(8, 25)), "floats"]
    rows = [f"| {name} | {' | '.join(a)} | {' | '.join(b)} |"
            for name, a, b in zip(names, *columns, strict=True)]
    print("\n".join(rows))
    page = (Path(__file__).parent.parent / "docs" / "numerics.md").read_text()
    assert "\n".join(rows) in page
