"""Dequantisation against numpy's binary32. Runs in the simulator."""

import math
from dataclasses import dataclass
from fractions import Fraction

import cocotb
import ml_dtypes
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from golden.formats import FORMATS
from golden.parameters import ACCUMULATE_LOOP
from tb.packed import pack
from tb.settings import SETTINGS, parameters

PARAMETERS = parameters()
ROWS       = PARAMETERS.band_rows
NAN        = 0x7fc00000

#: Lowest and highest activation and weight, in steps.
XS = PARAMETERS.x_format.low, PARAMETERS.x_format.high
WS = ((0, FORMATS["uint8"].high) if PARAMETERS.wide
      else (PARAMETERS.w_format.low, PARAMETERS.w_format.high))

#: Scales of note, without sign, by format: zero, subnormal, normal, one, large, special.
SCALES = {
    "fp16": [0x0000, 0x0001, 0x0002, 0x01ff, 0x03ff, 0x0400, 0x0401, 0x1400, 0x211f, 0x3bff,
             0x3c00, 0x3c01, 0x3fff, 0x5555, 0x7800, 0x7bff, 0x7c00, 0x7c01, 0x7e00, 0x7fff],
    "bf16": [0x0000, 0x0001, 0x0002, 0x003f, 0x007f, 0x0080, 0x0081, 0x0400, 0x0b80, 0x3c2a,
             0x3f7f, 0x3f80, 0x3f81, 0x3fff, 0x5555, 0x7480, 0x7eff, 0x7f7f, 0x7f80, 0x7f81,
             0x7fc0, 0x7fff],
    "e4m3": [0x00, 0x01, 0x02, 0x07, 0x08, 0x09, 0x37, 0x38, 0x39, 0x77, 0x7e, 0x7f],
    "e8m0": [0x00, 0x01, 0x02, 0x17, 0x66, 0x67, 0x7e, 0x7f, 0x80, 0xe8, 0xfd, 0xfe, 0xff],
}

DTYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "e4m3": ml_dtypes.float8_e4m3fn,
          "e8m0": ml_dtypes.float8_e8m0fnu}


def scale_values(codes, fmt):
    """Scales as float32, exact."""
    return codes.astype(f"u{fmt.bits // 8}").view(DTYPES[fmt.name]).astype(np.float32)


def nearest(number):
    """A fraction rounded to float32, by comparison with each number around it."""
    near  = np.float32(float(number))  # rounded twice, thus off by one at most
    above = np.nextafter(near, np.float32(np.inf))
    below = np.nextafter(near, np.float32(-np.inf))

    def rank(candidate):
        """Distance, then evenness of the code; infinity is the power of two that is too large."""
        real = Fraction(2)**128 * int(np.sign(candidate)) if np.isinf(candidate) else (
            Fraction(float(candidate)))
        return abs(number - real), int(candidate.view(np.uint32)) & 1

    return min((near, above, below), key=rank)


@dataclass
class Sums:
    """What the dequantiser takes; arrays of shape [visits, ROWS], zero where it takes no such."""

    sum: np.ndarray
    row_sum: np.ndarray
    zero: np.ndarray
    x_zero: np.ndarray
    column_sum: np.ndarray
    bad: np.ndarray
    scale: np.ndarray
    x_scale: np.ndarray
    first: np.ndarray

    def accumulators(self):
        """Codes of the accumulators after each visit, by numpy; shape [visits, ROWS]."""
        p = PARAMETERS
        unit = p.x_format.step * p.w_format.step
        acc, codes = np.zeros(ROWS, dtype=np.float32), np.empty(self.sum.shape, dtype=np.uint32)
        exact = self.sum - self.zero * self.row_sum - self.x_zero * self.column_sum
        with np.errstate(all="ignore"):
            if p.float_sums:
                t = np.vectorize(lambda steps: nearest(steps * Fraction(unit)), [np.float32])(exact)
                t = np.where(self.bad, np.float32(np.nan), t)
            else:
                t = (exact * unit).astype(np.float32)
            s = scale_values(self.scale, p.scale_format)
            if p.x_scale_format:
                s = s * scale_values(self.x_scale, p.x_scale_format)
            for visit, addend in enumerate(t * s):
                acc = np.where(self.first[visit], np.float32(0), acc) + addend
                codes[visit] = np.where(np.isnan(acc), NAN, acc.view(np.uint32))
        return codes


