"""Simulation of netlists in numpy: beside Verilator, and beside numpy's products."""

import json

import numpy as np
import pytest

from golden.parameters import SETS, ArrayParameters
from hdl.export import export
from hdl.foot import Foot
from hdl.rescale import Rescale
from hdl.row_sum import RowSum
from scripts import synth
from scripts.activity import (
    _by_group,
    bits,
    dequantiser_activity,
    foot_activity,
    rescale_activity,
    row_sum_activity,
    tile_activity,
)
from scripts.operands import WIDE, cycles, warm_up
from synth.liberty import Library
from synth.mapping import simulation_model, synthesise
from synth.netlist import Instance, Netlist, NetlistError
from synth.power import Activity
from synth.simulation import simulate
from tb import runner
from tb.column import Column
from tb.test_power import HELD, MULTIPLIER

CYCLES = 200

BENCH = """
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from tb.settings import SETTINGS

@cocotb.test()
async def drive(dut):
    cocotb.start_soon(Clock(dut.clk, 2, unit="ns").start(start_high=False))
    for a, b, enable in zip(SETTINGS["a"], SETTINGS["b"], SETTINGS["enable"]):
        dut.a.value, dut.b.value = a, b
        if hasattr(dut, "enable"):
            dut.enable.value = enable
        await RisingEdge(dut.clk)
"""

#: One element, and a column that a dequantiser is kept busy by.
ELEMENT = ArrayParameters(name="element", lanes=2, tile_rows=1, tile_columns=1, group=8)
COLUMN  = ArrayParameters(name="column", lanes=8, tile_rows=4, tile_columns=1, group=32)

#: Two columns that weights of 8 bits share.
PAIR = COLUMN.replace(name="pair", tile_columns=2, wide=True, x_scale="fp16")


@pytest.fixture(scope="module")
def multiplier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multiplier")
    (folder / "times.v").write_text(MULTIPLIER)
    return synthesise(folder / "times.v", "times", Library.load(), folder / "map")


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held")
    (folder / "times.v").write_text(HELD)
    mapping = synthesise(folder / "times.v", "times", Library.load(), folder / "map")
    assert mapping.cells["CLKGATE_X1"] == 1
    return mapping


@pytest.fixture(scope="module")
def element(tmp_path_factory):
    return synth.mapped(ELEMENT, "tile", Library.load(), tmp_path_factory.mktemp("element"))


def test_products_of_all_streams(multiplier):
    a, b = np.random.default_rng(1).integers(0, 16, (2, CYCLES, 7))
    outputs, activity = simulate(multiplier.netlist, {"a": bits(a, 4), "b": bits(b, 4)},
                                 measured=CYCLES - 10)
    np.testing.assert_array_equal(outputs["y"][2:], bits(a * b, 8)[:-2])
    clock, = multiplier.netlist.ports["clk"][1]
    assert (activity.high[clock], activity.toggles[clock]) == (0.5, 2 * 7 * (CYCLES - 10))
    for place, net in enumerate(multiplier.netlist.ports["a"][1]):
        codes = a[9:] >> place & 1
        assert activity.toggles[net] == np.count_nonzero(np.diff(codes, axis=0))
        assert activity.high[net] == pytest.approx(codes[1:].mean())


def test_registers_behind_a_clock_gate_wait(held):
    a, b, enable = np.random.default_rng(1).integers(0, 16, (3, CYCLES, 7))
    enable = enable % 4 == 0
    enable[0] = True
    outputs, activity = simulate(held.netlist, {
        "a": bits(a, 4), "b": bits(b, 4), "enable": enable[..., None]}, measured=CYCLES - 10)
    taken = np.maximum.accumulate(np.where(enable, np.arange(CYCLES)[:, None], 0))
    products = np.take_along_axis(a * b, taken, axis=0)
    np.testing.assert_array_equal(outputs["y"][2:], bits(products, 8)[:-2])
    (gated,) = held.netlist.gated
    assert activity.toggles[gated] == 2 * np.count_nonzero(enable[10:])
    assert activity.high[gated] == pytest.approx(enable[10:].mean() / 2)


