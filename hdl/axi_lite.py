"""Registers behind AXI4-Lite."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib.wiring import In, Out

from golden.base_parameters import BaseParameters
from golden.registers import ADDRESS_BITS, DATA_BITS, RegisterTable, port_names
from hdl.block import Block

__all__ = ["AxiLiteRegisters"]


#: Codes of AXI for "done" and "refused".
_OKAY, _SLVERR = 0, 2


class AxiLiteRegisters(Block):
    """AXI4-Lite slave (AMBA AXI and ACE, IHI 0022, part B) with the registers of a table.

    Addresses and data of a write come in any order. Each is taken into a register of its own; a
    write takes effect when it has both and the response before it is taken. A byte without its
    strobe is not written. A response comes two cycles after the later of address and data was
    transferred, read data two cycles after the address; there can be a write and a read every two
    cycles. Reads and writes do not wait for each other; a read shows every write whose response was
    valid when its address was transferred.

    SLVERR answers, without any effect, an address that is not a register's and a write to a
    register without a writable field. Reading what is write-only gives 0. ``prot`` is ignored. All
    outputs come from registers; ready is low during a reset, which discards what is under way.

    Parameters
    ----------
    parameters : BaseParameters
        Set that the block belongs to.
    table : RegisterTable
        Registers.

    Members
    -------
    s_axil_* : In, Out
        The five channels; addresses of ``ADDRESS_BITS``, data of ``DATA_BITS``.
    <register>_<field> : In(width) for ro, Out(width) for rw, w1c and pulse
        Value that is read; value as written; value; high for one cycle when 1 is written. The three
        outputs change in the cycle after a write takes effect.
    <register>_<field>_set : In(1) for w1c
        Set the field; wins over a write that clears it in the same cycle.
    """

    def __init__(self, parameters: BaseParameters, table: RegisterTable):
        self.table = table
        members = {
            "s_axil_awaddr":  In(ADDRESS_BITS),
            "s_axil_awprot":  In(3),
            "s_axil_awvalid": In(1),
            "s_axil_awready": Out(1),
            "s_axil_wdata":   In(DATA_BITS),
            "s_axil_wstrb":   In(DATA_BITS // 8),
            "s_axil_wvalid":  In(1),
            "s_axil_wready":  Out(1),
            "s_axil_bresp":   Out(2),
            "s_axil_bvalid":  Out(1),
            "s_axil_bready":  In(1),
            "s_axil_araddr":  In(ADDRESS_BITS),
            "s_axil_arprot":  In(3),
            "s_axil_arvalid": In(1),
            "s_axil_arready": Out(1),
            "s_axil_rdata":   Out(DATA_BITS),
            "s_axil_rresp":   Out(2),
            "s_axil_rvalid":  Out(1),
            "s_axil_rready":  In(1),
        }
        for register in table.registers:
            for field in register.fields:
                if field.access != "const":
                    flow = In if field.access == "ro" else Out
                    ports = zip(port_names(register, field), (flow, In), strict=False)
                    members |= {name: flow(field.width, init=field.reset) for name, flow in ports}
        super().__init__(parameters, "registers", members)

    def elaborate(self, platform):
        m = Module()

        self._write(m)
        self._read(m)

        return m

    def _write(self, m):
        """Channels AW, W and B, and the fields."""
        execute = Signal(name="write")
        address, address_held = self._request(m, "aw", ("addr",), execute)
        word,    data_held    = self._request(m, "w", ("data", "strb"), execute)
        m.d.comb += execute.eq(address_held & data_held & self._free(m, "b", execute))

        data, strobes = word[:DATA_BITS], word[DATA_BITS:]
        found = Signal(len(self.table.registers), name="write_found")
        for here, register in zip(found, self.table.registers, strict=True):
            if not register.writable:
                continue
            written = Signal(len(strobes), name=f"{register.name.lower()}_written")
            m.d.comb += [
                here.eq(address == register.offset),
                written.eq(strobes & (execute & here).replicate(len(strobes))),
            ]
            for field in register.fields:
                self._update(m, register, field, data, written)
        with m.If(execute):
            m.d.sync += self.s_axil_bresp.eq(_response(found))

    def _update(self, m, register, field, data, written):
        """One field; ``written`` marks the bytes that a write reaches in this cycle."""
        ports = [getattr(self, name) for name in port_names(register, field)
                 if field.access != "const"]
        single = data[field.low] & written[field.low // 8]
        match field.access:
            case "rw":
                value, = ports
                for byte, reached in enumerate(written):
                    low  = max(8 * byte, field.low)
                    high = min(8 * byte + 8, field.low + field.width)
                    if low < high:
                        with m.If(reached):
                            m.d.sync += value[low - field.low:high - field.low].eq(data[low:high])
            case "w1c":
                value, set_ = ports
                m.d.sync += value.eq((value & ~single) | set_)
            case "pulse":
                strobe, = ports
                m.d.sync += strobe.eq(single)

    def _read(self, m):
        """Channels AR and R."""
        execute = Signal(name="read")
        address, held = self._request(m, "ar", ("addr",), execute)
        m.d.comb += execute.eq(held & self._free(m, "r", execute))

        found = Signal(len(self.table.registers), name="read_found")
        words = []
        for here, register in zip(found, self.table.registers, strict=True):
            m.d.comb += here.eq(address == register.offset)
            words.append(Mux(here, self._value(register), 0))
        # A tree: a chain of a thousand registers would be as deep.
        while len(words) > 1:
            words = [reduce(or_, words[first:first + 2]) for first in range(0, len(words), 2)]
        with m.If(execute):
            m.d.sync += [self.s_axil_rdata.eq(words[0]), self.s_axil_rresp.eq(_response(found))]

    def _value(self, register):
        """What reading a register gives."""
        value = C(register.reset, DATA_BITS)
        for field in register.fields:
            if field.access in ("ro", "rw", "w1c"):
                port  = getattr(self, port_names(register, field)[0])
                below, above = value[:field.low], value[field.low + field.width:]
                value = Cat(below, port, above)
        return value

    def _request(self, m, channel, names, execute):
        """Take a request into a register; return it and whether there is one.

        Ready says that there is none; the reset alone makes neither.
        """
        valid, ready = (getattr(self, f"s_axil_{channel}{name}") for name in ("valid", "ready"))
        payload = Cat(getattr(self, f"s_axil_{channel}{name}") for name in names)
        request = Signal(len(payload), name=channel, reset_less=True)
        held, held_next = Signal(name=f"{channel}_held"), Signal(name=f"{channel}_held_next")
        m.d.comb += held_next.eq((held | (valid & ready)) & ~execute)
        m.d.sync += [held.eq(held_next), ready.eq(~held_next)]
        with m.If(ready):
            m.d.sync += request.eq(payload)
        return request, held

    def _free(self, m, channel, execute):
        """Raise valid after ``execute`` until it is taken; return whether another can follow."""
        valid, ready = (getattr(self, f"s_axil_{channel}{name}") for name in ("valid", "ready"))
        m.d.sync += valid.eq(execute | (valid & ~ready))
        return ~valid | ready


def _response(found):
    """OKAY if any register was found."""
    return Mux(found.any(), _OKAY, _SLVERR)
