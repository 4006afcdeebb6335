"""The report of ``mixpe claims``, of made measurements."""

import json
from xml.etree import ElementTree

import click
import pytest

from golden.fidelity import SCHEMES
from golden.workloads import MODELS, PHASES
from scripts import claims, claims_plots, reports
from scripts.machines import KINDS, machines
from scripts.mixpe import cli
from tb.made_reports import BENCH, SOFTMAX

NOISE = {"synthetic": [
    {"weights": weights, "k": k, "sqnr_db": {
        name: {"outputs": 10.0 + number + k / 4096} for number, name in enumerate(SCHEMES)}}
    for weights in ("gaussian", "heavy") for k in (1024, 4096)]}


@pytest.fixture(scope="module")
def report():
    found = claims.report_of(list(machines(BENCH, SOFTMAX, {})), SOFTMAX, NOISE)
    return found | {"library": {"name": "made.lib", "voltage": 1.0, "nand2_um2": 1.0},
                    "tools": {"python": "3"}, "left_out": claims.LEFT_OUT}


def run(report, machine, model, phase):
    (found,) = (each for each in report["runs"] if (
        each["machine"], each["model"], each["phase"]) == (machine, model, phase))
    return found


def test_every_machine_runs_every_phase(report):
    known = {(each["machine"], each["model"], each["phase"]) for each in report["runs"]}
    assert len(known) == len(report["runs"])
    assert known == {(kind.name, model.name, phase.name) for kind in KINDS
                     for model in MODELS.values() for phase in model.phases()}
    for each in report["runs"]:
        linear = each["linear"]
        assert linear["time_ns"] > max(linear["compute_ns"], linear["memory_ns"]) * (1 - 1e-9)
        assert 0 < linear["utilisation"] < 1
        assert linear["total_pj"] == pytest.approx(sum(linear["energy_pj"].values()))


def test_means_are_of_the_runs(report):
    """Geometric, of the language models, with the baseline at 1."""
    for phase in PHASES:
        product, count = 1.0, 0
        for model in MODELS.values():
            if model.name in ("OPT-6.7B", "Llama-2-13B", "Llama-3.1-8B", "Mixtral-8x7B"):
                ours, rival = (run(report, name, model.name, phase.name)["linear"]["time_ns"]
                               for name in ("MixPE W4A8", "INT8"))
                product, count = product * rival / ours, count + 1
        mean = report["means"]["MixPE W4A8"]["speed"][phase.name]
        assert mean == pytest.approx(product**(1 / count))
        assert report["means"]["INT8"]["speed"][phase.name] == pytest.approx(1)
        assert report["means"]["INT8"]["efficiency"][phase.name] == pytest.approx(1)


def test_claims_are_of_the_means(report):
    found = {each["name"]: each for each in report["claims"]}
    assert len(found) == len(report["claims"])
    means = report["means"]["MixPE W4A8"]
    speed = found["speed, MixPE W4A8 over INT8, prefill of 2,048"]
    assert speed["value"] == pytest.approx(means["speed"]["prefill 2048"])
    assert speed["met"] == (speed["value"] >= 4.0)
    energy = found["energy, INT8 over MixPE W4A8, prefill of 2,048"]
    assert energy["value"] == pytest.approx(means["efficiency"]["prefill 2048"])
    softmax = found["softmax for the same area, EXAQ over exact exponents"]
    assert softmax["value"] == pytest.approx(6380 * 4.0 / (895 * 2.7))
    assert softmax["met"]
    noise = found["noise, MixLLM W4.4A8 below MixPE W4A8"]
    names = list(SCHEMES)
    assert noise["value"] == pytest.approx(names.index("W4.4A8 MixLLM") - names.index("W4A8"))
    assert {each["met"] for each in report["claims"] if each["target"] is None} == {None}
    assert all(each["method"] for each in report["claims"])
    assert all(each["source"] for each in report["claims"] if each["published"])


def test_dequantisation_breaks_even_at_the_group(report):
    found = report["break_even"]
    place = found["m"].index(found["group"])
    assert found["after"][place] == found["before"][place] == found["k"] * found["n"]
    assert found["after"][place - 1] < found["before"][place - 1]
    assert all(a >= b for a, b in zip(found["array"], found["after"], strict=True))
    assert all(a >= b for a, b in zip(found["first_tile"], found["before"], strict=True))


