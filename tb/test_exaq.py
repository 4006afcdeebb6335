"""EXAQ in floats: the authors' formulas restated, and the unit's codes on every fp16 difference."""

import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.exaq import (
    CALLS,
    Clip,
    calibrate,
    clip_value,
    constants,
    deviation,
    differences,
    exact_softmax_reference,
    level_codes,
    quantised_softmax,
)
from golden.formats import FORMATS
from golden.softmax import softmax
from golden.softmax_parameters import SoftmaxParameters
from tb.attention_head import errors

INF = math.inf
SIGMAS = [0.9, 1.4, 1.9, 2.4, 2.9, 3.4]
UNITS = {bits: SoftmaxParameters(name="valid", bits=bits, max_length=256, y="fp16")
         for bits in (2, 3, 4)}
#: Differences of all fp16 numbers from 0, if they are negative, and of 0 from all others.
EVERY = np.arange(1 << 16).astype(np.uint16).view(np.float16).astype(np.float64)


def refuse(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


def authors_levels(t, lo, bits, dtype):
    """Codes and levels as a tensor library computes the authors' lines in ``dtype``.

    A Python number that meets a tensor is converted to the tensor's type first.
    """
    scale = dtype((2**bits - 1) / (0.0 - lo))
    clipped = np.minimum(np.maximum(np.array(t).astype(dtype), dtype(lo)), dtype(0))
    codes = np.round((clipped - dtype(lo)) * scale)
    return codes.astype(int), codes / scale + dtype(lo)


def unit_codes(c, unit):
    """Codes of all 65,536 differences; None for NaN and +infinity."""
    x = np.stack([np.arange(1 << 16), np.zeros(1 << 16, int)], axis=1)
    x = np.where((x[:, :1] >> 15) > 0, x, x[:, ::-1])  # the smaller of x and 0 comes first
    found = softmax(x, None, c, unit)
    return np.where(found.invalid, -1, found.codes[:, 0])


def finite_differences():
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(EVERY), -np.abs(EVERY), 0)


