"""Cycles of the softmax units and of the unit for codes times V, from recurrences over rows."""

from collections.abc import Callable
from dataclasses import dataclass

from golden.softmax_parameters import BaselineParameters, SoftmaxParameters
from golden.values_parameters import (
    FOOT_LATENCY,
    LANE_LATENCY,
    RECIPROCAL_CYCLES,
    ValuesParameters,
)

__all__ = ["ValuesCycles", "softmax_cycles", "values_cycles"]

#: Comparisons of the maximum between registers.
_MAXIMUM_LEVELS = 3

#: Cycles of a threshold.
_THRESHOLD = 1

#: Cycles of an exponent of the exact unit, and from it to the row's sum.
_EXPONENT, _TOTAL = 2, 3

#: Cycles from the last word of a row to the sum by the table.
_TABLE = 3

#: Digits of a quotient of the exact unit in each stage.
_DIGITS = 2

#: Rows in which the units repeat what they do.
_PERIODS = (1, 2, 3, 4)

#: Words of the buffers besides those of the longest row, at least: EXAQ's unit, and the exact one.
_EXAQ_SLACK, _EXACT_SLACK = 16, 8


def softmax_cycles(parameters: SoftmaxParameters | BaselineParameters, rows: int, n: int) -> int:
    """CYCLES of a softmax unit that was idle: from its first input word to its last output word.

    Words are offered in every cycle, and outputs are always taken. With ``accumulate="lut"`` all
    rows have the same exponents, for which the first fills the table.

    Parameters
    ----------
    parameters : SoftmaxParameters or BaselineParameters
        Of the EXAQ unit or the exact one.
    rows : int
        Rows one behind the other, at least 1.
    n : int
        Elements of each, from 1 to ``max_length``.

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    Each step between two passes over a row has a place for one row, and waits for the step behind
    it to take that: each time is the latest of those that it waits for, in ``_Exaq`` and
    ``_Exact``. Rows of at least ``least_length`` and four words wait for nothing but words:

        rows * ceil(n / W) + the first row's words and latency

    Examples
    --------
    >>> from golden.softmax_parameters import EXACT_SETS, SOFTMAX_SETS
    >>> [softmax_cycles(SOFTMAX_SETS["attention"], rows, 1024) for rows in (1, 2, 1000)]
    [214, 278, 64150]
    >>> softmax_cycles(EXACT_SETS["attention_exact"], 1, 1024)
    203
    """
    p = parameters
    for name, value, high in (("rows", rows, None), ("n", n, p.max_length)):
        if type(value) is not int or value < 1 or (high is not None and value > high):
            raise ValueError(f"Parameter {name} must be an integer of at least 1"
                             + (f" and at most {high}" if high else "") + f", not {value!r}")
    unit = _Exaq(p, n) if isinstance(p, SoftmaxParameters) else _Exact(p, n)
    return _last(unit.row, rows, unit.reach) + unit.latency


def _last(step: Callable[[], tuple[int, ...]], count: int, reach: int) -> int:
    """First of the times of the last of some steps.

    A step depends on the differences between the times of the ``reach`` steps before alone: when so
    many have all moved by as many cycles from those a period before, all others do.
    """
    times = [step()]
    alike, moved = [0] * len(_PERIODS), [0] * len(_PERIODS)
    for index in range(1, count):
        times.append(step())
        for place, period in enumerate(_PERIODS):
            if index < period:
                continue
            moves = {new - old for new, old in zip(times[-1], times[-1 - period], strict=True)}
            same  = len(moves) == 1 and (alike[place] == 0 or moved[place] in moves)
            alike[place] = alike[place] + 1 if same else 0
            moved[place] = moves.pop()
            if alike[place] > reach:
                periods, rest = divmod(count - 1 - index, period)
                # The last step stands where one of the last period does.
                return times[index - (period - rest if rest else 0)][0] + moved[place] * (
                    periods + bool(rest))
    return times[-1][0]


