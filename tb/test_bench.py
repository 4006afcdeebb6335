"""The bench on the smallest tiles: reports, ratios, tables, plots; in the long run all of it."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import click
import pytest

from golden.parameters import MACS, SETS
from scripts import bench, reports, sizes
from scripts.designs import (
    LAYERS,
    LOGIC,
    MEMORY,
    QUEUE,
    REGISTERS,
    REST,
    Design,
    Measured,
    _array_block,
    designs,
)
from scripts.operands import KINDS, PARTIAL, WIDE
from scripts.ratios import Ratio, best, ratios
from synth.power import Share

#: Tiles of one element of two lanes; enough for each ratio.
FAMILIES = "W4A8 pair_sum", "W4A8 product", "W3A8 shift", "INT8 tile", "INT8 PE", "dequantiser"

#: What energies are measured on.
ENERGIES = {"W4A8 pair_sum": LAYERS, "INT8 PE": LAYERS, "INT8 tile": LAYERS[-1:],
            "dequantiser": LAYERS[-1:], "row sum": LAYERS[-1:]}

#: What stands around a tile.
AROUND = ("foot, W4A8 1x1x2", "row sum, W4A8 1x1x2")

#: Array of two tiles.
SMALL = Design("array tiny", "array", "array", SETS["tiny"].replace(
    tile_columns=1, mesh_columns=1, bands=1, y_lanes=1))


def few() -> list[Design]:
    """Designs of the default test."""
    chosen = [each for each in designs(shapes=((1, 1, 2),))
              if (each.family in FAMILIES or each.name in AROUND)
              and ", set " not in each.name and not each.name.endswith("shadow")
              and each.name != "INT8 pair_sum 1x1x2"]
    chosen.append(SMALL)
    return [replace(each, kinds=ENERGIES.get(each.family, ())) for each in chosen]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("bench")
    bench.main(None, True, 2, output, few())
    return output


@pytest.fixture(scope="session")
def report(folder):
    return json.loads((folder / "bench.json").read_text())


def test_bench(folder, report, tmp_path, monkeypatch):
    """One test, for the bench is run once."""
    check_report(report)
    check_blocks_of_the_array(report)
    check_ratios_are_of_the_designs(report)
    check_plots(folder)
    with monkeypatch.context() as patches:
        check_tables_replace_what_is_between_the_markers(report, tmp_path, patches)
    check_no_report_of_other_designs_is_taken(report, tmp_path, monkeypatch)


def check_report(report):
    assert [each["name"] for each in report["designs"]] == [each.name for each in few()]
    assert report["best"] == "W4A8 pair_sum 1x1x2"
    assert report["delay_ns"] < report["energy_period_ns"]
    for each in (*report["designs"], *report["delay_driven"]):
        assert sum(each["parts_gates_per_mac"].values()) == pytest.approx(each["gates_per_mac"])
        assert (each["memory_gates_per_mac"] > 0) == (each["block"] in (
            "dequantiser", "foot", "array"))
        share = each["macs"] / each["operations"]
        assert each["gates_per_operation"] == pytest.approx(each["gates_per_mac"] * share)
        for kind, energy in each["fj_per_mac"].items():
            parts = {part: value for part, value in each["parts_fj_per_mac"][kind].items()
                     if part != MEMORY}
            assert sum(parts.values()) == pytest.approx(energy)
            assert energy > 0
            assert each["fj_per_operation"][kind] == pytest.approx(energy * share)
            assert each["parts_fj_per_operation"][kind] == pytest.approx({
                part: value * share for part, value in each["parts_fj_per_mac"][kind].items()})
            leakage = each["leakage_fj_per_mac_ns"][kind] * each["energy_period_ns"]
            assert 0 < leakage < energy
        assert each["energy_period_ns"] == max(report["energy_period_ns"], each["period_ns"])
    slow = {each["name"]: each for each in report["designs"]}
    faster = [each["period_ns"] < 0.99 * slow[each["name"]]["period_ns"]
              for each in report["delay_driven"]]
    assert any(faster)
    assert all(each["gates_per_mac"] >= 0.999 * slow[each["name"]]["gates_per_mac"]
               for each in report["delay_driven"])


def check_blocks_of_the_array(report):
    """An array is its tiles, as often as it has them, its feet and the rest."""
    array = next(each for each in report["designs"] if each["name"] == SMALL.name)
    blocks = array["blocks_gates_per_mac"]
    assert blocks.keys() == {"tiles", "feet", "row sums", "output", REST, MEMORY, QUEUE}
    assert all(area > 0 for area in blocks.values())
    apart = blocks[MEMORY] + blocks[QUEUE]
    assert array["memory_gates_per_mac"] == pytest.approx(apart)
    assert sum(blocks.values()) - apart == pytest.approx(array["gates_per_mac"])
    assert array["overhead_gates_per_mac"] == pytest.approx(
        blocks["row sums"] + blocks["output"] + blocks[REST])
    foot, = (each for each in report["designs"] if each["block"] == "foot")
    assert foot["operations"] == 1
    assert foot["parts_gates_per_mac"].keys() == {LOGIC, REGISTERS, QUEUE}


def test_blocks_of_an_array_by_their_paths():
    memories = {"mixpe_foot_storage", "mixpe_bank"}
    assert [_array_block(memories, path, "sequential") for path in (
        "band_0.tile_1_0.pe_0_0", "band_0.foot_0.dequantiser_3", "band_0.foot_1.queue.storage",
        "band_1.row_sum_0", "output.rescale_0", "column_sum", "band_0", "",
        "band_0.foot_0.queue.mixpe_foot_storage", "band_0.foot_0.accumulators.mixpe_bank",
    )] == ["tiles", "feet", "feet", "row sums", "output", "column sums", REST, REST, QUEUE, MEMORY]


def check_ratios_are_of_the_designs(report):
    found = {each["name"]: each for each in report["designs"]}
    claims = {claim["name"]: claim for claim in report["ratios"]}
    ours, pe = found[report["best"]], found["INT8 PE"]
    assert claims["area, W4A8 tile / INT8 PE"]["value"] == pytest.approx(
        ours["gates_per_mac"] / pe["gates_per_mac"])
    assert claims["GE per MAC, dequantiser at G = 128"]["value"] == pytest.approx(
        found["dequantiser, G = 128"]["gates_per_mac"])
    assert claims["frequency, W4A8 / INT8 tile"]["value"] == pytest.approx(
        min((each for each in report["designs"] if each["family"] == "INT8 tile"),
            key=lambda each: each["gates_per_mac"])["period_ns"] / ours["period_ns"])
    for kind in LAYERS:
        value = claims[f"energy, W4A8 tile / INT8 PE, {kind}"]["value"]
        # At another period leakage weighs otherwise.
        assert value == pytest.approx(ours["fj_per_mac"][kind] / pe["fj_per_mac"][kind], rel=0.1)
    for flow in ("area", "delay"):
        assert f"order for {flow}, DenseShift / W4A8 tile" in claims
    assert claims["order for area, W4A8 / INT8 tile"]["met"]


def check_plots(folder):
    names = {path.name for path in (folder / "bench").glob("*.svg")}
    assert names == {"area.svg", "energy.svg", "shares.svg"}
    for name in names:
        text = (folder / "bench" / name).read_text()
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert len(text) > 10_000


def check_tables_replace_what_is_between_the_markers(report, tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "bench_report", lambda *_: report)
    monkeypatch.setattr(sizes, "MEASURED_SOFTMAX", [])
    paths = [tmp_path / name for name in ("README.md", "bench.md")]
    for path in paths:
        path.write_text("before\n<!-- sizes: begin -->\nstale\n<!-- sizes: end -->\nafter\n")
    sizes.main(*paths, tmp_path)
    for path, row in zip(paths, ("| INT8 PE | 1 |", "| order for delay, W4A8 / INT8 tile |"),
                         strict=True):
        text = path.read_text()
        assert text.startswith("before\n<!-- sizes: begin -->\n| ratio |")
        assert text.endswith("<!-- sizes: end -->\nafter\n")
        assert "stale" not in text
        assert text.count(row) == 1
    paths[1].write_text("no markers")
    with pytest.raises(click.UsageError, match=r"bench.md must have the lines"):
        sizes.main(*paths, tmp_path)


def check_no_report_of_other_designs_is_taken(report, tmp_path, monkeypatch):
    made, two = [], few()[:2]
    report = report | {"designs": report["designs"][:2]}
    monkeypatch.setattr(reports, "designs", lambda: two)
    monkeypatch.setattr(bench, "main", lambda *_: made.append(1))
    stale = report | {"designs": [report["designs"][0] | {"verilog_sha256": "0"},
                                  *report["designs"][1:]]}
    for found, expected in ((report, 0), (stale, 1), (report | {"tools": {}}, 1),
                            (report | {"flow_sha256": "0"}, 1),
                            (report | {"library": {"name": "other.lib"}}, 1)):
        (tmp_path / "bench.json").write_text(json.dumps(found))
        made.clear()
        reports.bench_report(None, tmp_path, 2)
        assert len(made) == expected
    # Of some designs only these must be as they are now.
    (tmp_path / "bench.json").write_text(json.dumps(stale))
    assert reports.bench_report(None, tmp_path, 2, [two[1].name]) == stale


def test_each_micro_architecture_is_measured():
    every = designs()
    names = [each.name for each in every]
    assert len(set(names)) == len(names)
    folders = [(each.parameters.name, each.block) for each in every]
    assert len(set(folders)) == len(folders)
    families = {each.family for each in every}
    assert {f"W4A8 {mac}" for mac in MACS if mac not in ("float", "shift")} <= families
    edge = next(each for each in every if each.name == "W4A8 pair_sum 4x4x16")
    p = SETS["edge"]
    assert edge.macs == p.tile_rows * p.tile_columns * p.lanes == p.peak // 4
    assert edge.kinds == (*KINDS, *PARTIAL)
    assert any(each.name.endswith(", set paper") for each in every)
    assert {"fixture"} <= set.intersection(*(set(each.kinds) for each in every
                                             if each.block not in ("array", "aligner")))
    dense = SETS["dense"]
    around = {each.name: each for each in every if each.block in ("foot", "row_sum", "rescale")}
    assert {"foot, INT8 4x8x32", "foot, W4A16 aligned 4x8x32", "row sum, W4A8 4x8x32",
            "rescale, fp16"} <= around.keys()
    foot = around["foot, MixLLM 4x8x32"]
    assert (foot.operation, foot.operations, foot.macs) == ("dequantisation", 8, 8 * 128)
    assert foot.kinds == ("fixture", WIDE)
    assert (foot.parameters.tile_rows, foot.parameters.tile_columns, foot.parameters.lanes) == (
        dense.tile_rows, dense.tile_columns, dense.lanes)
    # A foot takes a row in each cycle, so that a group's rows last as long as its beats.
    assert all(each.parameters.band_rows == each.parameters.beats for each in around.values())
    assert not any(each.name.endswith(", set edge") for each in every)


def made_up(name: str, family: str, area: float, period: float, size: int = 4) -> Measured:
    """A tile of the size that was never measured."""
    p = SETS["edge"].replace(name="made_up", tile_rows=size, tile_columns=size, mesh_rows=1,
                              x_rows=1)
    return Measured(Design(name, family, "tile", p), None, "", {"all": area}, 0.0, period,
                    {kind: {"all": Share(switching=area * size**2 * 16)} for kind in LAYERS})


def test_best_is_the_smallest_that_is_as_fast_as_int8():
    int8 = made_up("i", "INT8 tile", 500, 2.4)
    tiles = [made_up("a", "W4A8 a", 200, 2.3), made_up("b", "W4A8 b", 180, 2.4),
             made_up("c", "W4A8 c", 150, 2.5), made_up("d", "W4A8 d", 100, 2.0, size=8)]
    assert best([int8, *tiles], "W4A8").design.name == "b"
    assert best([int8, tiles[2]], "W4A8").design.name == "c"


def test_ratios_of_made_up_designs():
    tiles = [made_up("W", "W4A8 a", 150, 2.0), made_up("P", "W4A8 product", 300, 2.0),
             made_up("S", "W3A8 shift", 140, 2.0), made_up("A", "W4A16 aligned", 250, 2.0),
             made_up("I", "INT8 tile", 500, 2.4), made_up("INT8 PE", "INT8 PE", 750, 1.5),
             made_up("faster", "INT8 PE", 900, 1.2),
             made_up("dequantiser, G = 128", "dequantiser", 30, 2.0),
             made_up("FP16 FMA", "FP16 FMA", 2000, 4.0)]
    claims = {claim.name: (round(claim.value, 4), claim.met) for claim in ratios(tiles, [])}
    assert claims["area, W4A8 tile / INT8 PE"] == (0.2, True)
    assert claims["energy, W4A8 tile / INT8 PE, heavy"] == (0.2, True)
    assert claims["frequency, W4A8 / INT8 tile"] == (1.2, True)
    assert claims["GE per MAC, dequantiser at G = 128"] == (30, False)
    assert claims["speed at equal area, W4A8 / INT8"] == (3.0, False)
    assert claims["area, aligned W4A16 tile / FP16 FMA"] == (0.125, False)
    assert claims["energy, aligned W4A16 tile / FP16 FMA, fixture"] == (0.125, True)
    assert claims["order for area, DenseShift / W4A8 tile"] == (0.9333, True)
    assert not any(name.startswith("order for delay") for name in claims)


def test_refusals():
    ratio = Ratio("", "", "", 0.5, "<", 0.5, "", "")
    assert not ratio.met
    assert replace(ratio, comparison="<=").met
    assert replace(ratio, comparison=">=").met
    with pytest.raises(ValueError, match=r"^Parameter comparison must be .*, not '='$"):
        replace(ratio, comparison="=")
    with pytest.raises(ValueError, match=r"^Parameter block must be one of .*, not 'wall'$"):
        Design("", "", "wall", SETS["edge"])


@pytest.mark.full
def test_whole_bench(tmp_path):
    report = bench.main(None, True, 2, tmp_path)
    assert len(report["designs"]) == len(designs())
    for each in report["designs"]:
        energies = each["fj_per_mac"]
        if energies.keys() >= KINDS.keys():
            layers = [energies[kind] for kind in LAYERS]
            assert 0 < energies["zero"] < energies["constant"] < min(layers)
            assert max(layers) < energies["random"]
    assert all(claim["met"] for claim in report["ratios"] if claim["name"].startswith("order "))