def extremes(xs, ws):
    """Lowest and highest sum of a group of products."""
    products = [x * w * PARAMETERS.group for x in xs for w in ws]
    return min(products), max(products)


def integers(rng, low, high, shape):
    """Integers of ``low`` to ``high``: 0, either end, and of every size.

    Of the last some are next to a power of two, or next to the middle of two numbers of binary32.
    """
    bits, count = max(-low, high).bit_length(), math.prod(shape)
    values = []
    for kind, size, sign, delta, digits in zip(
            rng.random(count), rng.integers(0, bits + 1, count), rng.choice([-1, 1], count),
            rng.integers(-1, 2, count), rng.integers(0, 1 << 62, count), strict=True):
        size, sign, delta, digits = int(size), int(sign), int(delta), int(digits)
        if kind < 0.1:
            value = (0, low, high)[delta]
        elif kind < 0.2:
            value = sign * (1 << size) + delta
        elif kind < 0.3:
            value = sign * ((digits >> 38 | 1 << 24 | 1) << max(0, size - 25)) + delta
        else:
            value = sign * (digits << size >> 62)
        values.append(min(max(value, low), high))
    return np.array(values, dtype=np.int64 if bits < 62 else object).reshape(shape)


def sums(rng, shape):
    """Sums, sums of rows and columns, and zero points; the corrected sum is of every size."""
    p, x   = PARAMETERS, PARAMETERS.x_format
    spread = (x.low - x.high, x.high - x.low) if p.x_zero else XS
    total  = integers(rng, *extremes(spread, p.weight_range), shape)
    row_sum, zero, x_zero, column_sum = (np.zeros(shape, dtype=np.int64) for _ in range(4))
    if p.max_zero:
        row_sum = integers(rng, *extremes(XS, (1, 1)), shape)
        zero    = rng.integers(0, p.max_zero, shape, endpoint=True)
    if p.x_zero:
        column_sum = integers(rng, *extremes((1, 1), p.weight_range), shape)
        x_zero     = integers(rng, x.low, x.high, shape)
    total = np.clip(total + zero * row_sum + x_zero * column_sum, *extremes(XS, WS))
    return total, row_sum, zero, x_zero, column_sum


def scales(rng, fmt, shape):
    """Codes of scales: of note, any, or as in a checkpoint."""
    sign      = rng.integers(0, 2, shape) << fmt.bits - 1 if fmt.signed else 0
    realistic = fmt.encode(np.exp(rng.normal(-6 if fmt.bits > 8 else 0, 1, shape)))
    return np.select([rng.random(shape) < share for share in (0.2, 0.3)],
                     [rng.choice(SCALES[fmt.name], shape),
                      rng.integers(0, 1 << fmt.bits - fmt.signed, shape)], realistic) | sign


