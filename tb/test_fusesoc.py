"""The core file beside a unit: FuseSoC reads it, lints the unit and runs its testbench."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from golden.registers import VERSION
from golden.softmax_parameters import EXACT_SETS, SOFTMAX_SETS
from golden.values_parameters import VALUES_SETS
from scripts.units import unit_module
from scripts.verilog import main
from tb.engines import ENGINES, SMALL
from tb.runner import environment

SOFTMAX = SOFTMAX_SETS["attention_tiny"]

#: Softmax sets whose testbenches are run: both units, and the choices of EXAQ's.
SOFTMAX_UNITS = [
    SOFTMAX, EXACT_SETS["attention_tiny_exact"],
    SOFTMAX.replace(name="fine", bits=4, x="bf16", y="fp16", width=8, exp_bits=11, sets=3),
    SOFTMAX.replace(name="scalar", bits=3, y="u16", width=1, sets=1, max_length=2, least_length=2),
]

VALUES = VALUES_SETS["attention_tiny_pv"]

#: Other sets for codes times V whose testbenches are run.
VALUES_UNITS = [
    VALUES.replace(name="fine_pv", bits=4, y="fp32", code_bits=16, products=4, columns=3, sets=3),
    VALUES.replace(name="pairs_pv", bits=3, y="bf16", width=1, words=2, sets=1, max_length=5),
]


def fusesoc(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run FuseSoC in a folder with cores, away from the user's own."""
    (folder / "fusesoc.conf").touch()
    return subprocess.run(
        [Path(sys.executable).parent / "fusesoc", "--config", "fusesoc.conf", "--cores-root", ".",
         *arguments], cwd=folder, env=environment(), capture_output=True, text=True)


@pytest.mark.parametrize("parameters", [SMALL, SOFTMAX, VALUES], ids=lambda p: p.name)
def test_core_is_found(parameters, tmp_path):
    module = unit_module(parameters)
    written = {path.name for path in main(parameters, tmp_path)}
    process = fusesoc(tmp_path, "core", "show", module)
    assert process.returncode == 0, process.stderr
    version = ".".join(map(str, VERSION))
    assert f"mixpe::{module}:{version}" in process.stdout
    assert re.findall(r"^(\w+) +: <", process.stdout, re.MULTILINE) == [
        "default", "icarus", "lint", "sim"]
    named = re.findall(r"^ +- (\S+)$", (tmp_path / f"{module}.core").read_text(), re.MULTILINE)
    assert named == [f"{module}.v", f"{module}_tb.sv"]
    assert written >= set(named)


@pytest.mark.parametrize("parameters", [SMALL, SOFTMAX, VALUES], ids=lambda p: p.name)
def test_lint(parameters, tmp_path):
    main(parameters, tmp_path)
    process = fusesoc(tmp_path, "run", "--target", "lint", unit_module(parameters))
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize("parameters", [
    VALUES, *(pytest.param(each, marks=pytest.mark.full)
              for each in [*SOFTMAX_UNITS, *VALUES_UNITS, *ENGINES])],
    ids=lambda p: p.name)
def test_sim(parameters, tmp_path):
    main(parameters, tmp_path)
    process = fusesoc(tmp_path, "run", "--target", "sim", unit_module(parameters))
    assert process.returncode == 0, process.stdout + process.stderr
    assert "\nPASS\n" in process.stdout


@pytest.mark.full
@pytest.mark.parametrize(("parameters", "right", "wrong", "message"), [
    (SMALL, "y_tdata_expected[1] = 32'h", "y_tdata_expected[1] = 32'h1", "output 1 is "),
    (SMALL, "y_tkeep_expected[1] = 4'h3", "y_tkeep_expected[1] = 4'hf",
     "output 1 has TKEEP 0011, not 1111"),
    (SMALL, "32'h4d585045", "32'h4d585046", "register 0x000 reads 0x4d585045"),
    (SOFTMAX, "y_tuser_expected[7] = 2'h1", "y_tuser_expected[7] = 2'h3",
     "output 7 has TUSER 01, not 11"),
    (SOFTMAX, "y_tlast_expected[2] = 1'h0", "y_tlast_expected[2] = 1'h1",
     "output 2 has TLAST 0, not 1"),
    (SOFTMAX, "x_tkeep_items[3] = 8'h3", "x_tkeep_items[3] = 8'hf", "output 2 is "),
    (VALUES, "s_tlast_items[3] = 1'h1", "s_tlast_items[3] = 1'h0",
     "register 0x028 reads 0x00000080"),
])
def test_sim_finds_a_difference(tmp_path, parameters, right, wrong, message):
    main(parameters, tmp_path)
    path = tmp_path / f"{unit_module(parameters)}_tb.sv"
    text = path.read_text()
    assert text.count(right) == 1
    path.write_text(text.replace(right, wrong))
    process = fusesoc(tmp_path, "run", "--target", "sim", unit_module(parameters))
    assert process.returncode != 0
    assert message in process.stdout + process.stderr
