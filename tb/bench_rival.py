"""Cocotb tests of a rival; run by :mod:`tb.test_rivals`."""

from itertools import product

import cocotb
import numpy as np

from golden.formats import FORMATS
from golden.rivals import RivalParameters, dequantise, fma
from tb.rival_driver import drain, expected, latency
from tb.settings import SETTINGS

P = RivalParameters.from_dict(SETTINGS["parameters"])

FP16 = FORMATS["fp16"]
ONE = 0x3c00

#: Both signs of: zero, the least and other subnormal numbers, the least normal one, numbers about
#: 1 with few and with all bits, the place where 1 is half of the last one, the greatest number,
#: infinity, NaN.
CORNERS = np.array([code | sign for sign in (0, 0x8000) for code in (
    0x0000, 0x0001, 0x0002, 0x0201, 0x03ff, 0x0400, 0x0401, 0x0fff, 0x1000, 0x3555, 0x3bff, ONE,
    0x3c01, 0x3fff, 0x4000, 0x6800, 0x6801, 0x7bff, 0x7c00, 0x7e01)])


def beats(cycles):
    """Random operands of a tile: x, w, above, zeros and scales."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    columns = (cycles, P.tile_columns)
    x = rng.integers(0, 1 << P.x_format.bits, (cycles, P.tile_rows, P.lanes))
    w = rng.integers(0, 1 << P.w_format.bits, (*columns, P.lanes))
    zeros = rng.integers(0, P.w_format.max_zero + 1, columns)
    scales = rng.integers(0, 1 << P.scale_format.bits, columns)
    half = 1 << P.sum_bits - 1
    above = rng.integers(-half, half, columns) + (half if P.acc_format else 0)
    if P.acc_format:  # few numbers are not finite, or every sum would be NaN
        x, scales = (np.where(codes & 0x7c00 == 0x7c00, codes & 0xbfff, codes)
                     for codes in (x, scales))
        x[rng.random(x.shape) < 0.005] = FP16.infinity
        scales[rng.random(scales.shape) < 0.005] = FP16.nan
    return rng, x, w, above, zeros, scales


def factors(w, zeros, scales):
    """Codes of the weights that are multiplied."""
    return dequantise(P, w, zeros[..., None], scales[..., None]) if P.dequantises else w


def loads(acc):
    """Factors whose product, added to +0, is each code of fp16; -0 is one that vanishes.

    To fp32 nothing vanishes, and -0 becomes the least number.
    """
    vanishes = acc == 0x8000
    return np.where(vanishes, 0x8001, acc), np.where(vanishes, 0x0001, ONE)


def corners(_rng, _count):
    """Every accumulator, x and w of the corners; w has the product's sign."""
    acc, x, w = np.array(list(product(CORNERS, CORNERS[:len(CORNERS) // 2], CORNERS))).T
    first = loads(acc)
    return np.stack([first[0], x], axis=1), np.stack([first[1], w], axis=1)


def random(rng, count):
    """Every code alike."""
    acc, x, w = rng.integers(0, 1 << 16, (3, count))
    first = loads(acc)
    return np.stack([first[0], x], axis=1), np.stack([first[1], w], axis=1)


def cancelling(rng, count):
    """The last product is near the negative of the sum before it, or half of its last place."""
    a, b, x, w = rng.integers(0, 1 << 16, (4, count))
    near = [fma(x, w ^ 0x8000, 0, FP16), rng.integers(0, 4, count) + ONE]
    near[0] = np.clip((near[0] & 0x7fff) + rng.integers(-2, 3, count), 0, 0x7fff) | (
        near[0] & 0x8000)
    # A smaller one fills the accumulator's lower bits.
    shift = rng.integers(0, 30, count) << 10
    a = np.where(near[0] & 0x7c00 > shift, (near[0] - shift) ^ (a & 0x83ff), a & 0x83ff)
    b = np.where(rng.random(count) < 0.5, 0, ONE | b & 0x83ff)
    return np.stack([near[0], a, x], axis=1), np.stack([near[1], b, w], axis=1)


def short(rng, count):
    """Few bits set and exponents close to each other: ties, powers of two, subnormal numbers."""
    bits = rng.choice([0, 1, 2, 3, 0x200, 0x201, 0x100, 0x3ff, 0x3fe, 0x3fd], (2, count, 4))
    exponents = rng.integers(0, 31, (1, count, 1)) + rng.integers(-12, 13, (2, count, 4))
    exponents[1] = np.clip(exponents[1], 10, 20)
    signs = rng.integers(0, 2, (2, count, 4)) << 15
    return signs | np.clip(exponents, 0, 30) << 10 | bits


def uneven(rng, count):
    """A large number times a subnormal one, which cancels a leading bit of all of acc's at most."""
    few = rng.choice([0, 0, 1, 2, 0x3ff], count)
    x   = rng.integers(20, 31, count) << 10 | few
    w   = 1 << rng.integers(0, 4, count) | rng.integers(0, 2, count)
    acc = rng.integers(0, 12 << 10, count)
    sign = rng.integers(0, 2, (2, count)) << 15
    first = loads(acc | sign[0])
    return np.stack([first[0], x | sign[1]], axis=1), np.stack([first[1], w], axis=1)


OPERANDS = {"corners": corners, "random": random, "cancelling": cancelling, "short": short,
            "uneven": uneven}


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def sums_follow_without_a_bubble(dut):
    """Random operands, sums of random length, and rows of the tile above behind one's own."""
    cycles = 1000
    rng, x, w, above, zeros, scales = beats(cycles)
    last = np.zeros(cycles, dtype=bool)
    last[np.cumsum(rng.integers(P.tile_rows, 9, cycles // 8))] = True

    actual = await drain(dut, P, x, w, last, above, zeros, scales)

    wanted = expected(P, x, factors(w, zeros, scales), last, above)
    begin = np.flatnonzero(last)[0] + latency(P)
    np.testing.assert_array_equal(actual[begin:], wanted[begin:])


@cocotb.test(skip=P.acc_format is not None)
async def extreme_sums(dut):
    """The accumulator holds the lowest and the highest sum."""
    count = P.length // P.lanes
    cycles = 2 * count + latency(P) + P.tile_rows
    x = np.full((cycles, P.tile_rows, P.lanes), 0x80)
    w = np.full((cycles, P.tile_columns, P.lanes), 0x0 if P.dequantises else 0x80)
    w[count:] = 0xf if P.dequantises else 0x7f
    last = np.zeros(cycles, dtype=bool)
    last[[count - 1, 2 * count - 1]] = True
    above = np.zeros((cycles, P.tile_columns), dtype=np.int64)

    actual = await drain(dut, P, x, w, last, above, above + 8, above + 255)

    for index, extreme in enumerate((128 * 128, -128 * 127)):
        first = (index + 1) * count - 1 + latency(P)
        assert (actual[first:first + P.tile_rows] == extreme * P.length).all()


@cocotb.test(skip=P.kind != "int8_pe")
async def every_pair_of_codes(dut):
    """All products, added up as far as a sum goes."""
    pairs = np.random.default_rng(cocotb.RANDOM_SEED).permutation(1 << 16)
    pairs = np.append(pairs, [0] * latency(P))
    x, w  = (codes.reshape(-1, 1, 1) for codes in (pairs >> 8, pairs & 0xff))
    last  = np.arange(len(x)) % P.group == P.group - 1

    above = np.zeros((len(x), 1), dtype=np.int64)

    actual = await drain(dut, P, x, w, last, above)

    begin = P.group - 1 + latency(P)
    np.testing.assert_array_equal(actual[begin:], expected(P, x, w, last, above)[begin:])


@cocotb.test(skip=P.kind != "fp16_fma")
@cocotb.parametrize(operands=list(OPERANDS))
async def fused_multiply_adds(dut, operands):
    """Sums of a few products, which bring the accumulator to any number, equal golden."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    x, w = OPERANDS[operands](rng, SETTINGS["count"])
    length = x.shape[1]
    pad  = np.zeros(latency(P), dtype=np.int64)
    beat = [np.append(codes.ravel(), pad).reshape(-1, 1, 1) for codes in (x, w)]
    last = np.arange(len(beat[0])) % length == length - 1

    drained = await drain(dut, P, *beat, last)

    actual, wanted = drained[length + 1::length, 0], np.zeros(len(x), dtype=np.int64)
    for k in range(length):
        before = wanted
        wanted = fma(x[:, k], w[:, k], before, P.acc_format)
    assert len(actual) == len(wanted)
    for index in np.flatnonzero(actual != wanted):
        a, b, c = (int(each[index]) for each in (x[:, -1], w[:, -1], before))
        raise AssertionError(f"{a:#x} * {b:#x} + {c:#x} must be {wanted[index]:#x}, "
                             f"not {actual[index]:#x}")


@cocotb.test(skip=not P.dequantises)
async def every_weight(dut):
    """What the dequantisers hand to the multipliers, for each code, zero point and scale.

    Of fp16 scales there are too many for some runs: those that matter and random ones.
    """
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    fmt = P.w_format
    scales = np.arange(1 << P.scale_format.bits)
    if len(scales) > SETTINGS["count"]:
        scales = np.append(CORNERS, rng.integers(0, len(scales), SETTINGS["count"] - len(CORNERS)))
    # Each beat has L codes for a zero point and a scale; every difference comes up.
    codes, zeros, scales = (each.ravel() for each in np.meshgrid(
        np.arange(0, 1 << fmt.bits, P.lanes), range(fmt.max_zero + 1), scales))
    if P.scale_format == FP16:
        chosen = (codes == 15) | (zeros == fmt.max_zero)
        codes, zeros, scales = (each[chosen] for each in (codes, zeros, scales))
    size = -(-len(codes) // P.tile_columns) * P.tile_columns
    codes, zeros, scales = (np.resize(each, size).reshape(-1, P.tile_columns)
                            for each in (codes, zeros, scales))
    w = (codes[..., None] + np.arange(P.lanes)) % (1 << fmt.bits)
    x = np.zeros((len(w), P.tile_rows, P.lanes), dtype=np.int64)

    _, actual = await drain(dut, P, x, w, np.zeros(len(w), dtype=bool), 0 * zeros, zeros, scales,
                            weights=True)

    np.testing.assert_array_equal(actual[1:], factors(w, zeros, scales)[:-1])


@cocotb.test(skip="operands" not in SETTINGS)
async def given_operands(dut):
    """Operands of a file, as for the switching activity; sums of ``beats`` cycles.

    The file has ``x``, ``w`` and, for a tile, ``zeros`` and ``scales``, in the shapes of
    :func:`tb.rival_driver.drain`.
    """
    with np.load(SETTINGS["operands"]) as arrays:
        x, w = arrays["x"], arrays["w"]
        zeros, scales = (arrays[name] if P.dequantises else None for name in ("zeros", "scales"))
    last = np.arange(len(x)) % P.beats == P.beats - 1
    above = np.zeros((len(x), P.tile_columns), dtype=np.int64)

    actual = await drain(dut, P, x, w, last, above, zeros, scales)

    begin = P.beats - 1 + latency(P)
    wanted = expected(P, x, factors(w, zeros, scales), last, above)
    np.testing.assert_array_equal(actual[begin:], wanted[begin:])
