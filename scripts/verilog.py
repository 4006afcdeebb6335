"""``mixpe verilog``: an array and its engine as Verilog, and what belongs to them."""

from pathlib import Path

from golden.parameters import ArrayParameters
from hdl.array import Array
from hdl.export import files, write
from hdl.gemm import Gemm
from scripts.fusesoc import core
from scripts.registers import forms
from scripts.testbench import verilog_testbench

__all__ = ["main"]


def main(parameters: ArrayParameters, output: Path) -> list[Path]:
    """Write all files or none, and return their paths.

    ``mixpe_<set>.{json,v}`` is the array. ``mixpe_<set>_gemm.{json,v}`` is the engine, with its
    registers in ``.md``, ``.h`` and ``.rdl``, a testbench ``_tb.sv`` and a FuseSoC ``.core``.
    """
    module = f"mixpe_{parameters.name}_gemm"
    registers = forms(parameters)
    return write({**files(Array(parameters)), **files(Gemm(parameters)), **registers,
                  f"{module}_tb.sv": verilog_testbench(parameters),
                  f"{module}.core": core(parameters)}, output)
