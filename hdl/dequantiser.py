"""The foot of a column: integer sums become binary32 accumulators."""

from amaranth import *
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.parameters import ACCUMULATE_LOOP, ArrayParameters
from hdl import float32
from hdl.block import Block
from hdl.float32 import FP32, SIGNIFICAND, Exact

__all__ = ["Dequantiser"]

# Stages in which an accumulator is read and written; its value is there one after the read.
_READ, _WRITE = 2, 4


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

    LATENCY = _WRITE + 1

    def __init__(self, parameters: ArrayParameters):
        # The memory is not transparent: a read sees the writes of earlier cycles.
        assert _READ + ACCUMULATE_LOOP > _WRITE
        row = range(max(2, parameters.band_rows))  # Verilog has no port without bits
        correction = {
            "row_sum": In(signed(parameters.row_sum_bits)),
            "zero":    In(parameters.w_format.zero_bits),
        } if parameters.w_format.max_zero else {}
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
        })

    def elaborate(self, platform):
        m = Module()

        stages = self._control(m)

        # Stage 0: the exact integer, as sign and magnitude.
        integer   = float32.named(m, "integer", self._corrected())
        negative  = Signal(reset_less=True)
        magnitude = Signal(self._magnitude_bits, reset_less=True)
        code      = Signal.like(self.scale, reset_less=True)
        absolute  = float32.named(m, "absolute", Mux(integer < 0, -integer, integer)[:len(magnitude)])
        m.d.sync += [
            negative.eq(integer < 0),
            magnitude.eq(float32.round_integer(m, absolute)),
            code.eq(self.scale),
        ]

        # Stages 1 and 2: multiply, then round.
        product = float32.registered(m, self._multiply(m, negative, magnitude, code))
        subnormal, overflow = self._extremes
        addend  = float32.registered(m, float32.round_exact(m, product, subnormal=subnormal, overflow=overflow))

        # Stages 3 and 4: add, then round.
        accumulator = Signal(FP32.bits)
        total = float32.registered(m, float32.add(m, addend, float32.unpack(m, accumulator, FP32)))
        total = float32.round_exact(m, total, subnormal=subnormal, overflow=overflow)
        self._memory(m, stages, accumulator, float32.pack(m, total))

        return m

    @property
    def _magnitude_bits(self) -> int:
        """Width of the integer's magnitude."""
        fmt, x = self.parameters.w_format, self.parameters.x_format
        largest = max(-(fmt.low - fmt.max_zero), fmt.high) * -x.low * self.parameters.group
        return largest.bit_length()

    @property
    def _extremes(self) -> "tuple[bool, bool]":
        """Whether a product or an accumulator can be subnormal, and too large for binary32.

        All are multiples of the smallest scale. An accumulator stays below ``2**25`` times the
        bound of the products: from there on a product is less than half its last place.
        """
        fmt = self.parameters.scale_format
        smallest = 1 - fmt.bias - fmt.man_bits
        largest  = self._magnitude_bits + (2**fmt.exp_bits - 2 - fmt.bias + 1) + SIGNIFICAND + 1
        return smallest < 1 - FP32.bias, largest > FP32.bias + 1

    def _control(self, m):
        """What accompanies a sum, for each stage; ``valid`` alone is reset."""
        stages = [{name: getattr(self, name) for name in ("valid", "row", "bank", "first")}]
        for stage in range(1, _WRITE + 1):
            later = {name: Signal.like(value, name=f"{name}{stage}", reset_less=name != "valid")
                     for name, value in stages[-1].items()}
            m.d.sync += [signal.eq(stages[-1][name]) for name, signal in later.items()]
            stages.append(later)
        return stages

    def _corrected(self):
        """Sum less the zero point times the row's sum, by shift and add."""
        if not self.parameters.w_format.max_zero:
            return self.sum
        shifted = [Mux(bit, self.row_sum, 0).shift_left(place) for place, bit in enumerate(self.zero)]
        return (self.sum - sum(shifted))[:self.parameters.corrected_bits].as_signed()

    def _multiply(self, m, negative, magnitude, code):
        """Exact product of the integer and its scale."""
        fmt   = self.parameters.scale_format
        scale = float32.unpack(m, code, fmt)
        word  = magnitude * scale.significand
        word  = float32.named(m, "word", Cat(C(0, max(0, SIGNIFICAND - len(word))), word))
        # The word's highest bit weighs 2**(scale.scale - fmt.bias + len(magnitude)).
        offset = len(magnitude) - fmt.bias + FP32.bias
        largest = 2**fmt.exp_bits - 2 + offset
        return Exact(sign=negative ^ scale.sign, word=word,
                     exponent=(scale.scale + offset)[:largest.bit_length()],
                     fill=C(0), cancelled=C(0), infinite=scale.infinite,
                     nan=scale.nan | (scale.infinite & (magnitude == 0)))

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
