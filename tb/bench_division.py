"""Cocotb test of the softmax unit's division; run by :mod:`tb.test_softmax_unit`."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadWrite, RisingEdge

from golden.softmax import rounded_fractions
from golden.softmax_parameters import SoftmaxParameters
from tb.settings import SETTINGS
from tb.stream import cycle, reset, start_clock

P = SoftmaxParameters.from_dict(SETTINGS["parameters"])

#: The exponent of the maximum.
ONE = 1 << P.exp_bits


def exponents(rng, count: int) -> np.ndarray:
    """Exponents of the codes, shape (count, levels), of any magnitude; some are as the last."""
    found = (2**rng.uniform(0, P.exp_bits + 1, (count, P.levels))).astype(np.int64) - 1
    found = np.where(rng.random(found.shape) < 0.2, ONE - rng.integers(0, 3, found.shape), found)
    found[:, -1] = ONE
    return np.clip(found, 0, ONE)


def sums(rng, each: np.ndarray) -> np.ndarray:
    """Sums of rows, shape (count,): of a few elements, of any number, near ties, the extremes."""
    count, top = len(each), P.max_length << P.exp_bits
    few = (each * rng.integers(0, 3, each.shape)).sum(1) + ONE
    any_ = (2**rng.uniform(P.exp_bits, np.log2(top), count)).astype(np.int64)
    # Half an odd number of the least steps of a result, as near as integers come.
    odd  = 2 * rng.integers(1, 1 << P.quotient_bits, count) + 1
    near = (each[np.arange(count), rng.integers(P.levels, size=count)]
            << P.quotient_bits + 1) // odd
    found = np.choose(rng.integers(0, 3, count), [few, any_, near + rng.integers(-1, 2, count)])
    found[:4] = ONE, ONE + 1, 2 * ONE, top
    return np.clip(found, ONE, top)


class Cases:
    """Random divisions, and what golden makes of them."""

    def __init__(self, rng):
        self.exponents = exponents(rng, SETTINGS["count"])
        self.sums      = sums(rng, self.exponents)
        self._wanted   = rounded_fractions(self.exponents, self.sums[:, None], P.y_format)
        # An element of another code than the highest comes with one of the highest.
        self._there = self.exponents + ONE <= self.sums[:, None]
        self._there[:, -1] = True
        assert self._there[:, :-1].any()

    def start(self, dut, index: int):
        """Set the inputs of a division for a cycle."""
        dut.start.value, dut.sum.value = 1, int(self.sums[index])
        dut.exponents.value = sum(int(each) << (P.exp_bits + 1) * k
                                  for k, each in enumerate(self.exponents[index]))

    def check(self, dut, index: int):
        """Assert that the outputs are those of a division."""
        assert dut.valid.value == 1
        word, bits = int(dut.probabilities.value), P.y_format.bits
        actual = [word >> k * bits & (1 << bits) - 1 for k in range(P.levels)]
        for k in np.flatnonzero(self._there[index]):
            assert actual[k] == self._wanted[index, k], (self.exponents[index], self.sums[index])


def withdraw(dut):
    """Take the inputs of a division back."""
    dut.start.value = dut.sum.value = dut.exponents.value = 0


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def quotients(dut):
    """Probabilities are those of golden, and there at the stated time."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    cases, took = Cases(rng), set()
    start_clock(dut)
    dut.taken.value = 0
    withdraw(dut)
    await reset(dut)
    for index in range(SETTINGS["count"]):
        cases.start(dut, index)
        await RisingEdge(dut.clk)
        withdraw(dut)
        dut.taken.value = 0
        begun = cycle()
        await RisingEdge(dut.clk)
        while not dut.valid.value:
            await RisingEdge(dut.clk)
            assert cycle() - begun <= P.levels * P.quotient_bits
        took.add(cycle() - begun)
        cases.check(dut, index)
        dut.taken.value = 1
    assert len(took) == 1
    assert took <= {SETTINGS.get("latency", *took)}


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def one_after_the_other(dut):
    """A division may begin before the probabilities of the one before are taken, which wait."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    cases, started = Cases(rng), 0
    start_clock(dut)
    dut.taken.value = 0
    withdraw(dut)
    await reset(dut)
    eager, patient = rng.random(2) ** 0.3
    for index in range(SETTINGS["count"]):
        waits = 0
        while not (dut.valid.value and waits):
            # Inputs of the cycle that begins.
            await FallingEdge(dut.clk)
            if dut.valid.value:
                cases.check(dut, index)
                waits = rng.random() < patient
            dut.taken.value = int(waits)
            withdraw(dut)
            await ReadWrite()
            if dut.ready.value and started < SETTINGS["count"] and rng.random() < eager:
                cases.start(dut, started)
                started += 1
        await RisingEdge(dut.clk)
    assert started == SETTINGS["count"]
