"""Grouped GEMM against rational arithmetic with a rounding of its own, and against real numbers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.align import align
from golden.formats import FORMATS, aligned
from golden.gemm import dequantise, gemm, group_sums
from golden.mixed import MixedWeights
from golden.quantise import (
    SCALES,
    WEIGHTS,
    Activations,
    GroupedWeights,
    quantise_activations,
    quantise_weights,
)

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
    if name == "e8m0":  # exponents alone
        return None if code == 255 else (False, Fraction(2)**(code - 127))
    if name == "e4m3":  # one NaN for each sign in place of the highest numbers, no infinities
        if code & 127 == 127:
            return None
        field, mantissa = code >> 3 & 15, code & 7
        return code >= 128, Fraction(mantissa + (8 if field else 0)) * Fraction(2)**(
            max(field, 1) - 10)
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


def activation(x, row, k):
    """An activation less its zero point as a fraction; None if it is not finite."""
    if x.fmt.name in ("fp16", "bf16"):
        value = number(int(x.q[row, k]), x.fmt.name)
        if value is None or value[1] == INFINITY:
            return None
        return -value[1] if value[0] else Fraction(value[1])
    zero = 0 if x.zeros is None else int(x.zeros[row, k // x.group])
    return Fraction(int(x.q[row, k]) - zero, 2**x.fmt.point)


def group_sum(x, weights, row, column, g):
    """Sum of a group as a number, not rounded; NaN if an activation is not finite."""
    total, step = Fraction(0), Fraction(1, 2) if weights.w == "e2m1" else 1
    for k in range(g * weights.group, min((g + 1) * weights.group, len(weights.q))):
        value = activation(x, row, k)
        if value is None:
            return None
        total += value * (int(weights.q[k, column]) - int(weights.zeros[g, column])) * step
    return total < 0, abs(total)


def expected(x, weights, y):
    """The product by definition: Python integers, rationals, one rounding after each operation."""
    def times(a, b):
        return rounded(multiplied(a, b), "fp32")

    result = np.zeros((len(x.q), weights.q.shape[1]), dtype=np.int64)
    for row, column in np.ndindex(result.shape):
        acc = False, 0
        for g in range(len(weights.scales)):
            scale = number(int(weights.scales[g, column]), weights.scale)
            if x.group_scales is not None:
                scale = times(scale, number(int(x.group_scales[row, g]), x.group_scale))
            t = rounded(group_sum(x, weights, row, column, g), "fp32")
            acc = rounded(added(acc, times(t, scale)), "fp32")
        sx, whole = (number(int(np.float32(scale).view(np.uint32)), "fp32")
                     for scale in (x.scales[row], weights.global_scale))
        result[row, column] = output(times(acc, times(sx, whole)), y)
    return result


def codes_of(name, *, finite):
    """Codes: any, near the ends of the format, or ordinary numbers."""
    if name in ("e8m0", "e4m3"):
        codes = st.integers(0, 255) | st.integers(120, 134)
        return codes.filter(lambda code: not finite or number(code, name) is not None)
    fmt = FORMATS[name]
    ends = [0, 1, 2, fmt.infinity - 1, fmt.infinity - 2, 1 << fmt.man_bits, (1 << fmt.man_bits) - 1]
    ends += [] if finite else [fmt.infinity, fmt.nan, fmt.infinity + 1]
    magnitude = st.one_of(
        st.integers(0, fmt.infinity - 1 if finite else (1 << fmt.bits - 1) - 1),
        st.sampled_from(ends),
        st.floats(2.0**-12, 4.0).map(lambda value: fmt.encode(value).item()))
    return st.tuples(st.booleans(), magnitude).map(
        lambda pair: pair[0] << fmt.bits - 1 | pair[1])


#: Kinds of activations: format, format of group scales, whether there are zero points.
KINDS = [("int8", None, False), ("int8", None, True), ("int8", "fp16", False),
         ("int8", "bf16", True), ("aligned", "e8m0", False), ("fp16", None, False),
         ("bf16", None, False)]


def weight_numbers(w):
    """Every number of a weight format in its steps."""
    fmt = FORMATS[w]
    return sorted({int(value / fmt.step) for value in fmt.decode(np.arange(1 << fmt.bits))})


@st.composite
def layers(draw):
    """Activations and weights."""
    def matrix(rows, columns, elements):
        flat = draw(st.lists(elements, min_size=rows * columns, max_size=rows * columns))
        return np.array(flat, dtype=np.int64).reshape(rows, columns)

    w, scale = draw(st.sampled_from(WEIGHTS)), draw(st.sampled_from(SCALES))
    kind, own, zero = draw(st.sampled_from(KINDS))
    m, n, group, groups = (draw(st.integers(1, limit)) for limit in (2, 2, 3, 4))
    k = group * groups - draw(st.integers(0, group - 1))
    fmt = aligned(draw(st.integers(3, 12))) if kind == "aligned" else FORMATS[kind]
    elements = (st.integers(fmt.low, fmt.high) if fmt.is_integer
                else codes_of(kind, finite=draw(st.booleans())))
    sx, whole = (matrix(rows, 1, codes_of("fp32", finite=finite))[:, 0].astype(np.uint32).view(
        np.float32) for rows, finite in ((m, False), (1, True)))
    x = Activations(
        matrix(m, k, elements), sx, fmt, group,
        matrix(m, groups, st.integers(fmt.low, fmt.high)) if zero else None,
        own or "fp16", matrix(m, groups, codes_of(own, finite=False)) if own else None)
    weights = GroupedWeights(
        w, scale, group, matrix(k, n, st.sampled_from(weight_numbers(w))),
        matrix(groups, n, st.integers(0, FORMATS[w].max_zero)),
        matrix(groups, n, codes_of(scale, finite=True)),
        whole[0] if draw(st.booleans()) else np.float32(1))
    return x, weights


@pytest.mark.parametrize("y", ["fp32", "fp16", "bf16", "int8"])
@given(layers())
def test_gemm_is_its_definition(y, layer):
    x, weights = layer
    np.testing.assert_array_equal(gemm(x, weights, y=y), expected(x, weights, y))


@pytest.mark.parametrize("w", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}-{kind[2]}")
def test_every_weight_with_every_activation_in_scalars(kind, w):
    """The processor's own float32, one operation at a time, and a last group that is short."""
    (name, own, zero), rng = kind, np.random.default_rng(5)
    m, k, n, group = 3, 11, 4, 4
    fmt = aligned(10) if name == "aligned" else FORMATS[name]
    q = (rng.integers(fmt.low, fmt.high + 1, (m, k)) if fmt.is_integer
         else fmt.encode(rng.normal(size=(m, k)) * 10.0**rng.integers(-2, 3, (m, k))))
    x = Activations(
        q, rng.normal(size=m).astype(np.float32), fmt, group,
        rng.integers(-128, 128, (m, 3)) if zero else None, own or "fp16",
        FORMATS[own].encode(rng.lognormal(size=(m, 3))) if own else None)
    weights = GroupedWeights(
        w, "fp16", group, rng.choice(weight_numbers(w), (k, n)),
        rng.integers(0, FORMATS[w].max_zero + 1, (3, n)),
        FORMATS["fp16"].encode(rng.normal(size=(3, n))), np.float32(0.7))
    actual = FORMATS["fp32"].decode(gemm(x, weights, y="fp32"))
    assert np.abs(actual).min() > 0
    for row, column in np.ndindex(m, n):
        acc = np.float32(0)
        for g in range(3):
            negative, magnitude = rounded(group_sum(x, weights, row, column, g), "fp32")
            scale = np.float32(FORMATS["fp16"].decode(weights.scales[g, column]))
            if own:
                scale = scale * np.float32(FORMATS[own].decode(x.group_scales[row, g]))
            acc = acc + np.float32(float(-magnitude if negative else magnitude)) * scale
        assert actual[row, column] == acc * (x.scales[row] * np.float32(0.7))


