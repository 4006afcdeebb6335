"""The unit for probabilities times V with its standard ports."""

from amaranth import *
from amaranth.lib import fifo
from amaranth.lib.wiring import In, Out

from golden.registers import values_registers
from golden.values_parameters import ValuesParameters
from hdl.axi import AxiBlock
from hdl.block import Use
from hdl.float32 import FP32
from hdl.values.core import Values
from hdl.values.rows import command_layout

__all__ = ["COMMANDS", "ValuesUnit"]

#: Commands that may wait.
COMMANDS = 4


class ValuesUnit(AxiBlock):
    """``mixpe_<set>_values``: codes, V and scales over AXI4-Stream, commands over AXI4-Lite.

    A row of codes is a packet, in the form in which the softmax unit sends it: an element has
    ``code_bits``, of which ``b + 1`` count; TKEEP tells which elements the last word has, all bytes
    of an element alike, and bit 1 of its TUSER that the row is invalid. An item of ``v`` has L
    tokens of the first of R columns in its lowest bytes. The last items of ``v`` and ``s`` of a
    command should have TLAST, and its last outputs have it. Outputs of R columns leave with TKEEP
    for those that there are. One clock for all.

    Parameters
    ----------
    parameters : ValuesParameters

    Members
    -------
    aclk, aresetn : In(1)
        Clock, and reset, which is synchronous and low.
    s_axis_codes_<tdata, tkeep, tuser, tvalid, tready, tlast>
        Rows of codes.
    s_axis_v_<tdata, tvalid, tready, tlast>
        V, in int8.
    s_axis_s_<tdata, tvalid, tready, tlast>
        Scales of R columns, in binary32.
    m_axis_y_<tdata, tkeep, tvalid, tready, tlast>
        Outputs.
    s_axil_*
        Registers of :func:`golden.registers.values_registers`.
    interrupt : Out(1)
        A bit of IRQ_STATUS is set and enabled.
    """

    def __init__(self, parameters: ValuesParameters):
        p = parameters
        self.core = Values(p)
        codes, y = p.code_bits * p.width, p.y_format.bits * p.columns
        members = {
            "s_axis_codes_tdata": In(codes), "s_axis_codes_tkeep": In(codes // 8),
            "s_axis_codes_tuser": In(2), "s_axis_codes_tvalid": In(1),
            "s_axis_codes_tready": Out(1), "s_axis_codes_tlast": In(1),
        }
        for name, width in (("v", 8 * p.tokens * p.columns), ("s", FP32.bits * p.columns)):
            members |= {f"s_axis_{name}_tdata": In(width), f"s_axis_{name}_tvalid": In(1),
                        f"s_axis_{name}_tready": Out(1), f"s_axis_{name}_tlast": In(1)}
        members |= {
            "m_axis_y_tdata": Out(y), "m_axis_y_tkeep": Out(y // 8), "m_axis_y_tvalid": Out(1),
            "m_axis_y_tready": In(1), "m_axis_y_tlast": Out(1), "interrupt": Out(1),
        }
        super().__init__(p, "values", values_registers(p), members, uses=(self.core,))

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        registers = self._bank(m)
        m.submodules.core = DomainRenamer("core")(core := Use(self.core))
        for chosen in range(p.sets):
            m.d.comb += [core.exponents[chosen][k].eq(
                getattr(registers, f"exponent_{chosen}_{k}_value")) for k in range(p.levels)]
        self._streams(m, core)
        self._command(m, core, registers)

        return m

    def _streams(self, m, core):
        """Connect the streams."""
        p = self.parameters
        codes, y = core.codes.p, core.y.p
        bytes_code, bytes_y = p.code_bits // 8, p.y_format.bits // 8
        for lane in range(p.width):
            element = self.s_axis_codes_tdata.word_select(lane, p.code_bits)
            m.d.comb += [
                codes.codes[lane].eq(element),
                codes.keep[lane].eq(self.s_axis_codes_tkeep[bytes_code * lane]),
            ]
        m.d.comb += [
            codes.invalid.eq(self.s_axis_codes_tuser[1]),
            Value.cast(core.v.p.v).eq(self.s_axis_v_tdata),
            Value.cast(core.s.p.s).eq(self.s_axis_s_tdata),
            self.m_axis_y_tdata.eq(y.y),
            self.m_axis_y_tkeep.eq(Cat(bit.replicate(bytes_y) for bit in y.keep)),
            self.m_axis_y_tlast.eq(y.last),
            self.m_axis_y_tvalid.eq(core.y.valid),
            core.y.ready.eq(self.m_axis_y_tready),
        ]
        for name in ("codes", "v", "s"):
            port = getattr(core, name)
            m.d.comb += [
                port.p.last.eq(getattr(self, f"s_axis_{name}_tlast")),
                port.valid.eq(getattr(self, f"s_axis_{name}_tvalid")),
                getattr(self, f"s_axis_{name}_tready").eq(port.ready),
            ]

    def _command(self, m, core, registers):
        """Check a start's shape and queue it; status, errors, the interrupt and counters."""
        p = self.parameters
        queue = DomainRenamer("core")(
            fifo.SyncFIFOBuffered(width=command_layout(p).size, depth=COMMANDS))
        m.submodules.queue = queue
        queries, tokens, columns, chosen = (getattr(registers, f"{name}_value") for name in
                                            ("queries", "tokens", "columns", "set"))
        start = registers.control_start
        bad   = ((queries == 0) | (tokens == 0) | (columns == 0) | (tokens > p.max_length)
                 | (chosen >= p.sets))
        lost  = registers.control_soft_reset | ~queue.w_rdy
        m.d.comb += [
            queue.w_data.eq(Cat(queries, tokens, columns, chosen[:(p.sets - 1).bit_length()])),
            queue.w_en.eq(start & ~bad),
            Value.cast(core.command.p).eq(queue.r_data),
            core.command.valid.eq(queue.r_rdy),
            queue.r_en.eq(core.command.ready),
            registers.status_queue_full.eq(~queue.w_rdy),
            registers.status_queue.eq(queue.level),
        ]
        busy = core.busy | (queue.level != 0)
        done = self._transfer("m_axis_y") & self.m_axis_y_tlast
        m.d.comb += registers.status_busy.eq(busy)
        self._report(m, registers, done, {
            "bad_shape": start & bad, "start_refused": start & ~bad & lost,
            **{name: getattr(core, name) for name in (
                "too_long", "bad_exponents", "v_last_unexpected", "v_last_missing",
                "s_last_unexpected", "s_last_missing")},
        })
        self._count(m, registers, {
            "cycles": busy, "beats": core.beat, "done": done,
            **{f"stall_{name}": getattr(core, f"stall_{name}") for name in ("codes", "v", "s",
                                                                            "y")},
            "words_codes": self._transfer("s_axis_codes"),
            "words_v": self._transfer("s_axis_v"), "words_y": self._transfer("m_axis_y"),
        })
