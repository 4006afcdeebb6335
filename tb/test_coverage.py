"""Coverage: the parser, a known hole, reasons, the listed bins, and the command."""

import json
import re
from itertools import product

import click
import numpy as np
import pytest

from golden.cycles import gemm_cycles
from golden.parameters import SETS
from golden.softmax_parameters import SOFTMAX_SETS
from golden.stream import group_beats
from hdl.admission import command_layout
from scripts import coverage
from scripts.coverage import Measured, Reason, derived, faults, module_report, named, reasons
from scripts.units import unit_module
from tb import runner
from tb.bounds import Bound, largest
from tb.command_line import refuse, run
from tb.coverage import Point, merged, modules, moved, read, same_lines
from tb.coverage_runs import COVERED, runs
from tb.crosses import GEMM, SOFTMAX, Collector, Cross, crosses
from tb.engine_aims import aims, command
from tb.engine_sampler import group_kind, rest_of, sample
from tb.row_aims import row
from tb.row_sampler import sample as sample_row
from tb.softmax_driver import fields

TINY = SETS["tiny"]
MIXED = COVERED["small_mixed"]

SOURCE = """\
module mixpe_tiny(clk, i, o);
  input clk;
  input [1:0] i;
  output [1:0] o;
  wire clk;
  wire [1:0] i;
  reg [1:0] o;
  reg [1:0] words [3:0];
  always @(posedge clk)
    if (i[1]) o <= 2'h2;
    else o <= i;
  always @(posedge clk)
    words[i] <= o;
endmodule
"""


def point(page, comment, count, line=3, module="mixpe_tiny"):
    """Line of a file of coverage."""
    keys = {"f": "/a/b.v", "l": line, "n": 2, "page": f"{page}/{module}", "o": comment, "h": "top"}
    return "C '" + "".join(f"\1{key}\2{value}" for key, value in keys.items()) + f"' {count}\n"


def toggles(**counts):
    """Counts of both changes of bits, by ``signal_bit``."""
    return {Point("mixpe_tiny_gemm", "toggle", f"{name[:-1]}[{name[-1]}]:{change}"): count
            for name, both in counts.items()
            for change, count in zip(("0->1", "1->0"), both, strict=True)}


# The file


def test_file(tmp_path):
    path = tmp_path / "coverage.dat"
    path.write_text("# SystemC::Coverage-3\n"
                    + point("v_toggle", "x___05Fy[3]:0->1", 2) + point("v_line", "block", 5, 9)
                    + point("v_branch", "if", 0, 10) + point("v_branch", "else", 7, 10)
                    + point("v_expr", "a", 1) + point("v_toggle", "z:1->0", 1, module="absent"))
    counts = read(path, SOURCE)
    assert counts == {
        Point("mixpe_tiny", "toggle", "x__y[3]:0->1"): 2,
        Point("mixpe_tiny", "line", "9: always @(posedge clk): block"): 5,
        Point("mixpe_tiny", "line", "10: if (i[1]) o <= 2'h2;: if"): 0,
        Point("mixpe_tiny", "line", "10: if (i[1]) o <= 2'h2;: else"): 7,
    }
    both = merged([counts, counts, {Point("m", "line", "1"): 3}])
    assert sorted(both.values()) == [0, 3, 4, 10, 14]
    assert list(modules(SOURCE * 2)) == ["mixpe_tiny"]


OTHER = """\
module m(clk, a, b, o);
  wire _01_;
  wire _02_;
  wire [1:0] _03_;
  assign _02_ = a & b;
  assign _01_ = _02_ ? a : b;
  always @(posedge clk)
    if (_01_) o <= _03_;
    else o <= 2'h0;
  part p (
    .i(_02_),
    .o(_03_)
  );
endmodule
"""

SAME = """\
module m(clk, a, b, o);
  wire [1:0] _09_;
  wire _02_;
  wire _05_;
  part p (
    .i(_05_),
    .o(_09_)
  );
  assign _02_ = _05_ ? a : b;
  assign _05_ = a & b;
  always @(posedge clk)
    if (_02_) o <= _09_;
    else o <= 2'h0;
endmodule
"""