def exact_thresholds(lo, bits):
    """Each lo + (k - 1/2)·Δ, k from 1 on, as a fraction."""
    levels = 2**bits - 1
    return [Fraction(lo) * (1 - Fraction(2 * k - 1, 2 * levels)) for k in range(1, levels + 1)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("clip", ["linear", "table"])
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # signalling NaNs
def test_codes_on_every_difference(bits, clip, dtype):
    """All differences from every pair (σ, b), against the authors' lines in the same type."""
    t, finite = finite_differences(), np.isfinite(EVERY)
    for sigma in SIGMAS:
        lo = clip_value(sigma, bits, clip)
        found = unit_codes(constants(lo, UNITS[bits], dtype), UNITS[bits])
        wanted, _ = authors_levels(t, lo, bits, dtype)
        assert (found[finite] == wanted[finite]).all()
        assert (level_codes(t, lo, bits, dtype) == wanted).all()
        # -infinity is masked, 0 - infinity and NaN are invalid.
        assert found[FORMATS["fp16"].infinity | 0x8000] == 2**bits
        assert (found[~finite] == -1).sum() == (~finite).sum() - 1


#: Lowest levels with many exact ties, for Δ and Δ / 2 are short binary fractions.
DYADIC = {2: (-0.75, -3.0, -4.5, -6.0, -24.0), 3: (-1.75, -3.5, -5.25, -7.0, -28.0),
          4: (-3.75, -7.5, -11.25, -15.0, -30.0)}


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_ties(bits):
    """Constants of both types against fractions: only at and beside ties do they differ."""
    every = np.unique(finite_differences())
    ties = half_even = differ32 = differ64 = 0
    for lo in (*DYADIC[bits], *(clip_value(sigma, bits) for sigma in SIGMAS)):
        # Those within a hundredth of a tie; elsewhere no rounding changes a code.
        t = every[np.abs((every / lo * (1 - 2**bits)) % 1 - 0.5) < 0.01]
        t = t[t >= lo]
        places = [(Fraction(value) - Fraction(lo)) * (2**bits - 1) / Fraction(-lo)
                  for value in t.tolist()]
        exact = np.array([round(place) for place in places])
        tie = np.array([place.denominator == 2 for place in places])
        near = np.array([abs(place % 1 - Fraction(1, 2)) < Fraction(1, 10**5) for place in places])
        in64, in32 = (level_codes(t, lo, bits, dtype) for dtype in (np.float64, np.float32))
        assert (in64 == exact)[~tie].all()
        assert (in32 == exact)[~near].all()
        ties, half_even = ties + tie.sum(), half_even + (tie & (in64 == exact)).sum()
        differ64, differ32 = differ64 + (in64 != exact).sum(), differ32 + (in32 != exact).sum()
    print(f"{bits} bits: {ties} exact ties, {half_even} of them to even in float64; codes that "
          f"differ from exact arithmetic: {differ64} in float64, {differ32} in float32")
    assert ties > 2**bits
    assert differ64 == ties - half_even


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_thresholds_are_the_exact_ones(bits):
    """Rounded to the next multiple of 2**-24, so that no fp16 difference lies between."""
    for lo in (-0.01, -0.7, -2.3, -5.17, -9.9, -31.9, *DYADIC[bits]):
        c = constants(lo, UNITS[bits])
        for k, (magnitude, exact) in enumerate(
                zip(c.thresholds, exact_thresholds(lo, bits), strict=True), start=1):
            units = -exact * 2**24
            if units.denominator > 1:
                assert magnitude == math.floor(units)
            else:  # a tie goes to the even code, or where the formula rounds it to
                even = units if k % 2 == 0 else units - 1
                follows = level_codes(float(exact), lo, bits).item() == round(k - Fraction(1, 2))
                assert magnitude == (even if follows else 2 * units - 1 - even)


def test_differences_that_are_no_fp16_numbers():
    """Any two fp16 numbers: their exact difference has the formula's code."""
    rng = np.random.default_rng(7)
    x = FORMATS["fp16"].encode(rng.normal(size=(4000, 2)) * 3)
    values = FORMATS["fp16"].decode(x)
    t = values.min(axis=1) - values.max(axis=1)
    assert (t != t.astype(np.float16)).mean() > 0.3
    for bits, unit in UNITS.items():
        found = softmax(x, None, constants(-4.321, unit), unit)
        wanted, _ = authors_levels(t, -4.321, bits, np.float64)
        assert (found.codes[np.arange(4000), values.argmin(axis=1)] == wanted).all()


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_codes_of_bf16(bits):
    """All bf16 numbers of at least 2**-17 in magnitude, and those below have the highest code."""
    unit = UNITS[bits].replace(x="bf16")
    numbers = 0x8000 | np.arange(FORMATS["bf16"].infinity)
    x = np.stack([numbers, np.zeros_like(numbers)], axis=1)
    t = FORMATS["bf16"].decode(numbers)
    for sigma in SIGMAS:
        lo = clip_value(sigma, bits)
        found = softmax(x, None, constants(lo, unit), unit).codes[:, 0]
        assert (found == authors_levels(t, lo, bits, np.float64)[0]).all()


@given(st.floats(-31.999, -2.0**-19), st.sampled_from([2, 3, 4]), st.integers(4, 15))
def test_exponents(lo, bits, exp_bits):
    c = constants(lo, UNITS[bits].replace(exp_bits=exp_bits))
    for k, exponent in enumerate(c.exponents):
        exact = math.exp(lo * (1 - k / (2**bits - 1))) * 2**exp_bits
        assert abs(exponent - exact) <= 0.5 + 1e-9 * exact
    assert (c.exponents[0] == 0) == (lo < -(exp_bits + 1) * math.log(2))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_ends_of_the_clip(bits):
    unit, levels = UNITS[bits], 2**bits - 1
    for lo in (-levels * 2.0**-23, math.nextafter(-32, 0)):
        assert constants(lo, unit).bits == bits
    for lo in (-levels * 2.0**-24, -32.0, 0.0, 1.0, -INF, math.nan):
        with refuse(f"Clip lo must be above -32 and at most -{levels} * 2**-23 for {bits} bits, "
                    f"not {lo}"):
            constants(lo, unit)


# Softmax in floats


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 2e-6)])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_quantised_softmax(bits, dtype, tolerance):
    """One row at a time, with masked entries."""
    rng = np.random.default_rng(8)
    x, mask = rng.normal(size=(20, 33)) * 3, rng.random((20, 33)) < 0.3
    x[3, 4:] = -INF
    found = quantised_softmax(x, -4.4, bits, mask, dtype)
    assert found.dtype == dtype
    for row, logits, hidden in zip(found, x, mask, strict=True):
        shown = ~hidden & (logits != -INF)
        assert not row[~shown].any()
        _, levels = authors_levels(logits[shown] - logits[shown].max(), -4.4, bits, dtype)
        powers = [math.exp(level) for level in levels.tolist()]
        np.testing.assert_allclose(row[shown], np.array(powers) / math.fsum(powers),
                                   rtol=tolerance)


