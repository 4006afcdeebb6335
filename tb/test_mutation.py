"""Mutants: which there are, that benches find them, which are equivalent, and the command."""

import json
import re
import subprocess
from dataclasses import replace
from functools import partial

import pytest

from golden.parameters import SETS
from hdl.counter import Counter
from hdl.export import verilog
from scripts import mixpe, mutate
from synth.mutation import Mutant, Never, equivalent, mutants, with_mutants
from tb import runner
from tb.mutation import SURVIVORS, TARGETS, ControlError, Target, Trial, prepare, reasons
from tb.runner import SimulationTimeout

TINY = SETS["tiny"]

#: They share a compiled counter, and one looks at what runs in its folder.
pytestmark = pytest.mark.xdist_group("mutation")

#: A counter of four bits.
COUNTER = Target("counter", partial(Counter, TINY, 4), ("counter_4",),
                 (("bench_counter", {"width": 4}),))

#: Its mutants; one number for all tests, which then share what is compiled.
COUNT = 5

#: A block with a term that makes no difference, and a register that nobody reads.
REDUNDANT = """\
module top(clk, a, b, y, z);
  input clk;
  wire clk;
  input a;
  wire a;
  input b;
  wire b;
  output y;
  wire y;
  output z;
  reg z;
  reg unread;
  wire both;
  assign both = a & b;
  assign y = a | both;
  always @(posedge clk) z <= a ^ b;
  always @(posedge clk) unread <= z ^ unread;
endmodule
"""


#: A counter.
UP = """\
module top(clk, step, y);
  input clk;
  wire clk;
  input step;
  wire step;
  output [3:0] y;
  wire [3:0] y;
  reg [3:0] count;
  wire [3:0] next;
  assign next = count + step;
  always @(posedge clk) count <= next;
  assign y = ~ count;
endmodule
"""

#: A counter whose register is its output.
SHOWN = """\
module top(clk, step, count);
  input clk;
  wire clk;
  input step;
  wire step;
  output [3:0] count;
  reg [3:0] count;
  wire [3:0] next;
  assign next = count + step;
  always @(posedge clk) count <= next;
endmodule
"""

#: A bit that is 0 from a reset on.
KEPT = """\
module top(clk, rst, a, y);
  input clk;
  wire clk;
  input rst;
  wire rst;
  input a;
  wire a;
  output y;
  wire y;
  reg held;
  wire kept;
  wire next;
  assign kept = held & a;
  assign next = rst ? 1'h0 : kept;
  always @(posedge clk) held <= next;
  assign y = ~ held;
endmodule
"""

#: What makes the other register of :data:`REDUNDANT`.
REGISTER = "always @(posedge clk) z <= a ^ b;"


def change(mode: str, source: str, port: str) -> Mutant:
    """Mutant of the cell of a text in :data:`REDUNDANT`."""
    return next(each for each in mutants(REDUNDANT, "top", ["top"], 1000, 1)
                if (each.mode, each.port, each.source) == (mode, port, source))


# Which there are