def test_the_same_module_in_two_designs():
    lines = same_lines(OTHER, SAME)
    assert lines == {1: 1, 2: 3, 3: 4, 4: 2, 5: 10, 6: 9, 7: 11, 8: 12, 9: 13, 10: 5, 11: 6,
                     12: 7, 13: 8, 14: 14}
    counts = {Point("m", "line", "6: assign _01_ = _02_ ? a : b;: cond_then"): 3,
              Point("m", "line", "9: else o <= 2'h0;: else"): 0,
              Point("m", "toggle", "o[1]:0->1"): 4}
    assert moved(counts, lines, SAME) == {
        Point("m", "line", "9: assign _02_ = _05_ ? a : b;: cond_then"): 3,
        Point("m", "line", "13: else o <= 2'h0;: else"): 0,
        Point("m", "toggle", "o[1]:0->1"): 4}


@pytest.mark.parametrize(("text", "instead"), [
    ("_05_ = a & b", "_05_ = a | b"), ("_05_ ? a : b", "_05_ ? b : a"), (".i(_05_)", ".i(_02_)"),
    ("wire [1:0] _09_", "wire [2:0] _09_"), ("  wire _02_;\n", ""), ("2'h0", "2'h1"),
])
def test_another_module(text, instead):
    assert text in SAME
    assert same_lines(OTHER, SAME.replace(text, instead)) is None


@pytest.mark.parametrize(("text", "message"), [
    ("# another\n", "must begin with # SystemC::Coverage-3, not '# another'"),
    ("# SystemC::Coverage-3\nC 'x' 3\n", "must have points with page, o and l, not \"C 'x' 3\""),
    ("# SystemC::Coverage-3\n" + point("v_line", "if", "many"), "must have points with page"),
])
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "coverage.dat"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read(path, SOURCE)


def test_a_known_hole(tmp_path):
    """What the bench leaves out is a hole, and nothing else; memories have no points."""
    folder = runner.build(SOURCE, "mixpe_tiny", coverage=True)
    path = tmp_path / "coverage.dat"
    assert runner.run(folder, "mixpe_tiny", "tb.bench_switch", coverage=path) == 1
    found = module_report(TINY, "mixpe_tiny", read(path, SOURCE), [])
    assert found["holes"] == ["10: if (i[1]) o <= 2'h2;: if", "i[1]", "o[1]"]
    assert found["toggle"] == {"hit": 6, "total": 10, "excluded": 0}
    assert found["line"]["hit"] == found["line"]["total"] - 1


WIDE = """\
module mixpe_tiny(clk, i, o);
  input clk;
  input [1:0] i;
  output [1:0] o;
  wire clk;
  wire [1:0] i;
  wire [1:0] o;
  reg [99:0] wide;
  assign o = wide[65:64];
  always @(posedge clk)
    wide <= { 34'h0, i, 37'h0, i[0], 26'h0 };
endmodule
"""


def test_bits_of_a_wide_signal(tmp_path):
    """A change is counted for its own bit."""
    folder = runner.build(WIDE, "mixpe_tiny", coverage=True)
    path = tmp_path / "coverage.dat"
    assert runner.run(folder, "mixpe_tiny", "tb.bench_switch", coverage=path) == 1
    counts = {each.name: count for each, count in read(path, WIDE).items()
              if each.name.startswith("wide")}
    assert len(counts) == 200
    assert {name for name, count in counts.items() if count} == {
        f"wide[{bit}]:{change}" for bit in (26, 64) for change in ("0->1", "1->0")}
    assert counts["wide[26]:0->1"] == counts["wide[64]:0->1"]


# Holes and their reasons


def test_names_of_holes():
    points = [point for point, count in toggles(
        a0=(0, 0), a1=(0, 0), a2=(0, 1), a3=(0, 1), a5=(0, 0), b0=(1, 0)).items() if not count]
    assert named(points) == ["a[1:0]", "a[3:2] 0->1", "a[5]", "b[0] 1->0"]


def test_reasons_bite():
    counts = toggles(a0=(1, 1), a1=(1, 0), a2=(0, 0), b0=(0, 0))
    right = Reason("gemm", "a", "it is so", low=1)
    report = module_report(TINY, "mixpe_tiny_gemm", counts, [right])
    assert report["toggle"] == {"hit": 3, "total": 8, "excluded": 3}
    assert report["holes"] == ["b[0]"]
    assert report["excluded"] == [{"reason": "it is so", "holes": ["a[1] 1->0", "a[2]"]}]

    def told(*listed):
        found = [Measured(TINY, "", counts, [], 1)]
        return faults({"sets": []}, found, list(listed), all_sets=True)

    assert told(right) == []
    assert told(Reason("gemm", "a", "no")) == [
        "Reason for a must not speak of a[0]:0->1 of mixpe_tiny_gemm, which is reached"]
    for absent in (Reason("gemm", "c", "no"), Reason("gem", "a", "no"),
                   Reason("gemm", "a", "no", low=3), Reason("gemm", "a", "no", kind="line"),
                   Reason("gemm", "a", "no", sets=("edge",)),
                   Reason("gemm", "a", "no", low="x_depth")):
        (message,) = told(absent)
        assert message.endswith("must speak of a point")


