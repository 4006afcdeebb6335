"""Softmax: sums of exponents, and every divider."""

import numpy as np
from amaranth import *
from amaranth.lib.wiring import In

from golden.softmax_parameters import EXACT_SETS, SOFTMAX_SETS, SoftmaxParameters
from golden.values_parameters import VALUES_SETS
from tb.formal.harness import Harness
from tb.formal.property import Broken, Property

__all__ = ["PROPERTIES"]


class Step(Harness):
    """The digits of a cycle of the softmax unit's division."""

    def __init__(self, module, p):
        self._division = division = module.Division(p)
        self._bits = bits = division._left_bits
        super().__init__(None, {"left": In(bits), "divisor": In(bits),
                                "high": In(max(1, p.sum_bits - bits))}, parameters=p,
                         subject=division)

    @property
    def uses(self):
        return self._division.uses

    def state(self, m):
        depth, bits = self._division.depth, self._bits
        beyond = self.high.any() if self.parameters.sum_bits > bits else C(0)
        total  = Cat(self.divisor, self.high) if self.parameters.sum_bits > bits else self.divisor
        digits, rest = self._division._digits(m, "digit", self.left, self.divisor, beyond)
        self.assume(m, self.left <= total)
        if self.parameters.sum_bits > bits:
            # A dividend is at most twice an exponent, and grows by a place with each digit.
            self.assume(m, (self.left << depth) >> bits == 0)
        product = sum(Mux(digit, total << place, 0) for place, digit in enumerate(digits))
        self.claim(m, rest + product == self.left << depth)
        self.claim(m, rest <= total)
        # A digit is 0 only if what is left has no place for it; S itself may be left.
        self.claim(m, (rest != total) | (self.left == total))


class Quotients(Harness):
    """The softmax unit's division, from the sum and exponents to the probabilities."""

    def __init__(self, module, p):
        super().__init__(module.Division(p))

    def state(self, m):
        p, fmt = self.parameters, self.parameters.y_format
        self.constant(m, self.sum, "sum")
        self.constant(m, self.exponents, "exponents")
        self.assume(m, self.start == ~self.follows)
        self.assume(m, ~self.taken)
        one = 1 << p.exp_bits
        self.assume(m, (self.sum >= one) & (self.sum <= p.max_length << p.exp_bits))
        for k in range(p.levels):
            last = k == p.levels - 1
            exponent = C(one) if last else self.exponents[k]
            # An element of another code than the highest comes with one of the highest.
            there = C(1) if last else (exponent <= one) & (exponent + one <= self.sum)
            value, up, down, top = self._number(m, k, fmt)
            # Four times both sides, so that halves of a step are integers.
            exact = exponent << 2 + (fmt.point if fmt.is_integer else 24)
            above, below = self.sum * ((value << 2) + up), self.sum * ((value << 2) - down)
            even = ~self.probabilities[k][0]
            right = ((top | (exact < above) | ((exact == above) & even))
                     & ((exact > below) | ((exact == below) & even)))
            self.claim(m, ~(self.valid & there) | right)
        finished, cycles = Signal(), Signal(8)
        m.d.sync += [finished.eq(finished | self.valid), cycles.eq(Mux(cycles.all(), cycles,
                                                                       cycles + 1))]
        self.claim(m, (cycles <= self.dut.cycles * self.dut.rounds) | finished | self.valid)

    def _number(self, m, k, fmt):
        """A probability in least steps, twice its distances from halfway, whether it saturates."""
        code = self.probabilities[k]
        if fmt.is_integer:
            return code, C(2), C(2), code == fmt.high
        field, man = code[fmt.man_bits:-1], code[:fmt.man_bits]
        normal, power = field.any(), Mux(field.any(), field - 1, 0)[:4]
        value = Cat(man, normal) << power
        up    = C(2) << power
        # Below a power of two the numbers are twice as dense.
        down  = Mux(normal & (man == 0) & (field > 1), up >> 1, up)
        return value, up, down, C(0)


class ExactStep(Harness):
    """A digit of the exact unit's quotients, at every place."""

    def __init__(self, module, p):
        self._module, self._quotient = module, module.Quotient(p)
        super().__init__(None, {"left": In(p.sum_bits), "sum": In(p.sum_bits)}, parameters=p,
                         subject=self._quotient)

    def state(self, m):
        p = self.parameters
        for place in range(self._module.quotient_digits(p)):
            width = self._module.remainder_bits(p, place)
            fits  = (self.left <= self.sum) & ((self.left << 1) >> width == 0)
            self._quotient.beyond = Signal(place + 1, name=f"beyond_{place}")
            m.d.comb += self._quotient.beyond[place].eq(self.sum[width:].any())
            one, rest = self._quotient._digit(m, place, self.left[:max(1, width - 1)], self.sum)
            self.claim(m, ~fits | (rest + Mux(one, self.sum, 0) == self.left << 1))
            self.claim(m, ~fits | (rest <= self.sum))
            self.claim(m, ~fits | one | (self.left << 1 < self.sum))


class ReciprocalTable(Harness):
    """Reciprocals of all sums of a small width."""

    def __init__(self, module, p):
        super().__init__(module.Reciprocal(p))

    def state(self, m):
        self.constant(m, self.sum, "sum")
        self.assume(m, self.start == ~self.follows)
        finished = Signal()
        m.d.sync += finished.eq(finished | self.done)
        sums  = np.arange(1 << len(self.sum), dtype=np.float32)
        codes = np.zeros(len(sums), dtype=np.uint32)
        codes[1:] = (np.float32(1) / sums[1:]).view(np.uint32)
        for total, code in enumerate(codes):
            self.claim(m, ~(finished | self.done) | (self.sum != total) | (self.code == int(code)))
        cycles = Signal(5)
        m.d.sync += cycles.eq(Mux(cycles.all(), cycles, cycles + 1))
        self.claim(m, (cycles < 28) | finished)


