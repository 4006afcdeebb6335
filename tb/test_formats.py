"""Number formats against independent implementations."""

import ml_dtypes
import numpy as np
import pytest

from golden.formats import FORMATS, signed_bits

ORACLES = {
    "int4": ml_dtypes.int4,
    "uint4": ml_dtypes.uint4,
    "int8": np.int8,
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "fp32": np.float32,
}
FLOATS = ["fp16", "bf16", "fp32"]


def oracle_values(name: str, codes: np.ndarray) -> np.ndarray:
    fmt = FORMATS[name]
    if fmt.bits < 8:  # ml_dtypes keeps a code in the low bits of a byte
        return codes.astype(np.uint8).view(ORACLES[name]).astype(np.float64)
    return codes.astype(f"u{fmt.bits // 8}").view(ORACLES[name]).astype(np.float64)


def test_every_format_has_an_oracle():
    assert ORACLES.keys() == FORMATS.keys()


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


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in FLOATS])
def test_integers_round_to_their_own_code(name):
    fmt = FORMATS[name]
    codes = np.arange(1 << fmt.bits)
    np.testing.assert_array_equal(fmt.encode(fmt.decode(codes)), codes)
    assert fmt.decode(fmt.encode([np.inf, -np.inf, np.nan, 1e9, -1e9])).tolist() == [
        fmt.high, fmt.low, 0, fmt.high, fmt.low]


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
