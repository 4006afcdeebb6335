"""Groups of an array: where each is, which queues hold its scales, and how long beats wait."""

from amaranth import *
from amaranth.lib import data

from golden.parameters import SETS
from hdl.foot import column_layout, step_layout
from hdl.row_sum import x_group_layout
from tb.formal.harness import Harness
from tb.formal.property import Broken, Property

__all__ = ["PROPERTIES"]


class ScaleQueues(Harness):
    """An array beside the ends of its groups in the cycles before, which say where each is.

    What computes is left out. Groups have the beats that the parameter set says, or more.
    """

    def __init__(self, array, free, more=None):
        p, foot = array.parameters, array.band.foot
        self._queues = ["scales", *(["queue"] if len(column_layout(p).members) > 1 else [])]
        self._rows   = bool(x_group_layout(p).size)
        level = Shape.cast(range(p.scale_queue + 1))
        probes = {"room": ("room", level)}
        for band in range(p.bands):
            path = f"band_{band}"
            probes |= {f"{path}_begin_{cycle}": (f"{path}.begin_{cycle}", unsigned(1))
                       for cycle in range(1, p.mesh_rows + 2)}
            probes |= {f"{path}_step_0": (f"{path}.step", unsigned(step_layout(p).size))}
            probes |= {f"{path}_step_{j + 1}": (f"{path}.foot_{j}.step_o",
                                                unsigned(step_layout(p).size))
                       for j in range(p.mesh_columns)}
            probes |= {f"{path}_{name}_{j}": (f"{path}.foot_{j}.{name}.level", level)
                       for j in range(p.mesh_columns) for name in self._queues}
            if self._rows:
                probes |= {f"{path}_rows": (f"{path}.queue.level", level)}
        computes = (array.band.tile, array.band.row_sum, array.column_sum, *foot.uses)
        super().__init__(array, probes=probes | (more or {}),
                         frees=(*filter(None, computes), free))

    def state(self, m):
        p = self.parameters
        lifetime = p.mesh_rows + p.band_rows + p.mesh_columns + 1  # until all feet are done with it
        ends, beats = Signal(lifetime), Signal(range(p.least_beats))  # bit k: k + 1 cycles ago
        beat, end = Signal(), Signal()
        m.d.comb += [
            beat.eq(self.x.valid & self.x.ready),
            end.eq(beat & self.x.p.last),
        ]
        m.d.sync += ends.eq(Cat(end, ends))
        self.beat, self.end, self.ends = beat, end, ends
        with m.If(end):
            m.d.sync += beats.eq(0)
        with m.Elif(beat & (beats != p.least_beats - 1)):
            m.d.sync += beats.eq(beats + 1)
        enough = beats == p.least_beats - 1
        self.assume(m, ~(self.x.valid & self.x.p.last) | enough)

        self.claim(m, ~enough | (self.room != 0))
        self.claim(m, self.room == p.scale_queue - _ones(ends))
        for cycle in range(lifetime):
            # A group that ended so long ago leaves these cycles to the next.
            self.claim(m, ~ends[cycle] | ~ends[cycle + 1:cycle + p.least_beats].any())
            if cycle < p.least_beats - 1:
                self.claim(m, ~ends[cycle] | (beats <= cycle))
        for band in range(p.bands):
            self._band(m, f"band_{band}", ends, end)

    def _band(self, m, path, ends, end):
        """Where a band is with its groups, and what its queues hold."""
        p = self.parameters
        begun  = p.mesh_rows  # place among the ends of the group that begins to drain
        steps  = [data.View(step_layout(p), getattr(self, f"{path}_step_{j}"))
                  for j in range(p.mesh_columns + 1)]
        drains = ends[begun + 1:begun + 1 + p.band_rows]
        for cycle in range(begun + 1):
            self.claim(m, getattr(self, f"{path}_begin_{cycle + 1}") == ends[cycle])
        self.claim(m, steps[0].valid == drains.any())
        for cycle in range(p.band_rows):
            self.claim(m, ~drains[cycle] | (steps[0].row == p.band_rows - 1 - cycle))
        for j, step in enumerate(steps):
            last = begun + p.band_rows + j
            self.claim(m, (step.valid & step.end) == ends[last])
            # Each queue has the groups that its foot has not ended, the scales one cycle longer.
            names  = [f"{path}_queue_{j}"] * ("queue" in self._queues and j < p.mesh_columns)
            names += [f"{path}_scales_{j - 1}"] * (j > 0)
            names += [f"{path}_rows"] * (self._rows and j == 0)
            for name in names:
                held = getattr(self, name)
                self.claim(m, held == _ones(ends[:last + 1]))
                self.claim(m, ~end | (held != p.scale_queue))
                self.claim(m, ~ends[last] | (held != 0))


