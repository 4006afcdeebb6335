"""What every block with the standard ports has: clock, reset, registers and counters."""

from amaranth import *
from amaranth.lib.wiring import In

from golden.base_parameters import BaseParameters
from golden.registers import RegisterTable, port_names
from hdl.axi_lite import AxiLiteRegisters
from hdl.block import Block, Use
from hdl.counter import Counter

__all__ = ["AxiBlock"]


class AxiBlock(Block):
    """Block with ``aclk``, ``aresetn`` and the registers of a table behind ``s_axil_*``.

    The table's CONTROL has ``soft_reset`` and ``clear_counters``, and its counters have one field,
    ``count``.

    Parameters
    ----------
    parameters : BaseParameters
    name : str
        Name of the block.
    table : RegisterTable
        Registers.
    members : dict
        The other ports.
    uses : tuple of Block
        Blocks besides those of the registers.
    """

    def __init__(self, parameters: BaseParameters, name: str, table: RegisterTable, members: dict,
                 *, uses: tuple[Block, ...]):
        self.registers, self.counter = AxiLiteRegisters(parameters, table), Counter(parameters)
        self._axil = {port: member for port, member in self.registers.signature.members.items()
                      if port.startswith("s_axil_")}
        super().__init__(parameters, name,
                         {"aclk": In(1), "aresetn": In(1)} | members | self._axil,
                         uses=(*uses, self.registers, self.counter))

    def _bank(self, m: Module) -> Use:
        """Instance of the registers, in domain ``sync``; a soft reset resets domain ``core`` alone.

        So work ends with a soft reset, registers and counters do not.
        """
        reset, soft_reset = Signal(), Signal()
        for name, signal in (("sync", reset), ("core", soft_reset)):
            domain = ClockDomain(name, local=True)
            domain.clk, domain.rst = self.aclk, signal
            m.domains += domain
        m.submodules.registers = registers = Use(self.registers)
        m.d.comb += [
            reset.eq(~self.aresetn),
            soft_reset.eq(reset | registers.control_soft_reset),
        ]
        for name, member in self._axil.items():
            ours, theirs = getattr(self, name), getattr(registers, name)
            m.d.comb += theirs.eq(ours) if member.flow == In else ours.eq(theirs)
        return registers

    def _transfer(self, stream: str) -> Value:
        """Whether a stream moves in this cycle."""
        return getattr(self, f"{stream}_tvalid") & getattr(self, f"{stream}_tready")

    def _report(self, m: Module, registers: Use, done: Value, errors: dict[str, Value]):
        """Set errors of the table, and drive ``interrupt``, which a block that runs commands has.

        ``done`` tells that a command has finished.
        """
        m.d.comb += [
            *(getattr(registers, f"error_{name}_set").eq(event) for name, event in errors.items()),
            registers.irq_status_done_set.eq(done),
            registers.irq_status_error_set.eq(Cat(*errors.values()).any()),
        ]
        m.d.sync += self.interrupt.eq((registers.irq_status_done & registers.irq_enable_done)
                                      | (registers.irq_status_error & registers.irq_enable_error))

    def _count(self, m: Module, registers: Use, events: dict[str, Value]):
        """Connect each counter of the table to its event; one without an event stays 0."""
        for register in self.registers.table.registers:
            for field in register.fields:
                if field.name != "count":
                    continue
                name = register.name.lower()
                m.submodules[name] = counter = Use(self.counter)
                m.d.comb += [
                    counter.increment.eq(events.get(name, 0)),
                    counter.clear.eq(registers.control_clear_counters),
                    getattr(registers, port_names(register, field)[0]).eq(counter.count),
                ]
