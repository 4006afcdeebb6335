"""The core file beside an engine: FuseSoC reads it, lints the engine and runs its testbench."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from golden.registers import VERSION
from scripts.verilog import main
from tb.engines import ENGINES, SMALL
from tb.runner import environment


def fusesoc(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run FuseSoC in a folder with cores, away from the user's own."""
    (folder / "fusesoc.conf").touch()
    return subprocess.run(
        [Path(sys.executable).parent / "fusesoc", "--config", "fusesoc.conf", "--cores-root", ".",
         *arguments], cwd=folder, env=environment(), capture_output=True, text=True)


def test_core_is_found(tmp_path):
    written = {path.name for path in main(SMALL, tmp_path)}
    process = fusesoc(tmp_path, "core", "show", "mixpe_small_gemm")
    assert process.returncode == 0, process.stderr
    version = ".".join(map(str, VERSION))
    assert f"mixpe::mixpe_small_gemm:{version}" in process.stdout
    assert re.findall(r"^(\w+) +: <", process.stdout, re.MULTILINE) == [
        "default", "icarus", "lint", "sim"]
    named = re.findall(r"^ +- (\S+)$", (tmp_path / "mixpe_small_gemm.core").read_text(),
                       re.MULTILINE)
    assert named == ["mixpe_small_gemm.v", "mixpe_small_gemm_tb.sv"]
    assert written >= set(named)


def test_lint(tmp_path):
    main(SMALL, tmp_path)
    process = fusesoc(tmp_path, "run", "--target", "lint", "mixpe_small_gemm")
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.full
@pytest.mark.parametrize("parameters", ENGINES, ids=lambda parameters: parameters.name)
def test_sim(parameters, tmp_path):
    main(parameters, tmp_path)
    process = fusesoc(tmp_path, "run", "--target", "sim", f"mixpe_{parameters.name}_gemm")
    assert process.returncode == 0, process.stdout + process.stderr
    assert "\nPASS\n" in process.stdout


@pytest.mark.full
@pytest.mark.parametrize(("file", "right", "wrong", "message"), [
    ("_tb.sv", "y_expected[1] = 32'h", "y_expected[1] = 32'h1", "output 1 is "),
    ("_tb.sv", "y_keep[1] = 4'h3", "y_keep[1] = 4'hf", "output 1 has TKEEP 0011, not 1111"),
    ("_tb.sv", "32'h4d585045", "32'h4d585046", "register 0x000 reads 0x4d585045"),
])
def test_sim_finds_a_difference(tmp_path, file, right, wrong, message):
    main(SMALL, tmp_path)
    path = tmp_path / f"mixpe_small_gemm{file}"
    text = path.read_text()
    assert text.count(right) == 1
    path.write_text(text.replace(right, wrong))
    process = fusesoc(tmp_path, "run", "--target", "sim", "mixpe_small_gemm")
    assert process.returncode != 0
    assert message in process.stdout + process.stderr
