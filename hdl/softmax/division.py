"""After a row: the probability of each code."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from golden.softmax_parameters import SoftmaxParameters
from hdl.block import Block
from hdl.compressor import FullAdders, ripple
from hdl.float32 import named, round_even

__all__ = ["Division", "rounded"]


class Division(Block):
    """p_k = E_k / S, rounded once to the nearest, ties to even, for all codes that the row has.

    Digits come by restoring division, ``depth`` of ``units`` quotients in each cycle, down to the
    bit below the quotient's; what is left tells a tie. If there is an element of another code than
    the highest, whose exponent the maximum has, twice its exponent is at most S: its quotient needs
    no digits but those below a half, and that of the highest one more, which comes with ``start``.
    There is no digit for 1, or for the half of the others: all digits below it are ones then, and S
    itself is left, which rounds up to it.

    The probabilities come ``rounds * ceil(quotient_bits / depth) + 1`` cycles after ``start``, the
    next start can come a cycle earlier.

    Parameters
    ----------
    parameters : SoftmaxParameters

    Members
    -------
    start : In(1)
        Only if ``ready``.
    sum : In(sum_bits)
        S, at least the last exponent; is taken with ``start``.
    exponents : In(ArrayLayout(exp_bits + 1, levels))
        Are taken with ``start``; the last is 2**F whatever it says.
    ready : Out(1)
    finishing : Out(1)
        The last step.
    valid : Out(1)
        The probabilities are there, until ``taken``.
    taken : In(1)
    probabilities : Out(ArrayLayout(y bits, levels))
    """

    def __init__(self, parameters: SoftmaxParameters):
        p = parameters
        self.units, self.depth = _smallest(p.levels, p.quotient_bits, p.row_cycles(p.least_length))
        #: Cycles of a quotient, and quotients one after the other.
        self.cycles, self.rounds = -(-p.quotient_bits // self.depth), p.levels // self.units
        self._adders = FullAdders(p)
        super().__init__(p, "division", {
            "start": In(1),
            "sum": In(p.sum_bits),
            "exponents": In(data.ArrayLayout(p.exp_bits + 1, p.levels)),
            "ready": Out(1), "finishing": Out(1), "valid": Out(1), "taken": In(1),
            "probabilities": Out(data.ArrayLayout(p.y_format.bits, p.levels)),
        })

    @property
    def uses(self):
        return tuple(self._adders.blocks.values())

    @property
    def _left_bits(self) -> int:
        """Width of what is left of a dividend, at most S and ``exponent * 2**digits``."""
        p = self.parameters
        return min(p.sum_bits, p.exp_bits + self.cycles * self.depth + 2)

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        running, move = Signal(), Signal()
        step   = Signal(range(self.cycles))
        round_ = Signal(range(self.rounds))
        end    = step == self.cycles - 1
        done   = end & (round_ == self.rounds - 1)
        m.d.comb += [
            # The first digits take the place of the probabilities.
            move.eq(running & ~(self.valid & ~self.taken)),
            self.finishing.eq(move & done),
            self.ready.eq(~running | self.finishing),
        ]
        with m.If(self.taken):
            m.d.sync += self.valid.eq(0)
        with m.If(move):
            m.d.sync += step.eq(Mux(end, 0, step + 1))
            with m.If(end):
                m.d.sync += round_.eq(Mux(done, 0, round_ + 1))
            with m.If(done):
                m.d.sync += [running.eq(0), self.valid.eq(1)]
        with m.If(self.start):
            m.d.sync += running.eq(1)

        # S, and whether it has bits above those of every dividend: all digits are 0 then.
        divisor, beyond = Signal(self._left_bits, reset_less=True), Signal(reset_less=True)
        # Twice the exponents; the highest has its first digit.
        one  = named(m, "one", self.sum <= 2 << p.exp_bits)
        rest = named(m, "rest", ((2 << p.exp_bits)
                                 - Mux(one, self.sum, 0)[:p.exp_bits + 2])[:p.exp_bits + 2])
        begun = [*(self.exponents[k] << 1 for k in range(p.levels - 1)), rest]
        left  = [Signal(self._left_bits, name=f"left_{unit}", reset_less=True)
                 for unit in range(self.units)]
        later = [Signal(p.exp_bits + 2, name=f"later_{k}", reset_less=True)
                 for k in range(self.units, p.levels)]
        first = Signal(reset_less=True)  # first digit of the highest
        with m.If(self.start):
            m.d.sync += [divisor.eq(self.sum), beyond.eq(self.sum[len(divisor):].any()),
                         first.eq(one)]

        # Quotients of the units, and of the rounds before: digits above whether something is left
        bits  = self.cycles * self.depth
        found = [Signal(bits + 2, name=f"found_{unit}", reset_less=True)
                 for unit in range(self.units)]
        kept  = [Signal(bits + 1, name=f"kept_{k}", reset_less=True)
                 for k in range(p.levels - self.units)]
        after = []
        for unit in range(self.units):
            before = found[unit][1:]
            if unit == self.units - 1:
                before = Cat(Mux(step == 0, first, before[0]), before[1:])
            digits, rest = self._digits(m, f"digit_{unit}", left[unit], divisor, beyond)
            after.append(Cat(rest.any(), digits, before)[:bits + 2])
            with m.If(move):
                m.d.sync += [found[unit].eq(after[unit]), left[unit].eq(rest)]
        if later:
            with m.If(move & end):
                m.d.sync += [a.eq(b) for a, b in zip(left, later, strict=False)]
                m.d.sync += [a.eq(b) for a, b in zip(later, later[self.units:], strict=False)]
            with m.If(move & end & ~done):
                m.d.sync += [a.eq(b) for a, b in zip(kept, kept[self.units:] + after, strict=True)]
        with m.If(self.start):
            m.d.sync += [a.eq(b) for a, b in zip(left + later, begun, strict=True)]

        for k, word in enumerate(kept + found):
            digits = word[1:] if k == p.levels - 1 else Cat(word[1:bits + 1], C(0))
            m.d.comb += self.probabilities[k].eq(
                rounded(m, Cat(digits, C(0)), word[0], p, bits + 2))

        return m

    def _digits(self, m, name, left, divisor, beyond):
        """Digits of a cycle, the lowest first, and what is left."""
        digits = []
        # Twice what is left of S needs a bit more than S.
        bits = len(left) + (len(left) == self.parameters.sum_bits)
        for _ in range(self.depth):
            twice = Cat(C(0), left)[:bits]
            negated = ~Cat(divisor, C(0, bits - len(divisor)))
            if self.depth == 1:
                difference, fits = ripple(m, self._adders, name, twice, negated, C(1))
            else:
                # Several digits in a cycle need faster carries.
                difference = named(m, "difference", (Cat(C(1, 1), twice)
                                                     + Cat(C(1, 1), negated))[1:])
                fits = difference[-1]
            digit = named(m, "digit", fits & ~beyond)
            left  = named(m, "rest", Mux(digit, difference, twice)[:len(left)])
            digits.insert(0, digit)
        return Cat(digits), left


def _smallest(levels: int, digits: int, cycles: int) -> tuple[int, int]:
    """Units and depth with the fewest digits at a time that do all in some cycles.

    If none does, the shallowest units, one for each level.
    """
    choices = [(units * depth, depth, units)
               for units in (1 << power for power in range(levels.bit_length()))
               for depth in range(1, digits + 1)
               if levels // units * -(-digits // depth) <= cycles]
    _, depth, units = min(choices, default=(0, digits, levels))
    return units, depth


def rounded(m, digits, left, p, count):
    """Probability of a quotient that has at least a half below its lowest bit."""
    fmt   = p.y_format
    extra = count - p.quotient_bits - 2      # digits below the half
    # Sticky bit, half, 1 and its fraction
    word = Cat(digits[:extra].any() | left.any(), digits[extra:])
    if fmt.is_integer:
        up = word[2:] + round_even(word, 2)
        return Mux(up > fmt.high, fmt.high, up)[:fmt.bits]
    # Units of fp16's least step: those of more bits than a mantissa and its one are rounded.
    result = Signal(fmt.bits)
    m.d.comb += result.eq(word[2:] + round_even(word, 2))
    for drop in range(3, len(word) - fmt.man_bits):
        with m.If(word[fmt.man_bits + drop]):
            kept = word[drop:drop + fmt.man_bits + 1]
            m.d.comb += result.eq((drop - 2 << fmt.man_bits) + kept + round_even(word, drop))
    return result
