"""Register tables: declarations from which hardware, header, page and benches are made."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from golden.base_parameters import BaseParameters
from golden.parameters import CHOICES, ArrayParameters
from golden.softmax_parameters import THRESHOLD_BITS, BaselineParameters, SoftmaxParameters
from golden.values_parameters import COLUMN_BITS, QUERY_BITS, ValuesParameters

__all__ = ["ACCESSES", "ADDRESS_BITS", "DATA_BITS", "ID", "VERSION", "Field", "Register",
           "RegisterTable", "SOFTMAX_ID", "VALUES_ID", "port_names", "gemm_registers",
           "softmax_registers", "values_registers", "unit_registers"]

#: Kinds of fields, and what each is.
ACCESSES = {
    "ro":    "read-only: hardware drives it",
    "const": "read-only: always its reset value",
    "rw":    "read and written",
    "w1c":   "sticky: hardware sets it, writing 1 clears it, and setting wins in the same cycle",
    "pulse": "write-only: writing 1 makes a strobe of one cycle; reads 0",
}

#: Width of a byte address: the 4 KiB that an interconnect maps at least.
ADDRESS_BITS = 12

#: Width of a register.
DATA_BITS = 32

#: What register ID reads, "MXPE" in ASCII.
ID = 0x4d585045

#: What register ID of the softmax units reads, "MXSM" in ASCII.
SOFTMAX_ID = 0x4d58534d

#: What register ID of the unit for codes times V reads, "MXPV" in ASCII.
VALUES_ID = 0x4d585056

#: Version of the registers: major, which breaks drivers, minor, and patch.
VERSION = (0, 1, 0)


@dataclass(frozen=True)
class Field:
    """Bits of a register that belong together.

    Parameters
    ----------
    name : str
        Lower-case identifier, unique in its register.
    low : int
        Place of the lowest bit, from 0.
    width : int
        Number of bits; 1 for ``w1c`` and ``pulse``.
    access : str
        Key of :data:`ACCESSES`.
    reset : int
        Value of ``const``, value of ``rw`` after a reset, unsigned; 0 for the others.
    description : str
        What it means, in one sentence.

    Raises
    ------
    ValueError
        If a parameter breaks a rule; the message names the parameter, the rule and the value.
    """

    name: str
    low: int
    width: int
    access: str
    reset: int
    description: str

    def __post_init__(self) -> None:
        _check_name("field", self.name, "[a-z][a-z0-9_]*", "a lower-case identifier")
        where = f"of field {self.name}"
        if self.access not in ACCESSES:
            raise ValueError(f"Parameter access {where} must be one of {', '.join(ACCESSES)}, "
                             f"not {self.access!r}")
        _check_integer(f"low {where}", self.low, 0, DATA_BITS - 1)
        _check_integer(f"width {where}", self.width, 1, DATA_BITS - self.low)
        if self.access in ("w1c", "pulse") and self.width != 1:
            raise ValueError(f"Parameter width {where} must be 1 for access {self.access}, "
                             f"not {self.width}")
        _check_integer(f"reset {where}", self.reset, 0, (1 << self.width) - 1)
        if self.access not in ("rw", "const") and self.reset:
            raise ValueError(f"Parameter reset {where} must be 0 for access {self.access}, "
                             f"not {self.reset}")
        _check_description(where, self.description)

    @property
    def mask(self) -> int:
        """Ones in the places of this field in its register."""
        return ((1 << self.width) - 1) << self.low

    @property
    def bits(self) -> str:
        """Place in the register as documents write it, ``7:0`` or ``3``."""
        high = self.low + self.width - 1
        return str(high) if self.width == 1 else f"{high}:{self.low}"

    @property
    def writable(self) -> bool:
        """Whether writing has an effect on this field."""
        return self.access in ("rw", "w1c", "pulse")


@dataclass(frozen=True)
class Register:
    """A word of 32 bits at an address of its own; bits of no field read 0.

    Parameters
    ----------
    name : str
        Upper-case identifier, unique in its table.
    offset : int
        Byte address from the beginning of the table, a multiple of 4.
    fields : tuple of Field
        Fields, none of which overlap.
    description : str
        What it is for, in one sentence.

    Raises
    ------
    ValueError
        If a parameter breaks a rule; the message names the parameter, the rule and the value.
    """

    name: str
    offset: int
    fields: tuple[Field, ...]
    description: str

    def __post_init__(self) -> None:
        _check_name("register", self.name, "[A-Z][A-Z0-9_]*", "an upper-case identifier")
        where = f"of register {self.name}"
        _check_integer(f"offset {where}", self.offset, 0, (1 << ADDRESS_BITS) - 1)
        if self.offset % (DATA_BITS // 8):
            raise ValueError(f"Parameter offset {where} must be a multiple of {DATA_BITS // 8}, "
                             f"not 0x{self.offset:02x}")
        if not self.fields:
            raise ValueError(f"Parameter fields {where} must hold a field, not none")
        _check_unique(f"names of fields {where}", (field.name for field in self.fields))
        taken = 0
        for field in self.fields:
            if taken & field.mask:
                raise ValueError(f"Parameter fields {where} must not overlap, "
                                 f"not as {field.name} does")
            taken |= field.mask
        _check_description(where, self.description)

    @property
    def writable(self) -> bool:
        """Whether writing this register has an effect; if not, it is an error."""
        return any(field.writable for field in self.fields)

    @property
    def reset(self) -> int:
        """Value after a reset; fields that hardware drives count as 0."""
        return sum(field.reset << field.low for field in self.fields)


@dataclass(frozen=True)
class RegisterTable:
    """Registers of a block.

    Parameters
    ----------
    name : str
        Lower-case identifier, the prefix of constants in headers.
    registers : tuple of Register
        Registers in ascending order of their offsets.

    Raises
    ------
    ValueError
        If a parameter breaks a rule; the message names the parameter, the rule and the value.
    """

    name: str
    registers: tuple[Register, ...]

    def __post_init__(self) -> None:
        _check_name("table", self.name, "[a-z][a-z0-9_]*", "a lower-case identifier")
        where = f"of table {self.name}"
        if not self.registers:
            raise ValueError(f"Parameter registers {where} must hold a register, not none")
        _check_unique(f"names of registers {where}", (each.name for each in self.registers))
        for before, after in zip(self.registers, self.registers[1:], strict=False):
            if after.offset <= before.offset:
                raise ValueError(f"Parameter offsets {where} must ascend, not as {after.name} "
                                 f"0x{after.offset:02x} after {before.name} "
                                 f"0x{before.offset:02x}")
        _check_unique(f"port names {where}", (port for register in self.registers
                                              for field in register.fields
                                              for port in port_names(register, field)))


def port_names(register: Register, field: Field) -> tuple[str, ...]:
    """Ports of a field at the hardware's side; ``w1c`` has one more, which sets it."""
    name = f"{register.name.lower()}_{field.name}"
    return (name, f"{name}_set") if field.access == "w1c" else (name,)


