"""Static timing against sums done by hand."""

import pytest

from synth.liberty import Library
from synth.netlist import Instance, Netlist, NetlistError
from synth.timing import analyse
from tb.test_liberty import GATED, MINI


@pytest.fixture
def mini(tmp_path):
    (tmp_path / "mini.lib").write_text(MINI)
    return Library.load(tmp_path / "mini.lib")


def netlist(library, ports, *cells):
    """Netlist of (name, cell, nets) with one-bit ports."""
    return Netlist("hand", {name: (direction, [net]) for name, (direction, net) in ports.items()},
                   [Instance(name, library.cells[cell], nets, {}) for name, cell, nets in cells])


PORTS = {"clk": ("input", 2), "x": ("input", 3), "y": ("output", 9)}
LAUNCH = ("from", "FLOP", {"C": 2, "D": 3, "Q": 4})
CAPTURE = ("to", "FLOP", {"C": 2, "D": 6, "Q": 9})


def test_register_to_register(mini):
    timing = analyse(netlist(mini, PORTS, LAUNCH, ("u", "INV", {"A": 4, "Y": 5}),
                             ("v", "NAND", {"A": 5, "B": 4, "Y": 6}), CAPTURE))
    # Q drives an inverter and a NAND (4 fF): 10 + 8; the inverter a NAND: 10 + 4; the NAND the
    # register (1 fF): 10 + 2; a fall is set up in 8, a rise in 7.
    path = timing.paths["register", "register"]
    assert path.delay == pytest.approx(0.018 + 0.014 + 0.012 + 0.008)
    assert path.endpoint == "to.D"
    assert [(step.instance, step.cell, step.pin, step.edge) for step in path.steps] == [
        ("from", "FLOP", "Q", path.steps[0].edge), ("u", "INV", "Y", path.steps[1].edge),
        ("v", "NAND", "Y", "fall")]
    assert [step.arrival for step in path.steps] == pytest.approx([0.018, 0.032, 0.044])
    assert [step.slew for step in path.steps] == pytest.approx([0.008, 0.006, 0.005])
    assert [step.load for step in path.steps] == pytest.approx([4, 2, 1])
    # x reaches the first register at once; the second's output has no load.
    assert timing.paths["input", "register"].delay == pytest.approx(0.008)
    assert timing.paths["register", "output"].delay == pytest.approx(0.010)
    assert ("input", "output") not in timing.paths
    assert timing.critical == path
    assert timing.period == path.delay


def test_sense_keeps_edges_apart(mini, tmp_path):
    slow_rise = MINI.replace(
        'timing_type : combinational; cell_rise (plane) { values ("10, 30", "10, 30"); }',
        'timing_type : combinational; timing_sense : negative_unate; '
        'cell_rise (plane) { values ("100, 100", "100, 100"); }')
    (tmp_path / "sense.lib").write_text(slow_rise)
    library = Library.load(tmp_path / "sense.lib")
    timing = analyse(netlist(library, {"x": ("input", 3), "y": ("output", 9)},
                             ("u", "INV", {"A": 3, "Y": 4}), ("v", "INV", {"A": 4, "Y": 9})))
    # A rise of x falls and rises: 10 + 4, then 100; a fall of x: 100, then 10. Never 100 twice.
    path = timing.paths["input", "output"]
    assert path.delay == pytest.approx(0.114)
    assert [(step.pin, step.edge) for step in path.steps] == [("x", "rise"), ("Y", "fall"),
                                                              ("Y", "rise")]


def test_loop_and_falling_edge(mini, tmp_path):
    loop = netlist(mini, PORTS, ("u", "INV", {"A": 4, "Y": 5}), ("v", "INV", {"A": 5, "Y": 4}))
    with pytest.raises(NetlistError, match="must have no combinational loop"):
        analyse(loop)
    (tmp_path / "falling.lib").write_text(MINI.replace("rising_edge", "falling_edge"))
    with pytest.raises(NetlistError, match="Register from must launch on the rising edge"):
        analyse(netlist(Library.load(tmp_path / "falling.lib"), PORTS, LAUNCH))


def test_clock_gate(tmp_path):
    """An enable is set up as data is; behind the gate a register launches at once."""
    (tmp_path / "gated.lib").write_text(GATED)
    library = Library.load(tmp_path / "gated.lib")
    timing = analyse(netlist(library, PORTS, LAUNCH,
                             ("gate", "GATE", {"K": 2, "E": 4, "G": 5}),
                             ("to", "FLOP", {"C": 5, "D": 3, "Q": 9})))
    # Q drives the enable (1 fF): 10 + 2; a fall is set up in 5, a rise in 6.
    path = timing.paths["register", "register"]
    assert path.endpoint == "gate.E"
    assert path.delay == pytest.approx(0.012 + 0.006)
    assert timing.paths["register", "output"].delay == pytest.approx(0.010)
    assert timing.paths["input", "register"].delay == pytest.approx(0.008)
    assert ("input", "output") not in timing.paths
    assert timing.slews[5] == (0.0, 0.0)
    twice = netlist(library, PORTS, ("one", "GATE", {"K": 2, "E": 3, "G": 4}),
                    ("two", "GATE", {"K": 4, "E": 3, "G": 5}))
    with pytest.raises(NetlistError, match=r"^Clock gate two must take a clock that"):
        analyse(twice)


def test_default_library():
    library = Library.load()
    chain = netlist(library, {"clk": ("input", 2), "x": ("input", 3)},
                    ("a", "DFF_X1", {"CK": 2, "D": 3, "Q": 4}),
                    ("b", "DFF_X1", {"CK": 2, "D": 4, "Q": 5}))
    flop = library.cells["DFF_X1"].pins
    (arc,), setup = flop["Q"].arcs, flop["D"].arcs[1]
    load = flop["D"].capacitance
    expected = max(arc.delay[edge](0, load)
                   + setup.constraint[edge](arc.transition[edge](0, load), 0) for edge in (0, 1))
    assert analyse(chain).period == pytest.approx(expected)
    assert expected == pytest.approx(0.115, abs=0.005)
