"""Cocotb tests of the reciprocal of a row's sum; run by :mod:`tb.test_values_unit`."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from golden.attention import reciprocals
from golden.formats import FORMATS
from golden.values_parameters import RECIPROCAL_CYCLES, ValuesParameters
from tb.settings import SETTINGS
from tb.stream import reset, start_clock

P = ValuesParameters.from_dict(SETTINGS["parameters"])


def sums(rng) -> list[int]:
    """0, powers of two and their neighbours, those whose reciprocals are near halves, and any."""
    top = P.max_length << P.exp_bits
    powers = 1 << np.arange(P.sum_bits)
    drawn  = rng.integers(1, top + 1, SETTINGS["count"]) >> rng.integers(0, P.sum_bits,
                                                                         SETTINGS["count"])
    # With S = 2**32 / (2 * odd + 1) the quotient's bits are few, and what is left is small.
    odd  = 2 * rng.integers(1, 1 << P.sum_bits // 2, SETTINGS["count"] // 4) + 1
    near = (1 << 48) // odd >> max(0, 48 - P.sum_bits)
    found = np.concatenate([[0, top], powers, powers - 1, powers + 1, drawn, near])
    return [int(each) for each in found if each <= top]


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def every_kind(dut):
    """Rounded as golden does, and there at the stated time."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    start_clock(dut)
    dut.start.value = 0
    await reset(dut)
    values = sums(rng)
    wanted = FORMATS["fp32"].encode(reciprocals(np.array(values)))
    for value, code in zip(values, map(int, wanted), strict=True):
        dut.start.value, dut.sum.value = 1, value
        await RisingEdge(dut.clk)
        dut.start.value, dut.sum.value = 0, int(rng.integers(1 << P.sum_bits))
        for _ in range(RECIPROCAL_CYCLES - 1):
            await RisingEdge(dut.clk)
            assert dut.done.value == 0
        await RisingEdge(dut.clk)
        assert dut.done.value == 1
        assert int(dut.code.value) == code, f"{value}: {int(dut.code.value):08x}, not {code:08x}"