def _check_name(what: str, name: str, pattern: str, rule: str) -> None:
    if not re.fullmatch(pattern, str(name)):
        raise ValueError(f"Name of a {what} must be {rule}, not {name!r}")


def _check_integer(what: str, value: int, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"Parameter {what} must be an integer from {low} to {high}, "
                         f"not {value!r}")


def _check_description(where: str, text: str) -> None:
    # Pages, comments of C and strings of SystemRDL hold it as it is.
    if not re.fullmatch(r'[^"\\|\n]*[^"\\|\n.]', text) or "*/" in text:
        raise ValueError(f"Parameter description {where} must be one line without quotes, "
                         f"backslash, bar, end of comment or final stop, not {text!r}")


def _check_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"Parameter {what} must be unique, not twice {name!r}")
        seen.add(name)


def _identity(parameters: BaseParameters, number: int, meaning: str) -> tuple[Register, ...]:
    """Registers by which a driver recognises a block and its parameter set."""
    text = json.dumps(parameters.to_dict(), sort_keys=True)
    config = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
    return (
        Register("ID", 0x00, (
            Field("value", 0, 32, "const", number, meaning),
        ), "What this is"),
        Register("VERSION", 0x04, (
            Field("patch", 0,  8, "const", VERSION[2], "Corrections"),
            Field("minor", 8,  8, "const", VERSION[1], "Additions that drivers can ignore"),
            Field("major", 16, 8, "const", VERSION[0], "Changes that break drivers"),
        ), "Version of these registers"),
        Register("CONFIG", 0x08, (
            Field("hash", 0, 32, "const", config,
                  "First 32 bits of SHA-256 of the set as JSON, keys sorted"),
        ), "Which parameter set this is"),
    )


def _interrupts() -> tuple[Register, ...]:
    """Registers of the interrupt of a block that runs commands."""
    return (
        Register("IRQ_ENABLE", 0x2c, (
            Field("done",  0, 1, "rw", 0, "Interrupt when a command has finished"),
            Field("error", 1, 1, "rw", 0, "Interrupt when a bit of ERROR is set"),
        ), "Which events interrupt"),
        Register("IRQ_STATUS", 0x30, (
            Field("done",  0, 1, "w1c", 0, "A command has finished"),
            Field("error", 1, 1, "w1c", 0, "A bit of ERROR was set"),
        ), "Which events there were, enabled or not"),
    )


