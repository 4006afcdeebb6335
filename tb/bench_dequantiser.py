"""Dequantisation against numpy's binary32. Runs in the simulator."""

from dataclasses import dataclass

import cocotb
import ml_dtypes
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from golden.parameters import ACCUMULATE_LOOP
from hdl.dequantiser import Dequantiser
from tb.packed import pack
from tb.settings import SETTINGS, parameters

PARAMETERS = parameters()
ROWS       = PARAMETERS.band_rows
NAN        = 0x7fc00000

#: Scales of note, without sign, by format: zero, subnormal, normal, one, large, special.
SCALES = {
    "fp16": [0x0000, 0x0001, 0x0002, 0x01ff, 0x03ff, 0x0400, 0x0401, 0x1400, 0x211f, 0x3bff,
             0x3c00, 0x3c01, 0x3fff, 0x5555, 0x7800, 0x7bff, 0x7c00, 0x7c01, 0x7e00, 0x7fff],
    "bf16": [0x0000, 0x0001, 0x0002, 0x003f, 0x007f, 0x0080, 0x0081, 0x0400, 0x0b80, 0x3c2a,
             0x3f7f, 0x3f80, 0x3f81, 0x3fff, 0x5555, 0x7480, 0x7eff, 0x7f7f, 0x7f80, 0x7f81,
             0x7fc0, 0x7fff],
}


@dataclass
class Sums:
    """What the dequantiser takes; arrays of shape [visits, ROWS]."""

    sum: np.ndarray
    row_sum: np.ndarray
    zero: np.ndarray
    scale: np.ndarray
    first: np.ndarray

    def accumulators(self):
        """Codes of the accumulators after each visit, by numpy; shape [visits, ROWS]."""
        dtype = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}[PARAMETERS.scale]
        acc, codes = np.zeros(ROWS, dtype=np.float32), np.empty(self.sum.shape, dtype=np.uint32)
        with np.errstate(all="ignore"):
            t = (self.sum - self.zero * self.row_sum).astype(np.float32)
            p = t * self.scale.astype(np.uint16).view(dtype).astype(np.float32)
            for visit, addend in enumerate(p):
                acc = np.where(self.first[visit], np.float32(0), acc) + addend
                codes[visit] = np.where(np.isnan(acc), NAN, acc.view(np.uint32))
        return codes


def integers(rng, shape):
    """Sums, sums of rows and zero points such that the corrected sum is of every size."""
    def within(values, width):
        return np.clip(values, -(1 << width - 1), (1 << width - 1) - 1)

    x, w   = PARAMETERS.x_format, PARAMETERS.w_format
    group  = PARAMETERS.group
    bounds = sorted(a * b * group for a in (x.low, x.high) for b in (w.low, w.high))
    size   = rng.integers(0, PARAMETERS.corrected_bits, shape)
    wanted = np.select([rng.random(shape) < share for share in (0.1, 0.2, 0.8)],
                       [np.zeros(shape), np.ldexp(1.0, size) + rng.integers(-1, 2, shape),
                        np.ldexp(rng.random(shape), size)],
                       rng.integers(bounds[0], bounds[-1], shape, endpoint=True))
    wanted = wanted.astype(np.int64) * rng.choice([-1, 1], shape)
    if not w.max_zero:
        return np.clip(wanted, bounds[0], bounds[-1]), np.zeros(shape, int), np.zeros(shape, int)
    row_sum = rng.integers(x.low * group, x.high * group, shape, endpoint=True)
    row_sum = np.where(rng.random(shape) < 0.1, rng.choice([x.low, x.high], shape) * group, row_sum)
    zero    = rng.integers(0, w.max_zero, shape, endpoint=True)
    return np.clip(wanted + zero * row_sum, bounds[0], bounds[-1]), row_sum, zero


def scales(rng, shape):
    """Codes of scales: of note, any, or as in a checkpoint."""
    fmt       = PARAMETERS.scale_format
    sign      = rng.integers(0, 2, shape) << fmt.bits - 1
    realistic = fmt.encode(np.exp(rng.normal(-6, 1, shape)))
    return np.select([rng.random(shape) < share for share in (0.2, 0.3)],
                     [rng.choice(SCALES[PARAMETERS.scale], shape),
                      rng.integers(0, 1 << fmt.bits - 1, shape)], realistic) | sign


def stimuli(rng, visits):
    """Random outputs of one to eight groups, and groups that cancel the one before."""
    shape = (visits, ROWS)
    total, row_sum, zero = integers(rng, shape)
    scale = scales(rng, shape)
    first = np.zeros(visits, dtype=bool)
    first[np.cumsum(rng.integers(1, 9, visits))[:visits // 9]] = True
    first[0] = True

    # Exactly, or up to the last place of the scale: what is left is small or subnormal.
    cancel = (rng.random(shape) < 0.2) & ~first[:, None]
    for visit in range(1, visits):
        row = cancel[visit]
        for values in (total, row_sum, zero):
            values[visit, row] = values[visit - 1, row]
        flip = rng.integers(0, 2, ROWS) | 1 << PARAMETERS.scale_format.bits - 1
        scale[visit, row] = (scale[visit - 1] ^ flip)[row]
    return Sums(total, row_sum, zero, scale, np.repeat(first[:, None], ROWS, axis=1))


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
        cycles = start[-1] + length + 2 * Dequantiser.LATENCY

        # Idle cycles carry noise: only `valid` says what counts.
        width = {"bank": 1, "first": 1, "row": 8, "sum": 40, "row_sum": 40, "zero": 8, "scale": 16,
                 "read_row": 8, "read_bank": 1}
        self.columns = {name: rng.integers(0, 1 << bits, cycles) for name, bits in width.items()}
        self.columns["valid"] = np.zeros(cycles, dtype=int)
        self.columns["read_row"] %= ROWS
        bank = np.cumsum(sums.first[:, 0]) % 2
        when = (start[:, None] + np.arange(ROWS)).ravel()
        rows = order.ravel()
        visit = np.repeat(np.arange(visits), ROWS)
        for name, values in vars(sums).items():
            self.columns[name][when] = values[visit, rows]
        for name, values in (("row", rows), ("bank", bank[visit]), ("valid", 1)):
            self.columns[name][when] = values
        self.reads = self._reads(when, rows, bank[visit], sums.accumulators()[visit, rows])

    def _reads(self, when, rows, banks, codes):
        """Read the bank that is not in use, from ``LATENCY`` cycles after its last sum."""
        reads, known = {}, {}
        settled = [0, 0]  # cycle from which each bank can be read
        at = {cycle: index for index, cycle in enumerate(when.tolist())}
        busy = 0
        for cycle in range(len(self.columns["valid"])):
            if (index := at.get(cycle)) is not None:
                busy = banks[index]
                known[busy, rows[index]] = int(codes[index])
                settled[busy] = cycle + Dequantiser.LATENCY
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
