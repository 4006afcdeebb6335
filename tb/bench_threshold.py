"""Cocotb test of the softmax unit's thresholds; run by :mod:`tb.test_softmax_unit`."""

from bisect import bisect_left
from fractions import Fraction

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from golden.softmax_parameters import THRESHOLD_BITS, THRESHOLD_POINT, SoftmaxParameters
from tb.settings import SETTINGS
from tb.stream import reset, start_clock

P = SoftmaxParameters.from_dict(SETTINGS["parameters"])


def cases(rng, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of maxima of every magnitude; for each a magnitude, its own nearly, or any.

    A third of the differences are numbers of the format, as far as magnitudes are fine enough.
    """
    fmt = P.x_format
    sign = rng.integers(0, 2, count) << fmt.bits - 1
    codes = np.where(rng.random(count) < 0.5, rng.integers(0, fmt.infinity, count),
                     fmt.encode(2.0**rng.uniform(-25, 6, count))) | sign
    codes[:4] = [0, 1 << fmt.bits - 1, fmt.infinity - 1, fmt.infinity - 1 | 1 << fmt.bits - 1]
    top = (1 << THRESHOLD_BITS) - 1
    own = np.ldexp(np.abs(fmt.decode(codes)), THRESHOLD_POINT)
    near = np.clip(own, 0, top).astype(np.int64) + rng.integers(-2, 3, count)
    any_ = (2.0**rng.uniform(0, THRESHOLD_BITS, count)).astype(np.int64)
    maximum, limit = fmt.decode(codes), fmt.decode([fmt.max_finite])
    number = fmt.decode(fmt.encode(np.clip(maximum - np.ldexp(any_, -THRESHOLD_POINT),
                                           -limit, limit)))
    exact = np.ldexp(maximum - number, THRESHOLD_POINT).astype(np.int64)
    found = np.choose(rng.choice(3, count, p=[0.3, 0.4, 0.3]), [near, any_ - 1, exact])
    return codes, np.clip(found, 0, top)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def least_numbers(dut):
    """Each key is that of the least number x with x - m >= -magnitude, by fractions."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    fmt = P.x_format
    codes, magnitudes = cases(rng, SETTINGS["count"])
    # In ascending order; zero with its sign stands for both.
    finite = [*range(fmt.infinity - 1 | 1 << fmt.bits - 1, (1 << fmt.bits - 1) - 1, -1),
              *range(1, fmt.infinity)]
    values = fmt.decode(finite).tolist()

    start_clock(dut)
    await reset(dut)
    for code, magnitude in zip(codes.tolist(), magnitudes.tolist(), strict=True):
        dut.maximum.value = code
        dut.magnitude.value = magnitude
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        bound = Fraction(fmt.decode([code]).item()) - Fraction(magnitude, 1 << THRESHOLD_POINT)
        wanted = finite[bisect_left(values, bound)]
        assert int(dut.key.value) == wanted, (code, magnitude)
