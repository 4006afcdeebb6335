"""Self-checking testbench of a unit in SystemVerilog, for simulators without Python."""

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from golden.exact_softmax import exact_softmax
from golden.exaq import constants
from golden.gemm import gemm
from golden.mixed import MixedWeights
from golden.parameters import ArrayParameters
from golden.quantise import GroupedWeights
from golden.registers import Register, unit_registers
from golden.sets import Parameters
from golden.softmax import softmax
from golden.softmax_parameters import BaselineParameters, SoftmaxParameters
from golden.stream import EngineStreams, column_passes, pack
from golden.values_parameters import ValuesParameters
from hdl.engine import channel_widths
from scripts.units import unit_module
from tb.random_layer import as_aligned, random_operands
from tb.values_driver import any_exponents, any_job

__all__ = ["verilog_testbench"]

_TESTBENCH = """\
// {module}_tb: written by mixpe {mixpe}
// Resets the unit, reads what it is, and runs {work}. Inputs and
// outputs are those of mixpe's numpy specification. Ends with "PASS", or with what is wrong as
// $fatal, which makes the exit status of most simulators other than 0.

module {module}_tb;
  reg aclk = 1'b0;
  reg aresetn = 1'b0;
  reg running = 1'b0;
  always #5 aclk = ~aclk;
{inputs}
  // Stream y, compared as far as TKEEP says that it is there
{y_memories}
  integer y_next = 0;
{y_wires}
  wire y_tvalid;
  initial begin
{y_values}
  end
  reg [{y_high}:0] y_mask;
  integer place;
  always @*
    for (place = 0; place <= {keep_high}; place = place + 1)
      y_mask[8 * place +: 8] = {{8{{y_tkeep[place]}}}};
  always @(posedge aclk) if (aresetn && y_tvalid) begin
    if (y_next == {y_words})
      $fatal(1, "an output after the last");
{y_checks}
    if ((y_tdata & y_mask) !== y_tdata_expected[y_next])
      $fatal(1, "output %0d is %h, not %h", y_next, y_tdata & y_mask, y_tdata_expected[y_next]);
    y_next <= y_next + 1;
  end
  initial #(10 * {cycles})
    $fatal(1, "no end after {cycles} cycles, with %0d of {y_words} outputs", y_next);

  // Registers
  reg [11:0] awaddr, araddr;
  reg [31:0] wdata;
  reg awvalid = 1'b0, wvalid = 1'b0, bready = 1'b0, arvalid = 1'b0, rready = 1'b0;
  wire awready, wready, bvalid, arready, rvalid;
  wire [1:0] bresp, rresp;
  wire [31:0] rdata;

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

{own}  {module} unit (
    .aclk(aclk), .aresetn(aresetn),
{connections}
    .m_axis_y_tvalid(y_tvalid), .m_axis_y_tready(1'b1),
    .s_axil_awaddr(awaddr), .s_axil_awprot(3'd0), .s_axil_awvalid(awvalid),
    .s_axil_awready(awready), .s_axil_wdata(wdata), .s_axil_wstrb(4'hf), .s_axil_wvalid(wvalid),
    .s_axil_wready(wready), .s_axil_bresp(bresp), .s_axil_bvalid(bvalid), .s_axil_bready(bready),
    .s_axil_araddr(araddr), .s_axil_arprot(3'd0), .s_axil_arvalid(arvalid),
    .s_axil_arready(arready), .s_axil_rdata(rdata), .s_axil_rresp(rresp), .s_axil_rvalid(rvalid),
    .s_axil_rready(rready)
  );

  initial begin
    repeat (4) @(negedge aclk);
    aresetn = 1'b1;
    @(negedge aclk);
{before}
    running = 1'b1;
    while ({waiting}) @(negedge aclk);
    repeat (64) @(negedge aclk);
    if (y_next != {y_words})
      $fatal(1, "%0d outputs, not %0d", y_next, {y_words});
{after}
    $display("PASS");
    $finish;
  end
endmodule
"""

