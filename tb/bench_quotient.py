"""Cocotb test of the exact unit's division; run by :mod:`tb.test_softmax_unit`."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from golden.softmax import rounded_fractions
from golden.softmax_parameters import BaselineParameters
from tb.settings import SETTINGS
from tb.softmax_driver import fields
from tb.stream import reset, start_clock

P = BaselineParameters.from_dict(SETTINGS["parameters"])

LATENCY = SETTINGS["latency"]


def sums(rng) -> list[int]:
    """Sums of rows: powers of two and small multiples of them, which give ties, and any."""
    one, most = 1 << P.exp_bits, P.max_length << P.exp_bits
    chosen = [one, one + 1, most - 1, most]
    chosen += [odd * one << place for odd in (1, 3, 5) for place in range(1, 12)]
    chosen += [int(2.0**power) for power in rng.uniform(P.exp_bits, P.sum_bits, 10)]
    return [total for total in chosen if one <= total <= most]


def elements(rng, total: int) -> list[tuple[int, int]]:
    """Exponents and how far each is shifted, ones near ties among them."""
    top, shifts = 1 << P.value_bits, P.exp_bits + 1
    values = [top, top // 2, top - 1, *rng.integers(top // 2, top, 20)]
    # Few significant bits, so that quotients by powers of two end.
    values += [int(value) << P.value_bits - 13 for value in rng.integers(1 << 12, 1 << 13, 40)]
    found = [(int(value), int(rng.integers(shifts))) for value in values] + [(top, 0), (0, 0)]
    place = P.exp_bits - P.value_bits
    exponents = [(value << place >> shift, shift) for value, shift in found]
    if P.y_format.is_integer:  # about halfway between two outputs
        halves = rng.integers(0, 1 << P.quotient_bits, 20)
        exponents += [((2 * int(half) + 1) * total + error >> P.quotient_bits + 1, 0)
                      for half in halves for error in (-1, 0, 1)]
    return [each for each in exponents if each[0] <= 1 << P.exp_bits]


def word(exponent: int, shift: int) -> int:
    """Element of an exponent that has been shifted."""
    if P.y_format.is_integer:
        return exponent
    value = exponent << shift >> P.exp_bits - P.value_bits
    return value | shift << P.value_bits + 1


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def ties_and_any(dut):
    """Quotients that end, that are halfway between two outputs and any, one in each cycle."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    start_clock(dut)
    dut.enable.value = 1
    await reset(dut)
    ties = 0
    for total in sums(rng):
        inputs = elements(rng, total)
        exponents = np.array([exponent for exponent, _ in inputs])
        wanted = rounded_fractions(exponents, np.array(total), P.y_format)
        drive(dut, total)
        found = []
        for cycle in range(len(inputs) + LATENCY):
            if cycle < len(inputs):
                dut.element.value = word(*inputs[cycle])
            await RisingEdge(dut.clk)
            if cycle >= LATENCY:
                found.append(int(dut.probability.value))
        np.testing.assert_array_equal(found, wanted, err_msg=str(total))
        ties += sum(is_tie(exponent, total) for exponent in exponents.tolist())
    dut._log.info("%d ties", ties)
    assert ties >= 10


def drive(dut, total: int):
    """Drive the sum of the row that is in all stages."""
    digits, stages = len(dut.beyond), LATENCY
    if P.y_format.is_integer:
        dut.sums.value = fields([total] * stages, P.sum_bits)
        widths = [min(P.exp_bits + digit + 2, P.sum_bits + 1) for digit in range(digits)]
        dut.beyond.value = fields([total >> width != 0 for width in widths], 1)
    else:
        shift = P.sum_bits - total.bit_length()
        dut.sums.value = fields([total << shift] * stages, P.sum_bits)
        dut.beyond.value = dut.invalid.value = 0
        dut.scale.value = total.bit_length() - 1 - P.exp_bits


def is_tie(exponent: int, total: int) -> bool:
    """Whether a quotient is halfway between two outputs."""
    fmt = P.y_format
    point = P.quotient_bits
    bits = 0 if fmt.is_integer else max(
        ((exponent << point) // total).bit_length() - 1 - fmt.man_bits, 0)
    halves, rest = divmod(exponent << point + 1, total << bits)
    return rest == 0 and halves % 2 == 1