def _stream_errors(streams: Iterable[str]) -> list[tuple[str, str]]:
    """Errors of the ends of streams: name and meaning."""
    return [(f"{stream}_last_{kind}", f"Stream {stream} {what}") for stream in streams
            for kind, what in (("unexpected", "had last before its end"),
                               ("missing", "ended without last"))]


def _counters(base: int, counters: Iterable[tuple[str, str]]) -> tuple[Register, ...]:
    """Registers of counters, from an offset on: name and meaning of each."""
    return tuple(Register(name, base + 4 * index, (
        Field("count", 0, 32, "ro", 0, "Number; stays at its largest value"),
    ), text) for index, (name, text) in enumerate(counters))


def _exponents(p: SoftmaxParameters | ValuesParameters, chosen: int,
               base: int) -> tuple[Register, ...]:
    """Registers of a set of exponents, from an offset on."""
    return tuple(Register(f"EXPONENT_{chosen}_{k}", base + 4 * k, (
        Field("value", 0, p.exp_bits + 1, "rw", 0, "In units of 2 to the power of -exp_bits"),
    ), f"Exponent of code {k} in set {chosen}") for k in range(p.levels))


# The GEMM engine


def gemm_registers(parameters: ArrayParameters) -> RegisterTable:
    """Registers of the GEMM engine.

    Parameters
    ----------
    parameters : ArrayParameters
        Set whose shape and hash the constants tell.

    Raises
    ------
    ValueError
        If the array has more rows, columns or lanes than register ARRAY can tell.
    """
    p = parameters
    streams = ("x", "w", "s", "sx", "t")
    errors = [
        *_stream_errors(streams),
        ("start_refused", "A start found the queue full and was ignored"),
        ("bad_shape", "A start had a shape that breaks a rule and was ignored"),
    ]
    counters = [
        ("CYCLES", "Cycles in which a command waited or ran"),
        ("BUSY", "Cycles in which a beat entered the array"),
        *((f"STALL_{stream.upper()}", f"Cycles without a beat because {stream} had nothing")
          for stream in streams),
        ("STALL_Y", "Cycles without a beat because y was not taken"),
        ("WORDS_X", "Words of x that were taken"),
        ("WORDS_W", "Words of w that were taken"),
        ("WORDS_Y", "Words of y that were sent"),
        ("DONE", "Commands that finished"),
    ]
    return RegisterTable("mixpe_gemm", (
        *_identity(p, ID, "MXPE in ASCII"),
        Register("ARRAY", 0x0c, (
            Field("rows",    0,  12, "const", p.rows,    "Rows of an output tile, along M"),
            Field("columns", 12, 11, "const", p.columns, "Columns of an output tile, along N"),
            Field("lanes",   23, 9,  "const", p.lanes,   "Products of an element in each cycle"),
        ), "Shape of the array"),
        Register("GROUPS", 0x10, (
            Field("largest", 0,  16, "const", p.group,     "Largest group size"),
            Field("least",   16, 16, "const", p.least_group, "Least group size"),
        ), "Group sizes that the array can take"),
        Register("FORMATS", 0x14, (
            *(Field(f"{name}_format", low, 4, "const", CHOICES[name].index(getattr(p, name)),
                    f"Place of {name} among {', '.join(map(str, CHOICES[name]))}")
              for name, low in (("x", 0), ("x_scale", 4), ("w", 8), ("scale", 12), ("y", 16))),
            Field("x_align", 20, 5, "const", p.x_align, "Bits of aligned activations, or 0"),
            Field("x_zero",  25, 1, "const", int(p.x_zero), "Activations have zero points"),
            Field("wide",    26, 1, "const", int(p.wide), "WIDE may be more than 0"),
        ), "Formats of the streams, by their place in the lists"),
        Register("CONTROL", 0x20, (
            Field("start",          0, 1, "pulse", 0, "Queue a command with the shape as set"),
            Field("soft_reset",     1, 1, "pulse", 0, "Discard all commands and data"),
            Field("clear_counters", 2, 1, "pulse", 0, "Set all counters to 0"),
        ), "What to do now"),
        Register("STATUS", 0x24, (
            Field("busy",       0, 1, "ro", 0, "A command waits or runs"),
            Field("idle",       1, 1, "ro", 0, "No command waits or runs"),
            Field("queue_full", 2, 1, "ro", 0, "No further command can wait"),
            Field("queue",      8, 8, "ro", 0, "Commands that wait"),
        ), "What the engine does"),
        Register("ERROR", 0x28, tuple(
            Field(name, bit, 1, "w1c", 0, text) for bit, (name, text) in enumerate(errors)
        ), "What went wrong since it was last cleared"),
        *_interrupts(),
        Register("M", 0x40, (
            Field("value", 0, 24, "rw", 0, "Rows of x and y"),
        ), "Tokens of the next command"),
        Register("K", 0x44, (
            Field("value", 0, 24, "rw", 0, "Columns of x and rows of w"),
        ), "Input features of the next command"),
        Register("N", 0x48, (
            Field("value", 0, 24, "rw", 0, "Columns of w and y"),
        ), "Output features of the next command"),
        Register("WIDE", 0x4c, (
            Field("value", 0, 24, "rw", 0, "Leading output features with 8-bit weights, 0 if none"),
        ), "Mixed precision of the next command"),
        Register("GROUP", 0x50, (
            Field("value", 0, 16, "rw", p.group, "Weights along K that share a scale"),
        ), "Group size of the next command"),
        *_counters(0x80, counters),
    ))


