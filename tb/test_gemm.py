"""Grouped GEMM against rational arithmetic with a rounding of its own, and against real numbers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.formats import FORMATS
from golden.gemm import dequantise, gemm, group_sums
from golden.quantise import Activations, GroupedWeights, quantise_activations, quantise_weights

# Numbers here are (negative, magnitude), which keeps the sign of a zero; None is NaN.
INFINITY = "infinity"

#: Mantissa bits, least and greatest exponent of each IEEE format, written down independently.
IEEE = {"fp32": (23, -126, 127), "bf16": (7, -126, 127), "fp16": (10, -14, 15)}


def rounded(number, name):
    """Nearest number of a format, ties to even; infinity from the midpoint past the largest on."""
    if number is None or number[1] in (INFINITY, 0):
        return number
    negative, magnitude = number
    bits, least, greatest = IEEE[name]
    exponent = least
    while magnitude >= Fraction(2)**(exponent + 1):
        exponent += 1
    quantum = Fraction(2)**(exponent - bits)
    steps, rest = divmod(magnitude, quantum)
    if 2 * rest > quantum or (2 * rest == quantum and steps % 2):
        steps += 1
    return negative, INFINITY if steps * quantum >= 2**(greatest + 1) else steps * quantum


def multiplied(a, b):
    if a is None or b is None or {INFINITY, 0} <= {a[1], b[1]}:
        return None
    infinite = INFINITY in (a[1], b[1])
    return a[0] != b[0], INFINITY if infinite else a[1] * b[1]


def added(a, b):
    if a is None or b is None:
        return None
    if INFINITY in (a[1], b[1]):
        if a[1] == b[1] and a[0] != b[0]:
            return None
        return a if a[1] == INFINITY else b
    total = sum(-magnitude if negative else magnitude for negative, magnitude in (a, b))
    # A sum of zero is positive unless both addends are negative zeros.
    return total < 0 if total else a[0] and b[0] and a[1] == b[1] == 0, abs(total)


def number(code, name):
    """Number of a code."""
    bits, least, greatest = IEEE[name]
    width = {"fp32": 32}.get(name, 16)
    negative, field = bool(code >> width - 1), code >> bits & (1 << width - 1 - bits) - 1
    mantissa = code & (1 << bits) - 1
    if field == greatest - least + 2:
        return None if mantissa else (negative, INFINITY)
    leading = 1 << bits if field else 0
    return negative, Fraction(leading + mantissa) * Fraction(2)**(max(field, 1) - 1 + least - bits)


def code(value, name):
    """Code of a number that the format has; NaN is positive, quiet and without payload."""
    bits, least, greatest = IEEE[name]
    width = {"fp32": 32}.get(name, 16)
    top = greatest - least + 2 << bits
    if value is None:
        return top | 1 << bits - 1
    negative, magnitude = value
    if magnitude == INFINITY:
        return negative << width - 1 | top
    # Codes of the positive numbers count them.
    field = 0
    while magnitude >= Fraction(2)**(field + 1 + least):
        field += 1
    quantum = Fraction(2)**(least + field - bits)
    return int(negative << width - 1) | int(magnitude / quantum) + (field << bits)


def output(value, y):
    """Code of a number after the rounding to the output format."""
    if y != "int8":
        return code(rounded(value, y), y)
    if value is None:
        return 0
    negative, magnitude = value
    if magnitude == INFINITY or magnitude >= 200:
        steps = 200
    else:
        steps, rest = divmod(magnitude, 1)
        steps += 2 * rest > 1 or (2 * rest == 1 and steps % 2)
    return int(max(-steps, -128) if negative else min(steps, 127)) & 255


def expected(x, sx, weights, y):
    """The product by definition: Python integers, rationals, one rounding after each operation."""
    (m, k), n = x.shape, weights.q.shape[1]
    result = np.zeros((m, n), dtype=np.int64)
    for row in range(m):
        for column in range(n):
            acc = False, 0
            for g in range(k // weights.group):
                total = 0
                for i in range(g * weights.group, (g + 1) * weights.group):
                    total += int(x[row, i]) * (int(weights.q[i, column])
                                               - int(weights.zeros[g, column]))
                t = rounded((total < 0, Fraction(abs(total))), "fp32")
                scale = number(int(weights.scales[g, column]), weights.scale)
                acc = rounded(added(acc, rounded(multiplied(t, scale), "fp32")), "fp32")
            result[row, column] = output(
                rounded(multiplied(acc, number(int(sx[row]), "fp32")), "fp32"), y)
    return result


def codes_of(name, *, finite):
    """Codes: any, near the ends of the format, or ordinary numbers."""
    fmt = FORMATS[name]
    ends = [0, 1, 2, fmt.infinity - 1, fmt.infinity - 2, 1 << fmt.man_bits, (1 << fmt.man_bits) - 1]
    ends += [] if finite else [fmt.infinity, fmt.nan, fmt.infinity + 1]
    magnitude = st.one_of(
        st.integers(0, fmt.infinity - 1 if finite else (1 << fmt.bits - 1) - 1),
        st.sampled_from(ends),
        st.floats(2.0**-12, 4.0).map(lambda value: fmt.encode(value).item()))
    return st.tuples(st.booleans(), magnitude).map(
        lambda pair: pair[0] << fmt.bits - 1 | pair[1])


@st.composite
def layers(draw):
    """Activations, codes of their scales, and weights."""
    def matrix(rows, columns, elements):
        flat = draw(st.lists(elements, min_size=rows * columns, max_size=rows * columns))
        return np.array(flat, dtype=np.int64).reshape(rows, columns)

    w, scale = draw(st.sampled_from(["int4", "uint4", "int8"])), draw(st.sampled_from(["fp16",
                                                                                       "bf16"]))
    fmt = FORMATS[w]
    m, n, group, groups = (draw(st.integers(1, limit)) for limit in (2, 2, 3, 4))
    x = matrix(m, group * groups, st.integers(-128, 127))
    q = matrix(group * groups, n, st.integers(fmt.low, fmt.high))
    zeros = matrix(groups, n, st.integers(0, fmt.max_zero))
    scales = matrix(groups, n, codes_of(scale, finite=True))
    sx = matrix(m, 1, codes_of("fp32", finite=False))[:, 0]
    return x, sx, GroupedWeights(w, scale, group, q, zeros, scales)


@pytest.mark.parametrize("y", ["fp32", "fp16", "bf16", "int8"])
@given(layers())
def test_gemm_is_its_definition(y, layer):
    x, sx, weights = layer
    activations = Activations(x, sx.astype(np.uint32).view(np.float32))
    np.testing.assert_array_equal(gemm(activations, weights, y=y), expected(x, sx, weights, y))


ONE, TINY, LARGE = 0x3f800000, 0x00000001, 0x7f7fffff


@pytest.mark.parametrize(("x", "q", "zeros", "scales", "sx", "y", "wanted"), [
    # The zero point lies between codes, at their ends and one past them.
    ([[3, -5]], [[7], [9]], [[8]],  [[0x3c00]], [ONE], "fp32", -8.0),
    ([[3, -5]], [[7], [9]], [[0]],  [[0x3c00]], [ONE], "fp32", -24.0),
    ([[3, -5]], [[7], [9]], [[16]], [[0x3c00]], [ONE], "fp32", 8.0),
    # Groups are added in ascending order: 2**-24 is lost in 16, or comes after it.
    ([[1, 1, 1]], [[1], [1], [0]], [[0], [0], [16]], [[0x0001], [0x4c00], [0x3c00]], [ONE],
     "fp32", 0.0),
    ([[1, 1, 1]], [[1], [0], [1]], [[0], [16], [0]], [[0x4c00], [0x3c00], [0x0001]], [ONE],
     "fp32", 2.0**-24),
    # Negative and subnormal scales.
    ([[1]], [[3]], [[1]], [[0xbc00]], [ONE], "fp32", -2.0),
    ([[1]], [[3]], [[1]], [[0x8001]], [ONE], "fp32", -2.0**-23),
    # Activation scales: zero, subnormal, so large that the product overflows, infinite, NaN.
    ([[1]], [[3]], [[1]], [[0x3c00]], [0], "fp32", 0.0),
    ([[1]], [[3]], [[1]], [[0x3c00]], [TINY], "fp32", 2.0**-148),
    ([[1]], [[3]], [[1]], [[0x3c00]], [LARGE], "fp32", np.inf),
    ([[1]], [[1]], [[3]], [[0x3c00]], [LARGE], "fp16", -np.inf),
    ([[0]], [[3]], [[1]], [[0x3c00]], [0x7f800000], "fp32", np.nan),
    ([[1]], [[3]], [[1]], [[0x3c00]], [0xff800000], "bf16", -np.inf),
    ([[1]], [[3]], [[1]], [[0x3c00]], [0x7f800001], "fp16", np.nan),
    # The accumulator is rounded to fp32 before it is multiplied, and the product before y is.
    ([[1]], [[3]], [[1]], [[0x3c00]], [0x477fe000], "fp16", np.inf),
    # Integers: ties to even, saturation, NaN.
    ([[5]], [[1]], [[0]], [[0x3800]], [ONE], "int8", 2),
    ([[7]], [[1]], [[0]], [[0x3800]], [ONE], "int8", 4),
    ([[-128]], [[2]], [[0]], [[0x3c00]], [ONE], "int8", -128),
    ([[127]], [[2]], [[0]], [[0x3c00]], [ONE], "int8", 127),
    ([[0]], [[3]], [[1]], [[0x3c00]], [0x7f800000], "int8", 0),
])
def test_cases_of_note(x, q, zeros, scales, sx, y, wanted):
    x, q, zeros, scales = map(np.array, (x, q, zeros, scales))
    weights = GroupedWeights("uint4", "fp16", len(q) // len(zeros), q, zeros, scales)
    activations = Activations(x, np.array(sx, dtype=np.uint32).view(np.float32))
    result = gemm(activations, weights, y=y)
    np.testing.assert_array_equal(FORMATS[y].decode(result).item(), wanted)
    np.testing.assert_array_equal(result, expected(x, sx, weights, y))


@given(st.lists(st.tuples(st.integers(-2**40, 2**40), codes_of("fp16", finite=True)),
                min_size=1, max_size=5), codes_of("fp32", finite=False))
def test_sums_wider_than_a_significand(groups, sx):
    """A sum of more than 24 bits is rounded once, before it is multiplied."""
    acc = False, 0
    for total, scale in groups:
        t = rounded((total < 0, Fraction(abs(total))), "fp32")
        acc = rounded(added(acc, rounded(multiplied(t, number(scale, "fp16")), "fp32")), "fp32")
    sums = np.array([total for total, _ in groups]).reshape(-1, 1, 1)
    scales = FORMATS["fp16"].decode([[scale] for _, scale in groups]).astype(np.float32)
    actual = dequantise(sums, scales, np.array([sx], dtype=np.uint32).view(np.float32))
    assert actual.dtype == np.float32
    wanted = rounded(multiplied(acc, number(sx, "fp32")), "fp32")
    assert FORMATS["fp32"].encode(actual).item() == code(wanted, "fp32")


@pytest.mark.parametrize("w", ["int4", "uint4", "int8"])
def test_group_sums_one_product_at_a_time(w):
    rng, fmt = np.random.default_rng(1), FORMATS[w]
    for m, groups, group, n in [(1, 1, 1, 1), (3, 2, 5, 4), (2, 4, 3, 1)]:
        x = rng.integers(-128, 128, (m, groups * group))
        q = rng.integers(fmt.low, fmt.high + 1, (groups * group, n))
        zeros = rng.integers(0, fmt.max_zero + 1, (groups, n))
        weights = GroupedWeights(w, "fp16", group, q, zeros, np.zeros_like(zeros))
        sums = np.zeros((groups, m, n), dtype=np.int64)
        for row in range(m):
            for k in range(groups * group):
                for column in range(n):
                    sums[k // group, row, column] += x[row, k] * (
                        q[k, column] - zeros[k // group, column])
        np.testing.assert_array_equal(group_sums(x, weights), sums, strict=True)


def test_shapes_that_do_not_fit():
    weights = quantise_weights(np.ones((4, 2)), w="int4", group=2)
    with pytest.raises(ValueError, match=r"^Shapes \(3, 5\) and \(4, 2\) do not form a matrix "
                                         r"product$"):
        group_sums(np.ones((3, 5), dtype=np.int64), weights)


def error_bound(x: Activations, weights: GroupedWeights, y: str):
    """Most that an output without overflow is off from the product of the dequantised operands.

    With u = 2**-24 and g groups, a product's factor is rounded once, it itself once and the
    accumulator g - 1 times after it (adding to +0 is exact), the result once more: each term
    has at most g + 2 relative errors of u. A product or result may also lose half of 2**-149 to
    a subnormal number; sums do not. Last comes the rounding to the output format.
    """
    u, sums = 2.0**-24, group_sums(x.q, weights)
    scales = FORMATS[weights.scale].decode(weights.scales)
    groups = len(sums)
    gamma = (groups + 2) * u / (1 - (groups + 2) * u)
    sx = np.abs(x.scales.astype(np.float64))[:, None]
    terms = sx * (np.abs(sums) * np.abs(scales)[:, None]).sum(axis=0)
    before = gamma * terms + 2.0**-150 * (1 + gamma) * (groups * sx + 1)
    fmt = FORMATS[y]
    if fmt.is_integer:
        return before + 0.5
    return before + (terms + before) * 2.0**(-1 - fmt.man_bits) + 2.0**(-fmt.bias - fmt.man_bits)


@pytest.mark.parametrize("y", ["fp32", "fp16", "bf16", "int8"])
@pytest.mark.parametrize("w", ["int4", "uint4", "int8"])
@pytest.mark.parametrize("size", [1e-20, 1e-3, 1.0])
def test_error_against_real_numbers(size, w, y):
    rng = np.random.default_rng(7)
    for groups in (1, 3, 24):
        k = 32 * groups
        x = quantise_activations(rng.normal(size=(5, k)) * size)
        weights = quantise_weights(rng.normal(size=(k, 6)) * 0.02, w=w, group=32)
        real_x, real_w = x.dequantise(), weights.dequantise()
        real = real_x @ real_w
        if y == "int8":
            real = np.clip(real, -128, 127)
        # The float64 product itself errs.
        slack = k * 2.0**-53 * (np.abs(real_x) @ np.abs(real_w))
        error = np.abs(FORMATS[y].decode(gemm(x, weights, y=y)) - real)
        bound = error_bound(x, weights, y) + slack
        assert (error <= bound).all()
        if y == "fp32":
            assert error.max() > 0, "rounding would go unnoticed"