def stimuli(rng, visits):
    """Random outputs of one to eight groups, and groups that cancel the one before."""
    p, shape = PARAMETERS, (visits, ROWS)
    total, *rest = sums(rng, shape)
    scale   = scales(rng, p.scale_format, shape)
    x_scale = (scales(rng, p.x_scale_format, shape) if p.x_scale_format
               else np.zeros(shape, dtype=np.int64))
    bad     = rng.random(shape) < (0.02 if p.float_sums else 0)
    first   = np.zeros(visits, dtype=bool)
    first[np.cumsum(rng.integers(1, 9, visits))[:visits // 9]] = True
    first[0] = True

    # Exactly, or up to the last place of the scale: what is left is small or subnormal.
    cancel = (rng.random(shape) < 0.2) & ~first[:, None]
    ends   = extremes(XS, WS)
    for visit in range(1, visits):
        row = cancel[visit]
        for values in (total, *rest, x_scale):
            values[visit, row] = values[visit - 1, row]
        if p.scale_format.signed:
            flip = rng.integers(0, 2, ROWS) | 1 << p.scale_format.bits - 1
            scale[visit, row] = (scale[visit - 1] ^ flip)[row]
        else:
            scale[visit, row] = scale[visit - 1, row]
            total[visit, row] = np.clip(-total[visit], *ends)[row]
    return Sums(total, *rest, bad, scale, x_scale, np.repeat(first[:, None], ROWS, axis=1))


def noise(rng, bits, count):
    """Numbers of some bits."""
    if bits < 63:
        return rng.integers(0, 1 << bits, count)
    size = -(-bits // 8)
    return np.array([int.from_bytes(rng.bytes(size), "little") for _ in range(count)], dtype=object)


class Schedule:
    """Which visit of which row enters in which cycle, and what can be read when.

    Outputs alternate between the banks. A visit takes ``max(ROWS, ACCUMULATE_LOOP)`` cycles, the
    least that is allowed, and sometimes more; its rows are in random order if their next visits
    remain far enough away.

    Attributes
    ----------
    columns : dict of str to ndarray
        Values of each input in each cycle.
    reads : dict of int to int
        Result that must be seen in a cycle.
    """

    def __init__(self, rng, sums):
        self._rng = rng
        length = max(ROWS, ACCUMULATE_LOOP)
        visits = len(sums.sum)
        pause  = np.where(rng.random(visits) < 0.1, rng.integers(1, 9, visits), 0)
        start  = np.cumsum(pause + length) - length
        order  = np.stack([rng.permutation(ROWS)] * visits)
        cycles = start[-1] + length + 2 * PARAMETERS.dequantise_latency

        # Idle cycles carry noise: only `valid` says what counts.
        self.columns = {name: noise(rng, bits, cycles) for name, bits in SETTINGS["inputs"]}
        self.columns["valid"] = np.zeros(cycles, dtype=int)
        self.columns["read_row"] %= ROWS
        bank = np.cumsum(sums.first[:, 0]) % 2
        when = (start[:, None] + np.arange(ROWS)).ravel()
        rows = order.ravel()
        visit = np.repeat(np.arange(visits), ROWS)
        for name, values in vars(sums).items():
            if name in self.columns:
                self.columns[name][when] = values[visit, rows]
        for name, values in (("row", rows), ("bank", bank[visit]), ("valid", 1)):
            self.columns[name][when] = values
        self.reads = self._reads(when, rows, bank[visit], sums.accumulators()[visit, rows])

    def _reads(self, when, rows, banks, codes):
        """Read the bank that is not in use, when its last sum has come through."""
        reads, known = {}, {}
        settled = [0, 0]  # cycle from which each bank can be read
        at = {cycle: index for index, cycle in enumerate(when.tolist())}
        busy = 0
        for cycle in range(len(self.columns["valid"])):
            if (index := at.get(cycle)) is not None:
                busy = banks[index]
                known[busy, rows[index]] = int(codes[index])
                settled[busy] = cycle + PARAMETERS.dequantise_latency
            bank = 1 - busy
            row = self.columns["read_row"][cycle]
            if cycle >= settled[bank] and (bank, row) in known:
                self.columns["read_bank"][cycle] = bank
                reads[cycle + 1] = known[bank, row]
        return reads


@cocotb.test()
async def equals_numpy(dut):
    """Every accumulator equals numpy's, at the closest spacing of visits and with pauses."""
    rng   = np.random.default_rng(cocotb.RANDOM_SEED)
    sums  = stimuli(rng, -(-SETTINGS["count"] // ROWS))
    plan  = Schedule(rng, sums)
    words = pack(SETTINGS["inputs"], plan.columns)

    Clock(dut.clk, 2, unit="ns").start()
    dut.rst.value = 1
    dut.i.value = 0
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    for cycle, word in enumerate(words):
        dut.i.value = word
        await RisingEdge(dut.clk)
        # Sampled before the edge: the result of the cycle that now ends.
        if (wanted := plan.reads.get(cycle)) is not None:
            result = int(dut.o.value)
            assert result == wanted, f"Cycle {cycle} must read {wanted:08x}, not {result:08x}"
    assert len(plan.reads) > len(words) // 2
