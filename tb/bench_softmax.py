"""Cocotb tests of both softmax units; run by :mod:`tb.test_softmax_unit`."""

from dataclasses import dataclass
from itertools import pairwise

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from golden.exact_softmax import exact_softmax
from golden.exaq import constants
from golden.softmax import softmax
from golden.softmax_parameters import (
    THRESHOLD_BITS,
    THRESHOLD_POINT,
    BaselineParameters,
    Constants,
    SoftmaxParameters,
)
from tb.settings import SETTINGS, STALLS, reset_cycles
from tb.softmax_driver import SoftmaxDriver
from tb.stream import cycle, no_pauses, random_pauses, reset

#: Whether the unit is the one with exact exponents, which has neither constants nor codes.
EXACT = SETTINGS.get("exact", False)

P = (BaselineParameters if EXACT else SoftmaxParameters).from_dict(SETTINGS["parameters"])

#: Cycles that a row may wait for a table of sums.
FILL = 0 if EXACT or P.accumulate == "counters" else P.lut_entries + 1

#: Cycles from a row's last input to its first output, at most, without those of its words.
LATENCY = 100 + FILL


def any_constants(rng) -> list[Constants]:
    """Constants of every set: those of clips, in place of some any exponents and extreme ones."""
    if EXACT:
        return []
    found = [constants(-float(lo), P) for lo in rng.uniform(0.01, 20, P.sets)]
    top, steps, one = (1 << 29) - 1, P.levels - 1, 1 << P.exp_bits
    lower = np.where(rng.random(steps) < 0.3, one, rng.integers(0, one, steps))
    extremes = [
        Constants(found[0].thresholds, (*sorted(lower.tolist()), one)),
        Constants(tuple(range(top, top - steps, -1)), (0,) * steps + (one,)),
        Constants(tuple(range(steps - 1, -1, -1)), (one,) * P.levels),
    ]
    for chosen, extreme in zip(rng.permutation(P.sets), extremes, strict=False):
        if rng.random() < 0.5:
            found[chosen] = extreme
    return found


def any_nan(rng) -> int:
    """Code of a NaN with any sign and payload."""
    fmt = P.x_format
    payload = rng.integers(1, 1 << fmt.man_bits)
    return int(fmt.infinity | payload | rng.integers(2) << fmt.bits - 1)


