"""Liberty reader: the default library, and a small one with other units and pin names."""

import itertools
import time

import numpy as np
import pytest

from synth.boolean import Expression, states
from synth.liberty import Adder, ClockGate, Library, LibraryError


def gate(name, area, function, *, load=2, extra=""):
    """Cell with the output Y; delay 10 + 2 ps/fF, transition 4 + 1 ps/fF, energy 3 fJ."""
    inputs = sorted(Expression.parse(function).names)
    pins = "".join(f"pin ({pin}) {{ direction : input; capacitance : {load}; }}" for pin in inputs)
    return f"cell ({name}) {{ area : {area}; {pins} {extra} {output('Y', function, inputs)} }}"


def output(pin, function, related, kind="combinational"):
    """Output pin whose arcs start from ``related``."""
    def table(group, start, step):
        row = f"{start}, {start + 10 * step}"
        return f'{group} (plane) {{ values ("{row}", "{row}"); }}'

    tables = "".join(table(f"cell_{edge}", 10, 2) + table(f"{edge}_transition", 4, 1)
                     for edge in ("rise", "fall"))
    arcs = "".join(f'timing () {{ related_pin : "{source}"; timing_type : {kind}; {tables} }}'
                   f'internal_power () {{ related_pin : "{source}"; '
                   'power (scalar) { values ("3"); } }' for source in related)
    return f'pin ({pin}) {{ direction : output; function : "{function}"; {arcs} }}'


FLOP = f"""
cell (FLOP) {{
  area : 6;
  cell_leakage_power : 5;
  leakage_power () {{ when : "Q"; value : 9; }}
  ff (S, SN) {{ clocked_on : "C"; next_state : "D"; }}
  pin (D) {{ direction : input; capacitance : 1;
    timing () {{ related_pin : "C"; timing_type : setup_rising;
      rise_constraint (scalar) {{ values ("7"); }}
      fall_constraint (scalar) {{ values ("8"); }} }} }}
  pin (C) {{ direction : input; clock : true; capacitance : 2;
    internal_power () {{ when : "!D & !Q";
      rise_power (scalar) {{ values ("1"); }} fall_power (scalar) {{ values ("2"); }} }}
    internal_power () {{ when : "D | Q";
      rise_power (scalar) {{ values ("5"); }} fall_power (scalar) {{ values ("7"); }} }} }}
  {output("Q", "S", ["C"], "rising_edge")}
}}
"""

ADDER = f"""
cell (PLUS) {{
  area : 8;
  pin (K) {{ direction : input; capacitance : 1; }}
  pin (L) {{ direction : input; capacitance : 1; }}
  pin (M) {{ direction : input; capacitance : 1; }}
  {output("MAJ", "K L + M (K + L)", ["K", "L", "M"])} {output("ODD", "K ^ L ^ M", ["K", "L", "M"])}
}}
"""

#: Not in the library below, which tests get with it and without.
GATE = """
cell (GATE) {
  area : 5;
  cell_leakage_power : 4;
  clock_gating_integrated_cell : "latch_posedge";
  statetable ("K E", "L") { table : "L L : - : L, L H : - : H, H - : - : N"; }
  pin (L) { direction : internal; internal_node : "L"; }
  pin (K) { direction : input; clock_gate_clock_pin : true; capacitance : 3;
    internal_power () { when : "!G"; power (scalar) { values ("2"); } }
    internal_power () { when : "G"; power (scalar) { values ("1"); } } }
  pin (E) { direction : input; clock_gate_enable_pin : true; capacitance : 1;
    timing () { related_pin : "K"; timing_type : setup_rising;
      rise_constraint (scalar) { values ("6"); }
      fall_constraint (scalar) { values ("5"); } } }
  pin (G) { direction : output; clock_gate_out_pin : true; state_function : "K L";
    timing () { related_pin : "K"; timing_sense : positive_unate;
      cell_rise (scalar) { values ("50"); } rise_transition (scalar) { values ("9"); }
      cell_fall (scalar) { values ("50"); } fall_transition (scalar) { values ("9"); } }
    internal_power () { related_pin : "K"; when : "E"; power (scalar) { values ("8"); } }
    internal_power () { related_pin : "K"; when : "!E"; power (scalar) { values ("99"); } } }
}
"""

#: Times in ps, capacitances in fF, energies in fJ, leakage in nW, 2 V.
MINI = f"""
library (mini) {{
  time_unit : "1ps"; capacitive_load_unit (1, ff); leakage_power_unit : "1nW";
  voltage_unit : "1V"; nom_voltage : 2;
  lu_table_template (plane) {{
    variable_1 : input_net_transition; index_1 ("0, 1");
    variable_2 : total_output_net_capacitance; index_2 ("0, 10");
  }}
  {gate("BUF", 3, "A")} {gate("INV", 1, "A'")} {gate("NAND", 2, "(A B)'")}
  {gate("NOR", 2, "(A + B)'")} {gate("ODD2", 4, "A ^ B")} {FLOP} {ADDER}
}}
"""