def test_fp16_is_the_unit_of_the_design_space(report):
    found = {each["name"]: each for each in report["design_space"]}
    assert found["FP16"]["efficiency"] == pytest.approx(1)
    # Fused multiply-adds are pipelined to the clock of the element.
    wanted = 2080 * 2500 / (715 * 960)
    assert found["INT8"]["efficiency"] == pytest.approx(wanted)
    names = list(SCHEMES)
    assert found["INT8"]["sqnr_db"] == 11.0 + names.index("INT8")


def test_plots_are_equal_for_equal_reports(report, tmp_path):
    names = "Llama-3.1-8B", "ViT-Base"
    report = report | {"models": {name: report["models"][name] for name in names}}
    paths = claims_plots.main(report, tmp_path / "a")
    again = claims_plots.main(json.loads(json.dumps(report)), tmp_path / "b")
    assert {path.stem for path in paths} == {
        *claims.FIGURES, "energy", "roofline_vit_base"}
    for path, other in zip(paths, again, strict=True):
        assert path.read_bytes() == other.read_bytes()
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    roofline = (tmp_path / "a" / "roofline_llama_3_1_8b.svg").read_text()
    assert all(f"<!-- {kind.name} -->" in roofline for kind in KINDS)


@pytest.fixture
def made(monkeypatch):
    """Made reports in place of those that take long."""
    monkeypatch.setattr(reports, "bench_report", lambda *_: BENCH)
    monkeypatch.setattr(reports, "softmax_report", lambda *_: SOFTMAX)
    monkeypatch.setattr(reports, "fidelity_report", lambda *_: NOISE)


def test_page_is_renewed(made, tmp_path, monkeypatch):
    def draw(report, output):
        output.mkdir(parents=True)
        paths = [output / f"{name}.svg" for name in (*claims.FIGURES, "energy")]
        for path in paths:
            path.write_text("<svg/>")
        return paths

    monkeypatch.setattr(claims_plots, "main", draw)
    page = tmp_path / "claims.md"
    page.write_text("before\n<!-- claims: begin -->\nstale\n<!-- claims: end -->\nafter\n")
    cli.main(["claims", "--page", str(page), "-o", str(tmp_path / "out")], standalone_mode=False)
    text = page.read_text()
    assert text.startswith("before\n<!-- claims: begin -->\n### Claims")
    assert text.endswith("<!-- claims: end -->\nafter\n")
    assert "stale" not in text
    found = json.loads((tmp_path / "out" / "claims.json").read_text())
    for each in (*found["claims"], *found["machines"]):
        assert text.count(f"| {each['name']} |") >= 1
    assert all(each["source"] in text for each in found["constants"].values())
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"claims_{name}.svg" for name in claims.FIGURES}


def test_given_constant_is_said_and_used(made, tmp_path, monkeypatch):
    monkeypatch.setattr(claims_plots, "main", lambda *_: [])
    found = {}
    for name, options in (("a", []), ("b", ["--constant", "bandwidth=128"])):
        cli.main(["claims", *options, "-o", str(tmp_path / name)], standalone_mode=False)
        found[name] = json.loads((tmp_path / name / "claims.json").read_text())
    assert found["b"]["constants"]["bandwidth"] == {
        "value": 128.0, "unit": "GB/s", "source": "given"}
    before, after = (each["runs"][0]["linear"]["memory_ns"] for each in found.values())
    assert after == pytest.approx(before / 2)


@pytest.mark.parametrize(("option", "message"), [
    ("bandwidth=fast", "'bandwidth=fast' must be NAME=NUMBER"),
    ("bandwidth", "'bandwidth' must be NAME=NUMBER"),
    ("voltage=1", "Constant must be one of area, .* not 'voltage'"),
    ("sram=0", "Constant sram must be a positive number, not 0"),
    ("buffer=1", "constant buffer its operands .* not be 4 MGE and 1 KiB"),
    ("area=0.1", "Constant area must hold a machine .* not be 0.1 MGE"),
])
def test_bad_constants_leave_nothing(made, tmp_path, option, message):
    with pytest.raises(click.ClickException, match=message):
        cli.main(["claims", "--constant", option, "-o", str(tmp_path / "out")],
                 standalone_mode=False)
    assert not (tmp_path / "out").exists()


def test_page_without_markers_is_refused(made, tmp_path):
    page = tmp_path / "claims.md"
    page.write_text("no markers")
    with pytest.raises(click.UsageError, match=r"claims\.md must have the lines"):
        cli.main(["claims", "--page", str(page), "-o", str(tmp_path / "out")],
                 standalone_mode=False)
    assert page.read_text() == "no markers"