def any_row(rng, n: int, kind: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Codes of logits of some kind, and mask bits."""
    fmt, kind = P.x_format, rng.integers(0, 9) if kind is None else kind
    x = fmt.encode(rng.normal(size=n) * rng.choice([0.01, 1, 4, 100]) + rng.choice([0, 0, 5, -300]))
    mask = np.zeros(n, dtype=bool)
    if kind == 1:
        x[:] = x[0]
    elif kind == 2:
        x = rng.integers(0, fmt.infinity, n) | rng.integers(0, 2, n) << fmt.bits - 1
    elif kind == 3:
        mask = rng.random(n) < 0.5
    elif kind == 4:
        mask[:] = True
    elif kind == 5:
        x[rng.integers(n)] = fmt.encode(200.0)
    elif kind == 6:
        x = np.where(rng.random(n) < 0.3, fmt.infinity | 1 << fmt.bits - 1, x)
    elif kind == 7:
        x[rng.integers(n)] = rng.choice([fmt.infinity, any_nan(rng), any_nan(rng)])
        mask = rng.random(n) < 0.2
    elif kind == 8:
        x = rng.choice([0, 1 << fmt.bits - 1, 1, 1 | 1 << fmt.bits - 1], n)
    return x, mask


def near_thresholds(rng, n: int, chosen: Constants) -> np.ndarray:
    """Codes of logits that are a few of their steps off a threshold, two next to the maximum."""
    fmt = P.x_format
    largest = rng.normal() * rng.choice([0.1, 1, 10, 100])
    below = rng.choice([0, 0, *np.ldexp(chosen.thresholds, -THRESHOLD_POINT)], n)
    limit = fmt.decode([fmt.max_finite]).item()
    codes = fmt.encode(np.clip(largest - below, -limit, limit))
    # The code of zero has no number on the other side of it.
    return rng.permutation(np.clip(codes & (1 << fmt.bits - 1) - 1, 3, fmt.infinity - 4)
                           + rng.integers(-3, 4, n) | codes & 1 << fmt.bits - 1)


def of_one_code(rng, k: int, chosen: Constants) -> np.ndarray:
    """Codes of logits, most of code k but for a maximum, as many as the longest block counts.

    Between thresholds that are next to each other there is nothing, and the code is another.
    """
    below = np.full(min((2 * P.block_words - 1) * P.width, P.max_length), inside(k, chosen))
    below[rng.integers(len(below))] = 0
    return P.x_format.encode(-below)


def with_one_of_code(rng, k: int, place: int, chosen: Constants) -> tuple[np.ndarray, np.ndarray]:
    """A word of logits, maxima and masked ones but for one of code k, and the mask.

    Its probability can be anything up to a half, whatever its code.
    """
    below = np.zeros(min(P.width, P.max_length))
    mask  = rng.random(len(below)) < 0.6
    below[place] = inside(k, chosen)
    mask[[place, place - 1]] = False
    return P.x_format.encode(-below), mask


def inside(k: int, chosen: Constants) -> float:
    """Difference from a maximum in the middle of those of code k."""
    bounds = [2 * chosen.thresholds[0] + 2, *chosen.thresholds, 0]
    return float(np.ldexp(bounds[k] + bounds[k + 1] >> 1, -THRESHOLD_POINT))


def with_negative_nan(rng, place: int) -> np.ndarray:
    """Codes of a word of numbers, but for a NaN with a sign, which no maximum shows."""
    fmt = P.x_format
    x = fmt.encode(rng.normal(size=min(P.width, P.max_length)))
    x[place] = any_nan(rng) | 1 << fmt.bits - 1
    return x


def any_rows(rng, sets: list[Constants]) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Rows of every kind and length for a unit with these constants: codes, mask, set."""
    any_set = int(rng.integers(P.sets))
    rows = [(*any_row(rng, n), int(rng.integers(P.sets))) for n in lengths(rng)]
    # The longest constant row may have quotients halfway between two outputs.
    rows.append((*any_row(rng, P.max_length, kind=1), 0))
    # A sum of few exponents gives each code its largest probability.
    bare = [(near_thresholds(rng, n, each), index) for index, each in enumerate(sets)
            for n in (2, 2, 3, 3, 5, P.max_length, P.max_length) if n <= P.max_length]
    if sets:
        bare += [(of_one_code(rng, k, sets[any_set]), any_set) for k in range(P.levels)]
    bare += [(with_negative_nan(rng, place), any_set)
             for place in range(min(P.width, P.max_length))]
    rows += [(x, np.zeros(len(x), dtype=bool), index) for x, index in bare]
    rows += [(*with_one_of_code(rng, k, place, each), index) for index, each in enumerate(sets)
             for k in range(P.levels - 1) for place in range(min(P.width, P.max_length))]
    return rows


def lengths(rng) -> list[int]:
    """Row lengths: the least, about the width, and any."""
    w, most = P.width, P.max_length
    chosen = [1, 2, w - 1, w, w + 1, 2 * w, 1000, most - 1, most, *rng.integers(1, most + 1, 4)]
    chosen += [1] * 12
    return [int(n) for n in rng.permutation(chosen) if 1 <= n <= most]


def expected(x, mask, chosen: int, sets: list[Constants], codes: bool):
    """Outputs of golden, and its flags all_masked and invalid."""
    result = (exact_softmax(x[None], mask[None], P) if EXACT
              else softmax(x[None], mask[None], sets[chosen], P))
    outputs = result.codes if codes else result.probabilities
    return outputs[0], result.all_masked[0], result.invalid[0]


async def compare(bench, rng, *, rounds: int = 1, codes: bool = False):
    """Run rows back to back and compare them with golden, with other constants in each round."""
    for index in range(rounds):
        if index:
            bench.set_constants(any_constants(rng))
        rows = any_rows(rng, bench.sets)
        words = sum(P.row_cycles(len(x)) for x, _, _ in rows)
        outputs = await bench.run(rows, limit=2 * words + len(rows) * LATENCY + 200)
        for (x, mask, chosen), payloads in zip(rows, outputs, strict=True):
            actual, *flags = bench.row(payloads, P.word_bits if codes else P.y_format.bits)
            wanted, *wanted_flags = expected(x, mask, chosen, bench.sets, codes)
            np.testing.assert_array_equal(actual, wanted, err_msg=str((x, mask, chosen)))
            assert flags == wanted_flags


async def no_errors(dut):
    """Assert in every cycle that neither a row nor its constants are found bad."""
    await FallingEdge(dut.rst)
    while True:
        await RisingEdge(dut.clk)
        assert dut.too_long.value == 0
        assert EXACT or dut.bad_constants.value == 0


async def started(dut, rng, pause=no_pauses):
    """Driver of a unit that has been reset."""
    bench = SoftmaxDriver(dut, P, any_constants(rng), pause)
    cocotb.start_soon(no_errors(dut))
    await reset(dut)
    return bench


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True], codes=[False] if EXACT else [False, True])
async def rows(dut, stalls, codes):
    """Rows of every length and kind, back to back, as probabilities and as codes."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng, random_pauses(rng, **STALLS) if stalls else no_pauses)
    if codes:
        dut.codes.value = 1
    await compare(bench, rng, rounds=SETTINGS["rounds"], codes=codes)
    await bench.idle()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def reset_in_the_middle(dut):
    """After a reset at any time nothing of the past is left."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng)
    for cycles in reset_cycles(rng, 4 * P.words + 60):
        row = (*any_row(rng, P.max_length), 0)
        sending = cocotb.start_soon(bench.x.send(bench.words(*row) * 2))
        await ClockCycles(dut.clk, cycles)
        sending.cancel()
        bench.x.valid.value = 0
        await reset(dut)
        bench.y.received.clear()
        await compare(bench, rng)
    await bench.idle()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def new_constants(dut):
    """Constants may change while there is no row."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng)
    for _ in range(SETTINGS["resets"]):
        bench.set_constants(any_constants(rng))
        await compare(bench, rng)
    await bench.idle()


@dataclass
class AnyConstants:
    """Constants in no order."""

    thresholds: list[int]
    exponents: list[int]

    @property
    def bad(self) -> bool:
        """Whether thresholds do not descend, or the highest exponent is not 1."""
        return (any(after >= before for before, after in pairwise(self.thresholds))
                or self.exponents[-1] != 1 << P.exp_bits)


def nearly_good(rng) -> AnyConstants:
    """Constants of a clip, but for a threshold or the highest exponent that is off by a bit."""
    found = constants(-float(rng.uniform(0.01, 20)), P)
    thresholds, exponents = list(found.thresholds), list(found.exponents)
    if rng.random() < 0.3:
        exponents[-1] ^= 1 << int(rng.integers(P.exp_bits + 1))
    else:
        k, step = rng.integers(1, len(thresholds)), 1 << int(rng.integers(THRESHOLD_BITS))
        other = thresholds[k - 1] + int(rng.choice([-step, 0, step]))
        thresholds[k] = min(max(other, 0), (1 << THRESHOLD_BITS) - 1)
    return AnyConstants(thresholds, exponents)


@cocotb.test(timeout_time=20, timeout_unit="ms", skip=EXACT)
async def bad_constants(dut):
    """Constants out of order by a single bit are told, those in order are not."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = SoftmaxDriver(dut, P, any_constants(rng))
    await reset(dut)
    told = []
    for _ in range(50 * SETTINGS["rounds"]):
        sets = [nearly_good(rng) for _ in range(P.sets)]
        bench.set_constants(sets)
        chosen = int(rng.integers(P.sets))
        sending = cocotb.start_soon(bench.x.send(bench.words(*any_row(rng, 1), chosen)))
        seen = False
        for _ in range(2 * LATENCY):
            await RisingEdge(dut.clk)
            seen = seen or dut.bad_constants.value == 1
            if bench.y.received:
                break
        assert sending.done()
        assert len(bench.y.received) == 1
        bench.y.received.clear()
        assert seen == sets[chosen].bad, sets[chosen]
        told.append(seen)
    assert 0 < sum(told) < len(told)


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(switches=[0, 3] if FILL else [None])
async def full_rate(dut, switches):
    """Rows of the least length at full rate and longer follow each other without a pause.

    With a table of sums a switch to other constants costs no more than to fill it.
    """
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng)
    least, most = P.full_rate_length, P.max_length
    for n in sorted({least, least + 1, least + 3 * P.width - 1, most - P.width, most}):
        if not least <= n <= most:
            continue
        count = 6 + 300 // P.row_cycles(n)
        chosen = (rng.integers(P.sets, size=count) if switches is None
                  else np.arange(count) * (switches + 1) // count % P.sets)
        rows = [(*any_row(rng, n), int(each)) for each in chosen]
        words = count * P.row_cycles(n)
        if FILL:
            await bench.run(rows[:1], limit=4 * P.row_cycles(n) + LATENCY)
        begin = cycle()
        allowed = words + (switches or 0) * FILL
        await bench.run(rows, limit=allowed + 4 * P.row_cycles(n) + LATENCY)
        bench.x.began = 0
        took = bench.x.ended - begin
        dut._log.info("N = %d: %d cycles for %d words", n, took, words)
        assert took <= allowed + 2
    await bench.idle()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def latency(dut):
    """In an idle unit a row's first output follows its last input by its words and a constant."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = await started(dut, rng)
    found, filled = set(), None
    for n, chosen in ((1, 0), (P.width + 1, 0), (P.max_length, 1 % P.sets)):
        payloads = bench.words(*any_row(rng, n), chosen)
        sending = cocotb.start_soon(bench.x.send(payloads))
        await bench.y.receive(1, limit=2 * len(payloads) + LATENCY)
        # A row of other constants than the one before waits for its table of sums.
        found.add(cycle() - bench.x.ended - len(payloads) - (FILL if chosen != filled else 0))
        filled = chosen
        await sending
        await bench.y.receive(len(payloads), limit=len(payloads) + LATENCY)
        await bench.idle(len(payloads))
    assert len(found) == 1, found
    assert found <= {SETTINGS.get("latency", *found)}
