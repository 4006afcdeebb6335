"""The collection of evidence: which reports count, what they say of a set, and what is measured."""

import json
from unittest import mock

import click
import pytest

from golden.parameters import SETS
from golden.sets import ALL_SETS
from golden.softmax_parameters import SOFTMAX_SETS
from hdl.export import digest
from scripts import evidence
from scripts.evidence import KINDS, collected
from scripts.proofs import basis
from scripts.synth import flow_digest
from scripts.units import unit, unit_module
from synth.liberty import DEFAULT

TINY = SOFTMAX_SETS["attention_tiny"]
OWN = TINY.name

#: Reports of every command, of this set and of others.
REPORTS = {
    "formal": {"seconds": 2, "properties": [
        {"cases": [{"case": OWN, "set": OWN, "proved": True},
                   {"case": "3 rows", "proved": True}],
         "broken": [{"caught": True}, {"caught": True}]},
        {"cases": [{"case": OWN, "set": OWN, "proved": True}], "broken": []}]},
    "vectors": {"seed": 1, "seconds": 3, "operations": [
        {"set": OWN, "vectors": 1000, "mismatches": 0},
        {"set": OWN, "vectors": 234, "mismatches": 0},
        {"set": "edge", "vectors": 7, "mismatches": 0}]},
    "mutate": {"seed": 1, "seconds": 4, "blocks": [
        {"block": "tile", "set": OWN, "mutants": 60, "equivalent": 4, "killed": 55,
         "survivors": [{"mutant": "m", "line": 3, "reason": "why"}]}]},
    "coverage": {"seed": 1, "seconds": 5, "sets": [
        {"set": OWN, "tests": 9, "modules": [
            {"line": {"hit": 8, "total": 9, "excluded": 1},
             "toggle": {"hit": 19, "total": 20, "excluded": 0}},
            {"line": {"hit": 2, "total": 2, "excluded": 0},
             "toggle": {"hit": 20, "total": 20, "excluded": 0}}],
         "crosses": [{"bins": 6, "hit": 6}, {"bins": 4, "hit": 4}]}]},
    "second_sim": {"seed": 1, "seconds": 6, "fixtures": [
        {"set": OWN, "cycles": 1000, "equal": True},
        {"set": OWN, "cycles": 500, "equal": True},
        {"set": "edge", "cycles": 50, "equal": True}]},
    "soak": {"seed": 1, "seconds": 7200, "minutes": 120.0, "failures": 0, "entries": [
        {"set": OWN, "jobs": 4, "sets": 1, "tests": 40, "outputs": 3000, "failures": 0,
         "job_seconds": 1800},
        {"set": None, "jobs": 90, "sets": 90, "tests": 900, "outputs": 9000, "failures": 0,
         "job_seconds": 5400}]},
}


def left(folder, reports=REPORTS, **changes):
    """Leave reports in a folder, as the commands do."""
    for name, report in reports.items():
        (folder / f"{name}.json").write_text(json.dumps(basis() | report | changes))


def test_kinds_are_reports_of_commands():
    assert [kind.name for kind in KINDS] == [*REPORTS]
    assert all(kind.command.startswith("make ") for kind in KINDS)


