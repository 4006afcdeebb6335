"""FuseSoC core file of a unit."""

from golden.parameters import ArrayParameters
from golden.registers import VERSION
from golden.sets import Parameters
from scripts.units import unit_module

__all__ = ["core"]

_CORE = """\
CAPI=2:

# Written by mixpe; do not edit.
# Try it: fusesoc --cores-root . run --target sim {module}

name: "mixpe::{module}:{version}"
description: "{unit} of the parameter set {name}: AXI4-Stream {data}, AXI4-Lite registers"

filesets:
  rtl:
    files:
      - {module}.v
    file_type: verilogSource-2005
  testbench:
    files:
      - {module}_tb.sv
    file_type: systemVerilogSource

targets:
  default:
    filesets: [rtl]
    toplevel: {module}

  lint:
    description: "Every rule of Verilator"
    flow: lint
    flow_options:
      tool: verilator
      verilator_options: [-Wall]
    filesets: [rtl]
    toplevel: {module}

  sim:
    description: "{work}, compared with mixpe's numpy specification, in Verilator 5"
    flow: sim
    flow_options:
      tool: verilator
      mode: binary
    filesets: [rtl, testbench]
    toplevel: {module}_tb
"""

_ICARUS = """\

  icarus:
    description: "The same in Icarus Verilog"
    flow: sim
    flow_options:
      tool: icarus
      iverilog_options: [-g2012]
    filesets: [rtl, testbench]
    toplevel: {module}_tb
"""


_SOFTMAX = {"unit": "Softmax unit", "data": "rows", "work": "Rows of logits"}

#: What the descriptions call each unit.
_UNITS = {
    "array":  {"unit": "GEMM engine", "data": "operands", "work": "One GEMM"},
    "softmax": _SOFTMAX, "exact_softmax": _SOFTMAX,
    "values": {"unit": "Unit for codes times V", "data": "operands", "work": "One product"},
}


def core(parameters: Parameters) -> str:
    """Core file (CAPI2) of the unit of a set; its version is that of the registers.

    Simulators of four values do without sets with ``mac`` shift: there 0, shifted by a weight that
    is not yet known, is not known.
    """
    shift = isinstance(parameters, ArrayParameters) and parameters.mac == "shift"
    text = _CORE if shift else _CORE + _ICARUS
    return text.format(module=unit_module(parameters), name=parameters.name,
                       version=".".join(map(str, VERSION)), **_UNITS[parameters.unit])
