"""The GEMM engine with its standard ports."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from golden.registers import gemm_registers
from hdl.axi import AxiBlock
from hdl.block import Use
from hdl.engine import Engine

__all__ = ["Gemm"]


def _bytes(bits: int) -> int:
    """Width of whole bytes."""
    return -(-bits // 8) * 8


class Gemm(AxiBlock):
    """``mixpe_<set>_gemm``: the engine behind AXI4-Stream and AXI4-Lite (AMBA IHI 0051, IHI 0022).

    Each input stream carries the items of :func:`hdl.engine.channel_widths`, padded to bytes; a
    command's last item should have TLAST. Outputs of ``y_lanes`` features leave with TKEEP for
    those that there are, and with TLAST at the end of each command. One clock for all.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    aclk, aresetn : In(1)
        Clock, and reset, which is synchronous and low.
    s_axis_<x, w, s, sx, t>_<tdata, tvalid, tready, tlast>
        Operands; ``t`` only if the activations of a group bring a scale or a zero point.
    m_axis_y_<tdata, tkeep, tvalid, tready, tlast>
        Outputs.
    s_axil_*
        Registers of :func:`golden.registers.gemm_registers`.
    interrupt : Out(1)
        A bit of IRQ_STATUS is set and enabled.
    """

    def __init__(self, parameters: ArrayParameters):
        p = parameters
        self.engine = Engine(p)
        members = {}
        for name, width in self.engine.widths.items():
            members |= {f"s_axis_{name}_tdata": In(_bytes(width)),
                        f"s_axis_{name}_tvalid": In(1), f"s_axis_{name}_tready": Out(1),
                        f"s_axis_{name}_tlast": In(1)}
        bits = p.y_format.bits * p.y_lanes
        members |= {"m_axis_y_tdata": Out(bits), "m_axis_y_tkeep": Out(bits // 8),
                    "m_axis_y_tvalid": Out(1), "m_axis_y_tready": In(1), "m_axis_y_tlast": Out(1)}
        members["interrupt"] = Out(1)
        super().__init__(p, "gemm", gemm_registers(p), members, uses=(self.engine,))

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        registers = self._bank(m)
        m.submodules.engine = DomainRenamer("core")(engine := Use(self.engine))
        for name, width in self.engine.widths.items():
            port = getattr(engine, name)
            tdata, tvalid, tready, tlast = (getattr(self, f"s_axis_{name}_{signal}")
                                            for signal in ("tdata", "tvalid", "tready", "tlast"))
            m.d.comb += [
                port.payload.eq(tdata[:width]),
                port.valid.eq(tvalid),
                tready.eq(port.ready),
                getattr(engine, f"{name}_last").eq(tlast),
            ]
        m.d.comb += [
            self.m_axis_y_tdata.eq(engine.y.p.y),
            self.m_axis_y_tkeep.eq(Cat(bit.replicate(p.y_format.bits // 8)
                                       for bit in engine.y.p.keep)),
            self.m_axis_y_tvalid.eq(engine.y.valid),
            self.m_axis_y_tlast.eq(engine.y.p.last),
            engine.y.ready.eq(self.m_axis_y_tready),
        ]
        self._control(m, engine, registers)
        self._count(m, registers, self._events(engine))

        return m

    def _control(self, m, engine, registers):
        """Commands, status, errors and the interrupt."""
        m.d.comb += [
            engine.start.eq(registers.control_start),
            *(getattr(engine.shape, name).eq(getattr(registers, f"{name}_value"))
              for name in ("m", "k", "n", "wide", "group")),
            registers.status_busy.eq(engine.busy),
            registers.status_idle.eq(~engine.busy),
            registers.status_queue_full.eq(engine.queue_full),
            registers.status_queue.eq(engine.queue),
        ]
        lost   = registers.control_start & registers.control_soft_reset
        errors = {"start_refused": engine.refused | lost, "bad_shape": engine.bad_shape}
        for name in self.engine.widths:
            for kind in ("unexpected", "missing"):
                errors[f"{name}_last_{kind}"] = getattr(engine, f"{name}_last_{kind}")
        self._report(m, registers, engine.done, errors)

    def _events(self, engine):
        """What the counters of the table count, by name."""
        events = {"cycles": engine.busy, "busy": engine.beat, "done": engine.done}
        for name, port in (("x", "s_axis_x"), ("w", "s_axis_w"), ("y", "m_axis_y")):
            events[f"words_{name}"] = self._transfer(port)
        return events | {f"stall_{name}": getattr(engine, f"stall_{name}")
                         for name in (*self.engine.channels, "y")}
