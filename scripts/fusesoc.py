"""FuseSoC core file of an engine."""

from golden.parameters import ArrayParameters
from golden.registers import VERSION

__all__ = ["core"]

_CORE = """\
CAPI=2:

# Written by mixpe; do not edit.
# Try it: fusesoc --cores-root . run --target sim {module}

name: "mixpe::{module}:{version}"
description: "GEMM engine of the parameter set {name}: AXI4-Stream operands, AXI4-Lite registers"

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
    description: "One GEMM, compared with mixpe's numpy specification, in Verilator 5"
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


def core(parameters: ArrayParameters) -> str:
    """Core file (CAPI2) of ``mixpe_<set>_gemm``; its version is that of the registers.

    Simulators of four values do without sets with ``mac`` shift: there 0, shifted by a weight that
    is not yet known, is not known.
    """
    text = _CORE if parameters.mac == "shift" else _CORE + _ICARUS
    return text.format(module=f"mixpe_{parameters.name}_gemm", name=parameters.name,
                       version=".".join(map(str, VERSION)))
