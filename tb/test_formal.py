"""Proofs in short, and that wrong claims are found."""

import json
from dataclasses import replace

import pytest

from golden.parameters import SETS
from hdl.export import digest
from hdl.tile import PE
from scripts import formal, mixpe
from tb.formal import attempt, elements
from tb.formal.attempt import Attempt, attempts
from tb.formal.properties import FAMILIES, PROPERTIES
from tb.formal.property import Broken, Property, copy
from tb.formal.solver import PROVED, REFUTED

SHORT = [each for each in PROPERTIES if each.short]


def test_short_form_has_every_family():
    assert {each.family for each in SHORT} == set(FAMILIES)
    assert {each.family for each in PROPERTIES} == set(FAMILIES)


def test_names_are_unique():
    names = [each.name for each in PROPERTIES]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("each", SHORT, ids=lambda each: each.name)
def test_first_case_and_first_broken_copy(each):
    first = next(iter(each.cases))
    assert attempt.attempt(Attempt(each.name, first)).verdict == PROVED
    assert attempt.attempt(Attempt(each.name, each.case_of(each.broken[0]), 0)).verdict == REFUTED


@pytest.mark.full
@pytest.mark.parametrize("each", PROPERTIES, ids=lambda each: each.name)
def test_everything(each):
    for job in attempts(each):
        wanted = PROVED if job.broken < 0 else REFUTED
        assert attempt.attempt(job).verdict == wanted, job


@pytest.mark.parametrize("each", PROPERTIES, ids=lambda each: each.name)
def test_broken_copies_change_what_is_there(each):
    for broken in each.broken:
        assert copy(each.module, broken).__name__ == each.module
        assert each.case_of(broken) in each.cases


def test_text_that_is_not_there():
    with pytest.raises(ValueError, match="must stand there once, not 0 times"):
        copy("hdl.counter", Broken("nothing like it", ""))


@pytest.mark.parametrize(("changes", "message"), [
    ({"method": "hope"}, "method of counter must be one of algebra, .*, not 'hope'"),
    ({"cases": {}}, "cases of counter must not be empty"),
    ({"broken": ()}, "broken of counter must not be empty"),
    ({"depth": 1}, "depth of counter must be 1 for .*, not 1"),
])
def test_bad_properties_are_refused(changes, message):
    (counter,) = [each for each in PROPERTIES if each.name == "counter"]
    with pytest.raises(ValueError, match=message):
        replace(counter, **changes)


def run(arguments, capsys):
    """Exit status, and lines on the standard error, of the command."""
    with pytest.raises(SystemExit) as caught:
        mixpe.main(arguments)
    return caught.value.code or 0, capsys.readouterr().err


def chosen(monkeypatch, *properties: Property):
    """Make these all properties that there are."""
    for module in (formal, attempt):
        monkeypatch.setattr(module, "PROPERTIES", list(properties))


def test_command(tmp_path, capsys):
    status, errors = run(["formal", "--only", "counter", "-j", "1", "-o", str(tmp_path)], capsys)
    assert (status, errors) == (0, "")
    report = json.loads((tmp_path / "formal.json").read_text())
    (entry,) = report["properties"]
    assert (entry["name"], entry["proved"], entry["caught"]) == ("counter", True, 1)
    assert [case["case"] for case in entry["cases"]] == ["4 bits", "32 bits"]
    assert report["tools"]["pyosys"]


def test_sets_have_the_hash_of_their_verilog():
    outcome = attempt.attempt(Attempt("group-sum", "tiny"))
    element = PE(SETS["tiny"])
    assert (outcome.block, outcome.verilog_sha256) == (element.module, digest(element))
    assert attempt.attempt(Attempt("counter", "4 bits")).verilog_sha256 is None


def test_wrong_claim_is_one_line(tmp_path, capsys, monkeypatch):
    """A counter that is claimed to wrap."""
    (counter,) = [each for each in PROPERTIES if each.name == "counter"]
    (broken,) = counter.broken

    def wrong(module, width):
        return counter.build(copy(counter.module, broken), width)

    chosen(monkeypatch, replace(counter, build=wrong, cases={"4 bits": 4}, depth=20))
    status, errors = run(["formal", "-j", "1", "-o", str(tmp_path)], capsys)
    assert status == 1
    assert errors == "mixpe: error: 1 of 2 proofs failed: counter, 4 bits: refuted\n"
    report = json.loads((tmp_path / "formal.json").read_text())
    assert report["properties"][0]["proved"] is False


def test_wrong_sum_is_refuted(monkeypatch):
    """Algebra finds a claim without the accumulator wrong."""
    (product,) = [each for each in PROPERTIES if each.name == "element-product"]

    def wrong(module, p):
        identity = elements.dot(module, p)
        return replace(identity, wanted=lambda port: {
            key: value for key, value in identity.wanted(port).items() if len(key) > 1})

    chosen(monkeypatch, replace(product, build=wrong))
    first = next(iter(product.cases))
    assert attempt.attempt(Attempt(product.name, first)).verdict == REFUTED


def test_copy_that_is_right_fails_the_command(tmp_path, capsys, monkeypatch):
    (counter,) = [each for each in PROPERTIES if each.name == "counter"]
    harmless = Broken("self.increment & ~self.count.all()", "~self.count.all() & self.increment")
    chosen(monkeypatch, replace(counter, broken=(harmless,), cases={"4 bits": 4}))
    status, errors = run(["formal", "-j", "1", "-o", str(tmp_path)], capsys)
    assert status == 1
    assert errors.count("\n") == 1
    assert "1 of 2 proofs failed: counter, 4 bits, with" in errors


def test_time_that_is_up_is_a_failure():
    verdict = attempt.attempt(Attempt("element-pair-sum", "tiny"), limit=0.01).verdict
    assert "has not ended within 0.01 seconds" in verdict


def test_pattern_that_matches_nothing(tmp_path, capsys):
    status, errors = run(["formal", "--only", "nothing", "-o", str(tmp_path)], capsys)
    assert status == 2
    assert errors.startswith("mixpe: error: Option '--only' must match a property or one of the "
                             "families elements, ")
    assert not list(tmp_path.iterdir())
