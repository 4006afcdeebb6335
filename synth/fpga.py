"""Mapping of Verilog to an FPGA with Yosys, and place and route with nextpnr."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from hdl import yosys

__all__ = ["FpgaError", "Device", "Family", "Resources", "Design", "Run", "Placement", "FAMILIES",
           "harness", "synthesise", "place", "run_of"]

#: Module around the design, and the design's instance in it.
_TOP, _INSTANCE = "harness", "design"

#: More than any design reaches, in MHz, so that nextpnr never stops trying.
_GOAL = 400

#: Share of a device's LUTs that a design may take; fuller ones do not route or take hours.
_FILL = 0.95

_SCRIPT = """
read_verilog "{verilog}"
hierarchy -check -top {module}
proc
flatten
wreduce
{booth}
setattr -mod -set keep_hierarchy 1 {module}
read_verilog harness.v
{command} -top {top}
delete t:$scopeinfo
write_json hierarchy.json
setattr -mod -unset keep_hierarchy *
flatten
write_json netlist.json
"""

_HARNESS = """\
module {top} (input clk, input d, output q);
  reg [{inputs}:0] i;
  wire [{outputs}:0] o;
  reg [{outputs}:0] folded;
  always @(posedge clk) begin
    i <= {{i, d}};
    folded <= (folded << 1) ^ o;
  end
  assign q = folded[{outputs}];
  {module} {instance} (
    {pins}
  );
endmodule
"""


class FpgaError(RuntimeError):
    """A design does not fit, or a tool failed; one line says which and why."""


@dataclass(frozen=True)
class Device:
    """An FPGA.

    Parameters
    ----------
    name : str
        As nextpnr's option names it.
    luts, dsps : int
        What it has.
    package : str
        Package that nextpnr is told of.
    """

    name: str
    luts: int
    dsps: int
    package: str


@dataclass(frozen=True)
class Family:
    """FPGAs of one architecture.

    Parameters
    ----------
    name : str
        As nextpnr is called for it.
    devices : tuple of Device
        The smallest first.
    synth, with_dsps : str
        Yosys' command for designs without and with DSPs; the latter is empty without such.
    cells : dict of str to dict
        For each cell of Yosys what it counts as, by the fields of :class:`Resources`; nothing for
        one that comes with others.
    """

    name: str
    devices: tuple[Device, ...]
    synth: str
    with_dsps: str
    cells: dict[str, dict[str, int]]

    def count(self, cells: Counter) -> "Resources":
        """What mapped cells take.

        Raises
        ------
        FpgaError
            If a cell is not one of the family's.
        """
        total = Counter()
        for cell, number in cells.items():
            if cell not in self.cells:
                raise FpgaError(f"Cell of a design for {self.name} must be one of "
                                f"{', '.join(self.cells)}, not {cell}")
            for field, each in self.cells[cell].items():
                total[field] += each * number
        return Resources(**total)


@dataclass(frozen=True)
class Resources:
    """What a design takes of an FPGA.

    Parameters
    ----------
    luts : int
        LUTs of four inputs, those of carry chains and LUT RAM included.
    carries : int
        Bits of carry chains.
    flip_flops, block_rams, dsps : int
    """

    luts: int = 0
    carries: int = 0
    flip_flops: int = 0
    block_rams: int = 0
    dsps: int = 0


@dataclass(frozen=True)
class Design:
    """A design mapped to the cells of a family, inside its harness.

    Parameters
    ----------
    module : str
        Top module of the design.
    family : Family
    directory : Path
        Folder with the flat netlist of both as ``netlist.json``, and the log.
    resources : Resources
        What the design takes, without the harness.
    whole : Resources
        The same with the harness.
    """

    module: str
    family: Family
    directory: Path
    resources: Resources
    whole: Resources

    @property
    def device(self) -> Device:
        """Smallest device with room for the design and its harness.

        Raises
        ------
        FpgaError
            If there is none.
        """
        for device in self.family.devices:
            if self.whole.luts <= _FILL * device.luts and self.whole.dsps <= device.dsps:
                return device
        raise FpgaError(
            f"Design {self.module} must fit the {device.name} of {self.family.name} with "
            f"{device.luts:,} LUTs, {_FILL:.0%} of them filled, and {device.dsps} DSPs, not take "
            f"{self.whole.luts:,} and {self.whole.dsps}")


@dataclass(frozen=True)
class Run:
    """A design placed and routed once.

    Parameters
    ----------
    seed : int
        Nextpnr's.
    fmax : float
        Highest frequency, MHz.
    inside : bool
        Whether the path that limits it begins or ends at a register of the design, or else it is
        the harness that does.
    """

    seed: int
    fmax: float
    inside: bool


@dataclass(frozen=True)
class Placement:
    """A design placed and routed with some seeds.

    Parameters
    ----------
    design : Design
    runs : tuple of Run
        One for each seed.
    """

    design: Design
    runs: tuple[Run, ...]

    @property
    def fmax(self) -> float:
        """Median of the runs' frequencies, MHz."""
        return median(run.fmax for run in self.runs)


def _counted(**cells: str) -> dict[str, dict[str, int]]:
    """Table of cells from ``NAME="2 luts, 2 carries"``."""
    return {cell: {field: int(number) for number, field in re.findall(r"(\d+) (\w+)", counts)}
            for cell, counts in cells.items()}


