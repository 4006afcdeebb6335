"""Mapping: areas, adder cells, blocks and memories, and the netlist's function by proof."""

import pytest

from hdl import yosys
from synth.liberty import Library
from synth.mapping import Block, Memory, simulation_model, synthesise
from synth.netlist import NetlistError
from synth.timing import analyse
from tb.test_liberty import GATED, MINI

FULL_ADDER = """
module demo_full_adder (input a, b, c, output s, carry);
  assign s = a ^ b ^ c;
  assign carry = a & b | c & (a | b);
endmodule
"""

TREE = FULL_ADDER + """
module demo_row (input [3:0] a, b, c, output [3:0] s, carry);
  demo_full_adder add [3:0] (.a(a), .b(b), .c(c), .s(s), .carry(carry));
endmodule
module demo (input clk, rst, input [3:0] a, b, c, output reg [7:0] y);
  wire [3:0] s, carry, s1, carry1;
  demo_row first (.a(a), .b(b), .c(c), .s(s), .carry(carry));
  demo_row second (.a(s), .b(b), .c(4'd9), .s(s1), .carry(carry1));
  always @(posedge clk)
    if (rst) y <= 0; else y <= a * b + s1 + (carry << 1) + (carry1 << 1);
endmodule
"""

MEMORY = """
module store (input clk, write, input [1:0] address, input [2:0] d, output [2:0] q);
  reg [2:0] words [0:3];
  assign q = words[address];
  always @(posedge clk) if (write) words[address] <= d;
endmodule
module pair (input clk, write, input [1:0] address, input [2:0] d, output [2:0] q);
  wire [2:0] middle;
  store first (clk, write, address, d, middle);
  store second (clk, write, address, middle, q);
endmodule
"""

TWO_MEMORIES = """
module two (input clk, rst, write, input [2:0] d, output reg [3:0] y);
  reg [2:0] rows [0:3];
  reg [2:0] others [0:1];
  reg [1:0] place;
  always @(posedge clk) begin
    place <= rst ? 0 : place + 1;
    if (write) rows[place] <= d;
    if (write) others[place[0]] <= d;
    y <= rows[~place] + others[place[1]];
  end
endmodule
"""

PRODUCT = """
module product (input clk, input signed [7:0] a, b, output reg signed [15:0] y);
  reg signed [7:0] ar, br;
  always @(posedge clk) begin ar <= a; br <= b; y <= ar * br; end
endmodule
"""

PROOF = """
read_verilog {gold}
hierarchy -top {top}
proc
flatten
memory
rename {top} gold
read_verilog {gate}
rename {top} gate
proc
async2sync
miter -equiv -make_assert -flatten gold gate miter
hierarchy -top miter
opt -full
sat -verify -prove-asserts -tempinduct -seq 1 -maxsteps 8 {start} miter
"""


def synthesised(folder, source, top, library, **options):
    (folder / "source.v").write_text(source)
    return synthesise(folder / "source.v", top, library, folder / "map", **options)


def prove(folder, mapping, edit=lambda text: text, *, start=""):
    """Prove that the netlist does what the source says, for every input and state.

    ``start`` is an option of ``sat``, for registers that keep what they held before.
    """
    (folder / "model.v").write_text(edit(simulation_model(mapping)))
    yosys.run(PROOF.format(gold=folder / "source.v", gate=folder / "model.v", top=mapping.top,
                           start=start))


@pytest.fixture(scope="module")
def default():
    return Library.load()


@pytest.fixture
def mini(tmp_path):
    (tmp_path / "mini.lib").write_text(MINI)
    return Library.load(tmp_path / "mini.lib")


@pytest.mark.parametrize("flatten", [True, False])
def test_adder_tree(tmp_path, default, flatten):
    mapping = synthesised(tmp_path, TREE, "demo", default, flatten=flatten)
    assert mapping.cells["FA_X1"] == 8
    assert mapping.cells["DFF_X1"] == 8
    assert mapping.sequential_area == pytest.approx(8 * 4.522)
    assert mapping.area == pytest.approx(sum(block.area * block.instances
                                             for block in mapping.blocks))
    assert mapping.gates() == pytest.approx(mapping.area / 0.798)
    assert mapping.blocks[0].module == "demo"
    assert mapping.blocks[0].total == pytest.approx(mapping.area)
    row = Block("demo_row", 2, 4 * 4.256, 4 * 4.256)
    assert list(mapping.blocks[1:]) == ([] if flatten else [row])
    assert all("." in instance.name for instance in mapping.netlist.instances
               if instance.cell.name == "FA_X1")
    text = mapping.verilog.read_text()
    assert all(f"{instance.cell.name} {instance.name} (" in text
               or f"{instance.cell.name} \\{instance.name}  (" in text
               for instance in mapping.netlist.instances)
    prove(tmp_path, mapping)


