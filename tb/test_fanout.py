"""Buffers on heavy nets: who gets them, how many, and that nothing else changes."""

import json

import pytest

from synth.fanout import LOADS, buffers, insert
from synth.liberty import Library
from synth.netlist import Netlist
from tb.test_map import prove, synthesised

#: A register that drives 80 gates of a block each of which stands in a module of its own.
FAN = """
module part (input a, input [19:0] b, output [19:0] y);
  assign y = {20{a}} & ~b;
endmodule
module fan (input clk, a, input [79:0] b, output reg [79:0] y);
  reg ar;
  wire [79:0] next;
  part one (ar, b[19:0], next[19:0]);
  part two (ar, b[39:20], next[39:20]);
  part three (ar, b[59:40], next[59:40]);
  part four (ar, b[79:60], next[79:60]);
  always @(posedge clk) begin ar <= a; y <= next; end
endmodule
"""


@pytest.fixture(scope="module")
def default():
    return Library.load()


def heaviest(mapping):
    """Largest load of a net that is no clock, in NAND2 inputs."""
    clock, = mapping.netlist.ports["clk"][1]
    return max(load for net, load in mapping.netlist.loads.items()
               if net != clock) / mapping.library.nand2_load


@pytest.mark.parametrize("flatten", [True, False])
def test_no_net_drives_more_than_its_buffer_can(tmp_path, default, flatten):
    mapping = synthesised(tmp_path, FAN, "fan", default, flatten=flatten)
    added = [instance for instance in mapping.netlist.instances if "fanout_" in instance.name]
    assert added
    strongest = {buffer.cell.name: buffer.capacity / default.nand2_load
                 for buffer in buffers(default)}
    limits = {instance.nets[instance.cell.outputs[0]]: strongest[instance.cell.name]
              for instance in added}
    clock, = mapping.netlist.ports["clk"][1]
    for net, load in mapping.netlist.loads.items():
        if net != clock:
            # Loads are shared out whole, so a buffer may have one more than its part.
            assert load / default.nand2_load <= limits.get(net, LOADS) + 1.1, net
    prove(tmp_path, mapping)


def test_buffers_belong_to_the_block_that_drives(tmp_path, default):
    mapping = synthesised(tmp_path, FAN, "fan", default, flatten=False)
    added = sum(instance.cell.area for instance in mapping.netlist.instances
                if "fanout_" in instance.name)
    top, part = mapping.blocks
    assert (part.module, part.instances) == ("part", 4)
    assert added > 0
    assert top.area == pytest.approx(mapping.area - 4 * part.area)
    assert top.total == pytest.approx(mapping.area)


def test_least_area_of_those_that_drive_the_load(default):
    choice = buffers(default)
    capacities = {buffer.cell.name: buffer.capacity for buffer in choice}
    assert capacities["BUF_X1"] == pytest.approx(LOADS * default.nand2_load)
    assert capacities["BUF_X1"] < capacities["BUF_X2"] < capacities["BUF_X4"]
    count = 40
    module = {"ports": {"a": {"direction": "input", "bits": [2]}}, "cells": {
        f"load{index:02}": {"type": "NAND2_X1", "connections": {
            "A1": [2], "A2": ["1"], "ZN": [3 + index]}} for index in range(count)}}
    areas = insert(module, default)
    added = [cell["type"] for name, cell in module["cells"].items() if "fanout_" in name]
    load = default.cells["NAND2_X1"].pins["A1"].capacitance * count
    assert areas == {"": pytest.approx(sum(default.cells[name].area for name in added))}
    assert areas[""] == pytest.approx(min(
        -(-load // buffer.capacity) * buffer.cell.area for buffer in choice))
    driven = [module["cells"][name]["connections"]["A1"] for name in sorted(module["cells"])
              if name.startswith("load")]
    assert [2] not in driven
    assert sum(cell["connections"].get("A") == [2] for cell in module["cells"].values()) == len(
        added)


def test_a_light_net_stays_as_it_is(tmp_path, default):
    mapping = synthesised(tmp_path, FAN.replace("{20{a}}", "{2{a}}"), "fan", default)
    assert not any("fanout_" in instance.name for instance in mapping.netlist.instances)


def test_a_gated_clock_has_no_buffers(tmp_path, default):
    mapping = synthesised(tmp_path, """
module fan (input clk, enable, input [79:0] d, output reg [79:0] q);
  always @(posedge clk) if (enable) q <= d;
endmodule
""", "fan", default)
    (gated,) = mapping.netlist.gated
    pin = default.cells["DFF_X1"].pins["CK"].capacitance
    assert mapping.netlist.loads[gated] == pytest.approx(80 * pin)
    assert 80 * pin > LOADS * default.nand2_load
    assert not any("fanout_" in instance.name for instance in mapping.netlist.instances)


def test_without_a_buffer_nothing_is_added(tmp_path, monkeypatch):
    monkeypatch.setattr(Library, "buffers", [])
    library = Library.load()
    assert buffers(library) == []
    mapping = synthesised(tmp_path, FAN, "fan", library)
    assert not any("fanout_" in instance.name for instance in mapping.netlist.instances)
    assert heaviest(mapping) > 2 * LOADS


def test_the_netlist_is_the_one_that_was_written(tmp_path, default):
    mapping = synthesised(tmp_path, FAN, "fan", default)
    again = Netlist.load(mapping.directory / "netlist.json", "fan", default)
    assert len(again.instances) == len(mapping.netlist.instances)
    text = mapping.verilog.read_text()
    cells = json.loads((mapping.directory / "netlist.json").read_text())["modules"]["fan"]["cells"]
    assert all(name in text for name in cells if "fanout_" in name)
    assert heaviest(mapping) < 4 * LOADS