#: Families by their names. A CCU2C is two LUTs with carries. Four LUTs are a TRELLIS_DPR16X4, whose
#: write port makes two more useless. PFUMX and L6MUX21 lie beside the LUTs that they join.
FAMILIES = {family.name: family for family in (
    Family("ecp5", tuple(Device(name, luts, dsps, "CABGA381")
                         for name, luts, dsps in (("25k", 24288, 28), ("45k", 43848, 72),
                                                  ("85k", 83640, 156))),
           "synth_ecp5 -nowidelut -nodsp", "synth_ecp5 -nowidelut",
           _counted(LUT4="1 luts", CCU2C="2 luts, 2 carries", TRELLIS_FF="1 flip_flops",
                    TRELLIS_DPR16X4="6 luts", DP16KD="1 block_rams", MULT18X18D="1 dsps",
                    PFUMX="", L6MUX21="")),
    Family("ice40", (Device("hx8k", 7680, 0, "ct256"),), "synth_ice40", "",
           _counted(SB_LUT4="1 luts", SB_CARRY="1 carries", SB_RAM40_4K="1 block_rams",
                    **{f"SB_DFF{kind}": "1 flip_flops"
                       for kind in ("", "E", "SR", "ESR", "SS", "ESS", "R", "ER", "S", "ES")})),
)}


def harness(module: str, ports: dict[str, dict], clock: str) -> str:
    """Verilog of a module that feeds any design from one pin and folds its outputs into one.

    A shift register drives all inputs, and each output is added, by exclusive or, to a bit of
    another one; so that between the harness and the design there is one LUT at most.

    Parameters
    ----------
    module : str
        Module of the design.
    ports : dict of str to dict
        ``direction`` and ``width`` of its ports.
    clock : str
        Port of the clock.
    """
    pins, widths = [f".{clock}(clk)"], Counter()
    for name, port in ports.items():
        if name != clock:
            side = port["direction"][0]
            pins.append(f".{name}({side}[{widths[side]} +: {port['width']}])")
            widths[side] += port["width"]
    return _HARNESS.format(top=_TOP, module=module, instance=_INSTANCE, inputs=widths["i"] - 1,
                           outputs=widths["o"] - 1, pins=",\n    ".join(pins))


def synthesise(verilog: Path, family: Family, directory: Path, *, dsps: bool = False) -> Design:
    """Map Verilog to the cells of a family; every design and every baseline takes the same script.

    The design is flattened, full adders included, and is mapped as a module of its own, so that
    what is around it changes nothing inside. Multiplications become DSPs or, without these, Booth
    multipliers.

    Parameters
    ----------
    verilog : Path
        Source, with the description of its ports beside it as ``.json``.
    family : Family
        What to map to.
    directory : Path
        Folder for the results; made if needed.
    dsps : bool
        Whether to use DSPs; the family must have some.

    Raises
    ------
    FpgaError
        If a cell of the netlist is not one of the family's.
    YosysError
        If the source does not synthesise; ``yosys.log`` says more.
    """
    directory.mkdir(parents=True, exist_ok=True)
    description = json.loads(verilog.with_suffix(".json").read_text())
    module = description["module"]
    (directory / "harness.v").write_text(
        harness(module, description["ports"], description["clock"]))
    yosys.run(_SCRIPT.format(verilog=verilog.resolve(), module=module, top=_TOP,
                             booth="" if dsps else "booth",
                             command=family.with_dsps if dsps else family.synth),
              directory=directory, log=directory / "yosys.log")
    modules = json.loads((directory / "hierarchy.json").read_text())["modules"]
    own, around = (Counter(cell["type"] for cell in modules[name]["cells"].values())
                   for name in (module, _TOP))
    del around[module]
    return Design(module, family, directory, family.count(own), family.count(own + around))


def place(design: Design, seed: int) -> Run:
    """Place and route with a seed.

    Raises
    ------
    FpgaError
        If no device has room, or nextpnr fails.
    """
    device, name = design.device, f"seed{seed}"
    tool = f"nextpnr_{design.family.name}"
    program = f"import sys, yowasp_{tool} as tool; sys.exit(tool.run_{tool}(sys.argv[1:]))"
    # Files have no folder: the tool is WebAssembly and sees little else of the file system.
    process = subprocess.run(
        [sys.executable, "-c", program, f"--{device.name}", "--package", device.package,
         "--json", "netlist.json", "--report", f"{name}.json", "--log", f"{name}.log", "--quiet",
         "--seed", str(seed), "--freq", str(_GOAL), "--timing-allow-fail"],
        cwd=design.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if process.returncode:
        lines = process.stdout.strip().splitlines() or ["no output"]
        errors = [line for line in lines if "ERROR" in line]
        raise FpgaError(f"nextpnr of {design.module} on {device.name}: {(errors or lines)[-1]}")
    return run_of(design.directory / f"{name}.json", seed)


def run_of(report: Path, seed: int) -> Run:
    """What a report of nextpnr, a JSON file, says of a harness with a design.

    Raises
    ------
    FpgaError
        If there is no path from register to register, or more than one clock.
    """
    content = json.loads(report.read_text())
    if len(content["fmax"]) != 1:
        raise FpgaError(f"Report {report} must have one clock, not {len(content['fmax'])}")
    (clock,) = content["fmax"].values()
    (path,) = (each["path"] for each in content["critical_paths"]
               if each["from"] == each["to"] != "async")
    ends = path[0]["from"]["cell"], path[-1]["to"]["cell"]
    return Run(seed, clock["achieved"],
               any(cell.startswith(f"{_INSTANCE}.") for cell in ends))