def test_constants_and_complements():
    cells = Library.load().cells
    ports = {"clk": ("input", [2]), "x": ("input", [3]), "y": ("output", [9, 10, "1", "0"])}
    netlist = Netlist("hand", ports, [
        Instance("gate", cells["NAND2_X1"], {"A1": 3, "ZN": 9}, {"A2": "1"}),
        Instance("register", cells["DFF_X1"], {"CK": 2, "D": 3, "QN": 10}, {})])
    x = np.random.default_rng(1).integers(0, 2, (9, 5, 1)).astype(bool)
    outputs, activity = simulate(netlist, {"x": x}, measured=9)
    np.testing.assert_array_equal(outputs["y"][1:, :, 0], ~x[1:, :, 0])
    np.testing.assert_array_equal(outputs["y"][1:, :, 1], ~x[:-1, :, 0])
    assert outputs["y"][:, :, 2].all()
    assert not outputs["y"][:, :, 3].any()
    # Before the first cycle nothing is known, so that no edge leads to it.
    assert activity.toggles[3] == np.count_nonzero(np.diff(x, axis=0))


@pytest.mark.parametrize("design", [pytest.param("multiplier", marks=pytest.mark.full), "held"])
def test_same_edges_as_verilator(design, request, tmp_path, monkeypatch):
    mapping = request.getfixturevalue(design)
    (tmp_path / "bench_given.py").write_text(BENCH)
    monkeypatch.syspath_prepend(tmp_path)
    a, b, enable = np.random.default_rng(1).integers(0, 16, (3, CYCLES, 1))
    enable = (enable % 4 == 0).astype(int)
    folder = runner.build(simulation_model(mapping), "times", activity=True)
    runner.run(folder, "times", "bench_given", activity=tmp_path / "given.saif", seed=1,
               a=a.ravel().tolist(), b=b.ravel().tolist(), enable=enable.ravel().tolist())
    wanted = Activity.load(tmp_path / "given.saif")
    inputs = {"a": bits(a, 4), "b": bits(b, 4), "enable": bits(enable, 1)}
    _, actual = simulate(mapping.netlist, inputs, measured=CYCLES)
    assert actual.toggles.keys() == wanted.toggles.keys()
    for net, edges in wanted.toggles.items():
        # Registers start at random in both, and the run ends in the middle of a cycle.
        assert actual.toggles[net] == pytest.approx(edges, abs=4)
        assert actual.high[net] == pytest.approx(wanted.high[net], abs=0.02)


@pytest.mark.parametrize("kind", ["gaussian", "random"])
def test_sums_of_a_tile_are_checked(element, kind):
    activity = tile_activity(element, ELEMENT, kind, streams=2)
    clock, = element.netlist.ports["clk"][1]
    assert activity.toggles[clock] == 2 * 2 * (cycles(ELEMENT) - warm_up(ELEMENT))


def test_a_wrong_tile_is_found(element, tmp_path):
    """With two adders' operands exchanged for one another's the sums differ."""
    path = tmp_path / "netlist.json"
    description = json.loads((element.directory / "netlist.json").read_text())
    cells = description["modules"][element.top]["cells"]
    adders = [cell for cell in cells.values() if cell["type"] == "FA_X1"]
    first, second = (adder["connections"] for adder in adders[:2])
    first["A"], second["A"] = second["A"], first["A"]
    path.write_text(json.dumps(description))
    wrong = Netlist.load(path, element.top, element.library)
    object.__setattr__(element, "netlist", wrong)
    message = r"^Netlist of mixpe_element_tile is wrong in cycle \d"
    with pytest.raises(runner.SimulationError, match=message):
        tile_activity(element, ELEMENT, "random", streams=2)