# The softmax units


def softmax_registers(parameters: SoftmaxParameters | BaselineParameters) -> RegisterTable:
    """Registers of a softmax unit.

    One with exact exponents has no constants, no codes and therefore no MODE; the others are in
    the same places.

    Parameters
    ----------
    parameters : SoftmaxParameters or BaselineParameters
        Set whose shape and hash the constants tell; it says how many constants there are.
    """
    p = parameters
    bits = sets = exp_bits = 0
    mode: list[Register] = []
    constants: list[Register] = []
    if isinstance(p, SoftmaxParameters):
        bits, sets, exp_bits = p.bits, p.sets, p.exp_bits
        mode = [Register("MODE", 0x24, (
            Field("codes", 0, 1, "rw", 0, "Outputs are codes instead of probabilities"),
        ), "What to put out; to be changed while no row is under way")]
        constants = [each for chosen in range(sets) for each in _constants(p, chosen)]
    errors = [("too_long", "A row had more than the longest row and was cut there"),
              ("bad_constants", "Thresholds did not descend, or the last exponent was not 1"),
              ("invalid", "A row had a NaN or an infinity that was not masked"),
              ("all_masked", "A row had no element that was not masked")]
    counters = [("CYCLES", "Cycles in which a row was under way"),
                ("ROWS", "Rows that have left"),
                ("WORDS_X", "Words of x that were taken"),
                ("WORDS_Y", "Words of y that were sent")]
    return RegisterTable("mixpe_softmax", (
        *_identity(p, SOFTMAX_ID, "MXSM in ASCII"),
        Register("UNIT", 0x0c, (
            Field("width",    0,  6, "const", p.width,  "Elements of a word"),
            Field("bits",     6,  3, "const", bits,     "Bits of a code, 0 for exact exponents"),
            Field("sets",     9,  5, "const", sets,     "Sets of constants"),
            Field("exp_bits", 14, 4, "const", exp_bits, "Fraction bits of a constant exponent"),
        ), "Shape of the unit"),
        Register("LENGTH", 0x10, (
            Field("most", 0, 17, "const", p.max_length, "Elements of the longest row"),
        ), "Lengths of rows"),
        Register("CONTROL", 0x20, (
            Field("soft_reset",     0, 1, "pulse", 0, "Discard all rows"),
            Field("clear_counters", 1, 1, "pulse", 0, "Set all counters to 0"),
        ), "What to do now"),
        *mode,
        Register("STATUS", 0x28, (
            Field("busy", 0, 1, "ro", 0, "A row is under way"),
        ), "What the unit does"),
        Register("ERROR", 0x2c, tuple(
            Field(name, bit, 1, "w1c", 0, text) for bit, (name, text) in enumerate(errors)
            if constants or name != "bad_constants"
        ), "What was wrong with rows since it was last cleared"),
        *_counters(0x40, counters),
        *constants,
    ))


def _constants(p: SoftmaxParameters, chosen: int) -> list[Register]:
    """Registers of a set of constants, which has 32 words of its own."""
    base = 0x100 + 0x80 * chosen
    return [*(Register(f"THRESHOLD_{chosen}_{k}", base + 4 * k, (
        Field("magnitude", 0, THRESHOLD_BITS, "rw", 0, "In units of 2 to the power of -24"),
    ), f"Least difference from the maximum of code {k}, negated, in set {chosen}")
        for k in range(1, p.levels)), *_exponents(p, chosen, base + 0x40)]