_INPUT = """
  // Stream {name}
{memories}
  integer {name}_next = 0;
  wire {name}_tready;
  initial begin
{values}
  end
  always @(posedge aclk)
    if (running && {name}_next < {items} && {name}_tready) {name}_next <= {name}_next + 1;
"""

_CHECK = """\
    if (y_{signal} !== y_{signal}_expected[y_next])
      $fatal(1, "output %0d has {label} %b, not %b", y_next, y_{signal},
             y_{signal}_expected[y_next]);"""

#: The wire of a port that not every unit has.
_INTERRUPT = "  wire interrupt;\n\n"


@dataclass(frozen=True)
class _Stream:
    """Words of each signal of a stream, and the signals' widths.

    Parameters
    ----------
    name : str
        Name of the stream.
    signals : dict of (int, list of int)
        Width and words by the name of the signal, ``tdata`` the first.
    """

    name: str
    signals: dict[str, tuple[int, list[int]]]

    @property
    def items(self) -> int:
        """Transfers."""
        return len(self.signals["tdata"][1])

    def memories(self, suffix: str) -> str:
        """Declarations of what holds the words."""
        return "\n".join(f"  reg [{bits - 1}:0] {self.name}_{signal}_{suffix} [0:{self.items} - 1];"
                         for signal, (bits, _) in self.signals.items())

    def values(self, suffix: str) -> str:
        """Assignments of the words."""
        return "\n".join(f"    {self.name}_{signal}_{suffix}[{index}] = {bits}'h{word:x};"
                         for signal, (bits, words) in self.signals.items()
                         for index, word in enumerate(words))


@dataclass(frozen=True)
class _Work:
    """What a testbench runs.

    Parameters
    ----------
    text : str
        For the head of the file.
    inputs : list of _Stream
    output : _Stream
        Stream ``y``.
    identity : tuple of str
        Registers that read their constants.
    writes, reads : dict of int
        Words that registers are written before, and that they read behind it.
    """

    text: str
    inputs: list[_Stream]
    output: _Stream
    identity: tuple[str, ...]
    writes: dict[str, int]
    reads: dict[str, int]


def verilog_testbench(parameters: Parameters) -> str:
    """Text of a module ``mixpe_<set>_<unit>_tb``, which needs that of the unit and nothing else."""
    work = {"array": _gemm, "values": _values}.get(parameters.unit, _softmax)(parameters)
    interrupt = "IRQ_ENABLE" in work.writes
    y, registers = work.output, {each.name: each for each in unit_registers(parameters).registers}
    connections = [
        *[".interrupt(interrupt),"] * interrupt,
        *(connection for stream in work.inputs for connection in _connections(stream)),
        *(f".m_axis_y_{signal}(y_{signal})," for signal in y.signals),
    ]
    cycles = 1000 + 10 * len(work.writes) + y.items + sum(each.items for each in work.inputs)
    bits = y.signals["tdata"][0]
    return _TESTBENCH.format(
        module=unit_module(parameters), mixpe=version("mixpe"), work=work.text,
        cycles=10 * (cycles + work.reads.get("BUSY", 0)),
        inputs="".join(_INPUT.format(name=each.name, items=each.items,
                                     memories=each.memories("items"), values=each.values("items"))
                       for each in work.inputs),
        y_memories=y.memories("expected"), y_values=y.values("expected"), y_words=y.items,
        y_wires="\n".join(f"  wire [{bits - 1}:0] y_{signal};"
                          for signal, (bits, _) in y.signals.items()),
        y_high=bits - 1, keep_high=bits // 8 - 1,
        y_checks="\n".join(_CHECK.format(signal=signal, label=signal.upper())
                           for signal in y.signals if signal != "tdata"),
        own=_INTERRUPT * interrupt,
        connections="\n".join(f"    {connection}" for connection in connections),
        before="\n".join([*(_call("expect", registers[name], registers[name].reset)
                            for name in work.identity),
                          *(_call("write", registers[name], value)
                            for name, value in work.writes.items())]),
        waiting="!interrupt" if interrupt else f"y_next < {y.items}",
        after="\n".join(_call("expect", registers[name], value)
                        for name, value in work.reads.items()))


