"""Energy against sums done by hand, and against intuition on a simulated design."""

from pathlib import Path

import pytest

from synth.liberty import Library
from synth.mapping import Mapping, simulation_model, synthesise
from synth.netlist import Instance, Netlist, NetlistError
from synth.power import Activity, estimate
from synth.timing import analyse
from tb import runner
from tb.test_liberty import GATED, MINI

PORTS = {"clk": ("input", [2]), "x": ("input", [3]), "y": ("output", [9])}

BENCH = """
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge
from random import randrange
from tb.settings import SETTINGS

@cocotb.test()
async def drive(dut):
    cocotb.start_soon(Clock(dut.clk, 2, unit="ns").start(start_high=False))
    dut.a.value = dut.b.value = 0
    for _ in range(200):
        await FallingEdge(dut.clk)
        if SETTINGS["stimulus"] != "zero":
            dut.a.value = randrange(16)
            dut.b.value = 5 if SETTINGS["stimulus"] == "constant" else randrange(16)
"""

#: Products of operands that are kept while there are no others.
HELD = """
module times (input clk, enable, input [3:0] a, b, output reg [7:0] y);
  reg [3:0] ar, br;
  always @(posedge clk) begin
    if (enable) begin ar <= a; br <= b; end
    y <= ar * br;
  end
endmodule
"""

MULTIPLIER = """
module times (input clk, input [3:0] a, b, output reg [7:0] y);
  reg [3:0] ar, br;
  always @(posedge clk) begin ar <= a; br <= b; y <= ar * br; end
endmodule
"""


@pytest.fixture
def mini(tmp_path):
    (tmp_path / "mini.lib").write_text(MINI)
    return Library.load(tmp_path / "mini.lib")


def estimated(library, instances, activity):
    """Power of a hand-made netlist; ``activity`` is net: (share of the time at one, edges)."""
    netlist = Netlist("hand", PORTS, instances)
    mapping = Mapping("hand", library, Path(), netlist, (), ())
    values = Activity({net: high for net, (high, _) in activity.items()},
                      {net: edges for net, (_, edges) in activity.items()})
    return estimate(mapping, values, analyse(netlist))


def test_inverter(mini):
    power = estimated(mini, [Instance("deep.u", mini.cells["INV"], {"A": 3, "Y": 4}, {}),
                             Instance("v", mini.cells["INV"], {"A": 4, "Y": 9}, {})],
                      {2: (0.5, 200), 3: (0.5, 50), 4: (0.5, 50), 9: (0.5, 50)})
    # 100 cycles, 0.5 edges a cycle; 2 V; each input has 2 fF; the last output has no load.
    assert power.cycles == 100
    logic = power.kinds["combinational"]
    assert logic.switching == pytest.approx(0.5 * 2 * 2**2 * 0.5)
    assert logic.internal == pytest.approx(2 * 3 * 0.5)
    assert power.kinds["inputs"].switching == pytest.approx(0.5 * 2 * 2**2 * 0.5)
    assert power.kinds["sequential"].dynamic == power.kinds["clock"].dynamic == 0
    assert power.blocks["deep"].dynamic == pytest.approx(2 + 1.5)
    assert power.blocks[""].dynamic == pytest.approx(1.5)


@pytest.mark.parametrize(("data", "clock_energy"), [(0, 3), (1, 12)])
def test_idle_register(mini, data, clock_energy):
    power = estimated(mini, [Instance("r", mini.cells["FLOP"], {"C": 2, "D": 3, "Q": 9}, {})],
                      {2: (0.5, 20), 3: (data, 0), 9: (data, 0)})
    # A rise and a fall of the clock in each cycle, in the state that D and Q hold it in.
    assert power.kinds["clock"].internal == pytest.approx(clock_energy)
    assert power.kinds["clock"].switching == pytest.approx(2 * 2**2)
    register = power.kinds["sequential"]
    assert register.dynamic == 0
    assert register.leakage == pytest.approx(9 if data else 5)
    total = power.total
    assert total.energy(period=10) == pytest.approx(clock_energy + 8 + register.leakage * 0.01)
    assert total.power(period=10) == pytest.approx(total.energy(10) / 10 / 1000)
    assert power.operation(10, 4) == pytest.approx(total.energy(10) / 4)