def bf16(*values):
    """Codes of powers of two, and their negatives."""
    return FORMATS["bf16"].encode([values])


@pytest.mark.parametrize(("values", "wanted"), [
    # Half of the last bit of 2**60 is 2**36: a tie, which anything beyond breaks.
    ((2.0**60, 2.0**36), 2.0**60),
    ((2.0**60, 2.0**36, 2.0**-130), 2.0**60 + 2.0**37),
    ((2.0**60, 2.0**36, -2.0**-133), 2.0**60),
    ((2.0**60, 2.0**37, 2.0**36), 2.0**60 + 2.0**38),
    ((-2.0**60, -2.0**36, -2.0**-130), -2.0**60 - 2.0**37),
    ((2.0**127, 2.0**-133, -2.0**127), 2.0**-133),
    ((2.0**126, -2.0**126), 0.0),
    # The sum overflows, or comes back before it is rounded.
    ((2.0**127, 2.0**127), np.inf),
    ((-2.0**127, -2.0**127), -np.inf),
    ((2.0**127, 2.0**127, -2.0**127), 2.0**127),
    # Midpoint past the largest number of float32, and just below it.
    ((2.0**127, 2.0**127, -2.0**103), np.inf),
    ((2.0**127, 2.0**127, -2.0**103, -2.0**-133), float(np.finfo(np.float32).max)),
    ((1.0, np.inf, 1.0), np.nan),
    ((-np.inf, 0.0), np.nan),
])
def test_wide_exponents(values, wanted):
    """A sum of floats is exact, however far apart they are, and rounded once."""
    x = Activations(bf16(*values), np.ones(1, dtype=np.float32), FORMATS["bf16"])
    k = len(values)
    weights = GroupedWeights("int2", "fp32", k, np.ones((k, 1), int), np.zeros((1, 1), int),
                             np.full((1, 1), ONE))
    np.testing.assert_array_equal(FORMATS["fp32"].decode(gemm(x, weights, y="fp32")), [[wanted]])


