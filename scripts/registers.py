"""``mixpe registers``: a register table as a page, a C header and SystemRDL."""

from pathlib import Path

from golden.registers import (
    ACCESSES,
    ADDRESS_BITS,
    DATA_BITS,
    Field,
    RegisterTable,
    unit_registers,
)
from golden.sets import Parameters
from scripts.files import write
from scripts.units import unit_module

__all__ = ["WRITERS", "page", "header", "rdl", "forms", "main"]

_PAGE = """\
# Registers

The registers of `{module}` behind AXI4-Lite. Written by `make registers`; do not edit.

Each has {data} bits; offsets are in bytes and {address} bits wide. Bits of no field read 0.

| access | |
|---|---|
{accesses}

SLVERR answers, without any effect, an address at which no register begins, and a write to a \
register that has only `ro` and `const` fields. Bytes whose write strobe is low are not written.

| offset | register | |
|--:|---|---|
{registers}
"""

_SECTION = """\
## {name}

0x{offset:02x}: {description}.

| bits | field | access | reset | |
|--:|---|---|--:|---|
{fields}
"""

#: Properties of SystemRDL 2.0 for each kind of field.
_RDL = {
    "ro":    "sw = r; hw = w;",
    "const": "sw = r; hw = na;",
    "rw":    "sw = rw; hw = r;",
    "w1c":   "sw = rw; onwrite = woclr; hw = r; hwset; precedence = hw;",
    "pulse": "sw = w; hw = r; singlepulse;",
}


def page(table: RegisterTable, module: str) -> str:
    """Markdown page: how registers are accessed, a list, and a table of the fields of each."""
    accesses  = [f"| `{name}` | {text} |" for name, text in ACCESSES.items()]
    registers = [f"| 0x{each.offset:02x} | [{each.name}](#{each.name.lower()}) "
                 f"| {each.description} |" for each in table.registers]
    parts = [_PAGE.format(module=module, data=DATA_BITS, address=ADDRESS_BITS,
                          accesses="\n".join(accesses), registers="\n".join(registers))]
    for register in table.registers:
        fields = [f"| {field.bits} | `{field.name}` | `{field.access}` | {_reset(field)} "
                  f"| {field.description} |" for field in register.fields]
        parts.append(_SECTION.format(name=register.name, offset=register.offset,
                                     description=register.description, fields="\n".join(fields)))
    return "\n".join(parts)


def _reset(field: Field) -> str:
    """What the page says of a field's reset; hardware alone knows that of ``ro``."""
    if field.access == "ro":
        return ""
    return str(field.reset) if field.width < 32 else f"0x{field.reset:08x}"


def header(table: RegisterTable, module: str) -> str:
    """C header: offsets; mask and shift of each field, and its reset if it is const or rw."""
    prefix = table.name.upper()
    lines = [f"/* Registers of {module}; written by mixpe, do not edit. */",
             f"#ifndef {prefix}_H", f"#define {prefix}_H"]
    for register in table.registers:
        name = f"{prefix}_{register.name}"
        lines += ["", f"/* {register.description} */",
                  f"#define {name}_OFFSET 0x{register.offset:02x}u"]
        for field in register.fields:
            define = f"#define {name}_{field.name.upper()}"
            lines += [f"/* {field.access}: {field.description} */",
                      f"{define}_MASK 0x{field.mask:08x}u",
                      f"{define}_SHIFT {field.low}"]
            if field.access in ("const", "rw"):
                lines.append(f"{define}_RESET 0x{field.reset:x}u")
    return "\n".join([*lines, "", "#endif", ""])


def rdl(table: RegisterTable, module: str) -> str:
    """SystemRDL 2.0 with the same names, places, accesses, resets and descriptions."""
    lines = [f"addrmap {table.name} {{",
             f'    name = "{module}";',
             f"    default regwidth = {DATA_BITS};",
             f"    default accesswidth = {DATA_BITS};"]
    for register in table.registers:
        lines += ["", "    reg {", f'        desc = "{register.description}";']
        for field in register.fields:
            high  = field.low + field.width - 1
            reset = "" if field.access == "ro" else f" = {field.width}'h{field.reset:x}"
            lines += ["        field {",
                      f'            desc = "{field.description}";',
                      f"            {_RDL[field.access]}",
                      f"        }} {field.name}[{high}:{field.low}]{reset};"]
        lines.append(f"    }} {register.name} @ 0x{register.offset:02x};")
    return "\n".join([*lines, "};", ""])


#: Writers by the suffix of their file.
WRITERS = {".md": page, ".h": header, ".rdl": rdl}


def forms(parameters: Parameters) -> dict[str, str]:
    """Every form of the registers of a set's unit, by the name of its file."""
    table, module = unit_registers(parameters), unit_module(parameters)
    return {f"{module}{suffix}": writer(table, module) for suffix, writer in WRITERS.items()}


def main(parameters: Parameters, output: Path, docs: Path | None = None) -> list[Path]:
    """Write every form of a unit's registers to ``output``, and the page to ``docs`` too."""
    written = forms(parameters)
    texts = {output / name: text for name, text in written.items()}
    if docs is not None:
        texts[docs] = written[f"{unit_module(parameters)}.md"]
    for path, text in texts.items():
        write(path, text)
    return list(texts)
