"""Cocotb test of the softmax units' cycles against the model; run by :mod:`tb.test_cycles`."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from golden.unit_cycles import softmax_cycles
from tb.bench_softmax import P, any_constants
from tb.settings import SETTINGS
from tb.softmax_driver import SoftmaxDriver
from tb.stream import cycle, reset


async def transfers(stream, times: list[int]):
    """Note the cycle of each transfer."""
    while True:
        await RisingEdge(stream.clk)
        if stream.valid.value == 1 and stream.ready.value == 1:
            times.append(cycle())


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def rows_of_equal_length(dut):
    """From a row's first word to the last word of the last one it takes the model's cycles."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = SoftmaxDriver(dut, P, any_constants(rng))
    entered, left = [], []
    cocotb.start_soon(transfers(bench.x, entered))
    cocotb.start_soon(transfers(bench.y, left))
    for rows, n in SETTINGS["runs"]:
        await reset(dut)  # a table of sums is filled again
        entered.clear()
        left.clear()
        row = P.x_format.encode(rng.normal(size=n)), np.zeros(n, dtype=bool), 0
        expected = softmax_cycles(P, rows, n)
        await bench.run([row] * rows, limit=expected + 10)
        assert len(entered) == len(left) == rows * P.row_cycles(n)
        assert left[-1] - entered[0] == expected, (P.name, rows, n)
    await bench.idle()
