"""Number formats against independent implementations."""

import ml_dtypes
import numpy as np
import pytest

from golden.formats import FORMATS, aligned, signed_bits

ORACLES = {
    "int2": ml_dtypes.int2,
    "int4": ml_dtypes.int4,
    "uint4": ml_dtypes.uint4,
    "int8": np.int8,
    "uint8": np.uint8,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e8m0": ml_dtypes.float8_e8m0fnu,
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "fp32": np.float32,
}
FLOATS = ["fp16", "bf16", "fp32"]

#: Values of the codes in ascending order where no library has the format: two's complement, and
#: for DenseShift (arXiv 2208.09708, and its authors' code for 3 bits) a sign above a shift.
TABLES = {
    "int3":    [0, 1, 2, 3, -4, -3, -2, -1],
    "ternary": [0, 1, 0, -1],
    "shift2":  [1, 2, -1, -2],
    "shift3":  [1, 2, 4, 8, -1, -2, -4, -8],
    "shift4":  [1, 2, 4, 8, 16, 32, 64, 128, -1, -2, -4, -8, -16, -32, -64, -128],
}


def oracle_values(name: str, codes: np.ndarray) -> np.ndarray:
    fmt = FORMATS[name]
    if fmt.bits < 8:  # ml_dtypes keeps a code in the low bits of a byte
        return codes.astype(np.uint8).view(ORACLES[name]).astype(np.float64)
    return codes.astype(f"u{fmt.bits // 8}").view(ORACLES[name]).astype(np.float64)


def test_every_format_has_an_oracle():
    assert ORACLES.keys() | TABLES.keys() == FORMATS.keys()
    assert not ORACLES.keys() & TABLES.keys()


@pytest.mark.parametrize("name", TABLES)
def test_codes_decode_as_the_table_says(name):
    assert FORMATS[name].decode(np.arange(1 << FORMATS[name].bits)).tolist() == TABLES[name]


@pytest.mark.parametrize("fmt", [*FORMATS.values(), aligned(8), aligned(12)],
                         ids=lambda fmt: fmt.name)
def test_numbers_are_steps_between_low_and_high(fmt):
    codes = np.arange(1 << fmt.bits) if fmt.bits <= 16 else np.array(
        [1, fmt.infinity - 1, fmt.infinity - 1 | 1 << fmt.bits - 1])
    values = fmt.decode(codes)
    values = values[np.isfinite(values)]
    assert (values.min(), values.max()) == (fmt.low * fmt.step, fmt.high * fmt.step)
    assert (values % fmt.step == 0).all()
    assert np.abs(values[values != 0]).min() == fmt.step


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # signalling NaNs
def test_codes_decode_as_the_oracle_says(name):
    fmt = FORMATS[name]
    if fmt.bits <= 16:
        codes = np.arange(1 << fmt.bits)
    else:
        codes = np.random.default_rng(1).integers(0, 1 << fmt.bits, 1_000_000)
    expected, actual = oracle_values(name, codes), fmt.decode(codes)
    np.testing.assert_array_equal(actual, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(actual)[number], np.signbit(expected)[number])


@pytest.mark.parametrize("fmt", [fmt for fmt in [*FORMATS.values(), aligned(12)]
                                 if fmt.name not in FLOATS], ids=lambda fmt: fmt.name)
def test_numbers_round_to_their_own_code(fmt):
    codes = np.arange(1 << fmt.bits)
    values = fmt.decode(codes)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(fmt.encode(values[number]), codes[number])
    assert fmt.decode(fmt.encode([np.inf, -np.inf, 1e99, -1e99])).tolist() == 2 * [
        fmt.high * fmt.step, fmt.low * fmt.step]


@pytest.mark.parametrize("name", ["e2m1", "e4m3"])
def test_small_floats_round_as_the_oracle_does(name):
    fmt = FORMATS[name]
    numbers = fmt.decode(np.arange(fmt.max_finite + 1))
    middles = (numbers[1:] + numbers[:-1]) / 2
    middles = middles.astype(np.float32)  # as the oracle takes them
    values = np.concatenate([
        middles, np.nextafter(middles, np.float32(0)), np.nextafter(middles, np.float32(999)),
        np.random.default_rng(3).normal(0, numbers[-1] / 3, 10_000).astype(np.float32)])
    values = np.clip(np.concatenate([values, -values]), -numbers[-1], numbers[-1])
    expected = values.astype(ORACLES[name]).view(np.uint8)
    np.testing.assert_array_equal(fmt.encode(values), expected)


@pytest.mark.parametrize(("name", "code"), [("int8", 0), ("e2m1", 0), ("ternary", 0),
                                            ("e4m3", 0x7f), ("e8m0", 0xff)])
def test_nan(name, code):
    assert FORMATS[name].encode([np.nan, 1.0])[0] == code


def test_zero_free_formats_refuse_nan():
    with pytest.raises(ValueError, match=r"^Values must be numbers for shift3, which has no NaN"):
        FORMATS["shift3"].encode([1.0, np.nan])


def test_zero_free_formats_round_zero_away_from_it():
    assert FORMATS["shift3"].decode(FORMATS["shift3"].encode([0.0, -0.0, 3.0, 1.5])).tolist() == [
        1, -1, 4, 1]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.filterwarnings("ignore:(invalid value|overflow):RuntimeWarning")
def test_floats_round_as_the_oracle_does(name):
    fmt = FORMATS[name]
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 1 << 32, 1_000_000, dtype=np.uint32)
    # Every code of the format, the halfway point above it, and their neighbours.
    codes = np.arange(1 << 16, dtype=np.uint32)
    exact = fmt.decode(codes << fmt.bits - 16).astype(np.float32).view(np.uint32)
    half = np.uint32(1 << 22 - fmt.man_bits) if fmt.man_bits < 23 else np.uint32(0)
    near = np.concatenate([exact + offset + delta for offset in (np.uint32(0), half)
                           for delta in np.uint32([0, 1, 2**32 - 1])])
    values = np.concatenate([bits, near]).view(np.float32)
    values = np.concatenate([values, np.float32([0.0, -0.0, np.inf, -np.inf, np.nan])])
    expected = values.astype(ORACLES[name]).view(f"u{fmt.bits // 8}").astype(np.int64)
    expected = np.where(np.isnan(values), fmt.nan, expected)
    np.testing.assert_array_equal(fmt.encode(values), expected)


def test_a_code_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"^Codes of int4 must be in range\(16\), not 0 to 16$"):
        FORMATS["int4"].decode([0, 16])


@pytest.mark.parametrize("low", range(-70, 70))
def test_signed_bits_is_tight(low):
    for high in range(low, 70):
        bits = signed_bits(low, high)
        assert -(1 << bits - 1) <= low <= high < 1 << bits - 1
        assert bits == 1 or not -(1 << bits - 2) <= low <= high < 1 << bits - 2
