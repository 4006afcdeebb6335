"""The foot of a column: integer sums become binary32 accumulators."""

from amaranth import *
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.parameters import ACCUMULATE_LOOP, DEQUANTISE_LATENCY, ArrayParameters
from hdl import float32
from hdl.block import Block, Use
from hdl.exact import Correction, Product, booth_digits
from hdl.float32 import FP32, SIGNIFICAND, Exact

__all__ = ["Dequantiser"]

# Stages in which an accumulator is read and written; its value is there one after the read.
_READ, _WRITE = 2, 5


class Dequantiser(Block):
    """Dequantiser of a column, with its accumulators.

    For each group of a row, with every rounding to the nearest, ties to even::

        t   = fp32(sum - zero * row_sum)    the difference is exact
        p   = fp32(t * scale)
        acc = fp32(acc + p)                 from +0 with ``first``

    One sum is taken in each cycle that ``valid`` is high; there is no back-pressure. A row of a
    bank may return ``ACCUMULATE_LOOP`` cycles after its last visit, and its accumulator can be
    addressed by ``read_row`` and ``read_bank`` from ``LATENCY`` cycles after it, while the sums
    that are taken belong to the other bank.

    Parameters
    ----------
    parameters : ArrayParameters
        Formats, group size and rows.

    Members
    -------
    valid : In(1)
        A sum is taken.
    sum : In(signed(parameters.sum_bits))
        Σ x·q over the group.
    row_sum : In(signed(parameters.row_sum_bits))
        Σ x over the group; only if the weights have zero points, as ``zero``.
    zero : In(parameters.w_format.zero_bits)
        Zero point of the group.
    scale : In(parameters.scale_format.bits)
        Scale of the group; any code.
    first : In(1)
        The group is the first of its output.
    row : In(range(parameters.band_rows))
        Accumulator to add to; one bit wide if there is one row, as ``read_row``.
    bank : In(1)
        Bank of that accumulator.
    read_row : In(range(parameters.band_rows))
        Accumulator to read.
    read_bank : In(1)
        Bank of that accumulator.
    result : Out(32)
        Accumulator addressed in the cycle before, a code of binary32.
    """

    LATENCY = DEQUANTISE_LATENCY

    def __init__(self, parameters: ArrayParameters):
        # The memory is not transparent: a read sees the writes of earlier cycles.
        assert _READ + ACCUMULATE_LOOP > _WRITE
        assert self.LATENCY == _WRITE + 1
        row = range(max(2, parameters.band_rows))  # Verilog has no port without bits
        correction = {
            "row_sum": In(signed(parameters.row_sum_bits)),
            "zero":    In(parameters.w_format.zero_bits),
        } if parameters.w_format.max_zero else {}
        self._correction = Correction(parameters) if correction else None
        self._product = Product(parameters, _magnitude_bits(parameters) + 1,
                                parameters.scale_format.man_bits + 1)
        super().__init__(parameters, "dequantiser", {
            "valid":     In(1),
            "sum":       In(signed(parameters.sum_bits)),
            **correction,
            "scale":     In(parameters.scale_format.bits),
            "first":     In(1),
            "row":       In(row),
            "bank":      In(1),
            "read_row":  In(row),
            "read_bank": In(1),
            "result":    Out(FP32.bits),
        }, uses=(*([self._correction] if correction else []), self._product))

    def elaborate(self, platform):
        m = Module()

        stages = self._control(m)

        # Stage 0: the exact sum. A wide one is rounded, and becomes its magnitude.
        exact = number = float32.named(m, "exact", self._corrected(m))
        if (bits := _magnitude_bits(self.parameters)) > SIGNIFICAND:
            magnitude = float32.named(m, "magnitude", Mux(exact < 0, -exact, exact)[:bits])
            number    = float32.round_integer(m, magnitude)
        value, negative = float32.later(m, "value", (number, exact < 0))
        scale  = float32.unpack(m, self.scale, self.parameters.scale_format)
        digits = float32.later(m, "digits", booth_digits(scale.significand))
        scale  = float32.registered(m, scale)

        # Stages 1 and 2: multiply, then round.
        product = float32.registered(m, self._multiply(m, negative, value, scale, digits))
        subnormal, overflow = self._extremes
        addend  = float32.registered(m, float32.round_exact(m, product, subnormal=subnormal,
                                                            overflow=overflow))

        # Stages 3 to 5: align; add and count zeros; round.
        accumulator = Signal(FP32.bits)
        aligned = float32.align(m, addend, float32.unpack(m, accumulator, FP32))
        exact   = float32.add(m, float32.registered(m, aligned))
        zeros   = float32.later(m, "leading", float32.leading_zeros(m, exact.word))
        total   = float32.round_exact(m, float32.registered(m, exact), zeros,
                                      subnormal=subnormal, overflow=overflow)
        self._memory(m, stages, accumulator, float32.pack(m, total))

        return m

    @property
    def _extremes(self) -> "tuple[bool, bool]":
        """Whether a product or an accumulator can be subnormal, and too large for binary32.

        All are multiples of the smallest scale. An accumulator stays below ``2**25`` times the
        bound of the products: from there on a product is less than half its last place.
        """
        fmt = self.parameters.scale_format
        smallest = 1 - fmt.bias - fmt.man_bits
        bound    = _magnitude_bits(self.parameters) + 2**fmt.exp_bits - 1 - fmt.bias
        return smallest < 1 - FP32.bias, bound + SIGNIFICAND + 1 > FP32.bias + 1

    def _control(self, m):
        """What accompanies a sum, for each stage; ``valid`` alone is reset."""
        stages = [{name: getattr(self, name) for name in ("valid", "row", "bank", "first")}]
        for stage in range(1, _WRITE + 1):
            later = {name: Signal.like(value, name=f"{name}{stage}", reset_less=name != "valid")
                     for name, value in stages[-1].items()}
            m.d.sync += [signal.eq(stages[-1][name]) for name, signal in later.items()]
            stages.append(later)
        return stages

    def _corrected(self, m):
        """Sum less the zero point times the row's sum."""
        if not self.parameters.w_format.max_zero:
            return self.sum
        m.submodules.correction = correction = Use(self._correction)
        m.d.comb += [
            correction.sum.eq(self.sum),
            correction.row_sum.eq(self.row_sum),
            correction.zero.eq(self.zero),
        ]
        return correction.exact

    def _multiply(self, m, negative, value, scale, digits):
        """Exact product of a number, whose magnitude is the value's, and its scale."""
        m.submodules.product = product = Use(self._product)
        m.d.comb += [
            product.value.eq(value),
            Cat(product.single, product.double, product.minus).eq(Cat(*digits)),
        ]
        word = Cat(C(0, max(0, SIGNIFICAND - len(product.product))), product.product)
        fmt  = self.parameters.scale_format
        # The word's highest bit weighs 2**(scale.scale - fmt.bias + bits of the magnitude).
        offset  = _magnitude_bits(self.parameters) - fmt.bias + FP32.bias
        largest = 2**fmt.exp_bits - 2 + offset
        return Exact(sign=negative ^ scale.sign, word=word,
                     exponent=(scale.scale + offset)[:largest.bit_length()],
                     fill=C(0), cancelled=C(0), infinite=scale.infinite,
                     nan=scale.nan | (scale.infinite & (value == 0)))

    def _memory(self, m, stages, accumulator, result):
        """Two banks; one accumulates through its read port, the other serves results."""
        read, write = stages[_READ], stages[_WRITE]
        outputs = []
        for bank in range(2):
            m.submodules[f"accumulators{bank}"] = memory = Memory(
                shape=FP32.bits, depth=self.parameters.band_rows, init=[])
            reader, writer = memory.read_port(), memory.write_port()
            m.d.comb += [
                reader.addr.eq(Mux(read["valid"] & (read["bank"] == bank),
                                   read["row"], self.read_row)),
                writer.addr.eq(write["row"]),
                writer.data.eq(result),
                writer.en.eq(write["valid"] & (write["bank"] == bank)),
            ]
            outputs.append(reader.data)

        read_bank, adding = Signal(reset_less=True), stages[_READ + 1]
        m.d.sync += read_bank.eq(self.read_bank)
        m.d.comb += [
            self.result.eq(Mux(read_bank, outputs[1], outputs[0])),
            accumulator.eq(Mux(adding["first"], 0, Mux(adding["bank"], outputs[1], outputs[0]))),
        ]


def _magnitude_bits(parameters: ArrayParameters) -> int:
    """Width of the magnitude of the greatest corrected sum."""
    x, w = parameters.x_format, parameters.w_format
    return (parameters.group * -x.low * max(w.max_zero - w.low, w.high)).bit_length()
