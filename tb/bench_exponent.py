"""Cocotb test of the exact unit's exponent; run by :mod:`tb.test_softmax_unit`."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from golden.exact_softmax import exponents
from golden.softmax_parameters import BaselineParameters
from tb.settings import SETTINGS
from tb.stream import reset, start_clock

P = BaselineParameters.from_dict(SETTINGS["parameters"])


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def every_difference(dut):
    """Logits of every magnitude below maxima of every magnitude, one in each cycle."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    fmt, count = P.x_format, SETTINGS["count"]
    low, high = (1 << 15) + fmt.infinity, fmt.infinity
    codes = np.concatenate([rng.integers(0, high, count), rng.integers(1 << 15, low, count)])
    others = rng.permutation(codes)
    near = fmt.encode(fmt.decode(codes) - rng.exponential(4, 2 * count))
    x = np.concatenate([np.minimum(fmt.decode(codes), fmt.decode(others)), fmt.decode(near)])
    maxima = np.concatenate([np.maximum(fmt.decode(codes), fmt.decode(others)), fmt.decode(codes)])
    finite = np.isfinite(x)
    x, maxima = x[finite], maxima[finite]
    masked, invalid = rng.random(len(x)) < 0.05, rng.random(len(x)) < 0.05
    distances = np.ldexp(maxima - x, 24).astype(np.int64)
    wanted = np.where(masked | invalid, 0, exponents(distances, P))
    inputs = np.where(masked, fmt.infinity | 1 << fmt.bits - 1, fmt.encode(x))

    start_clock(dut)
    await reset(dut)
    found = []
    for cycle in range(len(x) + SETTINGS["latency"]):
        if cycle < len(x):
            dut.key.value = int(inputs[cycle])
            dut.maximum.value = int(np.ldexp(maxima[cycle], 24)) & (1 << len(dut.maximum)) - 1
            dut.invalid.value = int(invalid[cycle])
        await RisingEdge(dut.clk)
        if cycle >= SETTINGS["latency"]:
            found.append((int(dut.exponent.value), number(int(dut.element.value))))
    np.testing.assert_array_equal(np.array(found), np.stack([wanted, wanted], axis=1))


def number(element: int) -> int:
    """Exponent that an element keeps for the division."""
    if P.y_format.is_integer:
        return element
    size = P.value_bits + 1
    value = (element & (1 << size) - 1) << P.exp_bits - P.value_bits
    shifted = value >> (element >> size)
    assert shifted << (element >> size) == value, "a bit that the shift cuts is not 0"
    return shifted
