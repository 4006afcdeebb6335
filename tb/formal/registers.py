"""Registers: the rules of AXI4-Lite, what each field does, and counters that never lie."""

from amaranth import *
from amaranth.hdl import Assume

from golden.parameters import SETS
from golden.registers import DATA_BITS, port_names, unit_registers
from golden.softmax_parameters import SOFTMAX_SETS
from golden.values_parameters import VALUES_SETS
from tb.formal.harness import Harness
from tb.formal.property import Broken, Property

__all__ = ["PROPERTIES"]

_OKAY, _SLVERR = 0, 2


class _Bank(Harness):
    """Registers of a unit, beside its requests that have not been answered."""

    def __init__(self, module, p, probes=None):
        super().__init__(module.AxiLiteRegisters(p, unit_registers(p)), probes=probes)

    def port(self, channel, name):
        """A signal of a channel."""
        return getattr(self, f"s_axil_{channel}{name}")

    def moves(self, channel):
        """Whether a channel transfers."""
        return self.port(channel, "valid") & self.port(channel, "ready")

    def requests(self, m):
        """Whether each request waits inside; the master keeps what it offers."""
        for channel, names in (("aw", ["addr"]), ("w", ["data", "strb"]), ("ar", ["addr"])):
            payload = Cat(self.port(channel, name) for name in names)
            self.assume(m, self.stays(m, channel, self.port(channel, "valid"),
                                      self.port(channel, "ready"), payload))
        return {channel: self.follows & ~self.port(channel, "ready")
                for channel in ("aw", "w", "ar")}


class Rules(_Bank):
    """Requests and responses."""

    def state(self, m):
        waits = self.requests(m)
        for request, response in (("aw", "b"), ("w", "b"), ("ar", "r")):
            count = Signal(3, name=f"open_{request}")
            m.d.sync += count.eq(count + self.moves(request) - self.moves(response))
            self.claim(m, count == waits[request] + self.port(response, "valid"))
        for response, names in (("b", ["resp"]), ("r", ["data", "resp"])):
            payload = Cat(self.port(response, name) for name in names)
            self.claim(m, self.stays(m, response, self.port(response, "valid"),
                                     self.port(response, "ready"), payload))
        for name, both, response in (("write", waits["aw"] & waits["w"], "b"),
                                     ("read", waits["ar"], "r")):
            free = ~self.port(response, "valid") | self.port(response, "ready")
            due  = self.past(m, both & free, f"{name}_due")
            self.claim(m, ~due | self.port(response, "valid"))
        self.claim(m, self.follows | ~(self.s_axil_bvalid | self.s_axil_rvalid))


class Fields(_Bank):
    """What each write and each read does."""

    def __init__(self, module, p):
        # Registers that hold what has come on a channel.
        super().__init__(module, p, {"held_aw": ("aw", unsigned(12)), "held_w": ("w", unsigned(36)),
                                     "held_ar": ("ar", unsigned(12))})

    def state(self, m):
        waits = self.requests(m)
        write = waits["aw"] & waits["w"] & (~self.s_axil_bvalid | self.s_axil_bready)
        read  = waits["ar"] & (~self.s_axil_rvalid | self.s_axil_rready)
        kept  = {}
        for channel, name in (("aw", "addr"), ("w", "data"), ("w", "strb"), ("ar", "addr")):
            port = self.port(channel, name)
            kept[channel + name] = Signal.like(port, name=f"kept_{channel}{name}")
            with m.If(self.moves(channel)):
                m.d.sync += kept[channel + name].eq(port)
        # What makes the induction close.
        for channel, held in (("aw", kept["awaddr"]), ("w", Cat(kept["wdata"], kept["wstrb"])),
                              ("ar", kept["araddr"])):
            self.claim(m, ~waits[channel] | (getattr(self, f"held_{channel}") == held))
        registers = self.dut.table.registers
        data, strobes = kept["wdata"], kept["wstrb"]
        mask = Cat(bit.replicate(8) for bit in strobes)
        writable, readable, value = C(0), C(0), C(0, DATA_BITS)
        for register in registers:
            here = write & (kept["awaddr"] == register.offset)
            word = []
            for field in register.fields:
                word.append(self._field(m, register, field, here, data, mask))
            if register.writable:
                writable = writable | (kept["awaddr"] == register.offset)
            there    = kept["araddr"] == register.offset
            readable = readable | there
            whole    = C(0, DATA_BITS)
            for field, bits in zip(register.fields, word, strict=True):
                whole = whole | (bits << field.low)[:DATA_BITS]
            value = value | Mux(there, whole, 0)
        for name, event, port, wanted in (
                ("bresp", write, self.s_axil_bresp, Mux(writable, _OKAY, _SLVERR)),
                ("rresp", read, self.s_axil_rresp, Mux(readable, _OKAY, _SLVERR)),
                ("rdata", read, self.s_axil_rdata, value[:DATA_BITS])):
            was = self.past(m, wanted, name)
            self.claim(m, ~self.past(m, event, f"{name}_event") | (port == was))

    def _field(self, m, register, field, here, data, mask):
        """Claim what a field becomes; return what it reads as."""
        if field.access == "const":
            return C(field.reset, field.width)
        ports = [getattr(self, name) for name in port_names(register, field)]
        port, name = ports[0], port_names(register, field)[0]
        own, reach = (each[field.low:field.low + field.width] for each in (data, mask))
        match field.access:
            case "ro":
                return port
            case "rw":
                after = Mux(here, (port & ~reach) | (own & reach), port)
            case "w1c":
                after = (port & ~(own & reach & here)) | ports[1]
            case "pulse":
                after = own & reach & here
        was = self.past(m, after, name)
        self.claim(m, port == Mux(self.follows, was[:field.width], field.reset))
        return C(0, 1) if field.access == "pulse" else port