def test_a_set(monkeypatch, tmp_path, capsys):
    left(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- evidence: begin -->\n<!-- evidence: end -->\n")
    report = evidence.main(None, 1, tmp_path, page, [TINY])
    assert report == json.loads((tmp_path / "evidence.json").read_text())
    (found,) = report["sets"]
    assert found["verilog_sha256"] == digest(unit(TINY))
    assert (found["set"], found["module"]) == (OWN, unit_module(TINY))
    assert found["gates"] > 0 == found["memory_gates"]
    assert found["buffer_bits"] > 2 * TINY.max_length * TINY.word_bits
    assert found["mhz"] == round(1000 / found["period_ns"])
    assert found["formal"] == {"proofs": 2, "proved": 2}
    assert found["vectors"] == {"operations": 2, "vectors": 1234, "mismatches": 0}
    assert found["mutate"] == {"blocks": 1, "mutants": 60, "equivalent": 4, "killed": 55,
                               "survivors": 1, "explained": 1}
    assert found["coverage"] == {
        "tests": 9, "bins": 10, "hit": 10, "line": {"hit": 10, "total": 11, "excluded": 1},
        "toggle": {"hit": 39, "total": 40, "excluded": 0}}
    assert found["second_sim"] == {"fixtures": 2, "cycles": 1500, "equal": 2}
    assert found["soak"] == {"hours": 0.5, "jobs": 4, "tests": 40, "outputs": 3000, "failures": 0}
    whole = report["commands"]
    assert whole["formal"]["proofs"] == 3
    assert whole["formal"]["refuted"] == whole["formal"]["broken_copies"] == 2
    assert (whole["soak"]["hours"], whole["soak"]["random_sets"]) == (2, 90)
    assert whole["vectors"]["vectors"] == 1241
    for cell in ("2 of 2", "1,234, 0", "55 of 56", "100.0% lines, 97.5% toggles, 10 of 10 bins",
                 "1,500 of 2 of 2 fixtures", "4, 0"):
        assert f"| {cell} |" in page.read_text()
    assert unit_module(TINY) not in capsys.readouterr().err

    # What was mapped is kept, until something else made it.
    monkeypatch.setattr(evidence, "synthesise", mock.Mock(side_effect=KeyError("anew")))
    flow, folder = flow_digest(), tmp_path / "evidence"
    assert found.items() > evidence._mapped(TINY, DEFAULT, flow, folder).items()
    kept = folder / f"{TINY.name}.json"
    content = json.loads(kept.read_text())
    content["result"]["gates"] = 1
    kept.write_text(json.dumps(content))
    assert evidence._mapped(TINY, DEFAULT, flow, folder)["gates"] == 1
    for name in ("verilog_sha256", "library"):
        kept.write_text(json.dumps(content | {"origin": content["origin"] | {name: ""}}))
        with pytest.raises(KeyError, match="anew"):
            evidence._mapped(TINY, DEFAULT, flow, folder)
    kept.write_text(json.dumps(content))
    with pytest.raises(KeyError, match="anew"):
        evidence._mapped(TINY, DEFAULT, "another flow", folder)


def mapped(monkeypatch):
    """Let the sets have been mapped."""
    monkeypatch.setattr(evidence, "_silicon", lambda sets, *_: {
        p.name: {"module": unit_module(p), "verilog_sha256": "0" * 64, "gates": 1500,
                 "memory_gates": 0, "buffer_bits": 0, "period_ns": 2.0, "mhz": 500}
        for p in sets})


def test_every_set_is_listed(monkeypatch, tmp_path):
    mapped(monkeypatch)
    left(tmp_path)
    report = evidence.main(None, 1, tmp_path, None)
    assert [each["set"] for each in report["sets"]] == [*ALL_SETS]
    nothing = next(each for each in report["sets"] if each["set"] == "attention")
    assert all(nothing[kind.name] is None for kind in KINDS)
    rows = evidence.cells(report)
    assert rows[1 + [*ALL_SETS].index("attention")] == [
        "attention", "0" * 12, "1.5", "500", *[""] * len(KINDS)]


@pytest.mark.parametrize("name", REPORTS)
def test_a_missing_report(monkeypatch, tmp_path, name):
    mapped(monkeypatch)
    left(tmp_path)
    (tmp_path / f"{name}.json").unlink()
    command = next(kind.command for kind in KINDS if kind.name == name)
    with pytest.raises(click.ClickException) as caught:
        evidence.main(None, 1, tmp_path, None, [TINY])
    assert caught.value.message == (
        f"Evidence must be whole and without failures: {command}: was not run")
    report = json.loads((tmp_path / "evidence.json").read_text())
    assert report["sets"][0][name] is None
    assert report["commands"][name] == {"missing": "was not run"}


@pytest.mark.parametrize(("text", "why"), [
    (json.dumps(basis() | {"sources_sha256": "0" * 64}), "was run with other sources or tools"),
    (json.dumps(basis() | {"tools": {}}), "was run with other sources or tools"),
    (json.dumps({"tools": {}}), "its report cannot be read"),
    ("[1]", "its report cannot be read"),
    ("{", "its report cannot be read"),
], ids=["sources", "tools", "none", "list", "part"])
def test_reports_that_do_not_count(tmp_path, text, why):
    left(tmp_path)
    (tmp_path / "soak.json").write_text(text)
    found, reasons = collected(tmp_path)
    assert reasons == {"soak": why}
    assert found.keys() == REPORTS.keys() - {"soak"}


def broken(name, change):
    """Copy of a report with a change."""
    report = json.loads(json.dumps(REPORTS[name]))
    change(report)
    return {name: report}


@pytest.mark.parametrize(("reports", "fault"), [
    (broken("formal", lambda r: r["properties"][0]["cases"][1].update(proved=False)),
     "make formal has found 1 claims not proved, 0 broken copies not refuted"),
    (broken("formal", lambda r: r["properties"][0]["broken"][1].update(caught=False)),
     "make formal has found 0 claims not proved, 1 broken copies not refuted"),
    (broken("vectors", lambda r: r["operations"][2].update(mismatches=3)),
     "make vectors has found 3 mismatches"),
    (broken("mutate", lambda r: r["blocks"][0]["survivors"][0].update(reason=None)),
     "make mutate has found 1 survivors of tile without a reason"),
    (broken("coverage", lambda r: r["sets"][0]["crosses"][1].update(hit=2)),
     "make coverage has found 2 bins not reached"),
    (broken("coverage", lambda r: r["sets"][0]["modules"][0]["toggle"].update(hit=17)),
     f"make coverage has found 92.50% of toggles of {OWN}"),
    (broken("second_sim", lambda r: r["fixtures"][2].update(equal=False)),
     "make second-sim has found 1 fixtures that differ"),
    (broken("soak", lambda r: r.update(failures=1)), "make soak has found 1 failures"),
], ids=["claim", "copy", "vectors", "mutate", "coverage", "toggles", "second-sim", "soak"])
def test_failures_of_reports(monkeypatch, tmp_path, reports, fault):
    mapped(monkeypatch)
    left(tmp_path, REPORTS | reports)
    with pytest.raises(click.ClickException) as caught:
        evidence.main(None, 1, tmp_path, None, [TINY])
    assert caught.value.message == f"Evidence must be whole and without failures: {fault}"
    assert (tmp_path / "evidence.json").exists()


@pytest.mark.full
def test_an_engine(tmp_path):
    p = SETS["tiny"]
    left(tmp_path)
    (found,) = evidence.main(None, 1, tmp_path, None, [p])["sets"]
    assert found["gates"] > found["memory_gates"] > 0  # the feet's sums
    assert found["buffer_bits"] >= p.x_depth * p.rows * p.lanes * p.x_format.bits