def test_what_is_not_finite_stays_in_its_row():
    rng = np.random.default_rng(6)
    weights = quantise_weights(rng.normal(size=(8, 3)), w="int4", group=4)
    clean = quantise_activations(rng.normal(size=(3, 8)), fmt="fp16")
    for special in (0x7c00, 0xfc00, 0x7e00, 0xfd01):
        codes = clean.q.copy()
        codes[1, 5] = special
        y = gemm(Activations(codes, clean.scales, clean.fmt), weights)
        assert (y[1] == FORMATS["fp16"].nan).all()
        np.testing.assert_array_equal(y[[0, 2]], gemm(clean, weights)[[0, 2]])


@pytest.mark.parametrize(("code", "wanted"), [(0xff, np.nan), (254, np.inf), (253, 1.5 * 2**125)])
def test_scale_of_a_group_of_activations(code, wanted):
    weights = GroupedWeights("int4", "fp16", 1, np.array([[3], [1]]), np.zeros((2, 1), int),
                             FORMATS["fp16"].encode([[1.0], [0.0]]))
    x = Activations(np.array([[1, 1]]), np.float32([0.25]), group=1, group_scale="e8m0",
                    group_scales=np.array([[code, 127]]))
    y = FORMATS["fp32"].decode(gemm(x, weights, y="fp32")).item()
    np.testing.assert_array_equal(y, wanted)


def test_largest_group_of_halves():
    """The widest sum of fp16: 40 bits of activations, 8 of weights, 16 of the group."""
    k = 1 << 16
    weights = GroupedWeights("uint8", "fp32", k, np.full((k, 1), 255), np.zeros((1, 1), int),
                             np.full((1, 1), ONE))
    x = Activations(np.full((1, k), 0x7bff), np.ones(1, dtype=np.float32), FORMATS["fp16"])
    assert group_sums(x, weights).item() == 65504 * 255 * k << 24
    wanted = np.float32(65504.0 * 255 * k)
    assert gemm(x, weights, y="fp32").item() == wanted.view(np.uint32)


@pytest.mark.parametrize("y", ["fp32", "int8"])
def test_wide_and_narrow_features_in_their_order(y):
    rng = np.random.default_rng(8)
    matrix, features = rng.normal(size=(10, 5)), np.array([3, 0, 4, 1, 2])
    wide = quantise_weights(matrix[:, features[:2]], w="int8", group=4)
    narrow = quantise_weights(matrix[:, features[2:]], w="uint4", group=4)
    x = quantise_activations(rng.normal(size=(3, 10)))
    result = gemm(x, MixedWeights(wide, narrow, features), y=y)
    for column, feature in enumerate(features):
        part = wide.columns([column]) if column < 2 else narrow.columns([column - 2])
        np.testing.assert_array_equal(result[:, [feature]], expected(x, part, y))


def test_no_activation_and_no_group():
    weights = quantise_weights(np.zeros((0, 3)), w="int4", group=4)
    for fmt in ("int8", "bf16"):
        x = quantise_activations(np.zeros((2, 0)), fmt=fmt)
        assert gemm(x, weights).tolist() == [[0] * 3] * 2


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
    np.testing.assert_array_equal(result, expected(activations, weights, y))


@given(st.lists(st.tuples(codes_of("fp32", finite=False), codes_of("fp16", finite=True)),
                min_size=1, max_size=5), codes_of("fp32", finite=False))
def test_dequantise_in_order(groups, sx):
    acc = False, 0
    for total, scale in groups:
        product = multiplied(number(total, "fp32"), number(scale, "fp16"))
        acc = rounded(added(acc, rounded(product, "fp32")), "fp32")
    sums = np.array([[[total]] for total, _ in groups], dtype=np.uint32).view(np.float32)
    scales = FORMATS["fp16"].decode([[[scale]] for _, scale in groups]).astype(np.float32)
    actual = dequantise(sums, scales, np.array([sx], dtype=np.uint32).view(np.float32))
    assert actual.dtype == np.float32
    wanted = rounded(multiplied(acc, number(sx, "fp32")), "fp32")
    assert FORMATS["fp32"].encode(actual).item() == code(wanted, "fp32")