def _connections(stream: _Stream) -> list[str]:
    """Ports of an input stream."""
    name = stream.name
    return [*(f".s_axis_{name}_{signal}({name}_{signal}_items[{name}_next]),"
              for signal in stream.signals),
            f".s_axis_{name}_tvalid(running && {name}_next < {stream.items}),",
            f".s_axis_{name}_tready({name}_tready),"]


def _call(verb: str, register: Register, value: int) -> str:
    return (f"    {verb}_register(12'h{register.offset:03x}, 32'h{value:x});  "
            f"// {register.name}")


def _last(count: int) -> tuple[int, list[int]]:
    """TLAST of a packet."""
    return 1, [0] * (count - 1) + [1]


# The engine


def _gemm(parameters: ArrayParameters) -> _Work:
    """One GEMM.

    It has a part of a block of rows, two groups if the buffers hold these, the last of one weight,
    and two passes over the columns or more.
    """
    p = parameters
    rng = np.random.default_rng(1)
    two_groups = p.x_depth >= 2 * p.least_beats
    m, k, n = min(3, p.rows), p.least_group + two_groups, p.columns + 1
    wide = n // 2 if p.wide else 0
    x, weights = random_operands(rng, p, m, k, n, group=p.least_group, wide=wide)
    layer = EngineStreams(x, weights, p)
    outputs = gemm(as_aligned(p, x, weights.group), weights, y=p.y)
    words, keep = _features(outputs, weights, p)
    bits, items = p.y_format.bits * p.y_lanes, layer.payloads
    return _Work(
        text=f"one GEMM of M = {m}, K = {k}, N = {n}",
        inputs=[_Stream(name, {"tdata": (-(-width // 8) * 8, items[name]),
                               "tlast": _last(len(items[name]))})
                for name, width in channel_widths(p).items()],
        output=_Stream("y", {"tdata": (bits, words), "tkeep": (bits // 8, keep),
                             "tlast": _last(len(words))}),
        identity=("ID", "VERSION", "CONFIG", "ARRAY", "GROUPS"),
        writes={"M": m, "K": k, "N": n, "WIDE": wide, "GROUP": p.least_group, "IRQ_ENABLE": 1,
                "CONTROL": 1},
        reads={"ERROR": 0, "DONE": 1, "BUSY": layer.beats, "WORDS_X": len(items["x"]),
               "WORDS_W": len(items["w"]), "WORDS_Y": len(words)})


def _features(codes: NDArray[np.int64], weights: GroupedWeights | MixedWeights,
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


# The softmax units


def _softmax(parameters: SoftmaxParameters | BaselineParameters) -> _Work:
    """Rows of lengths about the width, with some elements masked, with all, and with a NaN.

    Each takes the next set of constants, if there are any.
    """
    p = parameters
    rng = np.random.default_rng(1)
    exaq = isinstance(p, SoftmaxParameters)
    sets = [constants(float(lo), p) for lo in np.linspace(-3, -9, p.sets)] if exaq else []
    lengths = [min(n, p.max_length) for n in (1, p.width, p.width + 1, 3 * p.width - 1, 2, 3)]
    x = _Stream("x", {"tdata": (p.x_format.bits * p.width, []),
                      "tkeep": (p.x_format.bits // 8 * p.width, []),
                      "tuser": (p.width + (p.sets - 1).bit_length(), []), "tlast": (1, [])})
    y = _Stream("y", {"tdata": (p.y_format.bits * p.width, []),
                      "tkeep": (p.y_format.bits // 8 * p.width, []), "tuser": (2, []),
                      "tlast": (1, [])})
    for index, n in enumerate(lengths):
        row, mask = p.x_format.encode(4 * rng.normal(size=n)), rng.random(n) < 0.2
        mask[0] = False
        if index == len(lengths) - 2:
            mask[:] = True
        elif index == len(lengths) - 1:
            row[0] = p.x_format.nan
        chosen = index % p.sets
        result = (softmax(row[None], mask[None], sets[chosen], p) if exaq
                  else exact_softmax(row[None], mask[None], p))
        flags = int(result.all_masked[0]) | int(result.invalid[0]) << 1
        _add_row(x, row, p.x_format.bits, p.width,
                 [sum(1 << lane for lane in np.flatnonzero(part)) | chosen << p.width
                  for part in _parts(mask, p.width)])
        _add_row(y, result.probabilities[0], p.y_format.bits, p.width,
                 [flags] * p.row_cycles(n))
    writes = {name: value for chosen, each in enumerate(sets) for name, value in [
        *((f"THRESHOLD_{chosen}_{k}", value) for k, value in enumerate(each.thresholds, 1)),
        *((f"EXPONENT_{chosen}_{k}", value) for k, value in enumerate(each.exponents))]}
    return _Work(
        text=f"{len(lengths)} rows of {', '.join(map(str, lengths))} logits",
        inputs=[x], output=y, identity=("ID", "VERSION", "CONFIG", "UNIT", "LENGTH"),
        writes=writes,
        reads={"STATUS": 0, "ERROR": 0b1100, "ROWS": len(lengths), "WORDS_X": x.items,
               "WORDS_Y": y.items})


def _parts(row: NDArray, width: int) -> list[NDArray]:
    """Elements of each word of a row."""
    return [row[start:start + width] for start in range(0, len(row), width)]


def _add_row(stream: _Stream, codes: NDArray[np.int64], bits: int, width: int,
             user: list[int]) -> None:
    """Append the words of a row to a stream."""
    words = _parts(codes, width)
    added = {"tdata": [pack(part[None], bits)[0] for part in words],
             "tkeep": [(1 << part.size * bits // 8) - 1 for part in words],
             "tuser": user, "tlast": _last(len(words))[1]}
    for signal, values in added.items():
        stream.signals[signal][1].extend(values)


# The unit for codes times V


def _values(parameters: ValuesParameters) -> _Work:
    """One product, with a query and a column more than a block of each has."""
    p = parameters
    rng = np.random.default_rng(1)
    m, n, d = p.queries + 1, min(2 * p.tokens + 1, p.max_length), p.columns + 1
    exponents, job = any_exponents(rng, p), any_job(rng, p, m, n, d)
    codes = _Stream("codes", {"tdata": (p.code_bits * p.width, []),
                              "tkeep": (p.code_bits // 8 * p.width, []), "tuser": (2, []),
                              "tlast": (1, [])})
    for row, invalid in zip(job.rows, job.invalid, strict=True):
        _add_row(codes, row, p.code_bits, p.width, [int(invalid) << 1] * p.row_cycles(len(row)))
    inputs = [codes]
    for name, items, bits in (("v", job.v_items(p, rng), 8 * p.tokens * p.columns),
                              ("s", job.s_items(p, rng), 32 * p.columns)):
        inputs.append(_Stream(name, {"tdata": (bits, [item & (1 << bits) - 1 for item in items]),
                                     "tlast": _last(len(items))}))
    results, bits = job.results(p, exponents), p.y_format.bits * p.columns
    keep = [word >> bits & (1 << p.columns) - 1 for word in results]
    size = p.y_format.bits // 8
    y = _Stream("y", {
        "tdata": (bits, [word & (1 << bits) - 1 for word in results]),
        "tkeep": (bits // 8, [(1 << each.bit_count() * size) - 1 for each in keep]),
        "tlast": _last(len(results))})
    writes = {f"EXPONENT_{chosen}_{k}": value for chosen, each in enumerate(exponents)
              for k, value in enumerate(each)}
    return _Work(
        text=f"{m} rows of up to {n} codes times V of {d} columns",
        inputs=inputs, output=y, identity=("ID", "VERSION", "CONFIG", "UNIT", "LENGTH"),
        writes=writes | {"QUERIES": m, "TOKENS": n, "COLUMNS": d, "SET": job.chosen,
                         "IRQ_ENABLE": 1, "CONTROL": 1},
        reads={"STATUS": 0, "ERROR": 0, "DONE": 1, "BEATS": inputs[1].items,
               "WORDS_CODES": codes.items, "WORDS_V": inputs[1].items, "WORDS_Y": y.items})