@pytest.mark.parametrize("parameters", [
    COLUMN,
    pytest.param(COLUMN.replace(name="both", x_zero=True, x_scale="bf16", w="int4"),
                 marks=pytest.mark.full),
    pytest.param(SETS["mxfp4"].replace(tile_columns=1, y_lanes=1), marks=pytest.mark.full),
], ids=lambda parameters: parameters.name)
def test_accumulators_of_a_dequantiser_are_checked(parameters, tmp_path, monkeypatch):
    block = Column(parameters)
    mapping = synthesise(export(block, tmp_path), block.module, Library.load(), tmp_path,
                         flatten=False)
    dequantiser_activity(mapping, parameters, "heavy", streams=2)
    monkeypatch.setattr("scripts.activity._accumulators", lambda p, taken: (
        np.zeros(taken.sum.shape, dtype=np.uint32)))
    with pytest.raises(runner.SimulationError):
        dequantiser_activity(mapping, parameters, "heavy", streams=2)


def mapped(block, folder):
    """Block mapped to cells."""
    return synthesise(export(block, folder), block.module, Library.load(), folder, flatten=False)


@pytest.mark.parametrize(("parameters", "kinds"), [
    (PAIR, [WIDE]),
    *(pytest.param(each, ["heavy", "random"], marks=pytest.mark.full) for each in (
        PAIR, PAIR.baseline(), PAIR.replace(name="zeros", wide=False, x_scale="token", x_zero=True),
        SETS["w4a16_aligned"].replace(tile_columns=2), SETS["edge"])),
], ids=lambda each: getattr(each, "name", None))
def test_accumulators_of_a_foot_are_checked(parameters, kinds, tmp_path, monkeypatch):
    mapping = mapped(Foot(parameters), tmp_path)
    monkeypatch.setattr("scripts.activity.OUTPUTS", 2)
    for kind in kinds:
        foot_activity(mapping, parameters, kind, streams=2)
    monkeypatch.setattr("scripts.activity._accumulators", lambda p, taken: (
        np.ones(taken.sum.shape, dtype=np.uint32)))
    with pytest.raises(runner.SimulationError):
        foot_activity(mapping, parameters, kinds[0], streams=2)


@pytest.mark.parametrize("parameters", [
    COLUMN, pytest.param(SETS["w4a16_aligned"], marks=pytest.mark.full),
], ids=lambda parameters: parameters.name)
def test_sums_of_rows_are_checked(parameters, tmp_path, monkeypatch):
    mapping = mapped(RowSum(parameters), tmp_path)
    row_sum_activity(mapping, parameters, "gaussian", streams=2)
    monkeypatch.setattr("scripts.activity._by_group", lambda values, beats: (
        _by_group(values, beats) + 1))
    with pytest.raises(runner.SimulationError):
        row_sum_activity(mapping, parameters, "gaussian", streams=2)


def test_outputs_of_a_lane_are_checked(tmp_path):
    mapping = mapped(Rescale(COLUMN), tmp_path)
    rescale_activity(mapping, COLUMN, "heavy", streams=32)
    wrong = COLUMN.replace(y="bf16")
    with pytest.raises(runner.SimulationError):
        rescale_activity(mapping, wrong, "heavy", streams=32)


def test_refusals(multiplier):
    with pytest.raises(NetlistError, match=r"^Input b of times must have values$"):
        simulate(multiplier.netlist, {"a": np.zeros((1, 1, 4), dtype=bool)}, measured=1)
    ports = {"clk": ("input", [2]), "x": ("input", [3])}
    cell = multiplier.library.cells["DFFR_X1"]
    netlist = Netlist("hand", ports, [Instance("r", cell, {}, {})])
    with pytest.raises(NetlistError, match=r"^Cell .* of instance r must be combinational or"):
        simulate(netlist, {"x": np.zeros((1, 1, 1), dtype=bool)}, measured=1)
