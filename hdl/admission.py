"""From the registers' shapes to commands that the engine can count through."""

from amaranth import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block
from hdl.channel import COUNT
from hdl.float32 import leading_zeros

__all__ = ["Admission", "command_layout", "shape_layout"]


def shape_layout() -> data.StructLayout:
    """Layout of what the registers say of a GEMM."""
    return data.StructLayout({"m": COUNT, "k": COUNT, "n": COUNT, "wide": COUNT, "group": 16})


def command_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of an admitted command.

    ``m``, ``n``, ``wide`` as in the registers; ``blocks`` of rows, ``wide_passes`` of all
    ``passes`` over the columns; ``beats`` with operands of a row, ``tail`` lanes of the last of
    them, ``padded_beats`` including those that fill up a short group; ``groups`` of
    ``group_beats``; ``x_lines`` of ``x_rows`` rows; ``x_items`` and ``t_items`` of all blocks
    together.
    """
    return data.StructLayout({
        **dict.fromkeys(("m", "n", "wide", "blocks", "passes", "wide_passes", "beats",
                         "padded_beats", "groups", "group_beats", "x_lines", "x_items",
                         "t_items"), COUNT),
        "tail": range(parameters.lanes + 1),
    })


class Admission(Block):
    """Checks shapes and divides them into blocks, passes, beats and groups.

    Takes a cycle for each bit of the numbers that are divided and a few more, in one divider:
    60 for M = 16, K = 1024, N = 64 and groups of 128.

    A bad shape is dropped: M, K or N is 0; WIDE is more than N, or not 0 without
    ``parameters.wide``; the group size is no multiple of L, or not from ``least_group`` to
    ``group``, and below K; K is more than that one group; the blocks of activations do not fit in
    ``x_depth`` beats, or the weights of one pass in ``w_depth`` though there are several blocks,
    a short group counting as ``least_beats``.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    i : In(stream.Signature(shape_layout()))
        Shapes.
    o : Out(stream.Signature(command_layout(parameters)))
        Commands.
    bad : Out(1)
        A shape was dropped.
    """

    def __init__(self, parameters: ArrayParameters):
        super().__init__(parameters, "admission", {
            "i":   In(stream.Signature(shape_layout())),
            "o":   Out(stream.Signature(command_layout(parameters))),
            "bad": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        shape, command = self.i.p, self.o.p

        one_group = Signal()
        m.d.comb += one_group.eq(shape.group >= shape.k)
        impossible = ((shape.m == 0) | (shape.k == 0) | (shape.n == 0) | (shape.wide > shape.n))
        if not p.wide:
            impossible |= shape.wide != 0
        impossible |= Mux(one_group, shape.k > p.group,
                          (shape.group < p.least_group) | (shape.group > p.group))

        # Restoring division, a bit in each cycle from the dividend's highest one on.
        dividend, divisor, quotient = Signal(COUNT), Signal(COUNT), Signal(COUNT)
        remainder = Signal(COUNT)
        steps     = Signal(range(COUNT.width + 1))
        shifted   = Cat(dividend[-1], remainder)
        fits      = shifted >= divisor
        ready     = steps == 0
        with m.If(~ready):
            m.d.sync += [
                dividend.eq(dividend << 1),
                remainder.eq(Mux(fits, shifted - divisor, shifted)),
                quotient.eq(Cat(fits, quotient)),
                steps.eq(steps - 1),
            ]
        ceiling = quotient + remainder.any()

        load, value, by = Signal(), Signal(COUNT), Signal(COUNT)
        zeros, none = leading_zeros(m, value)
        with m.If(load):
            m.d.sync += [
                dividend.eq(value << zeros),
                divisor.eq(by),
                remainder.eq(0),
                quotient.eq(0),
                steps.eq(Mux(none, 0, COUNT.width - zeros)),
            ]

        def divide(a, b):
            """Begin a division."""
            m.d.comb += [load.eq(1), value.eq(a), by.eq(b)]

        rest    = Mux(remainder < p.least_beats, p.least_beats, remainder)
        bits    = p.x_depth.bit_length()
        needed  = Signal(2 * bits)  # beats of all blocks
        limited = Signal()       # several blocks wait for the weights of a pass
        with m.FSM():
            with m.State("check"):
                with m.If(self.i.valid & impossible):
                    m.d.comb += [self.bad.eq(1), self.i.ready.eq(1)]
                with m.Elif(self.i.valid):
                    m.d.sync += [command.m.eq(shape.m), command.n.eq(shape.n),
                                 command.wide.eq(shape.wide)]
                    divide(shape.k, p.lanes)
                    m.next = "beats"
            with m.State("beats"), m.If(ready):
                m.d.sync += [
                    command.beats.eq(ceiling),
                    command.tail.eq(Mux(remainder.any(), remainder, p.lanes)),
                ]
                divide(shape.group, p.lanes)
                m.next = "group"
            with m.State("group"), m.If(ready):
                with m.If((remainder.any() & ~one_group) | (command.beats > p.x_depth)):
                    m.d.comb += [self.bad.eq(1), self.i.ready.eq(1)]
                    m.next = "check"
                with m.Else():
                    # One group may be short, and is as long as K.
                    size = Mux(one_group, command.beats, quotient)
                    m.d.sync += command.group_beats.eq(
                        Mux(size < p.least_beats, p.least_beats, size))
                    divide(command.beats, size)
                    m.next = "groups"
            with m.State("groups"), m.If(ready):
                padded = Mux(remainder.any(), command.beats - remainder + rest, command.beats)
                m.d.sync += [
                    command.groups.eq(ceiling),
                    command.padded_beats.eq(Mux(padded < p.least_beats, p.least_beats, padded)),
                ]
                divide(shape.m, p.rows)
                m.next = "blocks"
            with m.State("blocks"), m.If(ready):
                m.d.sync += [command.blocks.eq(ceiling), limited.eq(ceiling != 1)]
                divide(shape.m, p.x_rows)
                m.next = "lines"
            with m.State("lines"), m.If(ready):
                m.d.sync += command.x_lines.eq(ceiling)
                divide(shape.wide, max(1, p.columns // 2))
                m.next = "wide"
            with m.State("wide"), m.If(ready):
                m.d.sync += command.wide_passes.eq(ceiling)
                divide(shape.n - shape.wide, p.columns)
                m.next = "narrow"
            with m.State("narrow"), m.If(ready):
                m.d.sync += command.passes.eq(command.wide_passes + ceiling)
                m.next = "capacity"
            with m.State("capacity"):
                # Short factors, as long ones do not fit anyway.
                blocks, beats, groups, padded = (value[:bits] for value in (
                    command.blocks, command.beats, command.groups, command.padded_beats))
                m.d.sync += [
                    command.x_items.eq(blocks * beats),
                    command.t_items.eq(blocks * groups),
                    needed.eq(blocks * padded),
                ]
                with m.If((command.blocks > p.x_depth) | (command.padded_beats > p.x_depth)
                          | (limited & (command.padded_beats > p.w_depth))):
                    m.d.comb += [self.bad.eq(1), self.i.ready.eq(1)]
                    m.next = "check"
                with m.Else():
                    m.next = "offer"
            with m.State("offer"):
                fit = needed <= p.x_depth
                m.d.comb += [
                    self.o.valid.eq(fit),
                    self.bad.eq(~fit),
                    self.i.ready.eq(~fit | self.o.ready),
                ]
                with m.If(self.i.ready):
                    m.next = "check"

        return m
