"""Self-checking testbench of an engine in SystemVerilog, for simulators without Python."""

from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from golden.gemm import gemm
from golden.mixed import MixedWeights
from golden.parameters import ArrayParameters
from golden.quantise import GroupedWeights
from golden.registers import Register, gemm_registers
from golden.stream import EngineStreams, column_passes, pack
from hdl.engine import channel_widths
from tb.random_layer import as_aligned, random_operands

__all__ = ["verilog_testbench"]

_TESTBENCH = """\
// {module}_tb: written by mixpe {mixpe}
// Resets the engine, reads what it is, and runs one GEMM of M = {m}, K = {k}, N = {n}. Operands and
// outputs are those of mixpe's numpy specification. Ends with "PASS", or with what is wrong as
// $fatal, which makes the exit status of most simulators other than 0.

module {module}_tb;
  reg aclk = 1'b0;
  reg aresetn = 1'b0;
  always #5 aclk = ~aclk;
  initial #(10 * {cycles}) $fatal(1, "no end after {cycles} cycles");
{operands}
  // Outputs, compared as far as TKEEP says that they are there
  reg [{y_high}:0] y_expected [0:{y_words} - 1];
  reg [{keep_high}:0] y_keep [0:{y_words} - 1];
  integer y_next = 0;
  wire [{y_high}:0] y_tdata;
  wire [{keep_high}:0] y_tkeep;
  wire y_tvalid, y_tlast;
  initial begin
{expected}
  end
  reg [{y_high}:0] y_mask;
  integer place;
  always @*
    for (place = 0; place <= {keep_high}; place = place + 1)
      y_mask[8 * place +: 8] = {{8{{y_tkeep[place]}}}};
  always @(posedge aclk) if (aresetn && y_tvalid) begin
    if (y_next == {y_words})
      $fatal(1, "an output after the last");
    if (y_tkeep !== y_keep[y_next])
      $fatal(1, "output %0d has TKEEP %b, not %b", y_next, y_tkeep, y_keep[y_next]);
    if ((y_tdata & y_mask) !== y_expected[y_next])
      $fatal(1, "output %0d is %h, not %h", y_next, y_tdata & y_mask, y_expected[y_next]);
    if (y_tlast !== (y_next == {y_words} - 1))
      $fatal(1, "output %0d has TLAST %b", y_next, y_tlast);
    y_next <= y_next + 1;
  end

  // Registers
  reg [11:0] awaddr, araddr;
  reg [31:0] wdata;
  reg awvalid = 1'b0, wvalid = 1'b0, bready = 1'b0, arvalid = 1'b0, rready = 1'b0;
  wire awready, wready, bvalid, arready, rvalid;
  wire [1:0] bresp, rresp;
  wire [31:0] rdata;
  wire interrupt;

  // Driven at falling edges; what is ready or valid there holds until the rising edge
  reg aw_taken, w_taken;

  task write_register(input [11:0] address, input [31:0] value);
    begin
      awaddr = address;
      wdata = value;
      awvalid = 1'b1;
      wvalid = 1'b1;
      while (awvalid || wvalid) begin
        aw_taken = awready;
        w_taken = wready;
        @(negedge aclk);
        if (aw_taken) awvalid = 1'b0;
        if (w_taken) wvalid = 1'b0;
      end
      bready = 1'b1;
      while (!bvalid) @(negedge aclk);
      if (bresp !== 2'b00)
        $fatal(1, "writing 0x%h gives response %b", address, bresp);
      @(negedge aclk);
      bready = 1'b0;
    end
  endtask

  task expect_register(input [11:0] address, input [31:0] value);
    begin
      araddr = address;
      arvalid = 1'b1;
      while (!arready) @(negedge aclk);
      @(negedge aclk);
      arvalid = 1'b0;
      rready = 1'b1;
      while (!rvalid) @(negedge aclk);
      if (rresp !== 2'b00 || rdata !== value)
        $fatal(1, "register 0x%h reads 0x%h with response %b, not 0x%h", address, rdata, rresp,
               value);
      @(negedge aclk);
      rready = 1'b0;
    end
  endtask

  {module} engine (
    .aclk(aclk), .aresetn(aresetn),
{connections}
    .m_axis_y_tdata(y_tdata), .m_axis_y_tkeep(y_tkeep), .m_axis_y_tvalid(y_tvalid),
    .m_axis_y_tready(1'b1), .m_axis_y_tlast(y_tlast),
    .s_axil_awaddr(awaddr), .s_axil_awprot(3'd0), .s_axil_awvalid(awvalid),
    .s_axil_awready(awready), .s_axil_wdata(wdata), .s_axil_wstrb(4'hf), .s_axil_wvalid(wvalid),
    .s_axil_wready(wready), .s_axil_bresp(bresp), .s_axil_bvalid(bvalid), .s_axil_bready(bready),
    .s_axil_araddr(araddr), .s_axil_arprot(3'd0), .s_axil_arvalid(arvalid),
    .s_axil_arready(arready), .s_axil_rdata(rdata), .s_axil_rresp(rresp), .s_axil_rvalid(rvalid),
    .s_axil_rready(rready), .interrupt(interrupt)
  );

  initial begin
    repeat (4) @(negedge aclk);
    aresetn = 1'b1;
    @(negedge aclk);
{before}
    while (!interrupt) @(negedge aclk);
    if (y_next != {y_words})
      $fatal(1, "%0d outputs, not %0d", y_next, {y_words});
{after}
    $display("PASS");
    $finish;
  end
endmodule
"""

