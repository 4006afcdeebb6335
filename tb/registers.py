"""What registers must do, from the table alone, and the tables that the benches take."""

from golden.parameters import SETS
from golden.registers import (
    Field,
    Register,
    RegisterTable,
    gemm_registers,
    port_names,
    softmax_registers,
    values_registers,
)
from golden.softmax_parameters import EXACT_SETS, SOFTMAX_SETS
from golden.values_parameters import VALUES_SETS
from tb.axi_lite import OKAY, SLVERR

__all__ = ["TABLES", "RegisterModel"]

#: Tables of the benches: those of the units, and one with what these have not: kinds
#: of fields mixed in a register, fields across bytes and at the ends, a gap at address 0, the last
#: address.
TABLES = {
    "gemm": gemm_registers(SETS["tiny"]),
    "softmax": softmax_registers(SOFTMAX_SETS["attention_tiny"]),
    "exact": softmax_registers(EXACT_SETS["attention_tiny_exact"]),
    "values": values_registers(VALUES_SETS["attention_tiny_pv"]),
    "mixed": RegisterTable("mixed", (
        Register("ALL", 0x04, (
            Field("sticky", 0,  1, "w1c",   0,    "Lowest bit"),
            Field("across", 3,  9, "rw",    0x15a, "Across bytes"),
            Field("input",  12, 7, "ro",    0,    "Beside it"),
            Field("fixed",  20, 3, "const", 5,    "Among others"),
            Field("go",     23, 1, "pulse", 0,    "Between others"),
            Field("top",    31, 1, "w1c",   0,    "Highest bit"),
        ), "Every kind"),
        Register("SEEN", 0x08, (
            Field("input", 5,  20, "ro",    0, "Middle"),
            Field("fixed", 25, 7,  "const", 9, "End"),
        ), "Only read"),
        Register("WORD", 0x7c, (
            Field("value", 0, 32, "rw", 0xdeadbeef, "All bits"),
        ), "A whole word"),
        Register("FIRE", 0x80, (
            Field("low",  7,  1, "pulse", 0, "End of a byte"),
            Field("high", 31, 1, "pulse", 0, "Highest bit"),
        ), "Pulses alone"),
        Register("LAST", 0xffc, (
            Field("input", 0,  16, "ro", 0,      "Lower half"),
            Field("value", 16, 16, "rw", 0x8001, "Upper half"),
        ), "The last address"),
    )),
}


class RegisterModel:
    """Registers between two accesses.

    Parameters
    ----------
    table : RegisterTable

    Attributes
    ----------
    values : dict of str to int
        Value of each field by its port, of ``ro`` as hardware drives it.
    pulses : dict of str to int
        How often each ``pulse`` was made.
    """

    def __init__(self, table: RegisterTable):
        self.registers = {register.offset: register for register in table.registers}
        self.ports  = {port_names(register, field)[0]: field
                       for register in table.registers for field in register.fields}
        self.values = {port: field.reset for port, field in self.ports.items()}
        self.pulses = dict.fromkeys(self.of("pulse"), 0)

    def reset(self):
        """Values and counts as after a reset; what hardware drives stays."""
        for port in self.of("rw", "w1c"):
            self.values[port] = self.ports[port].reset
        self.pulses = dict.fromkeys(self.pulses, 0)

    def of(self, *accesses: str) -> list[str]:
        """Ports of the fields of some kinds."""
        return [port for port, field in self.ports.items() if field.access in accesses]

    def read(self, address: int) -> tuple[int, int]:
        """Response and word."""
        if address not in self.registers:
            return SLVERR, 0
        return OKAY, sum(self.values[port] << field.low for port, field in self._fields(address)
                         if field.access != "pulse")

    def write(self, address: int, word: int, strobes: int = 0xf) -> int:
        """Response; fields change."""
        fields = self._fields(address)
        if not any(field.access in ("rw", "w1c", "pulse") for _, field in fields):
            return SLVERR
        reached = sum(0xff << 8 * byte for byte in range(4) if strobes >> byte & 1)
        for port, field in fields:
            bits = (reached & field.mask) >> field.low
            data = (word >> field.low) & bits
            if field.access == "rw":
                self.values[port] = (self.values[port] & ~bits) | data
            elif field.access == "w1c":
                self.values[port] &= ~data
            elif field.access == "pulse":
                self.pulses[port] += data
        return OKAY

    def _fields(self, address: int) -> list[tuple[str, Field]]:
        register = self.registers.get(address)
        return [(port_names(register, field)[0], field)
                for field in (register.fields if register else ())]
