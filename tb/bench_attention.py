"""Runs one head through the chained units; started by :mod:`tb.attention_unit`."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiStreamFrame

from golden.registers import softmax_registers, values_registers
from golden.softmax_parameters import SoftmaxParameters
from golden.values_parameters import ValuesParameters
from tb.axi_unit import UnitRegisters, kept_bytes, stream_sink, stream_source
from tb.settings import SETTINGS
from tb.stream import PERIOD_NS, cycle
from tb.values_driver import Job

SOFTMAX = SoftmaxParameters.from_dict(SETTINGS["softmax"])
VALUES  = ValuesParameters.from_dict(SETTINGS["values"])


async def configure(softmax, values):
    """Write the constants of set 0, and choose codes as the softmax unit's outputs."""
    for k, magnitude in enumerate(SETTINGS["thresholds"], 1):
        await softmax.write(f"THRESHOLD_0_{k}", magnitude)
    for k, exponent in enumerate(SETTINGS["exponents"]):
        await softmax.write(f"EXPONENT_0_{k}", exponent)
        await values.write(f"EXPONENT_0_{k}", exponent)
    await softmax.write("MODE", 1)


def matrix(packet: bytes, m: int, d: int) -> np.ndarray:
    """Outputs in their places: they come by blocks of queries, then of columns, then queries."""
    y = np.zeros((m, d), dtype=np.int64)
    words = np.frombuffer(packet, f"<u{VALUES.y_format.bits // 8}")
    for first in range(0, m, VALUES.queries):
        for column in range(0, d, VALUES.columns):
            block = y[first:first + VALUES.queries, column:column + VALUES.columns]
            block[:], words = words[:block.size].reshape(block.shape), words[block.size:]
    assert len(words) == 0
    return y


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def head(dut):
    """Scores in, outputs out; write these and how long it took."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    with np.load(SETTINGS["head"]) as arrays:
        scores, v, scales = (arrays[name] for name in ("scores", "v", "scales"))
    (m, n), d = scores.shape, len(v)
    Clock(dut.aclk, PERIOD_NS, unit="ns").start()
    dut.aresetn.value = 0
    softmax = UnitRegisters(dut, softmax_registers(SOFTMAX), "softmax_s_axil")
    values  = UnitRegisters(dut, values_registers(VALUES), "values_s_axil")
    x = stream_source(dut, "softmax_s_axis_x")
    operands = {name: stream_source(dut, f"values_s_axis_{name}") for name in "vs"}
    y = stream_sink(dut, "values_m_axis_y")
    await ClockCycles(dut.aclk, 2)
    dut.aresetn.value = 1
    await ClockCycles(dut.aclk, 2)
    await configure(softmax, values)

    for name, number in (("QUERIES", m), ("TOKENS", n), ("COLUMNS", d), ("SET", 0),
                         ("CONTROL", 1)):
        await values.write(name, number)
    job = Job(list(scores), np.zeros(m, dtype=bool), v.T, scales, 0)
    for name, width in (("v", VALUES.tokens * VALUES.columns), ("s", 4 * VALUES.columns)):
        items = getattr(job, f"{name}_items")(VALUES, rng)
        await operands[name].send(AxiStreamFrame(b"".join(
            (item & (1 << 8 * width) - 1).to_bytes(width, "little") for item in items)))
    began = cycle()
    for row in scores:
        await x.send(AxiStreamFrame(row.astype("<u2").tobytes(), tuser=0))
    packet = await y.recv(compact=False)
    ended = cycle()

    await ClockCycles(dut.aclk, 100)
    assert y.empty()
    for unit in (softmax, values):
        assert await unit.read("STATUS") == 0
        assert await unit.read("ERROR") == 0
    np.savez(SETTINGS["result"], y=matrix(kept_bytes(packet), m, d), cycles=ended - began)