_OPERAND = """
  // Stream {name}
  reg [{high}:0] {name}_items [0:{items} - 1];
  integer {name}_next = 0;
  wire {name}_tready;
  initial begin
{values}
  end
  always @(posedge aclk)
    if (aresetn && {name}_next < {items} && {name}_tready) {name}_next <= {name}_next + 1;
"""

_CONNECTIONS = """\
    .s_axis_{name}_tdata({name}_items[{name}_next]), .s_axis_{name}_tvalid({name}_next < {items}),
    .s_axis_{name}_tready({name}_tready), .s_axis_{name}_tlast({name}_next == {items} - 1),"""


def verilog_testbench(parameters: ArrayParameters) -> str:
    """Text of a module ``mixpe_<set>_gemm_tb``, which needs that of the engine and nothing else.

    The GEMM has a part of a block of rows, two groups if the buffers hold these, the last of one
    weight, and two passes over the columns or more.
    """
    p = parameters
    rng = np.random.default_rng(1)
    two_groups = p.x_depth >= 2 * p.least_beats
    m, k, n = min(3, p.rows), p.least_group + two_groups, p.columns + 1
    wide = n // 2 if p.wide else 0
    x, weights = random_operands(rng, p, m, k, n, group=p.least_group, wide=wide)
    layer = EngineStreams(x, weights, p)
    outputs = gemm(as_aligned(p, x, weights.group), weights, y=p.y)
    expected, keep = _outputs(outputs, weights, p)

    module, bits = f"mixpe_{p.name}_gemm", p.y_format.bits * p.y_lanes
    registers = {each.name: each for each in gemm_registers(p).registers}
    commands = {"M": m, "K": k, "N": n, "WIDE": wide, "GROUP": p.least_group, "IRQ_ENABLE": 1,
                "CONTROL": 1}
    counts = {"ERROR": 0, "DONE": 1, "BUSY": layer.beats, "WORDS_X": len(layer.payloads["x"]),
              "WORDS_W": len(layer.payloads["w"]), "WORDS_Y": len(expected)}
    cycles = 1000 + layer.beats + len(expected) + sum(map(len, layer.payloads.values()))
    streams = [{"name": name, "items": len(layer.payloads[name]), "high": -(-width // 8) * 8 - 1}
               for name, width in channel_widths(p).items()]
    return _TESTBENCH.format(
        module=module, mixpe=version("mixpe"), m=m, k=k, n=n, cycles=10 * cycles,
        operands="".join(
            _OPERAND.format(values=_assignments(f"{each['name']}_items", each["high"] + 1,
                                                layer.payloads[each["name"]]), **each)
            for each in streams),
        connections="\n".join(_CONNECTIONS.format(**each) for each in streams),
        y_high=bits - 1, keep_high=bits // 8 - 1, y_words=len(expected),
        expected="\n".join([_assignments("y_expected", bits, expected),
                            _assignments("y_keep", bits // 8, keep)]),
        before="\n".join([
            *(_call("expect", registers[name], registers[name].reset)
              for name in ("ID", "VERSION", "CONFIG", "ARRAY", "GROUPS")),
            *(_call("write", registers[name], value) for name, value in commands.items())]),
        after="\n".join(_call("expect", registers[name], value) for name, value in counts.items()))


def _outputs(codes: NDArray[np.int64], weights: GroupedWeights | MixedWeights,
             p: ArrayParameters) -> tuple[list[int], list[int]]:
    """Words of stream ``y``, zeros where nothing is kept, and their TKEEP."""
    words, keep = [], []
    for each in column_passes(weights, p):
        for row in codes[:, each.features]:
            for start in range(0, len(row), p.y_lanes):
                part = row[None, start:start + p.y_lanes]
                words += pack(part, p.y_format.bits)
                keep.append((1 << part.size * p.y_format.bits // 8) - 1)
    return words, keep


def _assignments(memory: str, bits: int, words: list[int]) -> str:
    return "\n".join(f"    {memory}[{index}] = {bits}'h{word:x};"
                     for index, word in enumerate(words))


def _call(verb: str, register: Register, value: int) -> str:
    return (f"    {verb}_register(12'h{register.offset:03x}, 32'h{value:x});  "
            f"// {register.name}")