def test_wide_adder_with_constants(tmp_path, default):
    mapping = synthesised(tmp_path, """
module demo_full_adder_4 (input [3:0] a, b, c, output [3:0] s, carry);
  assign s = a ^ b ^ c;
  assign carry = a & b | c & (a ^ b);
endmodule
module demo (input [3:0] a, b, c, output [3:0] s, carry);
  demo_full_adder_4 add (.a(a), .b({1'b1, b[2:0]}), .c(c), .s(s), .carry(carry));
endmodule
""", "demo", default)
    assert mapping.cells["FA_X1"] == 3
    assert mapping.area < 4 * 4.256
    prove(tmp_path, mapping)


def test_area_is_that_of_yosys(tmp_path, default):
    mapping = synthesised(tmp_path, TREE, "demo", default)
    output = yosys.run(f"read_liberty -lib -ignore_miss_func {default.path}\n"
                       f"read_verilog {mapping.verilog}\nstat -top demo -liberty {default.path}")
    line = next(line for line in output.splitlines() if "Chip area" in line)
    assert mapping.area == pytest.approx(float(line.split()[-1]), abs=1e-3)


@pytest.mark.parametrize("output", ["S", "SN"])
def test_any_library(tmp_path, output):
    (tmp_path / "mini.lib").write_text(MINI.replace('function : "S"', f'function : "{output}"'))
    mapping = synthesised(tmp_path, TREE, "demo", Library.load(tmp_path / "mini.lib"))
    assert mapping.cells["PLUS"] == 8
    prove(tmp_path, mapping)


def test_library_without_adder(tmp_path):
    (tmp_path / "none.lib").write_text(MINI.replace("K ^ L ^ M", "K ^ L"))
    mapping = synthesised(tmp_path, TREE, "demo", Library.load(tmp_path / "none.lib"))
    assert mapping.cells["PLUS"] == 0
    prove(tmp_path, mapping)


def test_proof_can_fail(tmp_path, mini):
    mapping = synthesised(tmp_path, TREE, "demo", mini)
    with pytest.raises(yosys.YosysError):
        prove(tmp_path, mapping, lambda text: text.replace("^", "|", 1))


ENABLES = """
module half (input clk, enable, input [3:0] d, output reg [3:0] q);
  always @(posedge clk) if (enable) q <= d;
endmodule
module demo (input clk, rst, enable, few, input [7:0] d, output [7:0] q, output reg [3:0] sum,
             output reg [1:0] pair);
  half low (clk, enable, d[3:0], q[3:0]);
  half high (clk, enable, d[7:4], q[7:4]);
  always @(posedge clk) begin
    if (rst) sum <= 0; else if (enable) sum <= sum + d[3:0];
    if (few) pair <= d[1:0];
  end
endmodule
"""


@pytest.mark.parametrize("flatten", [True, False])
def test_clock_gates(tmp_path, default, flatten):
    """One for each enable and block; few registers, or such as a reset sets too, go without."""
    mapping = synthesised(tmp_path, ENABLES, "demo", default, flatten=flatten)
    assert mapping.cells["CLKGATE_X1"] == (1 if flatten else 2)
    behind = sum(instance.nets["CK"] in mapping.netlist.gated
                 for instance in mapping.netlist.instances if instance.cell.register)
    assert behind == 8
    assert mapping.sequential_area == pytest.approx(
        mapping.cells["DFF_X1"] * 4.522 + mapping.cells["CLKGATE_X1"] * 3.458)
    assert mapping.area == pytest.approx(sum(block.area * block.instances
                                             for block in mapping.blocks))
    prove(tmp_path, mapping, start="-set-init-zero")
    with pytest.raises(yosys.YosysError):
        prove(tmp_path, mapping, lambda text: text.replace(") if (", ") if (~", 1),
              start="-set-init-zero")


