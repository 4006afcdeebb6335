"""From the sums of a column block to its outputs."""

from amaranth import *
from amaranth.lib import data, fifo, stream
from amaranth.lib.wiring import In, Out

from golden.parameters import RESCALE_LATENCY
from golden.values_parameters import FLOAT_STAGES, FOOT_LATENCY, LANE_LATENCY, ValuesParameters
from hdl import float32
from hdl.block import Block, Use
from hdl.float32 import FP32, SIGNIFICAND, Exact
from hdl.rescale import Rescale
from hdl.values.foot import ValuesFoot
from hdl.values.tile import sums_layout

__all__ = ["ValuesLane", "ValuesOutputs", "chosen_exponents", "column_block_layout",
           "exponents_layout", "results_layout"]


def exponents_layout(parameters: ValuesParameters) -> data.ArrayLayout:
    """Layout of a set of exponents, that of code 0 first."""
    return data.ArrayLayout(parameters.exp_bits + 1, parameters.levels)


def chosen_exponents(exponents: Value, chosen: Value, parameters: ValuesParameters) -> Value:
    """Bits of one of the sets of exponents."""
    return Value.cast(exponents).word_select(chosen, exponents_layout(parameters).size)


def column_block_layout(parameters: ValuesParameters) -> data.StructLayout:
    """Layout of what the outputs of a column block need.

    The columns' scales and which columns there are, how many queries there are, the half of the
    codes' buffer, the set of exponents, and whether the block is the command's last.
    """
    p = parameters
    return data.StructLayout({
        "scales": data.ArrayLayout(FP32.bits, p.columns), "keep": p.columns,
        "queries": range(p.queries + 1), "half": 1, "set": range(p.sets), "last": 1,
    })


def results_layout(parameters: ValuesParameters) -> data.StructLayout:
    """Layout of the outputs of a query in a column block, and which of them there are."""
    p = parameters
    return data.StructLayout({
        "y": data.ArrayLayout(p.y_format.bits, p.columns), "keep": p.columns, "last": 1,
    })


class ValuesLane(Block):
    """``y = y_format(fp32(fp32(total) * scale) * reciprocal)``, each rounded to the nearest even.

    Takes a total in each cycle. Latency ``LANE_LATENCY`` cycles.

    Parameters
    ----------
    parameters : ValuesParameters

    Members
    -------
    total : In(signed(total_bits))
    scale : In(32)
        Of the total's column; any code of binary32.
    reciprocal : In(32)
        Of the total that was taken ``RECIPROCAL`` cycles ago; any code of binary32.
    y : Out(y bits)
    """

    LATENCY = LANE_LATENCY

    #: Cycles from a total to its reciprocal.
    RECIPROCAL = FLOAT_STAGES + RESCALE_LATENCY

    def __init__(self, parameters: ValuesParameters):
        p = parameters
        self._scale   = Rescale(p, "scale", FP32)
        self._rescale = Rescale(p)
        super().__init__(p, "lane", {
            "total": In(signed(p.total_bits)), "scale": In(FP32.bits),
            "reciprocal": In(FP32.bits), "y": Out(p.y_format.bits),
        }, uses=(self._scale, self._rescale))

    def elaborate(self, platform):
        m = Module()

        # A total as a float
        bits = max(len(self.total), SIGNIFICAND)
        magnitude = Mux(self.total < 0, -self.total, self.total)[:bits]
        padded    = Cat(magnitude, C(0, bits - len(magnitude)))  # totals of short rows are short
        magnitude, sign, scale = float32.later(m, "total_", (
            padded, self.total < 0, self.scale))
        number = float32.round_exact(m, Exact(
            sign=sign, exponent=C(bits - 1 + FP32.bias), word=magnitude, fill=C(0),
            cancelled=C(1), infinite=C(0), nan=C(0)), subnormal=False, overflow=False)
        acc, scale = float32.later(m, "acc", (float32.pack(m, number), scale))

        m.submodules.scale   = scaled  = Use(self._scale)
        m.submodules.rescale = rescale = Use(self._rescale)
        m.d.comb += [
            scaled.enable.eq(1),
            scaled.acc.eq(acc),
            scaled.scale.eq(scale),
            rescale.enable.eq(1),
            rescale.acc.eq(scaled.y),
            rescale.scale.eq(self.reciprocal),
            self.y.eq(rescale.y),
        ]

        return m