class ExponentSums(Harness):
    """Sums of the exponents of rows, beside a sum that is formed word by word."""

    def __init__(self, module, case):
        p, self._exponents = case
        super().__init__(module.ExponentSum(p))

    def state(self, m):
        p, exponents = self.parameters, self._exponents
        for port, value in zip(self.exponents, exponents, strict=True):
            self.assume(m, port == value)
        self.assume(m, ~self.i_valid | self.ready)
        words = Signal(range(p.words + 1))  # of the row before this one
        own   = Signal(p.sum_bits)
        wanted, open_ = Signal(p.sum_bits), Signal()
        word  = C(0)
        for lane in range(p.width):
            code, masked = self.i.codes[lane][:-1], self.i.codes[lane][-1]
            for k in range(p.levels):
                self.assume(m, self.reached[k][lane] == (~masked & (code >= k)))
                word = word + Mux(~masked & (code == k), exponents[k], 0)
        rest = self.past(m, self.rest, "rest")
        self.assume(m, (words == 0) | (self.rest == rest))
        self.assume(m, ~(self.i_valid & self.i.last) | ((words + 1) % p.block_words == self.rest))
        self.assume(m, words < p.words)
        self.assume(m, (words + 1 < p.words) | self.i.last)
        ends = self.i_valid & self.i.last
        with m.If(self.i_valid):
            m.d.sync += [own.eq(Mux(self.i.last, 0, own + word)),
                         words.eq(Mux(self.i.last, 0, words + 1))]
        with m.If(ends):
            m.d.sync += [wanted.eq(own + word), open_.eq(1)]
        with m.Elif(self.valid & self.taken):
            m.d.sync += open_.eq(0)
        self.claim(m, ~self.valid | (open_ & (self.sum == wanted)))
        self.claim(m, ~(ends & open_) | (self.valid & self.taken))


def _small(**changes):
    return SoftmaxParameters(**{"name": "small", "width": 2, "exp_bits": 4, "max_length": 8,
                                "least_length": 4} | changes)


PROPERTIES = [
    Property(
        name="softmax-division-step", family="dividers", module="hdl.softmax.division", short=True,
        claim="The digits q of a cycle and what is left of it satisfy q·S + rest = left · "
              "2**digits and rest <= S, at full width, for all S and left <= S whose digits fit "
              "the width of a dividend; by induction over the cycles the quotient times S and the "
              "rest are the dividend.",
        cases=dict(SOFTMAX_SETS), build=Step, method="combinational",
        broken=(Broken("fits & ~beyond", "fits", "attention"),
                Broken("Mux(digit, difference, twice)", "Mux(digit, twice, difference)"))),
    Property(
        name="softmax-division", family="dividers", module="hdl.softmax.division",
        claim="The probability of every code that a row can have is its exponent divided by the "
              "sum, rounded to the nearest, ties to even, saturated in integers, and is there "
              "after a step for each cycle of each round, for all exponents and sums of a small "
              "width.",
        cases={
            "uint8": _small(max_length=32),  # halfway are quotients by 512
            "uint8, all in a cycle": _small(max_length=4, least_length=1),
            "u16": _small(max_length=4, y="u16"),
            "fp16": _small(max_length=4, y="fp16"),
        },
        build=Quotients, method="bounded", depth=6,
        broken=(Broken("up = word[2:] + round_even(word, 2)", "up = word[2:] + word[1]"),
                Broken("first.eq(one)", "first.eq(0)"),
                Broken("(drop - 2 << fmt.man_bits)", "(drop - 3 << fmt.man_bits)", "fp16"))),
    Property(
        name="exact-division-step", family="dividers", module="hdl.softmax.quotient",
        claim="Each digit q of an exact quotient and what is left after it satisfy q·A + rest = "
              "2 · left, rest <= A, and q = 0 only if 2 · left < A, at full width and every place, "
              "for all A and left <= A that the place's width holds.",
        cases=dict(EXACT_SETS), build=ExactStep, method="combinational",
        broken=(Broken("~difference[-1] & ~self.beyond[digit]", "~difference[-1]"),)),
    Property(
        name="softmax-sum", family="dividers", module="hdl.softmax.exponent_sum",
        claim="The sum of a row is that of the exponents of its elements that are not masked, for "
              "all codes, in rows of one block or two, each offered once.",
        cases={"rows of up to 8, exponents 0, 3, 16, 16": (_small(), (0, 3, 16, 16))},
        build=ExponentSums, method="bounded", depth=9,
        broken=(Broken("early.eq(self.i.last)", "early.eq(1)"),
                Broken("heap.add(summed & (~first).replicate(p.sum_bits))", "heap.add(summed)"))),
    Property(
        name="reciprocal", family="dividers", module="hdl.values.reciprocal",
        claim="The reciprocal of every sum of a small width is that of binary32, rounded to the "
              "nearest, 0 for 0, and is there in the cycle that the docstring says.",
        cases={"7 bits": VALUES_SETS["attention_tiny_pv"].replace(
            name="small", max_length=4, exp_bits=4)},
        build=ReciprocalTable, method="bounded", depth=31,
        broken=(Broken("Cat(quotient[1:SIGNIFICAND], field) + quotient[0]",
                       "Cat(quotient[1:SIGNIFICAND], field)"),)),
]