#: The same with a clock gate.
GATED = MINI.replace(ADDER, ADDER + GATE)


@pytest.fixture
def mini(tmp_path):
    """Library of the text above."""
    path = tmp_path / "mini.lib"
    path.write_text(MINI)
    return Library.load(path)


@pytest.fixture(scope="module")
def default():
    return Library.load()


def test_default_library(default):
    assert default.voltage == 1.1
    assert default.nand2_area == 0.798
    assert default.full_adder == Adder("FA_X1", ("A", "B", "CI"), "S", "CO")
    assert default.half_adder == Adder("HA_X1", ("A", "B"), "S", "CO")
    assert default.buffer == "BUF_X1"
    flop = default.cells["DFF_X1"]
    assert flop.pins["CK"].clock
    assert flop.pins["CK"].capacitance == 0.949653
    assert flop.leakage[0] == (Expression.parse("!CK & !D & !Q & QN"), 73.81231)
    arc, = flop.pins["Q"].arcs
    assert arc.kind == "rising_edge"
    fall, rise = arc.delay
    assert fall(0.00117378, 1.89781) == pytest.approx(0.0798075)
    assert rise(0.198535, 0.365616) == pytest.approx(0.105393)
    assert rise(0.198535, (0.365616 + 1.89781) / 2) == pytest.approx((0.105393 + 0.108883) / 2)


def test_cells_are_found_by_function(mini):
    assert mini.full_adder == Adder("PLUS", ("K", "L", "M"), "ODD", "MAJ")
    assert mini.half_adder is None
    assert (mini.buffer, mini.nand2_area, mini.nand2_load) == ("BUF", 2, 2)


def test_clock_gates(tmp_path, default, mini):
    """The smallest that needs a clock and an enable alone; its clock pin is one."""
    assert default.clock_gate.name == "CLKGATE_X1"
    assert default.clock_gate.clock_gate == ClockGate("CK", "E", "GCK")
    assert default.clock_gate.pins["CK"].clock
    assert default.clock_gate.sequential
    assert not default.cells["CLKGATETST_X1"].clock_gate
    assert mini.clock_gate is None
    for name, text, wanted in (
            ("one", GATED, "GATE"),
            ("smaller", GATED.replace(GATE, GATE + GATE.replace("GATE", "LESS").replace(
                "area : 5", "area : 4")), "LESS"),
            ("unusable", GATED.replace("area : 5;", "area : 5; dont_use : true;"), None),
            ("other", GATED.replace("latch_posedge", "latch_negedge"), None)):
        (tmp_path / name).write_text(text)
        found = Library.load(tmp_path / name).clock_gate
        assert (found and found.name) == wanted


def test_units(tmp_path):
    path = tmp_path / "scaled.lib"
    path.write_text(MINI.replace('"1ps"', '"10ps"').replace("(1, ff)", "(0.5, pf)")
                    .replace('"1nW"', '"1uW"').replace('"1V"', '"100mV"'))
    library = Library.load(path)
    inverter = library.cells["INV"]
    delay = inverter.pins["Y"].arcs[0].delay[0]
    assert library.voltage == pytest.approx(0.2)
    assert inverter.pins["A"].capacitance == pytest.approx(1000)
    assert delay(0, 0) == pytest.approx(0.1)
    assert delay(0, 5000) == pytest.approx(0.3)
    assert inverter.pins["Y"].energies[0].edges[0](0, 0) == pytest.approx(15)
    assert library.cells["FLOP"].leakage[0][1] == pytest.approx(9000)


def test_tables_extrapolate_in_both_variables_in_any_order(tmp_path):
    values = MINI.replace('values ("10, 30", "10, 30")', 'values ("10, 30", "11, 33")')
    swapped = MINI.replace("variable_1", "variable_x").replace("variable_2", "variable_1").replace(
        "variable_x", "variable_2").replace('index_1 ("0, 1")', 'index_2 ("0, 1")').replace(
        'index_2 ("0, 10")', 'index_1 ("0, 10")').replace(
        'values ("10, 30", "10, 30")', 'values ("10, 11", "30, 33")')
    for name, text in (("straight", values), ("swapped", swapped)):
        (tmp_path / name).write_text(text)
        delay = Library.load(tmp_path / name).cells["INV"].pins["Y"].arcs[0].delay[1]
        assert delay(0.001, 0) == pytest.approx(0.011)
        assert delay(0, 10) == pytest.approx(0.030)
        assert delay(0.002, 20) == pytest.approx(0.060)