class _Rows:
    """What the softmax units have in common: rows of words that enter one by one.

    Cycle 0 is that of the first word.

    Parameters
    ----------
    p : SoftmaxParameters or BaselineParameters
    n : int
        Elements of a row.
    waiting : int
        Cycles from a row's maximum to where the row is taken.
    slack : int
        Words of a buffer besides those of the longest row, at least.
    """

    def __init__(self, p: SoftmaxParameters | BaselineParameters, n: int, waiting: int, slack: int):
        self.p, self.words = p, p.row_cycles(n)
        self.maximum = (p.width - 1).bit_length() // _MAXIMUM_LEVELS
        #: Words that a buffer's memory holds.
        self.depth = p.words + max(p.words, slack)
        self.queue = -(-(self.maximum + 1 + waiting) // p.row_cycles(p.least_length))
        #: When the last word of each row entered.
        self.entered: list[int] = []

    def reach_of(self, rows: int) -> int:
        """Rows before one that it may depend on, by the buffers or some ``rows`` by queues."""
        return self.depth // self.words + 2 + max(rows, self.queue)

    def enter(self, left: Callable[[int], int], taken: list[int]) -> int:
        """When the next row's last word enters.

        Parameters
        ----------
        left : callable
            Cycle in which the second pass takes a word, by its number.
        taken : list of int
            Cycle in which each row leaves the queue of rows that have ended.
        """
        row  = len(self.entered)
        end  = (self.entered[-1] if row else -1) + self.words
        # A word moves from the memory to the register behind it when the one before is taken.
        word = (row + 1) * self.words - 1 - self.depth
        if word > 0:
            end = max(end, left(word - 1) + 1)
        if row >= self.queue:
            end = max(end, taken[row - self.queue] + 1)
        self.entered.append(end)
        return end


class _Exaq(_Rows):
    """The unit of codes, row by row."""

    def __init__(self, p: SoftmaxParameters, n: int):
        cycles = p.row_cycles(p.least_length)
        units  = -(-(p.levels - 1) // max(1, cycles - _THRESHOLD))
        self._issues = -(-(p.levels - 1) // units)
        super().__init__(p, n, self._issues + _THRESHOLD + 1, _EXAQ_SLACK + 2 * cycles)
        self.latency, self.reach = 0, self.reach_of(2)
        self._divided = _division_cycles(p)
        self._table   = p.accumulate == "lut"
        block = p.block_words
        # The first word that needs the row before to have left the sum, and what follows the last.
        if self._table:
            self._closing, self._summed = self.words - 1, _TABLE
        else:
            whole = self.words // block * block
            self._closing = self.words - max(0, whole - block) - 1
            digits = -(-p.block_count_bits // block)
            self._summed = -(-p.block_count_bits // digits)
        self._fill = 1 + p.lut_entries if self._table else 0
        # Of each row: its thresholds begin, and are taken; its first code, that which closes a
        # block, its last one; its division begins and ends; its outputs begin.
        self._begun:  list[int] = []
        self._popped: list[int] = []
        self._coded:  list[tuple[int, int, int]] = []
        self._bound = self._start = self._end = self._sent = -1
        self._out: list[int] = []

    def row(self) -> tuple[int, ...]:
        """Times of another row, that of its last output first."""
        w, row = self.words, len(self._out)
        entered = self.enter(self._code, self._popped)
        begun = max(entered + self.maximum + 1, self._bound,
                    self._begun[-1] + self._issues + _THRESHOLD if row else -1)
        self._begun.append(begun)
        self._popped.append(begun + self._issues)
        self._bound = max(begun + self._issues + _THRESHOLD, self._coded[-1][2] if row else -1)

        first = self._bound + 1 + (0 if row else self._fill)
        closing = max(first + self._closing, self._start, self._room(row, self._closing))
        last = max(closing + w - 1 - self._closing, self._room(row, w - 1))
        self._coded.append((first, closing, last))
        self._start = max(last + self._summed, self._end)
        self._end   = max(self._start + 1, self._sent) + self._divided - 1
        # The probabilities are taken with the last output of the row before, at the earliest.
        self._sent  = max(self._end + 1, self._out[-1] + w if row else -1)
        self._out.append(self._sent)
        return self._sent + w, entered, begun, *self._coded[-1], self._start, self._end

    def _code(self, word: int) -> int:
        """Cycle in which a word is coded."""
        row, index = divmod(word, self.words)
        first, closing, last = self._coded[row]
        if index == self.words - 1:
            return last
        free = closing + index - self._closing if index >= self._closing else first + index
        return max(free, self._room(row, index))

    def _room(self, row: int, index: int) -> int:
        """First cycle in which the buffer of codes has a place for a word."""
        word = row * self.words + index - self.depth
        if word < 1:
            return -1
        row, index = divmod(word - 1, self.words)
        return self._out[row] + 1 + index + 1


def _division_cycles(p: SoftmaxParameters) -> int:
    """Cycles of the division: rounds of units, each with some digits in a cycle.

    The fewest digits at a time that do all in ``row_cycles(least_length)`` cycles, or all at once.
    """
    digits, cycles = p.quotient_bits, p.row_cycles(p.least_length)
    choices = [(units * depth, depth, units) for units in (1 << bit for bit in range(p.bits + 1))
               for depth in range(1, digits + 1)
               if p.levels // units * -(-digits // depth) <= cycles]
    _, depth, units = min(choices, default=(0, digits, p.levels))
    return p.levels // units * -(-digits // depth)


class _Exact(_Rows):
    """The unit of exact exponents, row by row."""

    def __init__(self, p: BaselineParameters, n: int):
        super().__init__(p, n, 1, _EXACT_SLACK)
        digits = p.quotient_bits + 1 if p.y_format.is_integer else p.y_format.man_bits + 3
        self.latency = -(-digits // _DIGITS)
        self._slots  = -(-(_EXPONENT + _TOTAL) // p.row_cycles(p.least_length)) + 1
        self.reach   = self.reach_of(self._slots)
        # Of each row: it is taken, its last word has its exponents, its sum is taken.
        self._taken: list[int] = []
        self._ended: list[int] = []
        self._out:   list[int] = []

    def row(self) -> tuple[int, ...]:
        """Times of another row, that of its last quotients first."""
        w, row = self.words, len(self._out)
        entered = self.enter(self._exponent, self._taken)
        taken = max(entered + self.maximum + 1, self._ended[-1] if row else -1)
        self._taken.append(taken)
        ended = max(taken + w, self._room(row, w - 1))
        if row >= self._slots:
            ended = max(ended, self._out[row - self._slots] + 1)
        self._ended.append(ended)
        out = max(ended + _EXPONENT + _TOTAL, self._out[-1] + w if row else -1)
        self._out.append(out)
        return out + w, entered, taken, ended

    def _exponent(self, word: int) -> int:
        """Cycle in which a word's exponents are begun."""
        row, index = divmod(word, self.words)
        if index == self.words - 1:
            return self._ended[row]
        return max(self._taken[row] + 1 + index, self._room(row, index))

    def _room(self, row: int, index: int) -> int:
        """First cycle in which the buffer of exponents has a place for a word."""
        word = row * self.words + index - self.depth - 1
        if word < 0:
            return -1
        row, index = divmod(word, self.words)
        return self._out[row] + 1 + index + 1


@dataclass(frozen=True, kw_only=True)
class ValuesCycles:
    """Counters of the unit for codes times V after a command.

    Parameters
    ----------
    total : int
        CYCLES: those in which the command waits or runs.
    beats : int
        BEATS: those in which tokens enter.
    stalls : dict of str to int
        STALL_CODES and so on by stream: ``codes``, ``v``, ``s``, ``y``.
    """

    total: int
    beats: int
    stalls: dict[str, int]


def values_cycles(parameters: ValuesParameters, m: int, n: int, d: int) -> ValuesCycles:
    """Cycles of a command alone of the unit for codes times V.

    Input streams offer an item in every cycle, rows are of N codes, and outputs are always taken.

    Parameters
    ----------
    parameters : ValuesParameters
        Set of the unit.
    m, n, d : int
        Queries, tokens and columns of V.

    Raises
    ------
    ValueError
        If the unit refuses the shape.

    Notes
    -----
    In cycles from the command on, rows of ``words * ceil(n / L)`` words end at

        e = max(e' + words, move'), move = max(e + steps + 2, done'), done = move + 27

    ``'`` being the row before; a block of C rows begins when the half of the buffer that it takes
    has been read, and is ready one cycle after the last ``done``. Its column blocks end ``ceil(n /
    L)`` cycles after each other, or ``drain_cycles`` if these are more. The last output follows
    the last of them by the drain, the foot, the lanes and the queue.

    Examples
    --------
    >>> from golden.values_parameters import VALUES_SETS
    >>> values_cycles(VALUES_SETS["attention_pv"], 16, 1024, 128).beats
    2048
    """
    p = parameters
    for name, value, high in (("m", m, (1 << 24) - 1), ("n", n, p.max_length),
                              ("d", d, (1 << 16) - 1)):
        if type(value) is not int or not 1 <= value <= high:
            raise ValueError(f"Parameter {name} must be an integer from 1 to {high}, not {value!r}")
    blocks, columns, beats = -(-m // p.queries), -(-d // p.columns), p.beats(n)
    final = m - (blocks - 1) * p.queries
    unit  = _Values(p, beats, columns)
    unit.repeat(blocks - 1)
    unit.block(final)
    # From the last beat to the output of a query
    stages = 1 + FOOT_LATENCY + p.parts + LANE_LATENCY
    written = [unit.end + stages + (query + 1) * p.query_cycles for query in (final - 1,
                                                                              p.queries - 1)]
    last = max(written[0] + 2, written[1])
    busy = blocks * columns * beats
    return ValuesCycles(total=last + 2, beats=busy, stalls={
        "codes": unit.late, "v": 0, "s": 0, "y": last + 1 - busy - unit.late})


class _Values:
    """The unit for codes times V, by blocks of queries; cycle 0 is that of the command.

    Parameters
    ----------
    p : ValuesParameters
    beats : int
        Cycles of the tokens.
    columns : int
        Column blocks.
    """

    def __init__(self, p: ValuesParameters, beats: int, columns: int):
        self._p, self._beats, self._columns = p, beats, columns
        self._words = p.words * beats
        least = p.row_cycles(p.least_length)
        self._steps = -(-p.levels // -(-p.levels // max(1, least - 2)))
        #: Last beat of a column block, and cycles without a beat for want of codes.
        self.end, self.late = -1, 0
        # Of the last row: it has come, its sum is handed on, its reciprocal is there.
        self._come, self._moved, self._done = 0, -1, -1
        # When the codes of the last two blocks had been read, and the last sums had drained
        self._read, self._drained = (-1, -1), -1

    def block(self, queries: int) -> None:
        """Run the next queries, at most C."""
        begin = max(self._come, self._read[0]) + 1
        for _ in range(queries):
            self._come  = max(begin + self._words, self._moved)
            self._moved = max(self._come + self._steps + 2, self._done)
            self._done  = self._moved + RECIPROCAL_CYCLES
            begin = self._come
        ready = self._done + 1
        self.late += max(0, ready - self.end - 1)
        for _ in range(self._columns):
            ready = self.end = max(max(ready, self.end + 1) + self._beats - 1, self._drained)
            self._drained = self.end + self._p.drain_cycles
        self._read = self._read[1], self.end

    def repeat(self, count: int) -> None:
        """Run blocks of C queries; when one moves all times by as many cycles, all others do."""
        for left in reversed(range(count)):
            before, late = self._state(), self.late
            self.block(self._p.queries)
            moves = {new - old for new, old in zip(self._state(), before, strict=True)}
            if len(moves) == 1:
                moved = left * moves.pop()
                self.end, self._come, self._moved, self._done, self._drained, *read = (
                    value + moved for value in self._state())
                self._read = read[0], read[1]
                self.late += left * (self.late - late)
                return

    def _state(self) -> tuple[int, ...]:
        """All that later blocks depend on."""
        return (self.end, self._come, self._moved, self._done, self._drained, *self._read)