@pytest.mark.parametrize(("text", "count"), [(MINI, 0), (GATED, 2)])
def test_enables_in_any_library(tmp_path, text, count):
    (tmp_path / "some.lib").write_text(text)
    mapping = synthesised(tmp_path, ENABLES, "demo", Library.load(tmp_path / "some.lib"),
                          flatten=False)
    assert mapping.cells["GATE"] == count
    prove(tmp_path, mapping, start="-set-init-zero")


@pytest.mark.parametrize("flatten", [True, False])
def test_memories_are_apart(tmp_path, default, flatten):
    mapping = synthesised(tmp_path, MEMORY, "pair", default, flatten=flatten)
    assert mapping.cells["DFF_X1"] == 24
    assert all(memory.bits == 12 for memory in mapping.memories)
    assert sum(memory.instances for memory in mapping.memories) == 2
    assert 24 * 4.522 < mapping.memory_area <= mapping.area + 1e-6
    assert mapping.memories[0] == Memory(mapping.memories[0].module, 1 if flatten else 2, 4, 3,
                                         pytest.approx(mapping.memory_area / 2))


@pytest.mark.parametrize("flatten", [True, False])
def test_a_memory_stays_outside(tmp_path, default, flatten):
    whole = synthesised(tmp_path, TWO_MEMORIES, "two", default, flatten=flatten)
    mapping = synthesised(tmp_path, TWO_MEMORIES, "two", default, flatten=flatten,
                          outside=r"\w+\.rows")
    rows, others = (next(memory for memory in mapping.memories if name in memory.module)
                    for name in ("rows", "others"))
    assert (rows.bits, rows.area, rows.outside) == (12, 0, True)
    assert (others.bits, others.outside) == (6, False)
    assert sum(memory.area for memory in mapping.memories) == mapping.memory_area > 6 * 4.522
    # The memory alone is missing, but for what is shared with its decoder.
    left_out = whole.memory_area - mapping.memory_area
    assert left_out > 12 * 4.522
    assert mapping.area == pytest.approx(whole.area - left_out, abs=2 * 0.798)
    assert [block.module for block in mapping.blocks] == ["two", others.module]
    # The address leaves, and what is read enters.
    (outside,) = mapping.netlist.outside
    ports = [(direction, len(bits)) for direction, bits in outside.ports.values()]
    assert sorted(ports).count(("output", 3)) == 1
    kinds = analyse(mapping.netlist).paths
    assert kinds["register", "output"].endpoint.startswith(f"{outside.name}.")
    assert kinds["input", "register"].steps[0].pin.startswith(f"{outside.name}.")
    assert f"module {rows.module}(" in simulation_model(mapping)


def test_a_memory_outside_must_exist(tmp_path, default):
    with pytest.raises(NetlistError, match=r"^Module two must have a memory two\.row$"):
        synthesised(tmp_path, TWO_MEMORIES, "two", default, outside="two.row")


def test_delay_makes_cells_larger(tmp_path, default):
    small = synthesised(tmp_path, PRODUCT, "product", default)
    fast = synthesised(tmp_path, PRODUCT, "product", default, delay=0.1)
    assert fast.area > small.area
    assert analyse(fast.netlist).period < analyse(small.netlist).period


def test_bad_source(tmp_path, default):
    with pytest.raises(yosys.YosysError, match="syntax error"):
        synthesised(tmp_path, "module demo (", "demo", default)


SELECT = """
module demo_select_4 (input [2:0] lines, input [3:0] a, b, c, output [3:0] y);
  assign y = ~(a & {4{lines[0]}} | b & {4{lines[1]}} | c & {4{lines[2]}});
endmodule
module demo (input [2:0] lines, input [3:0] a, b, c, output [3:0] y);
  demo_select_4 select (lines, a, b, c, y);
endmodule
"""


def test_selects_become_and_or_invert_cells(tmp_path, default):
    mapping = synthesised(tmp_path, SELECT, "demo", default)
    assert mapping.cells == {"AOI222_X1": 4}
    prove(tmp_path, mapping)


def test_a_library_without_such_a_cell_selects_too(tmp_path, mini):
    assert mini.and_or_invert is None
    prove(tmp_path, synthesised(tmp_path, SELECT, "demo", mini))
