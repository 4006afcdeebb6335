"""The softmax units' table, and their bench on mapped netlists."""

import json
import re

import pytest

from golden.softmax_parameters import SOFTMAX_SETS
from hdl.softmax.core import Softmax
from hdl.softmax.exact import ExactSoftmax
from scripts import netlist_sim, reports, sizes, softmax_synth, synth
from scripts.mixpe import cli
from scripts.synth import library_of
from synth.mapping import simulation_model, synthesise
from tb import runner

TINY = SOFTMAX_SETS["attention_tiny"]

#: The smallest units that have everything.
SMALL = TINY.replace(name="small", width=2, max_length=32, least_length=16, sets=1)

@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """Folder and report of the smallest units."""
    output = tmp_path_factory.mktemp("synth")
    softmax_synth.main(SMALL, None, True, output)
    return output, json.loads((output / "small.json").read_text())


@pytest.mark.full
def test_both_units_keep_their_rate(measured):
    _, report = measured
    ours, exact = report["units"]
    assert (ours["set"]["name"], exact["set"]["name"]) == ("small", "small_exact")
    for unit in (ours, exact):
        assert unit["rates"].keys() == {"32"}
        assert unit["rates"]["32"]["cycles_per_row"] == SMALL.row_cycles(32)
    # The cycle of the last input is not counted twice, as the unit's latency does.
    core = ExactSoftmax(SMALL.baseline())
    assert core.closure()
    assert exact["rates"]["32"]["latency"] == core.latency + SMALL.row_cycles(32) - 1
    rate = SMALL.width / ours["period_ns"]
    assert ours["elements_per_ns"] == pytest.approx(rate)
    assert ours["elements_per_ns_and_mge"] == pytest.approx(1e6 * rate / ours["gates"])


@pytest.mark.full
def test_areas_add_up(measured):
    _, report = measured
    for unit in report["units"]:
        assert sum(block["gates"] * block["instances"] for block in unit["blocks"]
                   ) == pytest.approx(unit["gates"])
        assert sum(unit["phases"].values()) == pytest.approx(unit["gates"])
        assert all(gates > 0 for gates in unit["phases"].values())
        assert unit["gates_per_lane"] == unit["gates"] / SMALL.width
        assert unit["ports_gates"] > 0
    ours, exact = report["units"]
    # Two rows of keys and codes at least, but for the word that has been read.
    key, code = SMALL.width * 16 + 1, SMALL.width * 3 + 1
    assert (2 * SMALL.words - 1) * (key + code) <= ours["row_buffer_bits"]
    assert ours["row_buffer_bits"] < exact["row_buffer_bits"]
    assert ours["phases"]["exponents and sums"] < exact["phases"]["exponents and sums"]
    # Constants are in registers, which the exact unit does not have.
    assert ours["ports_gates"] > 1.2 * exact["ports_gates"]


@pytest.mark.full
def test_energies_are_of_the_rows(measured):
    output, report = measured
    ours, exact = report["units"]
    assert 0 < ours["fj_per_element"] < exact["fj_per_element"]
    assert report["power_period_ns"] == max(ours["period_ns"], exact["period_ns"])
    for unit in (ours, exact):
        saif = (output / unit["set"]["name"] / "core" / "rows.saif").read_text()
        # Names inside the row buffers are not taken for nets.
        nets = re.findall(r"\((n\d+) \(T0", saif)
        assert len(nets) == len(set(nets)) > 1000


@pytest.mark.full
def test_table_has_every_figure(measured, capsys):
    output, report = measured
    softmax_synth.show(report)
    text, table = capsys.readouterr().out, (output / "small.md").read_text()
    for label, values, form in softmax_synth.lines(report):
        (row,) = (row for row in text.splitlines() if row.strip().startswith(f"{label}  "))
        assert row.split()[-3:-1] == [form.format(value) for value in values]
        assert f"| {label} | {' | '.join(map(form.format, values))} |" in table
    assert "36.9 %" in text
    assert report["left_out"] in " ".join(text.split())


@pytest.mark.parametrize(("unit", "parameters"), [
    (Softmax, SMALL), (Softmax, SMALL.replace(width=4, accumulate="lut")),
    (ExactSoftmax, SMALL.baseline())])
def test_phases_name_every_block(unit, parameters):
    core = unit(parameters)
    assert core.closure()
    for block in core.uses:
        assert block.module.removeprefix(f"mixpe_{parameters.name}_") in softmax_synth.PHASES


@pytest.mark.full
def test_table_of_sizes_takes_a_report_of_these_units(measured, tmp_path, monkeypatch):
    _, report = measured
    made = []
    monkeypatch.setattr(softmax_synth, "main", lambda parameters, *_: (
        made.append(parameters.name), path.write_text(json.dumps(report))))
    path = tmp_path / "synth" / "small.json"
    path.parent.mkdir()
    ours, exact = report["units"]
    for units, expected in (([ours, exact], 0), ([ours, exact | {"verilog_sha256": "0"}], 1),
                            ([ours | {"fj_per_element": None}, exact], 1)):
        path.write_text(json.dumps(report | {"units": units}))
        made.clear()
        found = reports.softmax_report(SMALL, None, tmp_path)
        assert len(made) == expected
    text = sizes.softmax_table(found)
    assert re.findall(r"^\| (\w+) \| 2 \|", text, re.MULTILINE) == ["small", "small_exact"]


@pytest.mark.full
def test_nothing_but_the_row_buffers_is_left_out(measured, tmp_path):
    output, report = measured
    core = output / "small" / "core" / "mixpe_small_softmax_core.v"
    whole = synthesise(core, core.stem, library_of(None), tmp_path, flatten=False)
    buffers = [memory for memory in whole.memories
               if re.fullmatch(r"mixpe_small_(keys|words)_buffer_.*", memory.module)]
    assert len(buffers) == 2
    assert sum(memory.bits for memory in buffers) == report["units"][0]["row_buffer_bits"]
    rest = whole.blocks[0].total - sum(memory.area for memory in buffers)
    assert report["units"][0]["gates"] == pytest.approx(whole.gates(rest), rel=2e-3)


def test_netlist_passes_the_bench(tmp_path):
    mapping = softmax_synth.mapped(SMALL, library_of(None), tmp_path)
    folder = runner.build(simulation_model(mapping), mapping.top)
    count = runner.run(folder, mapping.top, "tb.bench_softmax", parameters=SMALL.to_dict(),
                       rounds=1, resets=2)
    assert count > 4


@pytest.mark.full
@pytest.mark.parametrize("parameters", [
    TINY, TINY.replace(name="small_fp16", y="fp16"),
    SMALL.replace(name="small_lut", width=4, accumulate="lut"), TINY.baseline()],
    ids=lambda parameters: parameters.name)
def test_netlists_pass_the_bench(parameters, capsys):
    netlist_sim.main(parameters, None, 1)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"mixpe_{parameters.name}_softmax_core: ")


@pytest.mark.parametrize(("name", "module"), [("tiny", synth), ("attention", softmax_synth)])
def test_synth_knows_the_unit(monkeypatch, name, module):
    calls = []
    for each in (synth, softmax_synth):
        monkeypatch.setattr(each, "main", lambda parameters, *_, each=each: calls.append(
            (parameters.name, each)))
    cli.main(["synth", "--set", name], standalone_mode=False)
    assert calls == [(name, module)]