# The unit for codes times V


def values_registers(parameters: ValuesParameters) -> RegisterTable:
    """Registers of the unit that multiplies codes by V.

    Parameters
    ----------
    parameters : ValuesParameters
        Set whose shape and hash the constants tell; it says how many exponents there are.
    """
    p = parameters
    errors = [
        ("start_refused", "A start found the queue full and was ignored"),
        ("bad_shape", "A start had a shape that breaks a rule and was ignored"),
        ("too_long", "A row had more codes than the command's tokens and was cut there"),
        ("bad_exponents", "A command's set had an exponent above 1"),
        *_stream_errors(("v", "s")),
    ]
    counters = [
        ("CYCLES", "Cycles in which a command waited or ran"),
        ("BEATS", "Cycles in which tokens entered the tile"),
        ("STALL_CODES", "Cycles without tokens because the codes of a block were not complete"),
        ("STALL_V", "Cycles without tokens because v had nothing"),
        ("STALL_S", "Cycles without tokens because s had nothing"),
        ("STALL_Y", "Cycles without tokens because outputs were under way or y was not taken"),
        ("WORDS_CODES", "Words of codes that were taken"),
        ("WORDS_V", "Words of v that were taken"),
        ("WORDS_Y", "Words of y that were sent"),
        ("DONE", "Commands that finished"),
    ]
    return RegisterTable("mixpe_values", (
        *_identity(p, VALUES_ID, "MXPV in ASCII"),
        Register("UNIT", 0x0c, (
            Field("width",    0,  6, "const", p.width,    "Codes in a word of their stream"),
            Field("words",    6,  3, "const", p.words,    "Words of codes in each cycle"),
            Field("bits",     9,  3, "const", p.bits,     "Bits of a code"),
            Field("queries",  12, 7, "const", p.queries,  "Queries of a block"),
            Field("columns",  19, 5, "const", p.columns,  "Columns of V in an item of v"),
            Field("exp_bits", 24, 4, "const", p.exp_bits, "Fraction bits of an exponent"),
        ), "Shape of the unit"),
        Register("LENGTH", 0x10, (
            Field("most", 0,  17, "const", p.max_length, "Tokens of the longest row"),
            Field("sets", 24, 5,  "const", p.sets,       "Sets of exponents"),
        ), "Lengths of rows, and sets of exponents"),
        Register("CONTROL", 0x20, (
            Field("start",          0, 1, "pulse", 0, "Queue a command with the shape as set"),
            Field("soft_reset",     1, 1, "pulse", 0, "Discard all commands and data"),
            Field("clear_counters", 2, 1, "pulse", 0, "Set all counters to 0"),
        ), "What to do now"),
        Register("STATUS", 0x24, (
            Field("busy",       0, 1, "ro", 0, "A command waits or runs"),
            Field("queue_full", 1, 1, "ro", 0, "No further command can wait"),
            Field("queue",      8, 8, "ro", 0, "Commands whose codes have not all come"),
        ), "What the unit does"),
        Register("ERROR", 0x28, tuple(
            Field(name, bit, 1, "w1c", 0, text) for bit, (name, text) in enumerate(errors)
        ), "What went wrong since it was last cleared"),
        *_interrupts(),
        Register("QUERIES", 0x40, (
            Field("value", 0, QUERY_BITS, "rw", 0, "Rows of codes"),
        ), "Queries of the next command"),
        Register("TOKENS", 0x44, (
            Field("value", 0, p.count_bits, "rw", 0, "Rows of V"),
        ), "Tokens of the next command"),
        Register("COLUMNS", 0x48, (
            Field("value", 0, COLUMN_BITS, "rw", 0, "Columns of V"),
        ), "Columns of the next command"),
        Register("SET", 0x4c, (
            Field("value", 0, 4, "rw", 0, "Set of exponents, from 0"),
        ), "Exponents of the next command"),
        *_counters(0x80, counters),
        # A set of exponents has 16 words of its own.
        *(each for chosen in range(p.sets)
          for each in _exponents(p, chosen, 0x100 + 0x40 * chosen)),
    ))


# All of them


def unit_registers(parameters: ArrayParameters | SoftmaxParameters | BaselineParameters
                   | ValuesParameters) -> RegisterTable:
    """Registers of the engine of an array, of a softmax unit, or of a unit for codes times V.

    Raises
    ------
    ValueError
        If a register cannot tell the set's shape.
    """
    if isinstance(parameters, ArrayParameters):
        return gemm_registers(parameters)
    if isinstance(parameters, ValuesParameters):
        return values_registers(parameters)
    return softmax_registers(parameters)
