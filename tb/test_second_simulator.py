"""Verilator and CXXRTL side by side; recordings; the command."""

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import click
import numpy as np
import pytest

from golden.parameters import SETS
from golden.sets import ALL_SETS
from scripts import second_sim
from tb.cxxrtl import Port, Simulation, from_words, ports, to_words
from tb.fixtures import DATA, FIXTURES, layer_fixture
from tb.second_simulator import Recording, recorded, replayed

COUNTER = """
module top(clk, rst, step, y__ready, y__valid, y__payload, total);
  input clk;
  input rst;
  input signed [35:0] step;
  input y__ready;
  output y__valid;
  output [35:0] y__payload;
  output [1:0] total;
  reg [35:0] kept;
  always @(posedge clk) if (rst) kept <= 0; else if (y__ready) kept <= kept + step;
  assign y__payload = kept;
  assign y__valid = kept[0];
  assign total = kept[1:0] ^ {2{rst}};
endmodule
"""

#: Edges at 0, 10, 20 and 30; inputs change behind them.
VCD = """$timescale 1ps $end
$scope module TOP $end
 $var wire 1 ! clk $end
 $var wire 1 " rst $end
 $var wire 36 # step [35:0] $end
 $var wire 1 $ y__ready $end
 $var wire 1 % y__valid $end
 $var wire 36 & y__payload [35:0] $end
 $var wire 2 ' total [1:0] $end
$upscope $end
$enddefinitions $end

#0
0!
0"
b0 #
0$
0%
b0 &
b00 '
#5
1!
1"
b11 '
#6
0!
0"
b100000000000000000000000000000000001 #
1$
b00 '
#10
1!
1%
b100000000000000000000000000000000001 &
b01 '
#15
0!
#20
1!
"""