@pytest.mark.parametrize("w", ["int4", "uint4", "int8"])
def test_group_sums_one_product_at_a_time(w):
    rng, fmt = np.random.default_rng(1), FORMATS[w]
    for m, k, group, n in [(1, 1, 1, 1), (3, 10, 5, 4), (2, 11, 3, 1), (1, 3, 8, 2)]:
        groups = -(-k // group)
        x = Activations(rng.integers(-128, 128, (m, k)), np.ones(m, dtype=np.float32),
                        group=group, zeros=rng.integers(-128, 128, (m, groups)))
        weights = GroupedWeights(w, "fp16", group, rng.integers(fmt.low, fmt.high + 1, (k, n)),
                                 rng.integers(0, fmt.max_zero + 1, (groups, n)),
                                 np.zeros((groups, n), int))
        sums = np.zeros((groups, m, n), dtype=np.int64)
        for row, i, column in np.ndindex(m, k, n):
            sums[i // group, row, column] += (x.q[row, i] - x.zeros[row, i // group]) * (
                weights.q[i, column] - weights.zeros[i // group, column])
        np.testing.assert_array_equal(group_sums(x, weights), sums, strict=True)


def test_shapes_that_do_not_fit():
    weights = quantise_weights(np.ones((4, 2)), w="int4", group=2)
    with pytest.raises(ValueError, match=r"^Shapes \(3, 5\) and \(4, 2\) do not form a matrix "
                                         r"product$"):
        group_sums(quantise_activations(np.ones((3, 5))), weights)
    with pytest.raises(ValueError, match=r"^Group size of the activations must be that of the "
                                         r"weights, 2, not 4$"):
        gemm(quantise_activations(np.ones((3, 4)), group=4, zero=True), weights)


def error_bound(x: Activations, weights: GroupedWeights, y: str):
    """Most that an output without overflow is off from the product of the dequantised operands.

    With u = 2**-24 and g groups, a product's factor is rounded once, it itself once and the
    accumulator g - 1 times after it (adding to +0 is exact), the result once more: each term
    has at most g + 2 relative errors of u, and one more each with a second scale of the group and
    of the token, which must be normal numbers. A product or result may also lose half of 2**-149
    to a subnormal number; sums do not. Last comes the rounding to the output format.
    """
    u, sums = 2.0**-24, np.abs(group_sums(x, weights).astype(np.float64)) * (
        x.fmt.step * FORMATS[weights.w].step)
    scales = np.abs(FORMATS[weights.scale].decode(weights.scales))[:, None]
    roundings = len(sums) + 2 + (weights.global_scale != 1)
    if x.group_scales is not None:
        scales = scales * FORMATS[x.group_scale].decode(x.group_scales).T[:, :, None]
        roundings += 1
    gamma = roundings * u / (1 - roundings * u)
    sx = np.abs(x.scales.astype(np.float64))[:, None] * float(weights.global_scale)
    terms = sx * (sums * scales).sum(axis=0)
    before = gamma * terms + 2.0**-150 * (1 + gamma) * (len(sums) * sx + 1)
    fmt = FORMATS[y]
    if fmt.is_integer:
        return before + 0.5
    return before + (terms + before) * 2.0**(-1 - fmt.man_bits) + 2.0**(-fmt.bias - fmt.man_bits)


@pytest.mark.parametrize("y", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize(("w", "scale"), [("uint4", "bf16"), ("e2m1", "e4m3"), ("int4", "e8m0")])
@pytest.mark.parametrize("kind", ["zero", "group", "fp16", "bf16", "aligned"])
def test_error_of_every_kind(kind, w, scale, y):
    rng = np.random.default_rng(9)
    matrix = rng.normal(size=(5, 70))
    x = {"zero":    lambda: quantise_activations(matrix + 1, group=32, zero=True),
         "group":   lambda: quantise_activations(matrix, group=32, group_scale="fp16"),
         "fp16":    lambda: quantise_activations(matrix, fmt="fp16"),
         "bf16":    lambda: quantise_activations(matrix, fmt="bf16"),
         "aligned": lambda: align(FORMATS["bf16"].encode(matrix), fmt="bf16", bits=11, group=32),
         }[kind]()
    weights = quantise_weights(rng.normal(size=(70, 6)) * 0.02, w=w, scale=scale, group=32)
    real_x, real_w = x.dequantise(), weights.dequantise()
    error = np.abs(FORMATS[y].decode(gemm(x, weights, y=y)) - real_x @ real_w)
    slack = 70 * 2.0**-53 * (np.abs(real_x) @ np.abs(real_w))
    assert (error <= error_bound(x, weights, y) + slack).all()
    if y != "fp32":  # a sum of few bits can be exact there
        assert error.max() > 0, "rounding would go unnoticed"


@pytest.mark.parametrize("y", ["fp32", "fp16", "bf16", "int8"])
@pytest.mark.parametrize("w", ["int4", "uint4", "int8", "ternary", "shift4", "e2m1"])
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
