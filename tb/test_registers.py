"""Register tables: rules, those of the units, every form that is written, and the Verilog."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from systemrdl import RDLCompiler
from systemrdl.rdltypes import AccessType, OnWriteType, PrecedenceType

from golden.parameters import SETS
from golden.registers import (
    ACCESSES,
    VERSION,
    Field,
    Register,
    RegisterTable,
    gemm_registers,
    port_names,
    softmax_registers,
    unit_registers,
)
from golden.sets import ALL_SETS
from golden.softmax_parameters import SOFTMAX_SETS
from hdl.axi_lite import AxiLiteRegisters
from hdl.counter import Counter
from hdl.export import verilog
from scripts.registers import WRITERS, header, main, page, rdl
from scripts.units import unit_module
from tb.registers import TABLES
from tb.runner import simulate
from tb.test_export import lint

DOCS = Path(__file__).parent.parent / "docs"
TINY = SETS["tiny"]
LINE = "one line without quotes, backslash, bar, end of comment or final stop"

by_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
by_set = pytest.mark.parametrize("parameters", SETS.values(), ids=SETS)


def field(name="f", low=0, width=1, access="rw", reset=0, description="What it is"):
    return Field(name, low, width, access, reset, description)


def register(name="R", offset=0, fields=None, description="What it is for"):
    return Register(name, offset, (field(),) if fields is None else fields, description)


def refuse(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


# Rules


@pytest.mark.parametrize(("parameters", "message"), [
    *(({"name": name}, f"Name of a field must be a lower-case identifier, not {name!r}")
      for name in ("", "A", "1a", "a-b", "a\n", None)),
    ({"access": "wo"},
     "Parameter access of field f must be one of ro, const, rw, w1c, pulse, not 'wo'"),
    *(({"low": low}, f"Parameter low of field f must be an integer from 0 to 31, not {low!r}")
      for low in (-1, 32, 1.0, True)),
    *(({"low": low, "width": width},
       f"Parameter width of field f must be an integer from 1 to {32 - low}, not {width!r}")
      for low, width in ((0, 0), (0, 33), (8, 25), (31, 2), (0, "1"))),
    *(({"access": access, "width": 2},
       f"Parameter width of field f must be 1 for access {access}, not 2")
      for access in ("w1c", "pulse")),
    *(({"width": 3, "access": access, "reset": reset},
       f"Parameter reset of field f must be an integer from 0 to 7, not {reset!r}")
      for access in ("rw", "const") for reset in (-1, 8, None)),
    *(({"access": access, "reset": 1},
       f"Parameter reset of field f must be 0 for access {access}, not 1")
      for access in ("ro", "w1c", "pulse")),
    *(({"description": text},
       f"Parameter description of field f must be {LINE}, not {text!r}")
      for text in ("", "a\nb", 'a "b"', "a | b", "a */ b", "a \\ b", "a.")),
])
def test_rules_of_fields(parameters, message):
    with refuse(message):
        field(**parameters)


@pytest.mark.parametrize(("parameters", "message"), [
    *(({"name": name}, f"Name of a register must be an upper-case identifier, not {name!r}")
      for name in ("", "a", "1A", "A-B", "A\n")),
    *(({"offset": offset},
       f"Parameter offset of register R must be an integer from 0 to 4095, not {offset!r}")
      for offset in (-4, 4096, 4.0)),
    ({"offset": 0x42}, "Parameter offset of register R must be a multiple of 4, not 0x42"),
    ({"fields": ()}, "Parameter fields of register R must hold a field, not none"),
    ({"fields": (field(), field(low=1))},
     "Parameter names of fields of register R must be unique, not twice 'f'"),
    ({"fields": (field(low=2, width=2), field("g", width=3))},
     "Parameter fields of register R must not overlap, not as g does"),
    ({"description": ""},
     f"Parameter description of register R must be {LINE}, not ''"),
])
def test_rules_of_registers(parameters, message):
    with refuse(message):
        register(**parameters)


@pytest.mark.parametrize(("name", "registers", "message"), [
    ("T", (register(),), "Name of a table must be a lower-case identifier, not 'T'"),
    ("t", (), "Parameter registers of table t must hold a register, not none"),
    ("t", (register(), register(offset=4)),
     "Parameter names of registers of table t must be unique, not twice 'R'"),
    ("t", (register(), register("S")),
     "Parameter offsets of table t must ascend, not as S 0x00 after R 0x00"),
    ("t", (register(offset=4), register("S")),
     "Parameter offsets of table t must ascend, not as S 0x00 after R 0x04"),
    ("t", (register("A", 0, (field("b_c"),)), register("A_B", 4, (field("c"),))),
     "Parameter port names of table t must be unique, not twice 'a_b_c'"),
    ("t", (register(fields=(field(access="w1c"), field("f_set", 1))),),
     "Parameter port names of table t must be unique, not twice 'r_f_set'"),
])
def test_rules_of_tables(name, registers, message):
    with refuse(message):
        RegisterTable(name, registers)


def test_ends_of_the_rules():
    fields = (field("a", 0, 31, "const", 2**31 - 1), field("b", 31, 1, "pulse"))
    table = RegisterTable("t", (register(fields=fields), register("S", 4092)))
    assert [each.mask for each in fields] == [0x7fffffff, 0x80000000]
    assert [each.bits for each in fields] == ["30:0", "31"]
    assert table.registers[0].reset == 0x7fffffff


# The engine


def test_offsets_of_the_engine():
    names = {
        0x00: "ID VERSION CONFIG ARRAY GROUPS FORMATS",
        0x20: "CONTROL STATUS ERROR IRQ_ENABLE IRQ_STATUS",
        0x40: "M K N WIDE GROUP",
        0x80: "CYCLES BUSY STALL_X STALL_W STALL_S STALL_SX STALL_T STALL_Y WORDS_X WORDS_W "
              "WORDS_Y DONE",
    }
    assert {each.name: each.offset for each in TABLES["gemm"].registers} == {
        name: base + 4 * index
        for base, part in names.items() for index, name in enumerate(part.split())}


@by_set
def test_constants_of_the_engine(parameters):
    p = parameters
    values = {name: each.reset for r in gemm_registers(p).registers for each in r.fields
              if each.access in ("const", "rw") for name in port_names(r, each)}
    assert values["id_value"].to_bytes(4, "big") == b"MXPE"
    assert tuple(values[f"version_{part}"] for part in ("major", "minor", "patch")) == VERSION
    assert [values[f"array_{part}"] for part in ("rows", "columns", "lanes")] == [
        p.rows, p.columns, p.lanes]
    assert values["groups_largest"] == values["group_value"] == p.group
    assert values["groups_least"] % p.lanes == 0
    assert values["groups_least"] // p.lanes == max(p.band_rows, 4)


def test_hash_tells_sets_apart():
    assert gemm_registers(TINY) == gemm_registers(TINY.replace())
    sets = [*SETS.values(), TINY.replace(y="fp16"), TINY.replace(name="other")]
    hashes = {gemm_registers(each).registers[2].fields[0].reset for each in sets}
    assert len(hashes) == len(sets)


def test_array_that_the_register_cannot_tell():
    with refuse("Parameter reset of field columns must be an integer from 0 to 2047, not 2048"):
        gemm_registers(TINY.replace(tile_columns=64, mesh_columns=32))


# The softmax units


def offsets(table: RegisterTable) -> dict[str, int]:
    """Offset of each register."""
    return {each.name: each.offset for each in table.registers}


def test_offsets_of_the_softmax_units():
    names = {0x00: "ID VERSION CONFIG UNIT LENGTH", 0x20: "CONTROL MODE STATUS ERROR",
             0x40: "CYCLES ROWS WORDS_X WORDS_Y"}
    common = {name: base + 4 * index for base, part in names.items()
              for index, name in enumerate(part.split())}
    constants = {f"{name}_{chosen}_{k}": 0x100 + 0x80 * chosen + base + 4 * k
                 for chosen in range(2)
                 for name, base, least in (("THRESHOLD", 0, 1), ("EXPONENT", 0x40, 0))
                 for k in range(least, 4)}
    assert offsets(TABLES["softmax"]) == common | constants
    del common["MODE"]
    assert offsets(TABLES["exact"]) == common


def test_fields_of_the_softmax_units():
    """The exact unit has the same, in the same places, but for constants and codes."""
    fields = [{(r.name, each.name): each for r in TABLES[name].registers for each in r.fields}
              for name in ("softmax", "exact")]
    both = fields[0].keys() & fields[1].keys()
    assert fields[1].keys() == both
    assert {key for key in fields[0].keys() - both if not key[0].startswith(("THRES", "EXPON"))
            } == {("MODE", "codes"), ("ERROR", "bad_constants")}
    told = {("CONFIG", "hash"), ("UNIT", "bits"), ("UNIT", "sets"), ("UNIT", "exp_bits")}
    assert {key for key in both if fields[0][key] != fields[1][key]} == told
    assert [fields[1][key].reset for key in sorted(told)][1:] == [0, 0, 0]
    assert fields[0]["ID", "value"].reset.to_bytes(4, "big") == b"MXSM"


@pytest.mark.parametrize("parameters", SOFTMAX_SETS.values(), ids=SOFTMAX_SETS)
def test_constants_of_the_softmax_unit(parameters):
    p = parameters
    values = {name: each.reset for r in softmax_registers(p).registers for each in r.fields
              if each.access == "const" for name in port_names(r, each)}
    assert [values[f"unit_{part}"] for part in ("width", "bits", "sets", "exp_bits")] == [
        p.width, p.bits, p.sets, p.exp_bits]
    assert values["length_most"] == p.max_length


def test_largest_softmax_unit():
    """Its constants end within the addresses, and its registers are within what Amaranth nests."""
    most = SOFTMAX_SETS["attention_4bit"].replace(name="most", sets=16, width=32, exp_bits=15,
                                                  max_length=65536)
    table = softmax_registers(most)
    assert len(table.registers) == 13 + 16 * 31
    assert max(offsets(table).values()) == offsets(table)["EXPONENT_15_15"] == 0x8fc
    assert AxiLiteRegisters(most, table).rtlil


# What is written


@by_table
def test_rdl(table, tmp_path):
    """An independent compiler reads what the table says."""
    path = tmp_path / "registers.rdl"
    path.write_text(rdl(table, "module"))
    compiler = RDLCompiler()
    compiler.compile_file(str(path))
    top = compiler.elaborate().top
    software = {"ro": AccessType.r, "const": AccessType.r, "rw": AccessType.rw,
                "w1c": AccessType.rw, "pulse": AccessType.w}
    hardware = {"ro": AccessType.w, "const": AccessType.na, "rw": AccessType.r,
                "w1c": AccessType.r, "pulse": AccessType.r}
    assert (top.inst_name, top.get_property("name")) == (table.name, "module")
    for node, each in zip(top.registers(), table.registers, strict=True):
        assert ((node.inst_name, node.absolute_address, node.get_property("desc"),
                 node.get_property("regwidth"))
                == (each.name, each.offset, each.description, 32))
        fields = sorted(each.fields, key=lambda part: part.low)
        for found, part in zip(node.fields(), fields, strict=True):
            sticky, access = part.access == "w1c", part.access
            assert found.inst_name == part.name
            assert (found.low, found.width) == (part.low, part.width)
            assert found.get_property("desc") == part.description
            assert found.get_property("reset") == (None if access == "ro" else part.reset)
            assert found.get_property("sw") == software[access]
            assert found.get_property("hw") == hardware[access]
            assert found.get_property("onwrite") == (OnWriteType.woclr if sticky else None)
            assert found.get_property("hwset") == sticky
            assert not sticky or found.get_property("precedence") == PrecedenceType.hw
            assert found.get_property("singlepulse") == (access == "pulse")


def compile_c(text: str, folder: Path) -> subprocess.CompletedProcess:
    """Check C with every warning."""
    (folder / "registers.c").write_text(text)
    return subprocess.run(
        [shutil.which("cc") or "c++", "-x", "c", "-std=c11", "-fsyntax-only", "-Wall", "-Wextra",
         "-pedantic", "-Werror", "registers.c"], cwd=folder, capture_output=True, text=True)


@by_table
def test_header(table, tmp_path):
    """A compiler finds every number of the table, and no other macro."""
    wanted = {}
    for each in table.registers:
        name = f"{table.name.upper()}_{each.name}"
        wanted[f"{name}_OFFSET"] = each.offset
        for part in each.fields:
            place = f"{name}_{part.name.upper()}"
            wanted[f"{place}_MASK"]  = (2**part.width - 1) * 2**part.low
            wanted[f"{place}_SHIFT"] = part.low
            if part.access in ("const", "rw"):
                wanted[f"{place}_RESET"] = part.reset
    text = header(table, "module")
    (tmp_path / "registers.h").write_text(text)
    include = '#include "registers.h"\n' * 2
    checks = [f'_Static_assert({name} == {value}u, "{name}");' for name, value in wanted.items()]
    process = compile_c(include + "\n".join(checks) + "\n", tmp_path)
    assert process.returncode == 0, process.stderr
    assert re.findall(r"^#define (\w+) ", text, re.MULTILINE) == list(wanted)
    # The compiler notices a wrong number.
    assert compile_c(include + checks[-1].replace("==", "!=") + "\n", tmp_path).returncode


@by_table
def test_page(table):
    """Every register and field has its row, in the order of the table."""
    text = page(table, "module")
    rows = re.findall(r"^\| ([\d:]+) \| `(\w+)` \| `(\w+)` \| (\w*) \| (.+) \|$", text,
                      re.MULTILINE)
    assert [(bits, name, access, description) for bits, name, access, _, description in rows] == [
        (part.bits, part.name, part.access, part.description)
        for each in table.registers for part in each.fields]
    assert [int(reset, 0) for *_, access, reset, _ in rows if access != "ro"] == [
        part.reset for each in table.registers for part in each.fields if part.access != "ro"]
    assert re.findall(r"^## (\w+)\n\n0x(\w+): (.*)\.$", text, re.MULTILINE) == [
        (each.name, f"{each.offset:02x}", each.description) for each in table.registers]
    assert re.findall(r"^\| 0x(\w+) \| \[(\w+)\]\(#(\w+)\) \| (.*) \|$", text, re.MULTILINE) == [
        (f"{each.offset:02x}", each.name, each.name.lower(), each.description)
        for each in table.registers]
    assert all(f"| `{access}` | {what} |" in text for access, what in ACCESSES.items())


@pytest.mark.parametrize("parameters", ALL_SETS.values(), ids=ALL_SETS)
def test_files(parameters, tmp_path):
    name = unit_module(parameters)
    files = main(parameters, tmp_path / "new", tmp_path / "page.md")
    assert files == [*(tmp_path / "new" / f"{name}{suffix}" for suffix in (".md", ".h", ".rdl")),
                     tmp_path / "page.md"]
    assert sorted((tmp_path / "new").iterdir()) == sorted(files[:-1])
    table = unit_registers(parameters)
    assert [file.read_text() for file in files] == [
        *(writer(table, name) for writer in WRITERS.values()), page(table, name)]


@pytest.mark.parametrize(("name", "file"), [
    ("edge", "registers.md"), ("attention", "softmax-registers.md"),
    ("attention_pv", "values-registers.md")])
def test_committed_page_is_current(name, file):
    written = page(unit_registers(ALL_SETS[name]), unit_module(ALL_SETS[name]))
    assert written == (DOCS / file).read_text(), "run `make registers`"


# Verilog


@by_table
def test_lint(table, tmp_path):
    block = AxiLiteRegisters(TINY, table)
    assert lint(verilog(block), tmp_path / f"{block.module}.v", block.module) == []


@pytest.mark.parametrize("name", TABLES)
def test_registers(name, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")  # in the simulator too
    block = AxiLiteRegisters(TINY, TABLES[name])
    assert simulate(verilog(block), block.module, "tb.bench_registers", table=name) == 12


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", TABLES)
def test_registers_with_more_seeds(name, seed):
    block = AxiLiteRegisters(TINY, TABLES[name])
    assert simulate(verilog(block), block.module, "tb.bench_registers", table=name,
                    seed=seed) == 12


@pytest.mark.parametrize("width", [1, 4])
def test_counter(width):
    block = Counter(TINY, width)
    assert simulate(verilog(block), block.module, "tb.bench_counter", width=width) == 1