def test_softmax_of_rows_by_hand():
    e = math.exp(-3)
    x = [[0.0, -3.0, -80.0, -INF], [-INF] * 4, [5.0] * 4]
    np.testing.assert_allclose(quantised_softmax(x, -3.0, 2), [
        [1 / (1 + 2 * e), e / (1 + 2 * e), e / (1 + 2 * e), 0], [0] * 4, [0.25] * 4], rtol=1e-15)
    np.testing.assert_allclose(quantised_softmax(x[1:], 0.0, 2), [[0] * 4, [0.25] * 4])
    exact = exact_softmax_reference(x)
    np.testing.assert_allclose(exact[0], [1 / (1 + e), e / (1 + e), 0, 0], atol=1e-30)
    assert exact[1].tolist() == [0] * 4
    for bad in (math.nan, INF):
        with refuse("Logits that are not masked must be numbers, not NaN or +infinity"):
            quantised_softmax([[0.0, bad]], -3.0, 2)
        assert quantised_softmax([[0.0, bad]], -3.0, 2, [[0, 1]]).tolist() == [[1, 0]]


# Clips


def test_linear_clip():
    for bits, line in {2: (-1.66, -1.85), 3: (-1.75, -2.06), 4: (-1.83, -2.27)}.items():
        for sigma in SIGMAS:
            assert clip_value(sigma, bits) == line[0] * sigma + line[1]


@pytest.mark.parametrize(("sigma", "clips"), [
    (0.51, (-1.93, -2.13, -2.356)), (1.01, (-3.183, -3.559, -3.91)),
    (2.02, (-4.311, -4.862, -5.414)), (3.03, (-4.712, -5.313, -5.94)),
    (4.04, (-4.912, -5.539, -6.165)), (10.0, (-5.213, -5.84, -6.491)),
    # Beyond the ends these hold; between two rows a line, midway their mean.
    (11.0, (-5.213, -5.84, -6.491)), (0.0, (0, 0, 0)), (0.05, (-0.213, -0.2505, -0.263)),
    # Rows of the authors' that the table leaves out.
    (1.52, (-3.91, -4.411, -4.862)), (2.73, (-4.637, -5.238, -5.815)),
    (0.71, (-2.506, -2.782, -3.058)), (7.07, (-5.163, -5.789, -6.416)),
])
def test_clip_of_the_table(sigma, clips):
    left_out = sigma in (1.52, 2.73, 0.71, 7.07)
    for bits, clip in zip((2, 3, 4), clips, strict=True):
        assert clip_value(sigma, bits, "table") == pytest.approx(
            clip, abs=0.026 if left_out else 1e-12)


