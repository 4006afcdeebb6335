"""Integer softmax and its exact rival: one row at a time in fractions, bounds, rules, rounding."""

import math
import re
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.exact_softmax import exact_softmax, exponents
from golden.exaq import constants
from golden.formats import FORMATS
from golden.lut_sum import lut, lut_sum, packed
from golden.softmax import rounded_fractions, softmax
from golden.softmax_parameters import (
    LOG2_E,
    SOFTMAX_SETS,
    BaselineParameters,
    Constants,
    SoftmaxParameters,
)

ORACLES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}
OUTPUTS = ["uint8", "u16", "fp16"]
P = SoftmaxParameters(name="valid", width=8, max_length=256)
B = BaselineParameters(name="valid", width=8, max_length=256)
C = Constants((5 << 23, 3 << 23, 1 << 23), (1631, 4435, 12055, 32768))


def refuse(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


def encoded(values, fmt="fp16"):
    return np.array(values, dtype=np.float32).astype(ORACLES[fmt]).view(np.uint16).astype(int)


def decoded(codes, fmt):
    """Numbers of codes as the oracle's library has them."""
    return np.array(codes, dtype=np.uint16).view(ORACLES[fmt]).astype(np.float64)


def nearest(value, y):
    """Code of the nearest number to a fraction from 0 to 1, ties to even."""
    if y != "fp16":
        bits = {"uint8": 8, "u16": 16}[y]
        return min(round(value * 2**bits), 2**bits - 1)  # Python's round takes ties to even
    exponent = -14
    while value >= Fraction(2)**(exponent + 1):
        exponent += 1
    steps = round(value / Fraction(2)**(exponent - 10)) * Fraction(2)**(exponent - 10)
    return int(np.float16(float(steps)).view(np.uint16))


# Rounding


@pytest.mark.parametrize("y", OUTPUTS)
def test_fractions_of_small_integers(y):
    """Every fraction with a denominator up to 64 or near a power of two, ties among them."""
    fmt = P.replace(y=y).y_format
    for denominator in (*range(1, 65), 255, 256, 257, 511, 512, 513, 1024):
        numerators = np.arange(denominator + 1)
        assert rounded_fractions(numerators, np.array(denominator), fmt).tolist() == [
            nearest(Fraction(n, denominator), y) for n in range(denominator + 1)]


@pytest.mark.parametrize("y", OUTPUTS)
@given(st.data())
def test_fractions(y, data):
    """Ties and their neighbours at every place, and fractions of any size."""
    fmt = P.replace(y=y).y_format
    denominator = data.draw(st.integers(1, 2**data.draw(st.integers(1, 46))))
    numerator = data.draw(st.integers(0, min(denominator, 2**38 - 1)))
    if data.draw(st.booleans()):
        odd = 2 * data.draw(st.integers(0, 2**11 - 1)) + 1
        numerator = odd << data.draw(st.integers(0, 20))
        denominator = 1 << data.draw(st.integers(numerator.bit_length(), 46))
        numerator = min(numerator + data.draw(st.integers(-1, 1)), denominator)
    found = rounded_fractions(np.array([numerator]), np.array([denominator]), fmt)
    assert found.tolist() == [nearest(Fraction(numerator, denominator), y)]


# Rows


def row_of(codes, mask, fmt, c, y):
    """What the unit says of a row, in fractions and Python's integers."""
    values, levels = decoded(codes, fmt).tolist(), len(c.exponents)
    shown = [not m and v != -math.inf for v, m in zip(values, mask, strict=True)]
    kept = [v for v, s in zip(values, shown, strict=True) if s]
    if not all(map(math.isfinite, kept)):
        return [0] * len(values), [0x7e00 if y == "fp16" else 0] * len(values), [0] * levels, 0
    steps = [Fraction(-theta, 2**24) for theta in c.thresholds]
    words = [sum(Fraction(v) - Fraction(max(kept)) >= step for step in steps) if s else levels
             for v, s in zip(values, shown, strict=True)]
    total = sum(c.exponents[word] for word in words if word < levels)
    return (words, [0 if word == levels else nearest(Fraction(c.exponents[word], total), y)
                    for word in words], [words.count(k) for k in range(levels)], total)


@pytest.mark.parametrize("fmt", ORACLES)
@pytest.mark.parametrize("bits", [2, 3, 4])
@given(st.data())
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # signalling NaNs
def test_row_one_at_a_time(bits, fmt, data):
    unit = P.replace(x=fmt, bits=bits, y=data.draw(st.sampled_from(OUTPUTS)))
    c = constants(-data.draw(st.floats(2.0**-10, 31.9)), unit)
    close = st.floats(-12, 4, width=16).map(lambda value: int(encoded(value, fmt)))
    on_threshold = st.sampled_from(c.thresholds).map(
        lambda theta: int(encoded(-theta * 2.0**-24, fmt)))
    code = st.one_of(close, on_threshold, st.sampled_from([0, 0x8000, 1, 0x8001]))
    if data.draw(st.booleans()):
        special = FORMATS[fmt].infinity
        code = st.one_of(code, st.sampled_from([special, special | 0x8000, special + 1]),
                         st.integers(0, 0xffff))
    rows = data.draw(st.lists(st.lists(code, min_size=5, max_size=5), min_size=1, max_size=3))
    mask = data.draw(st.lists(st.lists(st.booleans(), min_size=5, max_size=5),
                              min_size=len(rows), max_size=len(rows)))
    found = softmax(rows, mask, c, unit)
    for row, (codes, hidden) in enumerate(zip(rows, mask, strict=True)):
        words, probabilities, counts, total = row_of(codes, hidden, fmt, c, unit.y)
        assert found.codes[row].tolist() == words
        assert found.probabilities[row].tolist() == probabilities
        assert found.counts[row].tolist() == counts
        assert found.sums[row] == total
        assert found.all_masked[row] == (words == [2**bits] * 5)
        assert found.invalid[row] == (sum(counts) == 0 and not found.all_masked[row])


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(("row", "mask", "codes", "probabilities", "status"), [
    ([-5.0], [0], [3], [255], ""),
    ([0.0, -0.0], [0, 0], [3, 3], [128, 128], ""),
    ([-0.0, -0.5], [0, 0], [3, 3], [128, 128], ""),
    ([1.0] * 4, [0] * 4, [3] * 4, [64] * 4, ""),
    ([9.0, -9.0, -1e4, -6e4], [0] * 4, [3, 0, 0, 0], [223, 11, 11, 11], ""),
    ([1.0, 1.0, 5.0], [0, 0, 1], [3, 3, 4], [128, 128, 0], ""),
    ([1.0, -INF, 1.0], [0, 0, 0], [3, 4, 3], [128, 0, 128], ""),
    ([-INF, 2.0, -INF], [0, 1, 0], [4, 4, 4], [0, 0, 0], "all_masked"),
    ([INF, NAN], [1, 1], [4, 4], [0, 0], "all_masked"),
    ([INF, NAN, 1.0], [1, 1, 0], [4, 4, 3], [0, 0, 255], ""),
    ([INF, 1.0, 2.0], [0, 1, 0], [0, 0, 0], [0, 0, 0], "invalid"),
    ([1.0, NAN, -INF], [0, 0, 0], [0, 0, 0], [0, 0, 0], "invalid"),
])
def test_rows_by_hand(row, mask, codes, probabilities, status):
    found = softmax([encoded(row)], [mask], C, P)
    assert found.codes.tolist() == [codes]
    assert found.probabilities.tolist() == [probabilities]
    assert (found.all_masked.tolist(), found.invalid.tolist()) == (
        [status == "all_masked"], [status == "invalid"])
    # The rival says the same of what is masked and invalid.
    exact = exact_softmax([encoded(row)], [mask], B)
    assert (exact.all_masked.tolist(), exact.invalid.tolist()) == (
        [status == "all_masked"], [status == "invalid"])
    hidden = np.array(codes) == 4
    assert not exact.probabilities[0, hidden].any()
    half = exact_softmax([encoded(row)], [mask], B.replace(y="fp16")).probabilities[0]
    assert (half == 0x7e00).all() == (status == "invalid")


def test_no_mask_is_a_mask_of_zeros():
    x = [encoded([0.5, -1.0, -INF])]
    for name, values in vars(softmax(x, None, C, P)).items():
        np.testing.assert_array_equal(values, getattr(softmax(x, [[0, 0, 0]], C, P), name))


def test_differences_of_bf16_are_exact():
    """float64 loses the last bits of these, and with them on which side of θ they are."""
    tiny = 2.0**-120
    rows = [[tiny, -1.5], [-tiny, -1.5 - 2.0**-7], [0.0, -1.5], [-tiny, -1.5], [tiny, 0.0]]
    found = softmax(encoded(rows, "bf16"), None, C, P.replace(x="bf16"))
    assert found.codes[:, 1].tolist() == [1, 1, 2, 2, 3]


# Sums by the table


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_table_of_sums(bits):
    c = constants(-5.5, P.replace(bits=bits))
    unit = P.replace(bits=bits, accumulate="lut")
    table = lut(c)
    assert len(table) == unit.lut_entries == {2: 256, 3: 64, 4: 256}[bits]
    for index, entry in enumerate(table.tolist()):
        digits = [index // 2**(bits * place) % 2**bits for place in range(unit.lut_codes)]
        assert entry == sum(c.exponents[digit] for digit in digits)
    assert int(table.max()).bit_length() == unit.lut_bits


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 63, 64, 255])
def test_sums_are_equal(n, bits):
    rng = np.random.default_rng(n)
    unit = P.replace(bits=bits)
    c = constants(-4.0, unit)
    found = softmax(encoded(rng.normal(size=(20, n)) * 3), rng.random((20, n)) < 0.3, c, unit)
    assert lut_sum(found.codes, c).tolist() == found.sums.tolist()
    assert packed(found.codes, bits).shape == (20, -(-n // unit.lut_codes))


def test_packing():
    assert packed([[3, 0, 1, 2, 4, 3]], 2).tolist() == [[0b10_01_00_11, 0b11_00]]
    with refuse("Codes must be a matrix of integers from 0 to 4"):
        packed([[5]], 2)
    with refuse("Codes must be a matrix of integers from 0 to 4"):
        packed([1], 2)


# Bounds


def random_rows(rng, n, fmt="fp16"):
    """Rows of many shapes: spread and narrow, masked, with one dominant entry."""
    x = rng.normal(size=(12, n)) * np.array([0.1, 1, 2, 3, 5, 8] * 2)[:, None]
    x[6:, n // 2] += 20
    x[rng.random((12, n)) < 0.2] = -INF
    x[3] = -7.0
    x[4, 1:] = -20.0  # nothing but the smallest exponents beside one
    x[:, 0] = np.where(np.isfinite(x[:, 0]), x[:, 0], 0)
    return encoded(x, fmt)


def test_bound_of_probabilities():
    """Codes' own exponents in decimals against E / S; the bound is nearly reached."""
    rng, worst = np.random.default_rng(3), Fraction(0)
    for bits in (2, 3, 4):
        for exp_bits in (6, 10, 15):
            unit = P.replace(bits=bits, exp_bits=exp_bits, y="u16")
            for lo in (-1.0, -3.7, -6.3, -9.1, -20.0):
                c = constants(lo, unit)
                found = softmax(random_rows(rng, 200), None, c, unit)
                levels = np.arange(2**bits)
                exact = np.exp(lo * (1 - levels / levels[-1]))
                h = 2.0**-(exp_bits + 1)
                for counts, total in zip(found.counts, found.sums, strict=True):
                    p = exact / (counts @ exact)
                    error = np.abs(np.array(c.exponents) / total - p)
                    bound = h * (1 + p * (counts.sum() - counts[-1])) / (total * 2 * h)
                    worst = max(worst, (error / bound)[counts > 0].max())
                    assert (error <= bound * (1 + 1e-9)).all()
    print(f"largest error {worst:.1%} of the bound")
    assert worst > 0.9


@pytest.mark.parametrize("y", OUTPUTS)
def test_rounding_of_probabilities(y):
    rng = np.random.default_rng(4)
    unit = P.replace(y=y)
    found = softmax(random_rows(rng, 30), None, C, unit)
    p = np.append(C.exponents, 0)[found.codes] / found.sums[:, None]
    values = unit.y_format.decode(found.probabilities)
    half = {"uint8": 2.0**-9, "u16": 2.0**-17, "fp16": np.maximum(p * 2.0**-11, 2.0**-25)}[y]
    saturated = (unit.y_format.is_integer) & (p > 1 - half)
    assert (np.abs(values - p) <= np.where(saturated, 2 * half, half)).all()


# The rival


@pytest.mark.parametrize("y", OUTPUTS)
def test_exponents_of_the_rival(y):
    """Every distance that the unit distinguishes, for u16 a part of them."""
    p = B.replace(y=y, max_length=8192)
    step = 1 if y == "uint8" else 7 if y == "fp16" else 97
    u = np.arange(0, 32 << p.distance_point, step)
    found = exponents(u << 24 - p.distance_point, p) * 2.0**-p.exp_bits
    # A distance lies anywhere from u to the next.
    for real in (u, u + 1 - 2.0**-11):
        exact = np.exp(-real * 2.0**-p.distance_point)
        assert (np.abs(found - exact) <= exact * 2.0**-p.precision + 2.0**-p.exp_bits).all()
    large = found > 2.0**(p.value_bits - p.exp_bits)
    error = (np.abs(found - exact) / exact)[large].max() * 2**p.precision
    print(f"largest error {error:.2f} of 2**-{p.precision}")
    assert error > 0.4
    assert (np.diff(found) <= 0).all()
    assert exponents([32 << 24, 100000 << 24], p).tolist() == [0, 0]


def exponent_of(distance, p):
    """The integer definition in Python's integers."""
    u = min(distance >> 24 - p.distance_point, 2**p.distance_bits - 1)
    v = u * round(Fraction(LOG2_E, 2**64) * 2**p.log2_e_point) // 2**p.log2_e_point
    whole, fraction = divmod(v, 2**p.distance_point)
    address, rest = divmod(fraction, 2**p.rest_bits)
    low, high = p.table[address:address + 2]
    value = low - (low - high) * rest // 2**p.rest_bits
    return value * 2**(p.exp_bits - p.value_bits) // 2**whole


@pytest.mark.parametrize("y", OUTPUTS)
@pytest.mark.parametrize("length", [1, 256, 8192, 65536])
def test_rival_one_at_a_time(y, length):
    p, rng = B.replace(y=y, max_length=length, least_length=1), np.random.default_rng(5)
    x = random_rows(rng, min(length, 40))
    mask = rng.random(x.shape) < 0.1
    found = exact_softmax(x, mask, p)
    for row, values in enumerate(decoded(x, "fp16").tolist()):
        shown = [not m and v != -INF for v, m in zip(values, mask[row], strict=True)]
        top = max((v for v, s in zip(values, shown, strict=True) if s), default=0)
        wanted = [exponent_of(int((Fraction(top) - Fraction(v)) * 2**24), p) if s else 0
                  for v, s in zip(values, shown, strict=True)]
        assert found.exponents[row].tolist() == wanted
        assert found.sums[row] == sum(wanted) <= length << p.exp_bits
        assert found.probabilities[row].tolist() == [
            nearest(Fraction(value, max(sum(wanted), 1)), y) for value in wanted]


@pytest.mark.parametrize("y", OUTPUTS)
def test_bound_of_the_rival(y):
    """The proved bound, and what it comes to: half a unit before the rounding."""
    rng, worst = np.random.default_rng(6), 0
    for n in (1, 2, 40, 1000, 8192):
        p = B.replace(y=y, max_length=8192)
        # As many exponents as possible that are just less than a step, and cut to 0.
        small = np.full((1, n), -math.log(2) * p.exp_bits - 0.02)
        small[0, 0] = 0
        x = np.concatenate([random_rows(rng, n), encoded(small)])
        found = exact_softmax(x, None, p)
        t = decoded(x, "fp16")
        e = np.exp(t - t.max(axis=1, keepdims=True))
        exact = e / e.sum(axis=1, keepdims=True)
        quotients = found.exponents / found.sums[:, None]
        error, a = np.abs(quotients - exact), found.sums[:, None] * 2.0**-p.exp_bits
        eps, h = 2.0**-p.precision, 2.0**-p.exp_bits
        s = (a + h * n) / (1 - eps)
        assert (error <= s / a * 2 * eps * exact + h * (1 + exact * n) / a).all()
        half = {"uint8": 2.0**-9, "u16": 2.0**-17, "fp16": np.maximum(exact * 2.0**-11, 2.0**-25)}
        assert (error <= half[y]).all()
        worst = max(worst, (error / half[y]).max())
    print(f"largest error before the rounding {worst:.1%} of half a unit")
    assert worst > 0.1


def test_factor_of_the_rival():
    assert abs(Fraction(LOG2_E, 2**64) - Fraction(math.log2(math.e))) < Fraction(2)**-52


@pytest.mark.parametrize("y", OUTPUTS)
def test_table_of_the_rival(y):
    """Each entry is the nearest integer to a root, which integers tell."""
    p = B.replace(y=y)
    segments = 2**p.table_address_bits
    assert (len(p.table), p.table[0], p.table[-1]) == (
        segments + 1, 2**p.value_bits, 2**(p.value_bits - 1))
    for i, entry in enumerate(p.table):
        # entry - 1/2 < 2**(V - i / segments) < entry + 1/2, raised to the power of segments
        power = 2**(p.value_bits * segments - i) * 2**segments
        assert (2 * entry - 1)**segments < power < (2 * entry + 1)**segments


# Parameters


@pytest.mark.parametrize(("changes", "message"), [
    ({"name": "A"}, "Name must be a lower-case identifier of at most 32 characters, not 'A'"),
    ({"x": "int8"}, "Parameter x must be one of fp16, bf16, not 'int8'"),
    ({"y": "int8"}, "Parameter y must be one of uint8, u16, fp16, not 'int8'"),
    ({"accumulate": "tree"}, "Parameter accumulate must be one of counters, lut, not 'tree'"),
    *(({name: value}, f"Parameter {name} must be an integer from {low} to {high}, not {value!r}")
      for name, low, high in (("width", 1, 32), ("bits", 2, 4), ("max_length", 1, 65536),
                              ("exp_bits", 4, 15), ("sets", 1, 16), ("least_length", 1, 65536))
      for value in (low - 1, high + 1, float(low), None)),
    ({"least_length": 257}, "Parameter least_length must be at most max_length 256, not 257"),
    ({"accumulate": "lut", "width": 6},
     "Parameter width must be a multiple of 4 for accumulate lut and 2 bits, not 6"),
    ({"accumulate": "lut", "width": 1, "bits": 4},
     "Parameter width must be a multiple of 2 for accumulate lut and 4 bits, not 1"),
])
def test_rules(changes, message):
    with refuse(message):
        P.replace(**changes)
    if not changes.keys() & {"x", "bits", "accumulate", "exp_bits", "sets"}:
        with refuse(message):
            B.replace(**changes)


@pytest.mark.parametrize("changes", [
    {"width": 1}, {"width": 32}, {"bits": 4}, {"max_length": 65536}, {"exp_bits": 4},
    {"sets": 16}, {"least_length": 256}, {"accumulate": "lut"},
    {"accumulate": "lut", "width": 6, "bits": 3}])
def test_ends_of_the_rules(changes):
    assert vars(P.replace(**changes)).items() >= changes.items()


def test_sets():
    assert {name: p.name for name, p in SOFTMAX_SETS.items()} == {
        name: name for name in SOFTMAX_SETS}
    attention = SOFTMAX_SETS["attention"]
    assert (attention.width, attention.bits, attention.y) == (16, 2, "uint8")
    assert {p.accumulate for p in SOFTMAX_SETS.values()} == {"counters", "lut"}
    rival = attention.baseline()
    assert (rival.name, rival.width, rival.max_length, rival.y, rival.least_length) == (
        "attention_exact", 16, 8192, "uint8", 128)


def test_dictionary():
    assert SoftmaxParameters.from_dict(P.to_dict()) == P
    assert BaselineParameters.from_dict({"name": "valid", "width": 8, "max_length": 256}) == B
    with refuse("Parameters must be among accumulate, bits, exp_bits, least_length, max_length, "
                "name, sets, width, x, y, not Bits"):
        SoftmaxParameters.from_dict({"name": "a", "Bits": 2})
    with refuse("Parameters name must be given"):
        SoftmaxParameters.from_dict({})


@pytest.mark.parametrize("length", [1, 2, 255, 256, 257])
def test_widths_hold_every_row_and_no_more(length):
    for unit in (P.replace(max_length=length, least_length=1, exp_bits=7),
                 B.replace(max_length=length, least_length=1)):
        x = encoded(np.zeros((1, length)))
        if isinstance(unit, SoftmaxParameters):
            found = softmax(x, None, constants(-1.0, unit), unit)
            assert unit.count_bits == int(found.counts.max()).bit_length()
        else:
            found = exact_softmax(x, None, unit)
        assert unit.sum_bits == int(found.sums.item()).bit_length()


def test_shapes():
    unit = P.replace(bits=3, width=5)
    assert (unit.levels, unit.word_bits, unit.words, unit.quotient_bits) == (8, 4, 52, 8)
    assert [unit.row_cycles(n) for n in (1, 5, 6, 256)] == [1, 1, 2, 52]
    assert (unit.block_words, unit.block_count_bits) == (26, 8)  # 51 words, 255 elements
    # Four words, or the least length if that is more; exact units need no four words.
    assert [unit.replace(least_length=n).full_rate_length for n in (3, 16, 17)] == [16, 16, 17]
    assert unit.replace(least_length=3).baseline().full_rate_length == 3
    assert unit.replace(max_length=128).block_count_bits == 8
    assert unit.replace(max_length=127, least_length=120).block_count_bits == 7
    assert [unit.replace(y=y).quotient_bits for y in OUTPUTS] == [8, 16, 24]
    assert [unit.replace(y=y).y_format.bits for y in OUTPUTS] == [8, 16, 16]


@pytest.mark.parametrize(("thresholds", "found", "message"), [
    ((3, 2, 1), (1, 2, 16), "Constants must have 4, 8 or 16 exponents, not 3"),
    ((3, 2), (1, 2, 3, 16), "Constants must have 3 thresholds for 4 exponents, not 2"),
    ((1 << 29, 2, 1), (1, 2, 3, 16),
     "Thresholds must be integers from 0 to 536870911, not 536870912"),
    ((3, 2, -1), (1, 2, 3, 16), "Thresholds must be integers from 0 to 536870911, not -1"),
    ((3.0, 2, 1), (1, 2, 3, 16), "Thresholds must be integers from 0 to 536870911, not 3.0"),
    ((3, 2, 2), (1, 2, 3, 16), "Thresholds must be strictly descending magnitudes, not 3, 2, 2"),
    ((1, 2, 3), (1, 2, 3, 16), "Thresholds must be strictly descending magnitudes, not 1, 2, 3"),
    ((3, 2, 1), (1, 3, 2, 16), "Exponents must not descend, as 1, 3, 2, 16 do"),
    ((3, 2, 1), (1, 2, 3, 17), "Last exponent must be a power of two from 16 to 32768, not 17"),
    ((3, 2, 1), (1, 2, 3, 8), "Last exponent must be a power of two from 16 to 32768, not 8"),
    ((3, 2, 1), (1, 2, 3, 1 << 16), "Exponents must be integers from 0 to 32768, not 65536"),
    ((3, 2, 1), (-1, 2, 3, 16), "Exponents must be integers from 0 to 32768, not -1"),
])
def test_refused_constants(thresholds, found, message):
    with refuse(message):
        Constants(thresholds, found)


@pytest.mark.parametrize(("x", "mask", "c", "message"), [
    ([0], None, C, "Logits must be a matrix, not of shape (1,)"),
    ([[]], None, C, "Length of a row must be from 1 to 256, not 0"),
    ([[0] * 257], None, C, "Length of a row must be from 1 to 256, not 257"),
    ([[0]], [[0, 0]], C, "Shape of the mask must be (1, 1), not (1, 2)"),
    ([[1 << 16]], None, C, "Codes of fp16 must be in range(65536), not 65536 to 65536"),
    ([[0]], None, Constants((3, 2, 1), (1, 2, 3, 16)),
     "Constants must be of 2 bits with exponents of 15 for valid, not 2 and 4"),
    ([[0]], None, constants(-3.0, P.replace(bits=3)),
     "Constants must be of 2 bits with exponents of 15 for valid, not 3 and 15"),
])
def test_errors(x, mask, c, message):
    with refuse(message):
        softmax(x, mask, c, P)


def test_no_rows():
    found = softmax(np.zeros((0, 3), int), None, C, P)
    assert found.probabilities.shape == (0, 3)
    assert found.counts.shape == (0, 4)
