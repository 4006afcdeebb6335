"""The GEMM engine behind its ports: queue of commands, buffers, array."""

from amaranth import *
from amaranth.lib import data, fifo, stream
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.admission import Admission, command_layout, shape_layout
from hdl.aligner import Aligner
from hdl.array import Array, s_layout
from hdl.block import Block, Use
from hdl.channel import COUNT, Channel
from hdl.row_sum import x_group_layout

__all__ = ["COMMANDS", "Engine", "channel_widths", "result_layout"]

#: Commands that can be under way at a time.
COMMANDS = 4


def channel_widths(parameters: ArrayParameters) -> dict[str, int]:
    """Width of an item of each input stream.

    ``x``: L activations of each of ``x_rows`` rows; ``w``: L weights of each column; ``s``: scale
    and zero point of each column in a group; ``sx``: scale of a row; ``t``: scale and zero point
    of a row in a group, if there are any but those that the aligner finds.
    """
    p = parameters
    widths = {
        "x":  p.x_input_format.bits * p.lanes * p.x_rows,
        "w":  p.w_format.bits * p.lanes * p.columns,
        "s":  s_layout(p).members["columns"].size,
        "sx": 32,
    }
    return widths | ({"t": x_group_layout(p).size} if p.t_stream else {})


def result_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of stream ``y``: outputs, which of them there are, and the end of the GEMM."""
    p = parameters
    return data.StructLayout({
        "y": data.ArrayLayout(p.y_format.bits, p.y_lanes), "keep": p.y_lanes, "last": 1,
    })


class Engine(Block):
    """Any GEMM that fits its buffers, on the array.

    Commands wait in a queue. Each operand has its own place in that, and so has what leaves, so
    that one command's operands come while another runs, and beats follow without a gap. Rows of
    activations come as a matrix, L of each in an item; a column pass of weights takes as many items
    as a row, and is sent again for each block of rows. Edges are padded inside: lanes past K with
    activations that add nothing, a short last group with such beats; rows past M and columns past
    N are computed and dropped.

    Activations that the array takes aligned pass the aligner first, which also finds the scales of
    their groups. Outputs leave by column passes, wide ones first, then by rows.

    Throughput is one beat of the array in each cycle while operands are there and outputs are
    taken; a GEMM takes ``passes * blocks * padded_beats`` of these.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    start : In(1)
        Queue a command of ``shape``.
    shape : In(shape_layout())
    x, w, s, sx, t : In(stream.Signature)
        Items of :func:`channel_widths`.
    x_last, ... : In(1)
        The item is said to be the command's last.
    y : Out(stream.Signature(result_layout(parameters)))
        Outputs.
    refused, bad_shape, done : Out(1)
        A start found the queue full; a shape was bad; a command has finished.
    x_last_unexpected, x_last_missing, ... : Out(1)
        Events of the streams' ends.
    busy : Out(1)
        A command waits or runs.
    queue_full : Out(1)
    queue : Out(8)
        Commands that wait.
    beat : Out(1)
        A beat enters the array.
    stall_x, ..., stall_y : Out(1)
        A command runs, and no beat enters because that stream does not deliver, or is not taken;
        for sx and y also after the last beat.
    """

    def __init__(self, parameters: ArrayParameters):
        p = parameters
        self.widths = channel_widths(p)
        self.array, self.admission = Array(p), Admission(p)
        self.aligner = Aligner(p) if p.x_align else None
        depths = {"x": (p.x_depth, p.rows // p.x_rows), "w": (p.w_depth, 1), "s": (p.s_depth, 1),
                  "sx": (p.sx_depth, 1), "t": (p.t_depth, p.rows)}
        widths = self.widths
        if p.x_groups:
            widths = widths | {"t": x_group_layout(p).size}
        if p.x_align:
            widths = widths | {"x": p.x_align * p.lanes}
        self.channels = {name: Channel(p, f"{name}_channel", width, *depths[name])
                         for name, width in widths.items()}
        members = {"start": In(1), "shape": In(shape_layout()),
                   "y": Out(stream.Signature(result_layout(p)))}
        for name, width in self.widths.items():
            members |= {name: In(stream.Signature(width)), f"{name}_last": In(1),
                        f"{name}_last_unexpected": Out(1), f"{name}_last_missing": Out(1)}
        members |= {f"stall_{name}": Out(1) for name in self.channels}
        members |= dict.fromkeys(("refused", "bad_shape", "done", "busy", "queue_full", "beat",
                                  "stall_y"), Out(1))
        members["queue"] = Out(8)
        super().__init__(p, "engine", members,
                         uses=(self.array, self.admission, *[self.aligner] * bool(p.x_align),
                               *self.channels.values()))

    def elaborate(self, platform):
        m = Module()

        m.submodules.array = array = Use(self.array)
        channels = {}
        for name, block in self.channels.items():
            m.submodules[name] = channels[name] = Use(block)
        self._queue(m)
        self._connect(m, channels)
        self._load(m, channels)
        self._sequence(m, array, channels)
        self._scale(m, array, channels["sx"])
        self._results(m, array)

        return m

    def _queue(self, m):
        """Shapes that wait to be admitted, and commands that have been."""
        m.submodules.shapes = shapes = fifo.SyncFIFOBuffered(width=shape_layout().size, depth=2)
        m.submodules.admission = admission = Use(self.admission)
        self._slots = Signal(data.ArrayLayout(command_layout(self.parameters), COMMANDS))
        self._head  = Signal(range(2 * COMMANDS))  # its highest bit tells full from empty
        self._tail = self._place(m, "tail", self.done)

        taken, admitted = Signal(), Signal(range(COMMANDS + 1))
        m.d.comb += [
            shapes.w_data.eq(self.shape),
            shapes.w_en.eq(self.start),
            self.refused.eq(self.start & ~shapes.w_rdy),
            admission.i.payload.eq(shapes.r_data),
            admission.i.valid.eq(shapes.r_rdy),
            shapes.r_en.eq(admission.i.ready),
            self.bad_shape.eq(admission.bad),
            admitted.eq((self._head - self._tail)[:len(self._head)]),
            admission.o.ready.eq(admitted != COMMANDS),
            taken.eq(admission.o.valid & admission.o.ready),
            self.queue_full.eq(~shapes.w_rdy),
            self.busy.eq((shapes.level != 0) | (admitted != 0)),
            self.queue.eq(shapes.level + admitted - (admitted != 0)),  # one of them runs
        ]
        with m.If(taken):
            m.d.sync += [
                self._slots[self._head[:-1]].eq(admission.o.p),
                self._head.eq(self._head + 1),
            ]

    def _place(self, m, name, done):
        """Place in the queue, which moves on with ``done``."""
        place = Signal.like(self._head, name=f"{name}_place")
        m.d.sync += place.eq(place + done)
        return place

    def _command(self, m, name, done):
        """Command at an own place in the queue, and whether there is one."""
        return self._at(m, name, self._place(m, name, done))

    def _at(self, m, name, place):
        """Command at a place in the queue, and whether there is one."""
        command = Signal(command_layout(self.parameters), name=f"{name}_command")
        m.d.comb += command.eq(self._slots[place[:-1]])
        return command, place != self._head

    def _connect(self, m, channels):
        """Lead the streams to their channels, that of aligned activations by the aligner."""
        inputs = {name: (getattr(self, name), getattr(self, f"{name}_last"))
                  for name in self.widths}
        if self.aligner:
            m.submodules.aligner = aligner = Use(self.aligner)
            command, valid = self._command(m, "align", aligner.done)
            m.d.comb += [
                aligner.i.payload.eq(self.x.payload),
                aligner.i.valid.eq(self.x.valid),
                self.x.ready.eq(aligner.i.ready),
                aligner.i_last.eq(self.x_last),
                aligner.valid.eq(valid),
                aligner.rows.eq(command.m),
                aligner.beats.eq(command.beats),
                aligner.group_beats.eq(command.group_beats),
                aligner.tail.eq(command.tail),
            ]
            inputs |= {"x": (aligner.o, aligner.o_last), "t": (aligner.scale, C(0))}
        for name, channel in channels.items():
            source, last = inputs[name]
            m.d.comb += [
                channel.i.payload.eq(source.payload),
                channel.i.valid.eq(source.valid),
                source.ready.eq(channel.i.ready),
                channel.last.eq(last),
            ]
        for name in self.widths:
            m.d.comb += [
                getattr(self, f"{name}_last_unexpected").eq(channels[name].unexpected),
                getattr(self, f"{name}_last_missing").eq(channels[name].missing),
            ]

    def _load(self, m, channels):
        """Tell the channels what their commands bring and need."""
        for name, channel in channels.items():
            load, load_valid = self._command(m, f"{name}_load", channel.load_done)
            send, send_valid = self._command(m, f"{name}_send", channel.send_done)
            outer, inner = {"x": (load.x_lines, load.beats), "w": (load.passes, load.beats),
                            "s": (load.passes, load.groups), "sx": (load.m, 1),
                            "t": (load.m, load.groups)}[name]
            length, repeats, segments = {
                "x": (send.x_items, send.passes, 1), "w": (send.beats, send.blocks, send.passes),
                "s": (send.groups, send.blocks, send.passes), "sx": (send.m, send.passes, 1),
                "t": (send.t_items, send.passes, 1)}[name]
            m.d.comb += [
                channel.load_valid.eq(load_valid),
                channel.outer.eq(outer),
                channel.inner.eq(inner),
                channel.send_valid.eq(send_valid),
                channel.length.eq(length),
                channel.repeats.eq(repeats),
                channel.segments.eq(segments),
            ]

    def _sequence(self, m, array, channels):
        """Feed the array, beat by beat: passes, blocks, groups."""
        p = self.parameters
        x, w, s = (channels[name].o for name in "xws")
        t = channels["t"].o if p.x_groups else None
        done = Signal()
        command, valid = self._command(m, "sequence", done)
        pass_, block, beat, group_beat = (
            Signal(COUNT, name=name) for name in ("pass_", "block", "beat", "group_beat"))

        operands  = Signal()  # not a beat of padding
        tile_end, group_end, take = Signal(), Signal(), Signal()
        fill_ready = (t.valid | (beat < command.beats - 1)) if p.x_zero else C(1)
        m.d.comb += [
            operands.eq(beat < command.beats),
            tile_end.eq(beat == command.padded_beats - 1),
            group_end.eq(tile_end | (group_beat == command.group_beats - 1)),
            array.x.valid.eq(valid & (~operands | x.valid) & fill_ready),
            array.w.valid.eq(valid & (~operands | w.valid)),
            array.w.payload.eq(w.payload),
            take.eq(array.x.valid & array.x.ready),
            x.ready.eq(take & operands),
            w.ready.eq(take & operands),
            array.x.p.last.eq(group_end),
            array.s.valid.eq(valid & s.valid),
            s.ready.eq(array.s.ready),
            array.s.p.columns.eq(s.payload),
            array.s.p.last.eq(tile_end),
            self.beat.eq(take),
        ]
        if p.wide:
            m.d.comb += array.s.p.wide.eq(pass_ < command.wide_passes)
        if p.x_groups:
            m.d.comb += [
                array.t.valid.eq(valid & t.valid),
                array.t.payload.eq(t.payload),
                t.ready.eq(array.t.ready),
            ]
        present = Signal(p.lanes)
        m.d.comb += present.eq(Cat(
            operands & ((beat != command.beats - 1) | (lane < command.tail))
            for lane in range(p.lanes)))
        bits = p.x_format.bits
        for row in range(p.rows):
            fill = array.t.p[row].zero if p.x_zero else C(0, bits)
            for lane in range(p.lanes):
                item = x.payload.word_select(row * p.lanes + lane, bits)
                m.d.comb += array.x.p.x[row][lane].eq(Mux(present[lane], item, fill))

        pass_end  = block == command.blocks - 1
        m.d.comb += done.eq(take & tile_end & pass_end & (pass_ == command.passes - 1))
        with m.If(take):
            m.d.sync += [
                beat.eq(Mux(tile_end, 0, beat + 1)),
                group_beat.eq(Mux(group_end, 0, group_beat + 1)),
            ]
            with m.If(tile_end):
                m.d.sync += block.eq(Mux(pass_end, 0, block + 1))
                with m.If(pass_end):
                    m.d.sync += pass_.eq(Mux(done, 0, pass_ + 1))

        # The first cause that applies.
        causes = {"x": operands & ~x.valid, "w": operands & ~w.valid, "s": group_end & ~s.valid}
        if p.x_groups:
            causes["t"] = (group_end | ~fill_ready) & ~t.valid
        causes |= {"sx": ~array.sx.valid, "y": C(1)}
        stalls, others = {}, valid & ~take
        for name, cause in causes.items():
            stalls[name] = others & cause
            others = others & ~cause
        # The outputs that are left when the last beat has entered.
        leaving = ~valid & (self._tail != self._head)
        stalls["sx"] |= (wait := leaving & array.sx.ready & ~array.sx.valid)
        stalls["y"]  |= leaving & self.y.valid & ~self.y.ready & ~wait
        m.d.comb += [getattr(self, f"stall_{name}").eq(stall) for name, stall in stalls.items()]

    def _scale(self, m, array, channel):
        """Scales of the tokens for each output tile; rows past M get any."""
        p = self.parameters
        take, done = Signal(), Signal()
        command, valid = self._command(m, "scale", done)
        pass_, token, row = (Signal(COUNT, name="scale_pass"), Signal(COUNT, name="token"),
                             Signal(range(max(2, p.rows)), name="scale_row"))
        present  = token < command.m
        row_end  = row == p.rows - 1
        pass_end = row_end & (token >= command.m - 1)
        m.d.comb += [
            array.sx.payload.eq(channel.o.payload),
            array.sx.valid.eq(valid & (~present | channel.o.valid)),
            take.eq(array.sx.valid & array.sx.ready),
            channel.o.ready.eq(take & present),
            done.eq(take & pass_end & (pass_ == command.passes - 1)),
        ]
        with m.If(take):
            m.d.sync += [
                row.eq(Mux(row_end, 0, row + 1)),
                token.eq(Mux(pass_end, 0, token + 1)),
            ]
            with m.If(pass_end):
                m.d.sync += pass_.eq(Mux(done, 0, pass_ + 1))

    def _results(self, m, array):
        """Pass on what lies within M by N."""
        p = self.parameters
        command, valid = self._at(m, "result", self._tail)
        pass_, token = Signal(COUNT, name="result_pass"), Signal(COUNT, name="result_token")
        # One bit more: the last pass may end beyond N.
        feature, first = (Signal(COUNT.width + 1, name=name)
                          for name in ("feature", "first_feature"))
        row  = Signal(range(max(2, p.rows)), name="result_row")
        part = Signal(range(max(2, p.columns // p.y_lanes)))

        wide     = pass_ < command.wide_passes if p.wide else C(0)
        columns  = Mux(wide, p.columns // 2, p.columns)
        limit    = Mux(wide, command.wide, command.n)
        left     = Signal(signed(COUNT.width + 2))
        part_end = part == Mux(wide, p.columns // 2 // p.y_lanes, p.columns // p.y_lanes) - 1
        row_end  = row == p.rows - 1
        pass_end = part_end & row_end & (token >= command.m - 1)
        wanted, take = Signal(), Signal()
        m.d.comb += [
            left.eq(limit - feature),
            wanted.eq((token < command.m) & (left > 0)),
            self.y.valid.eq(valid & wanted & array.y.valid),
            self.y.p.y.eq(array.y.p.y),
            self.y.p.keep.eq(Cat(left > lane for lane in range(p.y_lanes))),
            self.y.p.last.eq((pass_ == command.passes - 1) & (token == command.m - 1)
                             & (left <= p.y_lanes)),
            array.y.ready.eq(valid & (~wanted | self.y.ready)),
            take.eq(array.y.valid & array.y.ready),
            self.done.eq(take & pass_end & (pass_ == command.passes - 1)),
        ]
        with m.If(take):
            m.d.sync += [part.eq(part + 1), feature.eq(feature + p.y_lanes)]
            with m.If(part_end):
                m.d.sync += [
                    part.eq(0),
                    feature.eq(first),
                    row.eq(Mux(row_end, 0, row + 1)),
                    token.eq(Mux(pass_end, 0, token + 1)),
                ]
            with m.If(pass_end):
                # Narrow features begin where the wide ones end, however full their last pass is.
                last_wide = wide & (pass_ == command.wide_passes - 1)
                following = Mux(last_wide, command.wide, first + columns)
                following = Mux(self.done, 0, following)
                m.d.sync += [
                    pass_.eq(Mux(self.done, 0, pass_ + 1)),
                    first.eq(following),
                    feature.eq(following),
                ]