class Progress(ScaleQueues):
    """The same beside the ends of output tiles, and how long a beat can wait.

    In a cycle in which all outside are ready a beat waits only for a bank, both being held; then
    what is left of the elder tile's way to its bank, and of its reading, is a cycle shorter.
    """

    def __init__(self, array):
        p = array.parameters
        self._parts = p.columns // p.y_lanes
        probes = {name: (name, unsigned(width)) for name, width in (("bank", 1), ("held", 2))}
        sizes  = {"waiting": 3, "freed": 2, "part": self._parts, "read_bank": 2,
                  "read_row": max(2, p.band_rows), "read_band": max(2, p.bands)}
        probes |= {name: (f"output.{name}", Shape.cast(range(size)))
                   for name, size in sizes.items() if size > 1}
        probes |= {f"final_{cycle}": (f"band_0.final_{cycle}", unsigned(1))
                   for cycle in range(1, p.mesh_rows + 2)}
        probes |= {f"finished_{cycle}": (f"band_0.finished_in_{cycle}", unsigned(1))
                   for cycle in range(1, p.dequantise_latency)}
        if p.wide:
            probes["wide"] = ("wide", unsigned(2))
        super().__init__(array, array.output.rescale, probes)

    def state(self, m):
        super().state(m)
        p, ends = self.parameters, self.ends
        way = len(ends) + p.dequantise_latency - 1  # cycles until a tile can be read
        finals = Signal(way)  # the ends of output tiles among those of groups, and some cycles more
        m.d.sync += finals.eq(Cat(self.end & self.s.p.last, finals))
        self._tags(m, finals)
        bank, left = self._reading(m)
        held = _ones(self.held)
        self.claim(m, (finals[:len(ends)] & ~ends) == 0)
        self.claim(m, held == _ones(finals) + self.waiting)
        self.claim(m, (self.bank ^ bank) == held[0])
        self.claim(m, (held != 1) | self.held.bit_select(bank, 1))

        full = p.rows * self._parts  # cycles in which it is read
        eager, idle = Signal(), Signal(range(way + full + 2))
        streams = [self.x, self.w, self.s, *([self.t] if p.x_groups else [])]
        offered = Cat(stream.valid for stream in streams).all()
        self.claim(m, ~offered | self.beat | (self.x.p.last & self.held.all()))
        m.d.comb += eager.eq(offered & self.sx.valid & self.y.ready)
        m.d.sync += idle.eq(Mux(eager & ~self.beat, idle + 1, 0))
        for place in range(way):
            waits = (self.waiting == 0) & finals[place] & (finals[place + 1:] == 0)
            left = Mux(waits, full + way - place, left)
        self.claim(m, (held != 2) | (idle + left <= full + way))
        self.claim(m, idle <= full + way)

    def _reading(self, m):
        """Bank that is read, and cycles that its reading still takes."""
        p, parts = self.parameters, self._parts
        part = self.part if parts > 1 else C(0)
        row, bank = Signal.like(self.read_row), Signal()
        m.d.sync += [row.eq(self.read_row), bank.eq(self.read_bank)]
        wide = self.wide.bit_select(bank, 1) if p.wide else C(0)
        take = (~self.y.valid | self.y.ready) & (self.waiting != 0) & self.sx.valid
        next_row = Mux(row == p.band_rows - 1, 0, row + 1)
        part_end = part == Mux(wide, parts // 2, parts) - 1
        self.claim(m, self.read_row == Mux(take & part_end, next_row, row))
        self.claim(m, self.read_bank == bank ^ self.freed)
        self.claim(m, (row < p.band_rows) & (self.read_band < p.bands))
        self.claim(m, part < Mux(wide, parts // 2, parts))
        self.claim(m, (self.waiting != 0) | (Cat(part, row, self.read_band) == 0))
        return bank, p.rows * parts - ((self.read_band * p.band_rows + row) * parts + part)

    def _tags(self, m, finals):
        """The mark of the last group goes with the group."""
        p = self.parameters
        ends, begun, ended = self.ends, p.mesh_rows, p.mesh_rows + p.band_rows
        for cycle in range(begun + 1):
            self.claim(m, ~ends[cycle] | (getattr(self, f"final_{cycle + 1}") == finals[cycle]))
        for cycle in range(begun + 1, len(finals)):
            if cycle < len(ends):
                step = getattr(self, f"band_0_step_{max(0, cycle - ended)}")
                final = data.View(step_layout(p), step).final
                self.claim(m, ~ends[cycle] | (final == finals[cycle]))
            else:
                self.claim(m, getattr(self, f"finished_{cycle - len(ends) + 1}") == finals[cycle])


def _ones(bits):
    """How many bits are 1."""
    return sum(bits, C(0))


def _scale_queues(module, parameters):
    """Those of an array."""
    array = module.Array(parameters)
    return ScaleQueues(array, array.output)


PROPERTIES = [
    Property(
        name="scale-queues", family="streams", module="hdl.array",
        claim="No queue of scales or zero points of an array is full when a group ends or empty "
              "when its band has stepped through one, and each holds the groups between, if groups "
              "have at least the beats of the shortest, whatever the tiles give and the streams do "
              "otherwise.",
        cases=SETS, build=_scale_queues, method="induction", depth=3,
        broken=(Broken("room - ended + bands[0].freed", "room - ended + bands[0].finished",
                       depth=22),
                Broken("band.last.eq(self.s.ready)", "band.last.eq(self.x.valid & end)",
                       depth=14))),
    Property(
        name="progress", family="streams", module="hdl.array",
        claim="A beat that all streams offer waits for nothing but a bank of results, and, while "
              "scales of rows come and outputs are taken, at most from the last beat of an output "
              "tile until its last word is read: its way through the mesh, the dequantisers' "
              "latency, and a cycle for each word; if groups have at least the beats of the "
              "shortest.",
        cases=SETS, build=lambda module, p: Progress(module.Array(p)), method="induction", depth=3,
        broken=(Broken("(room != 0)", "(room > 1)", depth=16),
                Broken("& ~held.bit_select(bank, 1)", "", depth=26),
                Broken("held.bit_select(~output.read_bank, 1)",
                       "held.bit_select(output.read_bank, 1)", depth=50))),
]