class Count(Harness):
    """A counter beside a number of events that no width bounds, but for twice its own."""

    def __init__(self, module, width):
        super().__init__(module.Counter(SETS["tiny"], width))

    def state(self, m):
        largest = (1 << len(self.count)) - 1
        events = Signal(len(self.count) + 1)
        with m.If(self.clear):
            m.d.sync += events.eq(0)
        with m.Elif(self.increment & (events <= largest)):
            m.d.sync += events.eq(events + 1)
        self.claim(m, self.count == Mux(events > largest, largest, events))
        self.claim(m, events <= largest + 1)


class Stalls(Harness):
    """What the core of a unit tells its counters, whatever the blocks inside do."""

    def __init__(self, module, p):
        if p.unit == "array":
            dut = module.Engine(p)
            super().__init__(dut, frees=(dut.array, dut.admission, *dut.channels.values()))
        else:
            dut = module.Values(p)
            super().__init__(dut, frees=(dut.tile, dut.outputs, dut.rows))

    def state(self, m):
        causes = [getattr(self, name) for name in self.dut.signature.members
                  if name.startswith("stall_")]
        total = sum([self.beat, *causes])
        self.claim(m, total <= 1)
        if self.dut.parameters.unit == "values":
            self.claim(m, total == self.busy | self.beat)


#: What each counter counts: a port of the core, or a stream that transfers.
_EVENTS = {
    "array": {"cycles": "busy", "busy": "beat", "done": "done", "words_x": "s_axis_x",
              "words_w": "s_axis_w", "words_y": "m_axis_y",
              **{f"stall_{name}": f"stall_{name}" for name in ("x", "w", "s", "sx", "y")}},
    "values": {"beats": "beat", "words_codes": "s_axis_codes", "words_v": "s_axis_v",
               "words_y": "m_axis_y",
               **{f"stall_{name}": f"stall_{name}" for name in ("codes", "v", "s", "y")}},
    "softmax": {"words_x": "s_axis_x", "words_y": "m_axis_y"},
}


class Counters(Harness):
    """Counters of a unit whose core does anything."""

    def __init__(self, module, p):
        name, core = {"array": ("Gemm", "engine"), "softmax": ("SoftmaxUnit", "core"),
                      "values": ("ValuesUnit", "core")}[p.unit]
        dut = getattr(module, name)(p)
        self._events = _EVENTS[p.unit]
        probes = {f"count_{each}": (f"registers.{each}_count", unsigned(DATA_BITS))
                  for each in self._events}
        probes |= {f"event_{each}": (f"{core}.{event}", unsigned(1))
                   for each, event in self._events.items() if "_axis_" not in event}
        probes["clear"] = ("registers.control_clear_counters", unsigned(1))
        super().__init__(dut, probes=probes, frees=(getattr(dut, core),))

    def state(self, m):
        self.assume(m, self.aresetn)
        m.d.comb += Assume(self.begun | ~self.aresetn)
        for name, event in self._events.items():
            count = getattr(self, f"count_{name}")
            if "_axis_" in event:
                happens = getattr(self, f"{event}_tvalid") & getattr(self, f"{event}_tready")
            else:
                happens = getattr(self, f"event_{name}")
            full  = (1 << DATA_BITS) - 1
            after = Mux(self.clear, 0, Mux(count == full, full, count + happens))
            self.claim(m, count == self.past(m, after[:DATA_BITS], name))


