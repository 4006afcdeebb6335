"""Self-checking testbench of an engine in SystemVerilog, for simulators without Python."""

from importlib.metadata import version

import numpy as np

from golden.gemm import gemm
from golden.mixed import MixedWeights
from golden.parameters import ArrayParameters
from golden.registers import gemm_registers
from golden.stream import EngineStreams, column_passes, pack
from tb.random_layer import random_layer

__all__ = ["testbench"]

_TESTBENCH = """\
// {module}_tb: written by mixpe {mixpe}
// Resets {module}, reads what it is, and runs one GEMM of M = {m}, K = {k}, N = {n}.
// Operands and expected outputs are those of mixpe's numpy specification. Ends with status 0 and
// "PASS", or with $fatal and what is wrong.

`timescale 1ns / 1ps

module {module}_tb;
  reg aclk = 1'b0;
  reg aresetn = 1'b0;
  always #5 aclk = ~aclk;

{operands}
  // Outputs, compared as far as TKEEP says that they are there
  localparam Y_WORDS = {y_words};
  wire [{y_high}:0] y_tdata;
  wire [{keep_high}:0] y_tkeep;
  wire y_tvalid, y_tlast;
  reg [{y_high}:0] y_expected [0:Y_WORDS - 1];
  reg [{keep_high}:0] y_keep [0:Y_WORDS - 1];
  integer y_next = 0;
  initial begin
{expected}
  end
  function [{y_high}:0] kept(input [{y_high}:0] word, input [{keep_high}:0] keep);
    integer place;
    for (place = 0; place <= {keep_high}; place = place + 1)
      kept[8 * place +: 8] = keep[place] ? word[8 * place +: 8] : 8'd0;
  endfunction
  always @(posedge aclk) if (aresetn && y_tvalid) begin
    if (y_next == Y_WORDS)
      $fatal(1, "an output after the last");
    if (y_tkeep !== y_keep[y_next])
      $fatal(1, "output %0d has TKEEP %b, not %b", y_next, y_tkeep, y_keep[y_next]);
    if (kept(y_tdata, y_tkeep) !== y_expected[y_next])
      $fatal(1, "output %0d is %h, not %h", y_next, kept(y_tdata, y_tkeep), y_expected[y_next]);
    if (y_tlast !== (y_next == Y_WORDS - 1))
      $fatal(1, "output %0d has TLAST %b", y_next, y_tlast);
    y_next <= y_next + 1;
  end

  // Registers
  reg [11:0] awaddr, araddr;
  reg [31:0] wdata;
  reg awvalid = 1'b0, wvalid = 1'b0, arvalid = 1'b0;
  wire awready, wready, bvalid, arready, rvalid;
  wire [1:0] bresp, rresp;
  wire [31:0] rdata;
  wire interrupt;
  reg [31:0] word;

  task write(input [11:0] address, input [31:0] value);
    begin
      awaddr <= address;
      wdata <= value;
      awvalid <= 1'b1;
      wvalid <= 1'b1;
      @(posedge aclk);
      while (awvalid || wvalid) begin
        @(negedge aclk);
        if (awready) awvalid = 1'b0;
        if (wready) wvalid = 1'b0;
      end
    end
  endtask
"""
