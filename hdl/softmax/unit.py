"""The softmax units with their standard ports."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.registers import softmax_registers
from golden.softmax_parameters import BaselineParameters, SoftmaxParameters
from hdl.axi import AxiBlock
from hdl.block import Use
from hdl.softmax.core import Softmax
from hdl.softmax.exact import ExactSoftmax

__all__ = ["SoftmaxUnit"]


class SoftmaxUnit(AxiBlock):
    """``mixpe_<set>_softmax``: rows over AXI4-Stream, constants and status over AXI4-Lite.

    A row is a packet. TKEEP tells which elements its last word has, all bytes of an element alike.
    TUSER of ``x`` has the mask bits, the first element's lowest, and above them the row's set of
    constants, of which that of the last word counts; TUSER of ``y`` tells whether the row was all
    masked and, above, whether it was invalid.

    The unit with exact exponents has the same ports; it has no constants to choose from, so that
    TUSER of ``x`` has the mask bits alone, and puts out no codes.

    Parameters
    ----------
    parameters : SoftmaxParameters or BaselineParameters

    Members
    -------
    aclk, aresetn : In(1)
        Clock, and reset, which is synchronous and low.
    s_axis_x_<tdata, tkeep, tuser, tvalid, tready, tlast>
        Logits.
    m_axis_y_<tdata, tkeep, tuser, tvalid, tready, tlast>
        Probabilities or codes, as wide as the former.
    s_axil_*
        Registers of :func:`golden.registers.softmax_registers`.
    """

    def __init__(self, parameters: SoftmaxParameters | BaselineParameters):
        p = parameters
        #: Whether there are constants, from which codes follow.
        self.exaq = isinstance(p, SoftmaxParameters)
        self.core = Softmax(p) if self.exaq else ExactSoftmax(p)
        select = (p.sets - 1).bit_length()
        x, y = p.x_format.bits * p.width, p.y_format.bits * p.width
        members = {
            "s_axis_x_tdata": In(x), "s_axis_x_tkeep": In(x // 8),
            "s_axis_x_tuser": In(p.width + select),
            "s_axis_x_tvalid": In(1), "s_axis_x_tready": Out(1), "s_axis_x_tlast": In(1),
            "m_axis_y_tdata": Out(y), "m_axis_y_tkeep": Out(y // 8), "m_axis_y_tuser": Out(2),
            "m_axis_y_tvalid": Out(1), "m_axis_y_tready": In(1), "m_axis_y_tlast": Out(1),
        }
        super().__init__(p, "softmax", softmax_registers(p), members, uses=(self.core,))

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        registers = self._bank(m)
        m.submodules.core = DomainRenamer("core")(core := Use(self.core))
        if self.exaq:
            self._configure(m, core, registers)

        x, y = core.x.p, core.y.p
        bytes_x, bytes_y = p.x_format.bits // 8, p.y_format.bits // 8
        m.d.comb += [
            Value.cast(x.x).eq(self.s_axis_x_tdata),
            x.mask.eq(self.s_axis_x_tuser[:p.width]),
            x.keep.eq(Cat(self.s_axis_x_tkeep[bytes_x * lane] for lane in range(p.width))),
            x.set.eq(self.s_axis_x_tuser[p.width:]),
            x.last.eq(self.s_axis_x_tlast),
            core.x.valid.eq(self.s_axis_x_tvalid),
            self.s_axis_x_tready.eq(core.x.ready),
            self.m_axis_y_tdata.eq(y.y),
            self.m_axis_y_tkeep.eq(Cat(bit.replicate(bytes_y) for bit in y.keep)),
            self.m_axis_y_tuser.eq(Cat(y.all_masked, y.invalid)),
            self.m_axis_y_tlast.eq(y.last),
            self.m_axis_y_tvalid.eq(core.y.valid),
            core.y.ready.eq(self.m_axis_y_tready),
        ]
        self._watch(m, core, registers)

        return m

    def _configure(self, m, core, registers):
        """Constants, and what to put out."""
        p = self.parameters
        m.d.comb += [
            core.codes.eq(registers.mode_codes),
            registers.error_bad_constants_set.eq(core.bad_constants),
        ]
        for chosen in range(p.sets):
            constants = core.constants[chosen]
            m.d.comb += [constants.thresholds[k - 1].eq(
                getattr(registers, f"threshold_{chosen}_{k}_magnitude"))
                for k in range(1, p.levels)]
            m.d.comb += [constants.exponents[k].eq(
                getattr(registers, f"exponent_{chosen}_{k}_value")) for k in range(p.levels)]

    def _watch(self, m, core, registers):
        """Status, errors and counters."""
        entered = self._transfer("s_axis_x")
        left    = self._transfer("m_axis_y")
        ended   = left & self.m_axis_y_tlast
        # Words that are inside: as many leave as have entered.
        inside  = Signal(range(8 * self.parameters.words + 64))
        with m.If(registers.control_soft_reset):
            m.d.sync += inside.eq(0)
        with m.Else():
            m.d.sync += inside.eq(inside + entered - left)
        busy = inside != 0
        m.d.comb += [
            registers.status_busy.eq(busy),
            registers.error_too_long_set.eq(core.too_long),
            registers.error_invalid_set.eq(ended & core.y.p.invalid),
            registers.error_all_masked_set.eq(ended & core.y.p.all_masked),
        ]
        self._count(m, registers, {"cycles": busy, "rows": ended, "words_x": entered,
                                   "words_y": left})
