"""Streams: what is offered stays, nothing is lost, doubled or out of order."""

from amaranth import *
from amaranth.lib.wiring import In

from golden.parameters import SETS
from golden.softmax_parameters import (
    EXACT_SETS,
    SOFTMAX_SETS,
    BaselineParameters,
    SoftmaxParameters,
)
from golden.values_parameters import VALUES_SETS
from tb.formal.harness import Harness
from tb.formal.property import Broken, Property

__all__ = ["PROPERTIES"]


class Steady(Harness):
    """Streams of a block that keep what they offer, if those that feed it do.

    ``free`` says which blocks inside may do anything.
    """

    def __init__(self, dut, *, constants=(), outputs=None, free=lambda dut: ()):
        self._constants = constants
        streams = {name: member for name, member in dut.signature.members.items()
                   if member.is_signature}
        self._inputs  = [name for name, member in streams.items() if member.flow == In]
        self._outputs = outputs or [name for name in streams if name not in self._inputs]
        super().__init__(dut, frees=free(dut))

    def state(self, m):
        for name in self._constants:
            self.constant(m, getattr(self, name), name)
        for name in self._inputs:
            self.assume(m, self.stream_stays(m, name))
        for name in self._outputs:
            self.claim(m, self.stream_stays(m, name))


class Delivery(Harness):
    """One command of a channel: each item comes out where and as often as it should."""

    def __init__(self, module, case):
        self._case = dict(zip(("depth", "rows", "outer", "inner", "length", "repeats", "segments"),
                              case, strict=True))
        super().__init__(module.Channel(SETS["tiny"], "channel", 2, case[0], case[1]))

    def state(self, m):
        c = self._case
        for name in ("outer", "inner", "length", "repeats", "segments"):
            self.assume(m, getattr(self, name) == c[name])
        self.assume(m, self.stream_stays(m, "i"))
        items = c["outer"] * c["inner"]
        sent_items = c["length"] * c["repeats"] * c["segments"]
        came, sent = Signal(range(items + 2)), Signal(range(sent_items + 2))
        loaded, read = Signal(), Signal()
        taken, leaves = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        words = [Signal(2, name=f"item_{index}") for index in range(items)]
        m.d.sync += [came.eq(came + taken), sent.eq(sent + leaves),
                     loaded.eq(loaded | self.load_done), read.eq(read | self.send_done)]
        for index, word in enumerate(words):
            with m.If(taken & (came == index)):
                m.d.sync += word.eq(self.i.payload)
        self.assume(m, (self.load_valid == ~loaded) & (self.send_valid == ~read))

        # Which items each word has: those of all rows of a block, an item of its own in each.
        expected = []
        for segment in range(c["segments"]):
            for _ in range(c["repeats"]):
                for item in range(c["length"]):
                    place = segment * c["length"] + item
                    block, column = divmod(place, c["inner"])
                    expected.append([(block * c["rows"] + row) * c["inner"] + column
                                     for row in range(c["rows"])])
        for number, indices in enumerate(expected):
            for row, index in enumerate(indices):
                if index < items:
                    self.claim(m, ~(self.o.valid & (sent == number))
                               | ((came > index) &
                                  (self.o.payload.word_select(row, 2) == words[index])))
        self.claim(m, (came <= items) & (sent <= sent_items))
        self.claim(m, ~self.o.valid | (sent != sent_items))
        self.claim(m, self.load_done == (taken & (came == items - 1)))
        self.claim(m, self.unexpected == (taken & self.last & (came != items - 1)))
        self.claim(m, self.missing == (taken & ~self.last & (came == items - 1)))
        self.claim(m, self.stream_stays(m, "o"))
        # With a source and a sink that never wait all is out in as many cycles as there are items
        # and words, and two.
        eager, cycles = Signal(init=1), Signal(range(items + sent_items + 4))
        m.d.sync += [eager.eq(eager & self.i.valid & self.o.ready),
                     cycles.eq(Mux(cycles == items + sent_items + 3, cycles, cycles + 1))]
        self.claim(m, ~eager | (cycles < items + sent_items + 2) | (sent == sent_items))


_ENGINE = SETS["tiny"].replace(x_depth=4, w_depth=4, group=16)
_ALIGNED = SETS["tiny"].replace(x="fp16", x_align=6, x_scale="e8m0")


def _steady(name, module, block, claim, cases, *broken, depth=3, short=False, **options):
    """A property of steady streams; ``block`` makes the block from its class's module."""
    whatever = ", whatever its arithmetic gives" if "free" in options else ""
    return Property(
        name=f"steady-{name}", family="streams", module=module, short=short,
        claim=f"{claim} until it is taken, if what feeds the block does so too{whatever}.",
        cases=cases,
        build=lambda module, p: Steady(block(module, p), **options), method="induction",
        depth=depth, broken=broken)