NOTHING = sha256(b"").hexdigest()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A layer through an array of one tile: Verilog, module and what Verilator gave."""
    p = SETS["tiny"].replace(name="small", mesh_rows=1, mesh_columns=1, bands=1)
    chosen = layer_fixture(p, DATA / "awq_gemm.safetensors")
    top, source = chosen.design()
    path = tmp_path_factory.mktemp("small") / "ports.vcd"
    chosen.record(1, path)
    return source, top, recorded(path, source, top)


def test_an_array_gives_the_same_hash(small):
    source, top, recording = small
    outcome = replayed(recording, source, top)
    assert outcome.first == ""
    assert outcome.equal
    assert outcome.cycles > 200
    assert outcome.streams.keys() == {"y"}
    assert NOTHING not in outcome.streams["y"]


def test_an_inverted_cell_changes_the_hash(small):
    source, top, recording = small
    changes = (f"proc\nopt_clean\nmutate -list 1 -seed 1 -mode inv -module {top}_pe -o broken.ys\n"
               "script broken.ys")
    outcome = replayed(recording, source, top, changes=changes)
    assert not outcome.equal
    assert len({*outcome.hashes}) == 2
    assert "must be as in Verilator" in outcome.first


@pytest.mark.full
@pytest.mark.parametrize("chosen", FIXTURES, ids=lambda each: f"{each.parameters.name}-{each.name}")
def test_fixture(chosen):
    _, _, outcome = second_sim.both(chosen, 1)
    assert outcome.first == ""
    assert outcome.equal
    assert outcome.streams
    assert all(NOTHING not in hashes for hashes in outcome.streams.values())


def test_every_set_and_file_has_fixtures():
    assert {each.parameters.name for each in FIXTURES} >= ALL_SETS.keys()
    for path in DATA.glob("*.safetensors"):
        names = {each.parameters.name for each in FIXTURES if each.name == path.name}
        assert names == {name for name, p in ALL_SETS.items() if p.unit == "array"}
    assert len({(each.parameters.name, each.name) for each in FIXTURES}) == len(FIXTURES)


# A counter, by hand


@pytest.fixture
def recording(tmp_path):
    (tmp_path / "ports.vcd").write_text(VCD)
    return recorded(tmp_path / "ports.vcd", COUNTER, "top")


def test_ports():
    assert ports(COUNTER, "top") == [
        Port("clk", 1, False), Port("rst", 1, False), Port("step", 36, False),
        Port("y__ready", 1, False), Port("y__valid", 1, True), Port("y__payload", 36, True),
        Port("total", 2, True)]


def test_words():
    values = np.array([0, 1, -1, 1 << 35, (1 << 62) - 1])
    for width in (36, 62):
        np.testing.assert_array_equal(from_words(to_words(values, width), width),
                                      values % (1 << width))
    assert to_words(np.array([1 << 64, -1], dtype=object), 70).tolist() == [
        [0, 0, 1], [0xffff_ffff, 0xffff_ffff, 0x3f]]


def test_recording_has_what_stands_before_each_edge(recording):
    """Edges at 5, 10 and 20; inputs that change with an edge are of the next cycle."""
    assert recording.inputs.tolist() == [[0, 0, 0, 0], [0, 1, 8, 1], [0, 1, 8, 1]]
    assert recording.outputs.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 8, 1]]


def test_an_edge_in_the_first_instant_is_a_reset(tmp_path):
    (tmp_path / "ports.vcd").write_text(VCD.replace("0!", "1!", 1).replace("#5\n1!", "#5\n0!", 1))
    recording = recorded(tmp_path / "ports.vcd", COUNTER, "top")
    assert recording.inputs[0].tolist() == [1, 0, 0, 0]
    assert (len(recording.inputs), len(recording.outputs), recording.unknown) == (3, 2, 1)
    assert replayed(recording, COUNTER, "top").cycles == 2


def test_replay(recording):
    outcome = replayed(recording, COUNTER, "top")
    assert outcome.equal
    assert outcome.cycles == 3
    payload = np.array([1, 8], "<u4").tobytes()  # one transfer, in the last cycle
    assert outcome.streams == {"y": 2 * (sha256(payload).hexdigest(),)}


@pytest.mark.parametrize(("place", "name"), [((2, 0), "y__valid"), ((1, 2), "y__payload"),
                                             ((0, 3), "total")])
def test_any_difference_is_found(recording, place, name):
    outputs = recording.outputs.copy()
    outputs[place] ^= 1
    outcome = replayed(Recording(recording.inputs, outputs), COUNTER, "top")
    assert not outcome.equal
    assert outcome.first.startswith(f"{name} of top in cycle {place[0]} must be as in Verilator")


def test_bad_recordings(tmp_path):
    path = tmp_path / "ports.vcd"
    path.write_text(VCD.replace(" step ", " other "))
    with pytest.raises(ValueError, match=r"^A recording must have all ports, not lack step$"):
        recorded(path, COUNTER, "top")
    path.write_text(VCD.replace("1!", "0!"))
    with pytest.raises(ValueError, match=r"must have an edge of clk$"):
        recorded(path, COUNTER, "top")
    with pytest.raises(ValueError, match=r"^Inputs must have shape \(cycles, 4\), not \(1, 3\)$"):
        Simulation(COUNTER, "top").run(np.zeros((1, 3), dtype=np.uint32))


# The command


def entry(index, _seed, *, equal=True):
    """What a run gives, and nothing runs."""
    each = FIXTURES[index]
    return {"set": each.parameters.name, "fixture": each.name, "block": "b", "cycles": 7,
            "output_sha256": {"verilator": "f" * 64}, "equal": equal,
            "seconds": 1}, "" if equal else "y of b in cycle 3 must be as in Verilator, 1, not 2"


@pytest.fixture
def command(monkeypatch):
    """The command, of which processes are threads."""
    monkeypatch.setattr(second_sim, "processes", ThreadPoolExecutor)
    monkeypatch.setattr(second_sim, "_task", entry)
    return second_sim.main


def test_command_writes_a_report(command, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- second-simulator: begin -->\n<!-- second-simulator: end -->\n")
    report = command(("tiny", "attention"), 3, 2, page, tmp_path)
    assert json.loads((tmp_path / "second_sim.json").read_text()) == report
    assert [(each["set"], each["fixture"]) for each in report["fixtures"]] == [
        ("tiny", "awq_gemm.safetensors"), ("tiny", "awq_reference.safetensors"),
        ("tiny", "bench_gemm"), ("attention", "bench_softmax_unit")]
    assert f"| `b` | bench_gemm | 7 | `{'f' * 12}` | yes |" in page.read_text()


def test_a_difference_is_an_error(command, monkeypatch, tmp_path):
    monkeypatch.setattr(second_sim, "_task", lambda *task: entry(*task, equal=False))
    with pytest.raises(click.ClickException, match=r"^y of b in cycle 3 must be as in Verilator"):
        command(("paper",), 1, 1, None, tmp_path)
    assert not json.loads((tmp_path / "second_sim.json").read_text())["fixtures"][0]["equal"]