def test_states_weigh(mini):
    power = estimated(mini, [Instance("r", mini.cells["FLOP"], {"C": 2, "D": 3, "Q": 9}, {})],
                      {2: (0.5, 20), 3: (0.25, 0), 9: (0.5, 0)})
    low = 0.75 * 0.5
    assert power.kinds["clock"].internal == pytest.approx(3 * low + 12 * (1 - low))
    assert power.kinds["sequential"].leakage == pytest.approx(7)


def test_complement_is_no_second_state():
    """The conditions of NanGate's flip-flop name Q and QN; they are one state."""
    library = Library.load()
    cell = library.cells["DFF_X1"]
    activity = {2: (0.5, 20), 3: (0.5, 0), 9: (0.5, 0), 4: (0.5, 0)}
    power = estimated(library, [Instance("r", cell, {"CK": 2, "D": 3, "Q": 9, "QN": 4}, {})],
                      activity)
    energies = [table(0, 0) for energy in cell.pins["CK"].energies for table in energy.edges]
    assert power.kinds["clock"].internal == pytest.approx(sum(energies) / 4)
    assert power.kinds["clock"].internal == pytest.approx(7.2, abs=0.4)


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_clock_gate(tmp_path, share):
    (tmp_path / "gated.lib").write_text(GATED)
    cells = Library.load(tmp_path / "gated.lib").cells
    power = estimated(Library.load(tmp_path / "gated.lib"), [
        Instance("gate", cells["GATE"], {"K": 2, "E": 3, "G": 4}, {}),
        Instance("r", cells["FLOP"], {"C": 4, "D": 5, "Q": 9}, {})],
        {2: (0.5, 200), 3: (share, 0), 4: (share / 2, 200 * share), 5: (0, 0), 9: (0, 0)})
    # The clock charges the gate's pin, 3 fF, in each cycle; G the register's, 2 fF, at its edges.
    clock = power.kinds["clock"]
    assert clock.switching == pytest.approx((3 + 2 * share) * 2**2)
    # G is one while the clock and the enable are; its edges are those of cycles with the enable.
    pin = 2 * (2 * (1 - share / 2) + 1 * share / 2)
    assert clock.internal == pytest.approx(pin + share * (2 * 8 + 3))
    assert clock.leakage == pytest.approx(4)
    assert power.kinds["sequential"].dynamic == power.kinds["combinational"].dynamic == 0
    assert power.kinds["sequential"].leakage == pytest.approx(5)


def test_errors(mini, tmp_path):
    instance = Instance("r", mini.cells["FLOP"], {"C": 2, "D": 3, "Q": 9}, {})
    with pytest.raises(NetlistError, match=r"^Clock clk must tick in the run$"):
        estimated(mini, [instance], {2: (0, 0), 3: (0, 0), 9: (0, 0)})
    with pytest.raises(NetlistError, match=r"^Net n9 must be in the activity of hand$"):
        estimated(mini, [instance], {2: (0, 2), 3: (0, 0)})
    (tmp_path / "x.saif").write_text("(SAIFILE)")
    with pytest.raises(NetlistError, match=r"must be that of a simulation model$"):
        Activity.load(tmp_path / "x.saif")


@pytest.mark.full
def test_random_takes_more_than_constant_than_zero(tmp_path, monkeypatch):
    (tmp_path / "bench_times.py").write_text(BENCH)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "times.v").write_text(MULTIPLIER)
    mapping = synthesise(tmp_path / "times.v", "times", Library.load(), tmp_path / "map")
    folder = runner.build(simulation_model(mapping), "times", activity=True)
    timing, powers = analyse(mapping.netlist), {}
    for stimulus in ("zero", "constant", "random"):
        path = tmp_path / f"{stimulus}.saif"
        runner.run(folder, "times", "bench_times", activity=path, stimulus=stimulus, seed=1)
        powers[stimulus] = estimate(mapping, Activity.load(path), timing)
    assert powers["zero"].cycles == pytest.approx(200, abs=1)
    dynamic = {stimulus: power.total.dynamic for stimulus, power in powers.items()}
    assert dynamic["zero"] < 0.8 * dynamic["constant"] < 0.64 * dynamic["random"]
    assert powers["zero"].kinds["combinational"].dynamic < 0.01 * dynamic["random"]
