"""Synthesis of a set from the command's side: the report, and benches on mapped netlists."""

import json

import pytest

from golden.parameters import SETS
from scripts import netlist_sim, synth
from scripts.operands import KINDS, PARTIAL, STALL
from synth.mapping import simulation_model
from tb import runner

TINY = SETS["tiny"]

#: One tile.
SMALL = TINY.replace(name="small", mesh_rows=1, mesh_columns=1, bands=1)

@pytest.fixture(scope="session")
def report(tmp_path_factory):
    output = tmp_path_factory.mktemp("synth")
    synth.main(TINY, None, True, output)
    return json.loads((output / "tiny.json").read_text())


def test_report(report):
    check_tiles(report)
    check_array(report)


def check_tiles(report):
    """The tiles are compared."""
    ours, int8 = report["tiles"]
    assert (ours["set"], int8["set"]) == ("tiny", "tiny_int8")
    assert ours["macs"] == int8["macs"] == 16
    assert 0 < ours["gates_per_mac"] < int8["gates_per_mac"]
    assert report["ratios"]["tiny_int8"]["gates"] == ours["gates_per_mac"] / int8["gates_per_mac"]
    for tile in (ours, int8):
        assert tile["um2_per_mac"] == pytest.approx(
            tile["gates_per_mac"] * report["library"]["nand2_um2"])
        steps = tile["critical_path"]["steps"]
        assert tile["period_ns"] >= tile["critical_path"]["delay_ns"] > steps[-1]["arrival_ns"] > 0
        energies = tile["fj_per_mac"]
        check_order(energies)
        for kind, energy in energies.items():
            assert sum(tile["parts_fj_per_mac"][kind].values()) == pytest.approx(energy)
        assert sum(tile["parts_gates_per_mac"].values()) == pytest.approx(tile["gates_per_mac"])
        assert tile["parts_fj_per_mac"].keys() == energies.keys() == (KINDS | PARTIAL).keys()
        assert set(tile["parts_fj_per_mac"]["zero"]) == set(synth.PARTS)


def check_order(energies):
    """Energies respond as they must; a layer's lie between those of held and of uniform codes."""
    layers = [energies[kind] for kind in ("gaussian", "heavy", "fixture")]
    assert 0 < energies["zero"] < 0.9 * energies["constant"]
    assert energies["constant"] < 0.8 * min(layers)
    assert max(layers) < energies["random"]
    assert energies["zero"] < energies["idle"] < energies["fixture"]
    stalled = (STALL * energies["stall"] - energies["fixture"]) / (STALL - 1)
    assert 0 < stalled < 0.1 * energies["fixture"]


@pytest.mark.full
def test_shift_element_is_smaller_than_int4(tmp_path):
    """DenseShift's 3 bits against the smallest int4 element; the netlist works."""
    shift = SMALL.replace(name="shift3", w="shift3", mac="shift")
    synth.main(shift, None, False, tmp_path)
    report = json.loads((tmp_path / "shift3.json").read_text())
    assert [tile["set"] for tile in report["tiles"]] == ["shift3", "shift3_int8", "shift3_int4"]
    ratios = report["ratios"]["shift3_int4"]
    assert ratios["pe_gates"] < 1
    assert ratios["gates"] < 1
    mapping = synth.mapped(shift, "tile", synth.library_of(None), tmp_path)
    count = runner.simulate(simulation_model(mapping), mapping.top, "tb.bench_tile",
                            parameters=shift.to_dict(), groups=1 << 10)
    assert count > 0


def check_array(report):
    """Nothing of the array is missing."""
    array = report["array"]
    assert sum(block["gates"] * block["instances"] for block in array["blocks"]) == pytest.approx(
        array["gates"])
    instances = {block["module"]: block["instances"] for block in array["blocks"]}
    assert instances["mixpe_tiny_pe"] == TINY.rows * TINY.columns
    assert instances["mixpe_tiny_dequantiser"] == TINY.bands * TINY.columns
    bits = sum(memory["bits"] * memory["instances"] for memory in array["memories"]
               if "accumulators" in memory["module"])
    assert bits == 2 * 32 * TINY.rows * TINY.columns
    assert report["left_out"]
    assert report["tools"].keys() >= {"pyosys", "verilator", "amaranth"}


@pytest.mark.full
def test_netlists_pass_the_benches(capsys):
    netlist_sim.main(SMALL, None, 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["mixpe_small_tile", "mixpe_small"]


def test_a_wrong_netlist_is_found(tmp_path):
    mapping = synth.mapped(TINY, "tile", synth.library_of(None), tmp_path)
    source = simulation_model(mapping)
    carries = [line for line in source.splitlines()
               if line.startswith("  assign") and line.count("&") >= 2]
    wrong = source.replace(carries[0], carries[0].replace("&", "|", 1))
    assert wrong != source
    with pytest.raises(runner.SimulationError, match="failed"):
        runner.simulate(wrong, mapping.top, "tb.bench_tile", parameters=TINY.to_dict(),
                        groups=1 << 10)