@pytest.mark.parametrize(("bits", "spoken"), [
    ({}, range(12)), ({"low": 5}, range(5, 12)), ({"low": 2, "high": 3}, (2, 3)),
    ({"low": 3, "fields": 4}, (3, 7, 11)), ({"low": 1, "high": 1, "fields": 4}, (1, 5, 9)),
    ({"low": "group"}, range(5, 12)),  # 16 has five bits
])
def test_bits_of_a_reason(bits, spoken):
    reason = Reason("gemm", "a", "it is so", **bits)
    assert [bit for bit in range(12) if reason.matches(
        TINY, Point("mixpe_tiny_gemm", "toggle", f"a[{bit}]:0->1"))] == list(spoken)


ARRAYS = [p for p in COVERED.values() if p.unit == "array"]


@pytest.mark.parametrize("p", ARRAYS, ids=lambda p: p.name)
def test_bounds_of_commands_are_reached(p):
    """No larger command is admitted, as golden says, and one as large is."""
    most = largest(p)
    assert most.keys() | {"tail"} == {name for name, _ in command_layout(p)}
    longest = p.x_depth * p.lanes
    gemm_cycles(p, most["m"], p.lanes, 1)
    gemm_cycles(p, 1, longest, 1)
    for m, k in ((most["m"] + 1, p.lanes), (1, longest + 1)):
        with pytest.raises(ValueError, match=r"^Parameter x_depth must be at least "):
            gemm_cycles(p, m, k, 1)
    rng = np.random.default_rng(1)
    admitted = 0
    for _ in range(3000):
        m, k = (1 + int(2**rng.uniform(0, bits)) for bits in
                (most["m"].bit_length(), longest.bit_length()))
        least, greatest = p.least_group // p.lanes, p.beats
        sizes = group_beats(k, p.lanes * int(rng.integers(least, greatest + 1)), p)
        blocks = -(-m // p.rows)
        if blocks * sum(sizes) <= p.x_depth:
            admitted += 1
            assert blocks <= most["blocks"]
            assert len(sizes) <= most["groups"]
            assert max(sizes) <= most["group_beats"]
            assert blocks * len(sizes) <= most["t_items"]
            assert -(-m // p.x_rows) <= most["x_lines"]
    assert admitted > 300


def test_bits_of_bounds():
    assert Bound("engine", "block", 5, "", 24).bits == (27, 47)
    assert Bound("engine", "block", 0, "", 24).bits == Bound("engine", "b", -1, "", 24).bits
    assert all(each.sets == ("tiny",) and each.low <= each.high for each in derived(TINY))
    names = {(each.module, each.name, each.low) for each in derived(TINY)}
    # 2,048 rows at most, of two in a tile by two and two bands; no features of 8 bits.
    assert {("sx_channel", "length", 12), ("engine", r"\w+_command", 48)} <= names


def test_file_of_reasons():
    listed = reasons()
    assert len({(each.module, each.name, each.low, each.sets) for each in listed}) == len(listed)
    for each in listed:
        assert each.kind in ("line", "toggle")
        assert len(each.reason) > 20
        assert set(each.sets) <= set(COVERED)
        assert isinstance(each.low, int) or any(hasattr(p, each.low) for p in COVERED.values())


# Bins


@pytest.mark.parametrize(("p", "name", "count"), [
    # Stalls, TLAST, M, K and N; tiny has one size of groups besides the one for all of K.
    (TINY, "operands", 2 * 2 * 2 * (4 * 3 * 2 * 3 * 2)),
    (MIXED, "operands", 2 * 4 * 2 * 2 * (4 * 3 * 2 * 3 * 2)),
    (COVERED["small_shift"], "operands", 4 * 2 * (4 * 3 * 2 * 3 * 2)),
    (TINY, "zero points", 2 * 2 * 2), (MIXED, "zero points", 2 * 2 * 3 * 2 * 4),
    (TINY, "ends of streams", 4 * 3 * 4), (MIXED, "ends of streams", 5 * 3 * 4),
    (SOFTMAX_SETS["attention_tiny"], "invalid rows", 2 * 3 * 4 * 2),
    (SOFTMAX_SETS["attention_tiny"], "codes", 5 * 2 * 4),
], ids=lambda value: getattr(value, "name", str(value)))
def test_numbers_of_bins(p, name, count):
    (cross,) = [each for each in crosses(p) if each.name == name]
    assert len(cross.bins(p)) == len(set(cross.bins(p))) == count


def test_rows_that_exist():
    """Every row of up to the longest of a small unit, by counting, has a bin, and no other is."""
    p = SOFTMAX_SETS["attention_tiny"].replace(max_length=12, least_length=4)
    found = set()
    for n in range(1, p.max_length + 1):
        length = "word" if n <= p.width else "longest" if n == p.max_length else "words"
        for masked, low in product(range(n + 1), repeat=2):
            if (kept := n - masked - low) < 0:
                continue
            left_out = ("all" if not kept else "both" if masked and low else "mask" if masked
                        else "-inf" if low else "nothing")
            for maxima in range(1, kept + 1) if kept else (0,):
                ties = ("none" if not kept else "one" if maxima == 1
                        else "all" if maxima == kept else "several")
                found.add((length, "rest" if n % p.width else "whole", ties, left_out))
    listed = {(length, rest, ties, left_out)
              for _, length, rest, _, ties, left_out in SOFTMAX[0].bins(p)}
    assert listed == found
    assert len(SOFTMAX[0].bins(p)) == 2 * 4 * len(found)


def test_collector():
    cross = Cross("c", {"a": lambda p: (1, 2), "b": lambda p: "xy"},
                  lambda p, a, b: (a, b) != (2, "y"))
    collector = Collector((cross,), TINY)
    for _ in range(2):
        collector.sample("c", b="x", a=1)
    assert collector.report() == [{"cross": "c", "bins": 3, "hit": 1, "missing": [
        {"a": 1, "b": "y"}, {"a": 2, "b": "x"}]}]
    with pytest.raises(ValueError, match=r"^Bin of cross c must be listed, not \(2, 'y'\)$"):
        collector.sample("c", a=2, b="y")


def test_places_of_a_shape():
    assert [group_kind(MIXED, k, group) for k, group in (
        (32, 32), (33, 32), (40, 16), (40, 20))] == ["one", "most", "least", "between"]
    assert [rest_of(TINY, k, 16) for k in (16, 48, 20, 33, 3)] == [
        "whole", "whole", "beats", "lanes", "lanes"]


@pytest.mark.parametrize("name", ["small_mixed", "small_aligned"])
def test_every_bin_can_be_aimed_at(name):
    """Commands that aim at a bin are sampled in it, from their items alone."""
    p, rng = COVERED[name], np.random.default_rng(1)
    collector = Collector(GEMM, p)
    aimed = [values for values in aims(rng, collector) if "m" in values]
    for index in rng.choice(len(aimed), 60, replace=False):
        values = aimed[index]
        each, stalls = command(rng, p, values), values["stalls"]
        taken = {stream: [(item, place == len(items) - 1, stalls in ("source", "both"))
                          for place, item in enumerate(items)]
                 for stream, items in each.streams.payloads.items()}
        if all(len(items) == 1 for items in taken.values()):  # no room for an input to come late
            values["stalls"] = {"source": "none", "both": "sink"}.get(stalls, stalls)
        if each.last != "right":
            items = taken[each.stream]
            place = 0 if each.last == "early" else -1
            items[place] = items[place][0], each.last == "early", items[place][2]
        shape  = (*each.x.q.shape, each.weights.shape[1], each.wide, each.weights.group)
        before = collector.hits["operands"].copy()
        sample(collector, p, shape, taken, [(0, True, stalls in ("sink", "both"))])
        bin_ = tuple(values[axis] for axis in GEMM[0].axes)
        assert collector.hits["operands"][bin_] == before[bin_] + 1, values


def test_every_row_can_be_aimed_at():
    """Rows that aim at a bin are sampled in it, but for their codes, which depend on constants."""
    p, rng = COVERED["tiny_4bit"], np.random.default_rng(2)
    for cross in SOFTMAX[:2]:
        collector = Collector((cross,), p)
        for bin_ in collector.missing(cross.name):
            values = collector.named(cross.name, bin_)
            x, mask, chosen = row(rng, p, values)
            words = [(fields(x[start:start + p.width], 16), (1 << 2 * len(x[start:start + p.width]))
                      - 1, fields(mask[start:start + p.width], 1) | chosen << p.width)
                     for start in range(0, len(x), p.width)]
            sample_row(collector, p, words, [], values["stalls"], values["output"] == "codes")
            assert collector.hits[cross.name][bin_], values
        assert not collector.missing(cross.name)


# The command


@pytest.mark.parametrize("name", COVERED)
def test_first_run_is_of_the_unit(name):
    p = COVERED[name]
    first = next(iter(runs(p)))
    block = first.make()
    assert block.module == unit_module(p)
    assert block.module in block.closure()
    assert any(bench.endswith("_crosses") for bench in first.benches) == bool(crosses(p))


REACHED = {Point("mixpe_tiny_gemm", "toggle", f"a:{change}"): 1 for change in ("0->1", "1->0")}
CROSS = {"cross": "operands", "bins": 2, "hit": 2, "missing": []}


def measured(monkeypatch, counts=REACHED, cross=CROSS):
    """Let the benches have reached something."""
    monkeypatch.setattr(coverage, "_measured",
                        lambda *_: [Measured(TINY, "0" * 64, counts, [cross], 3)])


def test_report(monkeypatch, tmp_path, capsys):
    measured(monkeypatch)
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- coverage: begin -->\n<!-- coverage: end -->\n")
    coverage.main((TINY,), 5, 1, tmp_path, page)
    report = json.loads((tmp_path / "coverage.json").read_text())
    assert report["seed"] == 5
    assert {"seconds", "tools", "target"} < report.keys()
    (each,) = report["sets"]
    assert (each["set"], each["tests"], each["verilog_sha256"]) == ("tiny", 3, "0" * 64)
    assert each["modules"] == [{
        "module": "mixpe_tiny_gemm", "line": {"hit": 0, "total": 0, "excluded": 0},
        "toggle": {"hit": 2, "total": 2, "excluded": 0}, "holes": [], "excluded": []}]
    assert each["crosses"] == [CROSS]
    assert "100.00% of 2" in capsys.readouterr().out
    assert "| tiny | operands | 2 | 2 |" in page.read_text()


@pytest.mark.parametrize(("counts", "cross", "message"), [
    (REACHED, CROSS | {"hit": 1, "missing": [{"group": "one", "last": "early"}]},
     "Cross operands of tiny lacks 1 of 2 bins, the first group one, last early"),
    (REACHED | {Point("mixpe_tiny_gemm", "toggle", "b:0->1"): 0}, CROSS,
     "Coverage of tiny, toggle, must be at least 95%, not 66.67%"),
], ids=["bin", "toggle"])
def test_too_little(monkeypatch, tmp_path, counts, cross, message):
    measured(monkeypatch, counts, cross)
    with pytest.raises(click.ClickException) as caught:
        coverage.main((TINY,), 1, 1, tmp_path, None)
    assert caught.value.message == message
    assert (tmp_path / "coverage.json").exists()


def test_exit_status_of_a_missing_bin(tmp_path):
    code = ("from scripts import coverage\nfrom golden.parameters import SETS\n"
            "coverage._measured = lambda *_: [coverage.Measured(SETS['tiny'], '', {}, [{'cross': "
            "'c', 'bins': 1, 'hit': 0, 'missing': [{'a': 1}]}], 1)]")
    process = run("coverage", "--set", "tiny", "-o", "out", cwd=tmp_path, code=code)
    assert process.returncode == 1
    assert process.stderr == "mixpe: error: Cross c of tiny lacks 1 of 1 bins, the first a 1\n"


def test_page_of_all_sets_alone(tmp_path):
    (tmp_path / "page.md").touch()
    refuse(tmp_path, "coverage", "--set", "tiny", "--page", "page.md",
           message="Option '--page' must be given without --set")


@pytest.mark.full
def test_a_softmax_unit(tmp_path):
    """Every bin of a small unit is reached."""
    report = coverage.main((COVERED["attention_tiny"],), 1, 1, tmp_path, None)
    assert all(cross["hit"] == cross["bins"] for cross in report["sets"][0]["crosses"])
