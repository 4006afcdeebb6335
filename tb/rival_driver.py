"""Driver of a rival, and what it must answer."""

import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from golden.rivals import RivalParameters, dot, fma
from golden.stream import pack
from tb.stream import start_clock
from tb.tile_driver import signed_fields

__all__ = ["latency", "drains", "drain", "expected", "running"]


def latency(p: RivalParameters) -> int:
    """Cycles from operands to the bottom row's sum."""
    return 3 if drains(p) else 2


def drains(p: RivalParameters) -> bool:
    """Whether sums drain from shadows; an element may have none."""
    return p.dequantises or p.shadow


async def drain(dut, p: RivalParameters, x, w, last, above=None, zeros=None, scales=None, *,
                weights: bool = False):
    """Sums that drain from the rival, shape (cycles, C), when it is fed one beat in each cycle.

    A reset in the middle of junk goes before them.

    Codes of activations ``x`` have shape (cycles, R, L), of weights ``w`` (cycles, C, L), ``last``
    (cycles,); of a tile the sums ``above``, ``zeros`` and codes ``scales`` have (cycles, C). With
    ``weights`` those that leave in ``w_o`` come too, codes of shape (cycles, C, L).
    """
    inputs = {"x_i": pack(x.reshape(len(x), -1), p.x_format.bits),
              "w_i": pack(w.reshape(len(w), -1), p.w_format.bits), "last_i": last.tolist()}
    if drains(p):
        inputs["drain_i"] = pack(above, p.sum_bits)
    if p.dequantises:
        inputs |= {"zero_i": pack(zeros, p.w_format.zero_bits),
                   "scale_i": pack(scales, p.scale_format.bits)}
    start_clock(dut)
    ports = [getattr(dut, name) for name in inputs]
    for port in ports:
        port.value = (1 << len(port)) - 1
    # Whatever is in flight goes, and beats follow a reset at once.
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    drained, passed = [], []
    for beat in zip(*inputs.values(), strict=True):
        for port, value in zip(ports, beat, strict=True):
            port.value = value
        await RisingEdge(dut.clk)
        drained.append(int(dut.drain_o.value))
        if weights:
            passed.append(int(dut.w_o.value))
    sums = _fields(drained, p.sum_bits, p.tile_columns, signed=p.acc_format is None)
    if not weights:
        return sums
    codes = _fields(passed, p.factor_format.bits, p.tile_columns * p.lanes, signed=False)
    return sums, codes.reshape(len(codes), p.tile_columns, p.lanes)


def _fields(words, bits, count, *, signed):
    """Fields of words, the lowest first; shape (words, count)."""
    fields = signed_fields(words, bits, count)
    return fields if signed else fields % (1 << bits)


def running(p: RivalParameters, x, w, last):
    """Accumulators after each beat by golden, shape (cycles, R, C); ``w`` are the factors."""
    if p.acc_format is None:
        sums = dot(p, x, w.swapaxes(1, 2)).cumsum(axis=0)
        ends = np.flatnonzero(last)
        before = np.concatenate([0 * sums[:1], sums[ends]])
        return sums - before[np.searchsorted(ends, np.arange(len(x)))]
    acc = np.zeros((p.tile_rows, p.tile_columns), dtype=np.int64)
    sums = np.zeros((len(x), *acc.shape), dtype=np.int64)
    for cycle in range(len(x)):
        sums[cycle] = fma(x[cycle], w[cycle].T, acc, p.acc_format)
        acc = np.zeros_like(acc) if last[cycle] else sums[cycle]
    return sums


def expected(p: RivalParameters, x, w, last, above=None):
    """What :func:`drain` must give from the first sum on: shadows as a shift register."""
    sums = running(p, x, w, last)
    drained = np.zeros((len(x), p.tile_columns), dtype=np.int64)
    if not drains(p):
        drained[latency(p):] = sums[:-latency(p), 0]
        return drained
    shadow = np.zeros_like(sums[0])
    for cycle in range(len(x) - latency(p)):
        if last[cycle]:
            shadow = sums[cycle]
        else:
            # The register behind a tile's shadows is a cycle more.
            shadow = np.vstack([above[cycle + 1 + p.shadow], shadow[:-1]])
        drained[cycle + latency(p)] = shadow[-1]
    return drained