def test_table_of_one_variable(tmp_path):
    (tmp_path / "line.lib").write_text(
        MINI.replace('variable_1 : input_net_transition; index_1 ("0, 1");', "").replace(
            "variable_2", "variable_1").replace("index_2", "index_1").replace(
            '("10, 30", "10, 30")', '("10, 30")').replace('("4, 14", "4, 14")', '("4, 14")'))
    delay = Library.load(tmp_path / "line.lib").cells["INV"].pins["Y"].arcs[0].delay[0]
    assert [delay(0, 10), delay(5, 10), delay(0, 5)] == pytest.approx([0.030, 0.030, 0.020])


@pytest.mark.parametrize("respell", [
    lambda text: f"// {{\n/* library (x) {{ */ {text.replace(';', '; /* } */', 9)} /* end",
    lambda text: text.replace("; ", "\n"),
    lambda text: text.replace("} ", "}; ") + ";",
    lambda text: text.replace('", "', '", \\\n "').replace(", ", ", \\ \n", 5),
    lambda text: text.replace('"', ' " ').replace("(", " ( ").replace(":", "\t:\t"),
    lambda text: text.replace("\n", "\r\n").replace("; ", "\r\n"),
    lambda text: text.replace("{", r'{ comment : "a \"{\" /* // ; \\"; version (2 "b)") ', 9),
])
def test_spellings(tmp_path, mini, respell):
    path = tmp_path / "respelt.lib"
    path.write_bytes(respell(MINI).encode())
    library = Library.load(path)
    assert (library.name, library.voltage, library.cells) == ("mini", 2, mini.cells)


@pytest.mark.parametrize(("text", "message"), [
    ("hello", "not one whole library group"),
    (MINI[:-4], "not one whole library group"),
    (MINI.replace("nom_voltage : 2;", ""), "nom_voltage is missing"),
    (MINI.replace('"1ps"', '"1 hour"'), "a unit must be a number of s, not '1 hour'"),
    (MINI.replace("(A B)'", "(A B'"), "Expression must"),
    (MINI.replace('values ("4, 14", "4, 14");', ""), "values of fall_transition plane is missing"),
    (MINI.replace("cell (BUF) {", "cell (BUF) ] {"), r"syntax error in line 9: '] { area"),
    (f"/*\n\n*/{MINI.replace('area : 6', 'area : ')}", r"syntax error in line 14: 'area : ;'"),
    ("", "not one whole library group"),
    (MINI + "}", "not one whole library group"),
    (MINI + "} a : 1;", "syntax error in line 37: 'a : 1;'"),
    (MINI + MINI, "not one whole library group"),
    (MINI + "end", "syntax error in line 37: 'end'"),
    (MINI.replace("(A B)'", "(" * 9999), "recursion"),
    (GATED.replace("clock_gate_enable_pin", "enable_pin"),
     "clock_gate_enable_pin of cell GATE is missing"),
])
def test_bad_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "bad.lib"
    path.write_text(text)
    with pytest.raises(LibraryError, match=message) as error:
        Library.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("end", ['"' + r'\"' * 30_000, "/*" * 30_000, "a (" + '"b"' * 30_000,
                                 "a : " + '"b"' * 30_000 + "{", "a () {" * 30_000])
def test_cut_off_file_is_refused_at_once(tmp_path, end):
    path = tmp_path / "cut.lib"
    path.write_text(MINI.rstrip("}\n") + end)
    start = time.process_time()
    with pytest.raises(LibraryError, match=r"cut\.lib: "):
        Library.load(path)
    assert time.process_time() - start < 1


def test_missing_file_and_missing_nand(tmp_path):
    with pytest.raises(LibraryError, match=r"none\.lib: No such file or directory"):
        Library.load(tmp_path / "none.lib")
    path = tmp_path / "few.lib"
    path.write_text(MINI.replace("(A B)'", "A B"))
    with pytest.raises(LibraryError, match="there is no two-input NAND"):
        assert Library.load(path).nand2_area


@pytest.mark.parametrize(("text", "python"), [
    ("A B' + !(C ^ A)", lambda a, b, c: a & ~b | ~(c ^ a)),
    ("A ^ B * C", lambda a, b, c: (a ^ b) & c),
    ("(A + B)' C'", lambda a, b, c: ~(a | b) & ~c),
    ("!A & B | C & 1", lambda a, b, c: ~a & b | c),
])
def test_expressions(text, python):
    values = states(["A", "B", "C"])
    expression = Expression.parse(text)
    np.testing.assert_array_equal(expression.table(values), python(*values.values()))
    assert list(zip(*(values[name] for name in "CBA"), strict=True)) == list(
        itertools.product([False, True], repeat=3))
