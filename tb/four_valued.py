"""Simulation of Verilog with unknown values, by Yosys, on inputs that were recorded."""

import json
import re
import tempfile
from pathlib import Path

from hdl import yosys

__all__ = ["replay"]

#: Registers and memories begin unknown; whatever depends on that is unknown too.
_SCRIPT = """
read_verilog design.v
prep -top {top}
sim -q -r inputs.yw -vcd outputs.vcd {top}
"""

_CYCLE = 10


def replay(source: str, top: str, clock: str, inputs: dict[str, int],
           rows: list[list[int]]) -> list[dict[str, str]]:
    """Bits of every signal of the module in every cycle, the highest first, unknown ones ``x``.

    Parameters
    ----------
    source : str
        Verilog without initial values.
    top : str
        Module to simulate.
    clock : str
        Its clock, whose rising edges end the cycles.
    inputs : dict of str to int
        Width of each other input.
    rows : list of list of int
        Values of the inputs in each cycle.
    """
    widths = list(inputs.values())
    witness = {
        "format": "Yosys Witness Trace", "generator": "mixpe",
        "clocks": [{"path": [f"\\{clock}"], "offset": 0, "edge": "posedge"}],
        "signals": [{"path": [f"\\{name}"], "offset": 0, "width": width, "init_only": False}
                    for name, width in inputs.items()],
        "steps": [{"bits": "".join(f"{value:0{width}b}" for value, width in
                                   reversed([*zip(row, widths, strict=True)]))} for row in rows],
    }
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "design.v").write_text(source)
        (folder / "inputs.yw").write_text(json.dumps(witness))
        yosys.run(_SCRIPT.format(top=top), directory=folder)
        return _cycles((folder / "outputs.vcd").read_text(), top)


def _cycles(vcd: str, top: str) -> list[dict[str, str]]:
    """Bits of the signals of a module at the beginning of every cycle."""
    head, _, body = vcd.partition("$enddefinitions $end\n")
    scope = re.search(rf"\$scope module {top} \$end\n(.*?)\$(?:upscope|scope)", head, re.DOTALL)[1]
    names = dict(re.findall(r"\$var \w+ \d+ (\S+) (\w+)", scope))
    now, cycles = {}, []
    for time, changes in re.findall(r"^#(\d+)\n((?:b.*\n)*)", body, re.MULTILINE):
        now |= {names[key]: bits for bits, key in re.findall(r"b(\S+) (\S+)\n", changes)
                if key in names}
        if int(time) % _CYCLE == 0:
            cycles.append(dict(now))
    return cycles[:-1]  # the last time has no cycle
