"""``mixpe verilog``: a set's hardware as Verilog, and what belongs to it."""

from pathlib import Path

from golden.parameters import ArrayParameters
from golden.sets import Parameters
from hdl.array import Array
from hdl.export import files
from hdl.files import write
from scripts.fusesoc import core
from scripts.registers import forms
from scripts.testbench import verilog_testbench
from scripts.units import unit, unit_module

__all__ = ["main"]


def main(parameters: Parameters, output: Path) -> list[Path]:
    """Write all files or none, and return their paths.

    Of an array these are ``mixpe_<set>.{json,v}``, the array itself, and the engine
    ``mixpe_<set>_gemm``; of another set the unit, ``mixpe_<set>_softmax`` or
    ``mixpe_<set>_values``. Engine and unit are ``.json`` and ``.v``, with their registers in
    ``.md``, ``.h`` and ``.rdl``, a testbench ``_tb.sv`` and a FuseSoC ``.core``.
    """
    module = unit_module(parameters)
    blocks = files(unit(parameters))
    if isinstance(parameters, ArrayParameters):
        blocks = files(Array(parameters)) | blocks
    return write({**blocks, **forms(parameters), f"{module}_tb.sv": verilog_testbench(parameters),
                  f"{module}.core": core(parameters)}, output)