def call(rng, sigma, shape=(2, 3, 16)):
    logits = rng.normal(size=shape) * sigma
    logits[..., -1][0] = -INF
    return logits


@pytest.mark.parametrize("clip", ["linear", "table"])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_calibration(bits, clip):
    """Means over the first 25 calls of what each call alone gives."""
    rng = np.random.default_rng(9)
    calls = [call(rng, sigma) for sigma in rng.uniform(0.5, 3, CALLS + 3)]
    found, clips, minima = calibrate(calls, bits, clip), [], []
    for logits in calls[:25]:
        t = [value - max(row) for row in logits.reshape(-1, 16).tolist() for value in row]
        t = [value for value in t if value != -INF]
        mean = math.fsum(t) / len(t)
        sigma = math.sqrt(math.fsum((value - mean)**2 for value in t) / (len(t) - 1))
        clips.append(clip_value(sigma, bits, clip))
        minima.append(min(t))
    assert found.clip == pytest.approx(math.fsum(clips) / 25)
    assert found.minimum == pytest.approx(math.fsum(minima) / 25)
    assert found.lo == max(found.clip, found.minimum)
    # Dynamic mode is the calibration with the call itself.
    assert calibrate(calls[:1], bits, clip).lo == pytest.approx(max(clips[0], minima[0]))
    assert calibrate(calls[:25], bits, clip) == found


def test_lowest_level():
    assert Clip(-3.0, -5.0).lo == -3
    assert Clip(-5.0, -3.0).lo == -3
    assert calibrate([[[2.0, 2.0]]], 2) == Clip(-1.85, 0.0)
    assert deviation(differences([[1.0, -INF]])) == 0
    assert level_codes([0.0, -1.0], 0.0, 3).tolist() == [7, 0]


@pytest.mark.parametrize(("arguments", "message"), [
    (([], 2), "Calls must be at least one, not none"),
    (([[[0.0]], [[-INF]]], 2), "Calls must have elements that are not masked, not none as call 1"),
    (([[[0.0, math.nan]]], 2),
     "Logits that are not masked must be numbers, not NaN or +infinity"),
    (([[[0.0]]], 5), "Parameter bits must be 2, 3 or 4, not 5"),
    (([[[0.0]]], 2, "grid"), "Parameter clip must be one of linear, table, not 'grid'"),
])
def test_errors(arguments, message):
    with refuse(message):
        calibrate(*arguments)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_unit_against_floats(bits):
    """fp16 probabilities of calibrated constants within the two bounds of golden.softmax."""
    rng = np.random.default_rng(10)
    x = FORMATS["fp16"].encode(rng.normal(size=(50, 200)) * 2)
    values, unit = FORMATS["fp16"].decode(x), UNITS[bits]
    lo = calibrate([values], bits).lo
    found, p = softmax(x, None, constants(lo, unit), unit), quantised_softmax(values, lo, bits)
    below = (found.counts.sum(axis=1) - found.counts[:, -1])[:, None]
    bound = 2.0**-16 * (1 + p * below) / (found.sums[:, None] * 2.0**-15)
    error = np.abs(FORMATS["fp16"].decode(found.probabilities) - p)
    assert (error <= bound + np.maximum(2.0**-11 * (p + bound), 2.0**-25)).all()


SEED = 1


def test_figures_of_the_page():
    """The table in docs/softmax.md: causal heads of several deviations."""
    print(f"seed {SEED}")
    lines = []
    for sigma in SIGMAS:
        for bits in (2, 3, 4):
            e = errors(sigma, bits, seed=SEED)
            lines.append(f"| {sigma} | {bits} | {e.lo:.2f} | {e.probability:.1%} | "
                         f"{e.unit_probability:.1%} | {e.output:.1%} | {e.unit_output:.1%} |")
            assert abs(e.unit_probability - e.probability) < 1e-3
    print("\n".join(lines))
    page = (Path(__file__).parent.parent / "docs" / "softmax.md").read_text()
    assert "\n".join(lines) in page
