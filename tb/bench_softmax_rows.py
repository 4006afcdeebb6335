"""Cocotb measurement of either softmax unit on given rows; run by :mod:`scripts.softmax_synth`."""

import json
from itertools import accumulate
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from golden.softmax_parameters import Constants
from tb.bench_softmax import EXACT, LATENCY, P, expected
from tb.settings import SETTINGS
from tb.softmax_driver import SoftmaxDriver
from tb.stream import cycle, reset


async def record(dut, name: str, cycles: list[int]):
    """Append the cycle of each transfer of a stream."""
    valid, ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
    while True:
        await RisingEdge(dut.clk)
        if valid.value == 1 and ready.value == 1:
            cycles.append(cycle())


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def given_rows(dut):
    """Rows of a file, all of one length, back to back: right, and how fast.

    Writes cycles per row, from one row's last output to the next one's, and cycles from the first
    row's last input to its first output.
    """
    with np.load(SETTINGS["rows"]) as arrays:
        x = arrays["x"]
    chosen = [] if EXACT else [Constants(*map(tuple, SETTINGS["constants"]))] * P.sets
    mask = np.zeros(x.shape[1], dtype=bool)
    bench = SoftmaxDriver(dut, P, chosen)
    await reset(dut)
    inputs, outputs = [], []
    for name, cycles in (("x", inputs), ("y", outputs)):
        cocotb.start_soon(record(dut, name, cycles))
    words = P.row_cycles(x.shape[1])
    received = await bench.run([(row, mask, 0) for row in x],
                               limit=(len(x) + 2) * (words + LATENCY))
    for row, payloads in zip(x, received, strict=True):
        actual, *flags = bench.row(payloads, P.y_format.bits)
        wanted, *wanted_flags = expected(row, mask, 0, chosen, False)
        np.testing.assert_array_equal(actual, wanted)
        assert flags == wanted_flags
    ends = [outputs[index - 1] for index in accumulate([words] * len(x))]
    Path(SETTINGS["result"]).write_text(json.dumps({
        "cycles_per_row": (ends[-1] - ends[0]) / (len(x) - 1),
        "latency": outputs[0] - inputs[words - 1],
    }))