PROPERTIES = [
    Property(
        name="channel", family="streams", module="hdl.channel",
        claim="Each word of a command leaves with the items that it should have, in order and as "
              "often as it should; TLAST is judged rightly; nothing is offered before it came; "
              "without waiting outside all has left after a cycle for each item and each word, "
              "and two.",
        cases={"4 items in 2 places": (2, 1, 2, 2, 4, 1, 1),
               "4 items in 3 places": (3, 1, 2, 2, 4, 1, 1),
               "2 segments, each twice": (2, 1, 2, 2, 2, 2, 2),
               "3 rows in blocks of 2": (2, 2, 3, 2, 4, 1, 1),
               "block of 2 rows, twice": (2, 2, 2, 2, 2, 2, 1)},
        build=Delivery, method="bounded", depth=18,
        broken=(Broken("(row != 0) | (begun != self._depth)", "C(1)", depth=12),
                Broken("Mux(final, filled != 0, filled > item)", "(filled != 0)",
                       "2 segments, each twice", 14),
                Broken("with m.If(enable):\n            m.d.sync += self.o.valid",
                       "with m.If(C(1)):\n            m.d.sync += self.o.valid", depth=14))),
    _steady("channel", "hdl.channel",
            lambda module, p: module.Channel(p, "channel", 4, 3, 2),
            "What a channel offers stays", {"4 bits, 3 items, 2 rows": SETS["tiny"]},
            Broken("enable = ~self.o.valid | self.o.ready", "enable = C(1)", depth=8), short=True),
    _steady("admission", "hdl.admission", lambda module, p: module.Admission(p),
            "A command stays", {"tiny": SETS["tiny"], "edge": SETS["edge"]},
            Broken("self.i.ready.eq(~fit | self.o.ready)", "self.i.ready.eq(1)", depth=22),
            depth=4),
    _steady("aligner", "hdl.aligner", lambda module, p: module.Aligner(p),
            "What the aligner offers stays", {"fp16 aligned to 6 bits": _ALIGNED},
            Broken("shifted_leave.eq(~self.o.valid | self.o.ready)", "shifted_leave.eq(1)",
                   depth=12),
            constants=("valid", "rows", "beats", "group_beats", "tail"), depth=5),
    _steady("output", "hdl.output", lambda module, p: module.Output(p),
            "A word of outputs stays", {"tiny": SETS["tiny"]},
            Broken("enable.eq(~self.y.valid | self.y.ready)", "enable.eq(1)", depth=12)),
    _steady("array", "hdl.array", lambda module, p: module.Array(p),
            "A word of outputs of the array stays", {"tiny": SETS["tiny"]},
            Broken("output.y.ready.eq(self.y.ready)", "output.y.ready.eq(1)", depth=10),
            free=lambda dut: (dut.band,)),
    _steady("softmax", "hdl.softmax.core", lambda module, p: module.Softmax(p),
            "A word of probabilities or codes stays",
            {"attention_tiny": SOFTMAX_SETS["attention_tiny"], "rows of 4": SoftmaxParameters(
                name="small", width=2, max_length=4, least_length=4, sets=1)},
            Broken("words.r_en.eq(sent)", "words.r_en.eq(self.y.valid)", "rows of 4", 14),
            constants=("codes",), free=lambda dut: (
                dut.maximum, dut.threshold, dut.coder, dut.exponent_sum, dut.division)),
    _steady("exact-softmax", "hdl.softmax.exact", lambda module, p: module.ExactSoftmax(p),
            "A word of exact probabilities stays",
            {"attention_tiny_exact": EXACT_SETS["attention_tiny_exact"],
             "rows of 4": BaselineParameters(name="small", width=2, max_length=4, least_length=4)},
            Broken("enable.eq(~self.y.valid | self.y.ready)", "enable.eq(1)", "rows of 4", 20),
            free=lambda dut: (dut.maximum, dut.exponent, dut.total)),
    _steady("values", "hdl.values.core", lambda module, p: module.Values(p),
            "A word of outputs of codes times V stays",
            {"attention_tiny_pv": VALUES_SETS["attention_tiny_pv"]},
            Broken("outputs.y.ready.eq(self.y.ready)", "outputs.y.ready.eq(1)", depth=28),
            free=lambda dut: (dut.rows, dut.tile, dut.outputs.foot, dut.outputs.lane)),
]
