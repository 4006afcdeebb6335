"""Blocks beside what is claimed of them."""

from amaranth import *
from amaranth.hdl import Assert, Assume
from amaranth.lib.wiring import In

from hdl.block import Block, Use

__all__ = ["Harness", "free"]


class Harness(Block):
    """A block with free inputs, and what is claimed of its outputs.

    The first cycle is a reset, from any state: no register has a value before it, as in the
    exported Verilog, and there is none after it. Every port of the block is a port of the harness
    under the same name. A subclass says in :meth:`state` what is claimed.

    Parameters
    ----------
    dut : Block or None
        The block; without one the harness itself contains what it speaks of.
    extra : dict
        Further ports, free inputs if they are ``In``.
    probes : dict of str to (str, Shape)
        Signals and words of memories inside the block, as ``name`` or ``submodule.name``, and the
        names under which the harness sees them.
    parameters : BaseParameters, optional
        Set of the harness if there is no block.
    frees : tuple of Block
        Blocks in it whose outputs may be anything, :func:`free`.
    subject : Block, optional
        The block as it is exported, if the harness has another form of it.

    Attributes
    ----------
    begun : Signal
        The reset has been.
    follows : Signal
        The cycle before was not the reset.
    """

    def __init__(self, dut: Block | None, extra: dict | None = None, probes: dict | None = None,
                 parameters=None, frees: tuple[Block, ...] = (), subject: Block | None = None):
        self.subject = subject or dut
        self.dut, self.probes, self.frees = dut, probes or {}, frees
        members = dict(dut.signature.members.items()) if dut else {}
        seen = {name: In(shape) for name, (_, shape) in self.probes.items()}
        super().__init__(dut.parameters if dut else parameters, "harness",
                         {**members, **(extra or {}), **seen}, uses=(dut,) if dut else ())

    def elaborate(self, platform):
        m = Module()

        if self.dut:
            m.submodules.dut = dut = Use(self.dut)
            for path, member, theirs in dut.signature.flatten(dut):
                ours = _at(self, path)
                a, b = map(Value.cast, (theirs, ours) if member.flow == In else (ours, theirs))
                m.d.comb += a.eq(b)
        self.begun = Signal(name="begun", reset_less=True)
        self.follows = Signal(name="follows")
        m.d.sync += [self.begun.eq(1), self.follows.eq(1)]
        m.d.comb += Assume(ResetSignal() == ~self.begun)
        self.state(m)

        return m

    def state(self, m: Module):
        """Say what is assumed and what is claimed."""
        raise NotImplementedError

    def claim(self, m: Module, condition: Value):
        """After the reset it is so."""
        m.d.comb += Assert(~self.begun | condition)

    def assume(self, m: Module, condition: Value):
        """After the reset those outside see to it."""
        m.d.comb += Assume(~self.begun | condition)

    def past(self, m: Module, value: Value, name: str) -> Signal:
        """A value in the cycle before; 0 in the cycle after the reset."""
        kept = Signal(len(Value.cast(value)), name=f"past_{name}")
        m.d.sync += kept.eq(value)
        return kept

    def constant(self, m: Module, port: Value, name: str):
        """Assume that a port keeps any one value."""
        kept = self.past(m, port, name)
        self.assume(m, ~self.follows | (Value.cast(port) == kept))

    def stays(self, m: Module, name: str, valid: Value, ready: Value, payload: Value) -> Value:
        """Whether what was offered and not taken is offered still, unchanged."""
        waiting = self.past(m, valid & ~ready, f"{name}_waiting")
        offered = self.past(m, payload, f"{name}_offered")
        return ~waiting | (valid & (Value.cast(payload) == offered))

    def stream_stays(self, m: Module, name: str) -> Value:
        """The same of a stream of the block."""
        port = _at(self, name.split("."))
        return self.stays(m, name.replace(".", "_"), port.valid, port.ready, port.payload)


def _at(value, path):
    for step in path:
        value = getattr(value, step) if isinstance(step, str) else value[step]
    return value


def free(block: Block) -> str:
    """RTLIL of a module in a block's place whose outputs may be anything in each cycle."""
    ports = [("__".join(map(str, path)), member.flow == In, len(Value.cast(value)))
             for path, member, value in block.signature.flatten(block)]
    ports += [(name, True, 1) for name in ("clk", "rst") if f" \\{name}\n" in block.rtlil]
    lines = [f"module \\{block.module}"]
    for index, (name, is_input, width) in enumerate(ports, start=1):
        lines.append(f"  wire width {width} {'input' if is_input else 'output'} {index} \\{name}")
    for name, is_input, width in ports:
        if not is_input:
            lines += [f"  cell $anyseq $free_{name}", f"    parameter \\WIDTH {width}",
                      f"    connect \\Y \\{name}", "  end"]
    return "\n".join([*lines, "end", ""])