def test_mutants_follow_from_the_seed():
    text = verilog(Counter(TINY, 4))
    one, same, other = (mutants(text, "mixpe_tiny_counter_4", ["mixpe_tiny_counter_4"], 20, seed)
                        for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == len({each.key for each in one}) == 20
    assert {each.module for each in one} == {"mixpe_tiny_counter_4"}
    lines = text.splitlines()
    assert all(each.source[:20] in lines[each.line - 1] for each in one)


def test_clocks_are_left_alone():
    every = mutants(REDUNDANT, "top", ["top"], 1000, 1)
    assert "D" in {each.port for each in every}
    assert "CLK" not in {each.port for each in every}


def test_what_nobody_reads_is_left_alone():
    assert not [each for each in mutants(REDUNDANT, "top", ["top"], 1000, 1)
                if "unread" in each.source]


# Which are equivalent


@pytest.mark.parametrize(("mode", "source", "port", "same"), [
    ("const0", "a & b",    "Y", True),   # y = a
    ("const1", "a & b",    "Y", False),
    ("inv",    "a & b",    "Y", False),
    ("const1", "a & b",    "B", True),   # y = a | a
    ("inv",    "a & b",    "B", True),   # y = a | a & ~b
    ("inv",    "a & b",    "A", False),  # y = a | b
    ("const0", "a | both", "A", False),  # y = a & b
    ("const0", "a | both", "B", True),
    ("inv",    "a ^ b",    "Y", False),  # seen a cycle later
    ("inv",    REGISTER,   "D", False),
    ("inv",    REGISTER,   "Q", False),
])
def test_equivalence(mode, source, port, same):
    assert equivalent(REDUNDANT, "top", change(mode, source, port), 10) == same


@pytest.mark.parametrize(("name", "same"), [
    ("a", True), ("b", False), ("y", False),
    ("z", True),  # a and b are the same, or it would be 1 next
])
def test_equivalence_where_a_bit_is_never_1(name, same):
    mutant = change("const0", "a | both", "A")  # y = a & b
    assert equivalent(REDUNDANT, "top", mutant, 10, [Never(name, 0, 0)]) == same


@pytest.mark.parametrize("key", ["top: ~ count: A[3] const0", "top: count + step: Y[3] const0"])
@pytest.mark.parametrize(("never", "same"), [
    ([], False),
    ([Never("count", 2, 2)], False),
    ([Never("y", 3, 3)], False),
    ([Never("count", 3, 3)], True),
    ([Never(r"co\w+", 1, 3)], True),
])
def test_equivalence_where_a_register_is_never_1(key, never, same):
    """Neither now nor next."""
    mutant = next(each for each in mutants(UP, "top", ["top"], 1000, 1)
                  if each.key in (key, f"{key} (next[3])"))
    assert equivalent(UP, "top", mutant, 10, never) == same


@pytest.mark.parametrize(("name", "bit", "same"), [
    ("count", 3, True), ("count", 2, False), ("next", 3, False)])
def test_equivalence_where_an_output_is_never_1(name, bit, same):
    mutant = next(each for each in mutants(SHOWN, "top", ["top"], 1000, 1)
                  if each.key.startswith("top: count + step: Y[3] const0"))
    assert equivalent(SHOWN, "top", mutant, 10, [Never(name, bit, bit)]) == same


@pytest.mark.parametrize(("mode", "source", "port", "same"), [
    ("const0", "rst ? 1'h0 : kept", "S", False),  # what it holds at first may remain
    ("const0", "rst ? 1'h0 : kept", "A", True),
    ("const1", "rst ? 1'h0 : kept", "B", False),
    ("const0", "held & a",          "Y", True),
])
def test_a_bit_is_never_1_from_the_reset_on(mode, source, port, same):
    mutant = next(each for each in mutants(KEPT, "top", ["top"], 1000, 1)
                  if (each.mode, each.port, each.source) == (mode, port, source))
    assert equivalent(KEPT, "top", mutant, 10, [Never("held", 0, 0)]) == same


def test_proof_that_takes_too_long_proves_nothing():
    text = """\
module top(a, b, y);
  input [31:0] a;
  wire [31:0] a;
  input [31:0] b;
  wire [31:0] b;
  output [63:0] y;
  wire [63:0] y;
  assign y = (a + b) * (a + b) - (a * a + 2 * a * b + b * b);
endmodule
"""
    every = mutants(text, "top", ["top"], 50, 1)
    assert not equivalent(text, "top", every[0], 1)


# What benches find


@pytest.fixture(scope="module")
def trial() -> Trial:
    return prepare(COUNTER, COUNT, 1)


def test_bench_finds_the_mutants_of_a_counter(trial):
    outcomes = [trial.outcome(number) for number in range(1, len(trial.mutants) + 1)]
    assert set(outcomes) <= {"failed", "time", "equivalent"}
    assert outcomes.count("equivalent") < len(outcomes) / 2


def test_endless_run_is_ended(trial):
    with pytest.raises(SimulationTimeout, match="took more than 2 s of CPU time"):
        runner.run(trial.folder, trial.top, "tb.bench_nothing", seconds=2, forever=True)
    processes = subprocess.run(["ps", "-eo", "pid,ppid,pgid,stat,etimes,args"],
                               capture_output=True, text=True).stdout
    assert [line for line in processes.splitlines() if str(trial.folder) in line] == []


def test_only_the_selector_is_added(trial):
    """Other modules can use the top module as before."""
    text = with_mutants(trial.text, trial.top, trial.mutants)
    for old, new in ((each.rpartition(f"module {trial.top}(")[2] for each in (trial.text, text)),):
        ports = [{line for line in each.splitlines() if line.startswith(("  input", "  output"))}
                 for each in (old, new)]
        assert ports[0] == ports[1]


def test_control_that_fails():
    wrong = replace(COUNTER, runs=(("bench_counter", {"width": 3}),))
    with pytest.raises(ControlError, match=r"^Block counter must pass its bench without a "):
        prepare(wrong, COUNT, 1)


@pytest.mark.full
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_benches_find_some_mutants(target):
    """A few of each block; `make mutate` has more, and says what survives."""
    trial = prepare(target, 5, 2)
    outcomes = [trial.outcome(number) for number in range(1, 6)]
    assert outcomes.count("failed") + outcomes.count("time") >= 3


# The command


def test_blocks_are_the_targets():
    (option,) = [each for each in mixpe.cli.commands["mutate"].params if each.name == "blocks"]
    assert list(option.type.choices) == list(TARGETS)


def test_failing_control_is_one_line(monkeypatch, capfd, tmp_path):
    wrong = replace(COUNTER, runs=(("bench_counter", {"width": 3}),))
    monkeypatch.setitem(mutate.TARGETS, "tile", wrong)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with which cocotb says more
    with pytest.raises(SystemExit) as end:
        mixpe.main(["mutate", "--block", "tile", "--count", str(COUNT),
                    "--output", str(tmp_path)])
    assert end.value.code == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("mixpe: error: Block counter must pass its bench without a mutant: ")
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_a_report(trial):
    outcomes = {1: "failed", 2: "time", 3: "equivalent", 5: "survived", 4: "survived"}
    key = trial.mutants[3].key
    known = [(re.compile("another"), "no"), (re.compile(re.escape(key)), "why")]
    block = mutate.result_of(trial, outcomes, known)
    assert (block["mutants"], block["equivalent"], block["killed"], block["killed_by_time"],
            block["share"]) == (5, 1, 2, 1, 0.5)
    assert [(each["mutant"], each["reason"]) for each in block["survivors"]] == [
        (key, "why"), (trial.mutants[4].key, None)]
    assert (block["set"], block["module"]) == ("tiny", "mixpe_tiny_counter_4")
    assert block["verilog_sha256"] == trial.digest
    assert mutate.unexplained(block) == 1
    assert mutate.unexplained(block | {"survivors": block["survivors"][:1]}) == 0


def test_command(monkeypatch, capfd, tmp_path):
    """A report, a page, and a status that says whether enough was found."""
    weak = replace(COUNTER, runs=(("bench_nothing", {}),))
    page = tmp_path / "page.md"
    page.write_text("# Mutants\n<!-- mutate: begin -->\nold\n<!-- mutate: end -->\n")
    monkeypatch.setitem(mutate.TARGETS, "tile", weak)
    with pytest.raises(SystemExit) as end:
        mixpe.main(["mutate", "--block", "tile", "--count", "2", "--workers", "1",
                    "--output", str(tmp_path), "--page", str(page)])
    captured = capfd.readouterr()
    assert end.value.code == 1
    report = json.loads((tmp_path / "mutate.json").read_text())
    (block,) = report["blocks"]
    assert captured.err == (f"mixpe: error: Survivors must have a reason, unlike "
                            f"{len(block['survivors'])} of counter\n")
    assert (block["mutants"], block["killed"]) == (2, 0)
    assert len(block["survivors"]) == 2 - block["equivalent"] > 0
    text = page.read_text()
    assert "old" not in text
    for survivor in block["survivors"]:
        assert f"| counter | `{survivor['mutant'].replace('|', chr(92) + '|')}` | **not" in text
        assert f"Unexplained, counter, line {survivor['line']}" in captured.out


def test_reasons_are_given_once():
    patterns = [pattern for pattern, _ in reasons()]
    assert len(patterns) == len(set(patterns)) == SURVIVORS.read_text().count("[[survivor]]")
    assert all(reason.endswith(".") for _, reason in reasons())
    # None explains whatever survives.
    assert not any(pattern.fullmatch("module: a & b: Y[0] inv (y[0])") for pattern in patterns)