class ValuesOutputs(Block):
    """Feet, lanes and the queue of outputs.

    The sums of a column block arrive unstoppably from the cycle after ``start`` on, those of a
    query in ``query_cycles``; starts are at least ``drain_cycles`` apart. Whoever starts has seen
    that there is room for ``queries`` words: each is told by ``returned`` when its place is free
    again.

    Parameters
    ----------
    parameters : ValuesParameters

    Members
    -------
    start : In(1)
        ``block`` is taken.
    block : In(column_block_layout(parameters))
    sums : In(ArrayLayout(sums_layout(parameters), columns))
    exponents : In(ArrayLayout(exponents_layout(parameters), sets))
    half, query : Out
        Reciprocal that is to be read; comes one cycle later.
    reciprocal : In(32)
    returned : Out(2)
        Words that have left in this cycle.
    y : Out(stream.Signature(results_layout(parameters)))
    """

    def __init__(self, parameters: ValuesParameters):
        p = parameters
        self.foot, self.lane = ValuesFoot(p), ValuesLane(p)
        super().__init__(p, "outputs", {
            "start": In(1), "block": In(column_block_layout(p)),
            "sums": In(data.ArrayLayout(sums_layout(p), p.columns)),
            "exponents": In(data.ArrayLayout(exponents_layout(p), p.sets)),
            "half": Out(1), "query": Out(range(p.queries)), "reciprocal": In(FP32.bits),
            "returned": Out(2),
            "y": Out(stream.Signature(results_layout(p))),
        }, uses=(self.foot, self.lane))

    @property
    def last_reciprocal(self) -> int:
        """Cycles from a column block's last beat to the reading of query 0's reciprocal.

        Those of the others follow ``query_cycles`` apart.
        """
        p = self.parameters
        return p.query_cycles + FOOT_LATENCY + p.parts + self.lane.RECIPROCAL

    def elaborate(self, platform):
        m = Module()

        totals, done, query = self._sum(m)
        self._scale(m, *self._serve(m, totals, done, query))

        return m

    def _sum(self, m):
        """Totals of a query's columns, whether they are there, and the query."""
        p = self.parameters
        # What belongs to the sums that the feet take.
        self._summed = Signal(column_block_layout(p))
        running, group, query = (Signal(), Signal(range(p.query_cycles)),
                                 Signal(range(p.queries)))
        end  = group == p.query_cycles - 1
        with m.If(running):
            m.d.sync += group.eq(Mux(end, 0, group + 1))
            with m.If(end):
                m.d.sync += query.eq(query + 1)
                with m.If(query == p.queries - 1):
                    m.d.sync += [query.eq(0), running.eq(0)]
        with m.If(self.start):
            m.d.sync += [self._summed.eq(self.block), running.eq(1)]

        exponents = chosen_exponents(self.exponents, self._summed.set, p)
        now    = exponents.word_select(group, (p.exp_bits + 1) * p.products)
        totals = []
        for c in range(p.columns):
            m.submodules[f"foot_{c}"] = foot = Use(self.foot)
            m.d.comb += [
                Value.cast(foot.sums).eq(Value.cast(self.sums[c])),
                Value.cast(foot.exponents).eq(now),
                foot.first.eq(group == 0),
            ]
            totals.append(foot.total)
        done = running & end
        for _ in range(FOOT_LATENCY):
            done, query = self._moved(m, "done", done), self._moved(m, "query_done", query)
        return totals, done, query

    def _serve(self, m, totals, done, query):
        """Hand a query's totals to the lanes, part by part; return what accompanies each part."""
        p = self.parameters
        bits   = p.total_bits * p.lanes
        held   = Signal(bits * p.parts)
        block  = Signal(column_block_layout(p))
        number = Signal(range(p.queries))
        part, serving = Signal(range(p.parts)), Signal()
        part_end = part == p.parts - 1
        with m.If(serving):
            m.d.sync += [held.eq(held >> bits), part.eq(Mux(part_end, 0, part + 1)),
                         serving.eq(~part_end)]
        with m.If(done):
            m.d.sync += [held.eq(Cat(*totals)), number.eq(query), serving.eq(1)]
            with m.If(query == 0):
                m.d.sync += block.eq(self._summed)
        scales = Value.cast(block.scales).word_select(part, FP32.bits * p.lanes)
        wanted = number < block.queries
        final  = number + 1 == block.queries
        flow = {"end": serving & part_end, "wanted": wanted, "last": final & block.last,
                "keep": block.keep, "half": block.half, "query": number}
        return held[:bits], scales, flow

    def _scale(self, m, totals, scales, flow):
        """Scale the parts, and queue a query's outputs when they are complete."""
        p = self.parameters
        stages = [flow]
        for stage in range(LANE_LATENCY):
            stages.append({name: self._moved(m, f"{name}_{stage}", value)
                           for name, value in stages[-1].items()})
        read, out = stages[self.lane.RECIPROCAL - 1], stages[-1]
        m.d.comb += [
            self.half.eq(read["half"]),
            self.query.eq(read["query"]),
        ]
        found = []
        for index in range(p.lanes):
            m.submodules[f"lane_{index}"] = lane = Use(self.lane)
            m.d.comb += [
                lane.total.eq(totals.word_select(index, p.total_bits)),
                lane.scale.eq(scales.word_select(index, FP32.bits)),
                lane.reciprocal.eq(self.reciprocal),
            ]
            found.append(lane.y)

        # Parts come in at the top and move down.
        earlier = Signal(p.y_format.bits * p.lanes * (p.parts - 1))
        word    = Cat(earlier, *found)
        m.d.sync += earlier.eq(word[p.y_format.bits * p.lanes:])
        size = results_layout(p).size
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=size, depth=p.output_depth)
        kept = word[:p.y_format.bits * p.columns]
        m.d.comb += [
            queue.w_data.eq(Cat(kept, out["keep"], out["last"])),
            queue.w_en.eq(out["end"] & out["wanted"]),
            Value.cast(self.y.p).eq(queue.r_data),
            self.y.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.y.ready),
            self.returned.eq((self.y.valid & self.y.ready) + (out["end"] & ~out["wanted"])),
        ]

    def _moved(self, m, name, value):
        """The same one cycle later; nothing after a reset."""
        signal = Signal.like(value, name=name, init=0)
        m.d.sync += signal.eq(value)
        return signal