_UNITS = {"tiny": SETS["tiny"], "attention_tiny": SOFTMAX_SETS["attention_tiny"],
          "attention_tiny_pv": VALUES_SETS["attention_tiny_pv"]}


def _counters(name, module, p, *broken):
    return Property(
        name=f"counters-{name}", family="registers", module=module,
        claim="Each counter of the unit, whatever its core does, goes up by one with its event, "
              "as an independent list of events says, stays at its largest value, and is cleared "
              "by CONTROL alone, not by a soft reset.",
        cases={p.name: p}, build=Counters, method="induction", depth=3, broken=broken)


PROPERTIES = [
    Property(
        name="axi-lite-rules", family="registers", module="hdl.axi_lite", short=True,
        claim="Each request has one response and no response is without one, addresses and data "
              "of writes in any order; a response comes in the second cycle after what it answers, "
              "unless one waits, and stays until it is taken; ready is low only in the reset and "
              "while a request waits for its other half or for the response before; the master "
              "keeps what it offers.",
        cases=_UNITS, build=Rules, method="induction", depth=5,
        broken=(Broken("valid.eq(execute | (valid & ~ready))", "valid.eq(execute | valid)",
                       depth=7),
                Broken("held_next.eq((held | (valid & ready)) & ~execute)",
                       "held_next.eq((held | valid) & ~execute)", depth=6),
                Broken("address_held & data_held & self._free", "address_held & self._free",
                       depth=6))),
    Property(
        name="axi-lite-fields", family="registers", module="hdl.axi_lite",
        claim="A write changes the bytes with strobes of the fields of its register and nothing "
              "else, setting a sticky bit wins over clearing it, strobes last one cycle; a read "
              "gives the fields as they are; what is no register, or cannot be written, is "
              "answered with SLVERR and has no effect.",
        cases=_UNITS, build=Fields, method="induction", depth=5,
        broken=(Broken("(value & ~single) | set_", "(value | set_) & ~single", depth=6),
                Broken("_OKAY, _SLVERR = 0, 2", "_OKAY, _SLVERR = 0, 0", depth=6),
                Broken("written[field.low // 8]\n", "written[0]\n", "tiny", depth=6))),
    Property(
        name="counter", family="registers", module="hdl.counter", short=True,
        claim="A counter is the number of increments since the reset or the last clear, or its "
              "largest value if there were more.",
        cases={"4 bits": 4, "32 bits": 32}, build=Count, method="induction", depth=3,
        broken=(Broken("self.increment & ~self.count.all()", "self.increment", depth=20),)),
    Property(
        name="stalls", family="registers", module="hdl.engine",
        claim="In no cycle does an engine tell a beat and a stall, or two causes of a stall, "
              "whatever its array, its buffers and its admission do.",
        cases={"tiny": SETS["tiny"]}, build=Stalls, method="induction", depth=3,
        broken=(Broken("others = others & ~cause", "others = others & 1", depth=8),)),
    Property(
        name="values-stalls", family="registers", module="hdl.values.core",
        claim="In each cycle in which it is busy the unit for codes times V tells a beat or one "
              "cause of a stall, and in others neither cause.",
        cases={"attention_tiny_pv": VALUES_SETS["attention_tiny_pv"]}, build=Stalls,
        method="induction", depth=3,
        broken=(Broken("others = others & ~cause", "others = others & 1", depth=4),)),
    _counters("gemm", "hdl.gemm", SETS["tiny"],
              Broken('"cycles": engine.busy, "busy": engine.beat',
                     '"cycles": engine.beat, "busy": engine.busy', depth=4)),
    _counters("softmax", "hdl.softmax.unit", SOFTMAX_SETS["attention_tiny"],
              Broken('"words_x": entered', '"words_x": left', depth=4)),
    _counters("values", "hdl.values.unit", VALUES_SETS["attention_tiny_pv"],
              Broken('"beats": core.beat', '"beats": ~core.beat', depth=4)),
]
