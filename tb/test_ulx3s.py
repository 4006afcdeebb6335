"""The example for a board: what its LEDs show, and its bitstream."""

import importlib.util
import re
from pathlib import Path

import pytest

from golden.parameters import SETS
from hdl.export import verilog
from tb import runner

EXAMPLE = Path(__file__).parent.parent / "examples" / "ulx3s.py"
BOARD = SETS["tiny"].replace(name="board", lanes=2, tile_rows=1, tile_columns=1)
ENOUGH = 100


@pytest.fixture(scope="module")
def example():
    """The module."""
    spec = importlib.util.spec_from_file_location("ulx3s", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def self_test(example):
    """Self-test and its Verilog."""
    block = example.SelfTest(BOARD, ENOUGH)
    return block, verilog(block)


def show(block, source: str, *, right: bool, wrong: bool):
    """Expect what the LEDs show in the end."""
    runner.simulate(source, block.module, "tb.bench_self_test", enough=ENOUGH,
                    cycles=2 * ENOUGH * BOARD.beats, right=int(right), wrong=int(wrong))


def test_right_sums(self_test):
    show(*self_test, right=True, wrong=False)


@pytest.mark.parametrize(("pattern", "replacement", "wrong"), [
    pytest.param(r"(module mixpe_board_full_adder_\d+\(.*?)\^", r"\1|", True, id="adder"),
    pytest.param(r"(module mixpe_board_self_test\(.*?assign last = )[^;]*", r"\g<1>0", False,
                 id="no sums"),
])
def test_wrong_sums(self_test, pattern, replacement, wrong):
    """One wrong adder shows, and sums that are never compared light nothing."""
    block, source = self_test
    changed, count = re.subn(pattern, replacement, source, count=1, flags=re.DOTALL)
    assert count == 1
    show(block, changed, right=False, wrong=wrong)


@pytest.mark.full
def test_bitstream(example, tmp_path, monkeypatch):
    for tool in ("YOSYS", "NEXTPNR_ECP5", "ECPPACK", "OPENFPGALOADER"):
        monkeypatch.delenv(tool, raising=False)
    example.main(["--set", "tiny", "--output", str(tmp_path)])
    timing = (tmp_path / "top.tim").read_text()
    frequencies = re.findall(r"Max frequency for clock .*: ([\d.]+) MHz \(PASS at 25", timing)
    assert frequencies
    assert (tmp_path / "top.bit").stat().st_size > 100_000


def test_a_set_that_is_none(example, capsys):
    with pytest.raises(SystemExit):
        example.main(["--set", "attention"])
    assert capsys.readouterr().err.endswith(
        "error: Parameter set must be an array, not a softmax unit as attention is\n")
