"""``mixpe synth`` of a softmax set: the EXAQ unit beside the unit with exact exponents."""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from golden.exaq import clip_value, constants
from golden.softmax_parameters import BaselineParameters, SoftmaxParameters
from scripts.console import console, progress
from scripts.files import write
from scripts.synth import critical_path, flow_digest, library_facts, library_of, tools
from synth.liberty import Library
from synth.mapping import Mapping, simulation_model, synthesise
from synth.power import Activity, Power, estimate
from synth.timing import Timing, analyse
from tb import runner

__all__ = ["ROW_BUFFERS", "PHASES", "SIGMA", "PAPER", "LEFT_OUT", "main", "core", "mapped",
           "logits", "lines", "comparison", "markdown", "basis", "show"]

#: Names of the memories that are the row buffers; they stay outside the netlists.
ROW_BUFFERS = r"\w+_(keys|words)_buffer\.\w+"

#: What holds the phases together.
REST = "queues, control, outputs"

#: Phase of softmax that a block of a unit works on.
PHASES = {
    "maximum": "maximum",
    "threshold": "exponents and sums", "coder": "exponents and sums",
    "exponent_sum": "exponents and sums", "lut_sum": "exponents and sums",
    "exponent": "exponents and sums", "exponent_total": "exponents and sums",
    "division": "normalisation", "quotient": "normalisation",
    "keys_buffer": REST, "words_buffer": REST,
}

#: Lengths of rows whose rate is measured, besides the longest.
LENGTHS = (128, 1024)

#: Length and number of the rows whose switching is measured; shorter if they must be.
ACTIVE = (1024, 16)

#: Standard deviation of the logits, about the middle of what docs/softmax.md looks at.
SIGMA = 1.9

PAPER = ("The paper's abstract (arXiv 2410.03185) has softmax 36.9 % faster, in software whose "
         "exponents and sums alone were changed")

LEFT_OUT = ("the row buffers' area, energy and access time, the energy of ports and registers, "
            "wires, clock tree, glitches (delays are zero in the simulation)")


@dataclass(frozen=True)
class Unit:
    """A unit that has been mapped, timed and simulated.

    Parameters
    ----------
    parameters : SoftmaxParameters or BaselineParameters
    verilog : Path
        What all was made from.
    rates : dict of int to dict
        For each length of a row ``cycles_per_row``, back to back, and ``latency``, cycles from a
        row's last input to its first output.
    mapping : Mapping
        Without the row buffers.
    ports : float
        Gate equivalents of the standard ports and of the registers behind them, which hold the
        constants.
    timing : Timing
    power : Power or None
        On :func:`active` rows of :func:`logits`, if it was asked for.
    """

    parameters: SoftmaxParameters | BaselineParameters
    verilog: Path
    rates: dict[int, dict[str, float]]
    mapping: Mapping
    ports: float
    timing: Timing
    power: Power | None

    @property
    def gates(self) -> float:
        """Gate equivalents without row buffers."""
        return self.mapping.gates(self.mapping.blocks[0].total)

    @property
    def buffer_bits(self) -> int:
        """Bits of the row buffers."""
        return sum(memory.bits * memory.instances for memory in self.mapping.memories
                   if memory.outside)

    @property
    def elements(self) -> float:
        """Elements in a second, in units of 10**9, at the unit's own period."""
        length = max(self.rates)
        return length / self.rates[length]["cycles_per_row"] / self.timing.period

    def phases(self) -> dict[str, float]:
        """Gate equivalents of each phase."""
        found = dict.fromkeys(PHASES.values(), 0.0)
        for block in self.mapping.blocks:
            name = block.module.removeprefix(f"mixpe_{self.parameters.name}_")
            if PHASES.get(name, REST) != REST:
                found[PHASES[name]] += self.mapping.gates(block.total) * block.instances
        found[REST] = self.gates - sum(found.values())
        return found

    def energy(self, period: float) -> float:
        """Energy in fJ for each element at a clock period in ns, of the whole run."""
        length, count = active(self.parameters)
        return self.power.total.energy(period) * self.power.cycles / (length * count)


def main(parameters: SoftmaxParameters, liberty: Path | None, power: bool, output: Path) -> None:
    """Measure both units; print the tables, and write ``<output>/<set>.json`` and ``.md``."""
    library = library_of(liberty)
    sets = parameters, parameters.baseline()
    with progress(3 * len(sets)) as step:
        units = [_unit(each, library, output, power, step) for each in sets]
    report = _report(parameters, library, units)
    show(report)
    path = output / f"{parameters.name}.json"
    write(path, json.dumps(report, indent=2) + "\n")
    write(path.with_suffix(".md"), markdown(report))
    console.print(f"Written to {path} and {path.with_suffix('.md')}")


def core(parameters: SoftmaxParameters | BaselineParameters):
    """Core of a unit, without the standard ports."""
    from hdl.softmax.core import Softmax
    from hdl.softmax.exact import ExactSoftmax

    exaq = isinstance(parameters, SoftmaxParameters)
    return (Softmax if exaq else ExactSoftmax)(parameters)


def mapped(parameters: SoftmaxParameters | BaselineParameters, library: Library,
           output: Path, *, ports: bool = False) -> Mapping:
    """Export and map a unit without its row buffers, in a folder below ``output``.

    Without ``ports`` it is the core alone, to which constants come from outside.
    """
    from hdl.export import export
    from hdl.softmax.unit import SoftmaxUnit

    block = (SoftmaxUnit if ports else core)(parameters)
    directory = output / parameters.name / ("unit" if ports else "core")
    return synthesise(export(block, directory), block.module, library, directory, flatten=False,
                      outside=ROW_BUFFERS)


def lengths(parameters: SoftmaxParameters | BaselineParameters) -> list[int]:
    """Lengths of the rows whose rate is measured."""
    longest = parameters.max_length
    return [*(length for length in LENGTHS if length < longest), longest]


def active(parameters: SoftmaxParameters | BaselineParameters) -> tuple[int, int]:
    """Length and number of the rows whose switching is measured."""
    length, count = ACTIVE
    return min(length, parameters.max_length), count


def logits(parameters: SoftmaxParameters | BaselineParameters, length: int,
           count: int) -> np.ndarray:
    """Codes of normal logits of the deviation ``SIGMA``, shape (count, length)."""
    rng = np.random.default_rng(1)
    return parameters.x_format.encode(SIGMA * rng.normal(size=(count, length)))


def _unit(parameters, library: Library, output: Path, power: bool, step) -> Unit:
    """Measure a unit."""
    name = parameters.name
    step(f"mapping {name}")
    mapping = mapped(parameters, library, output)
    timing = analyse(mapping.netlist)
    step(f"mapping {name} with its ports")
    whole = mapped(parameters, library, output, ports=True)
    inside = next(block for block in whole.blocks if block.module == mapping.top)
    ports = whole.gates(whole.blocks[0].total - inside.total)
    verilog = mapping.directory / f"{mapping.top}.v"
    step(f"simulating {name}")
    # The netlist takes longer than the source.
    source = simulation_model(mapping) if power else verilog.read_text()
    folder = runner.build(source, mapping.top, activity=power)
    rates = {length: _run(folder, mapping, parameters, length, 4 + 2048 // length)
             for length in lengths(parameters)}
    found = None
    if power:
        activity = mapping.directory / "rows.saif"
        _run(folder, mapping, parameters, *active(parameters), activity=activity)
        found = estimate(mapping, Activity.load(activity), timing)
    return Unit(parameters, verilog, rates, mapping, ports, timing, found)


def _run(folder: Path, mapping: Mapping, parameters, length: int, count: int, **options) -> dict:
    """Rate of rows of a length, whose results have been compared with golden."""
    files = {name: mapping.directory / f"rows_{length}.{name}" for name in ("npz", "json")}
    np.savez(files["npz"], x=logits(parameters, length, count))
    settings = {"exact": True}
    if isinstance(parameters, SoftmaxParameters):
        chosen = constants(clip_value(SIGMA, parameters.bits), parameters)
        settings = {"constants": [chosen.thresholds, chosen.exponents]}
    runner.run(folder, mapping.top, "tb.bench_softmax_rows", seed=1,
               parameters=parameters.to_dict(), rows=str(files["npz"]),
               result=str(files["json"]), **settings, **options)
    return json.loads(files["json"].read_text())


def _report(parameters: SoftmaxParameters, library: Library, units: list[Unit]) -> dict:
    """Everything measured, JSON-ready. Areas in gate equivalents, times in ns, energies in fJ."""
    period = max(unit.timing.period for unit in units)
    measured = [{
        "set": unit.parameters.to_dict(),
        "verilog_sha256": sha256(unit.verilog.read_bytes()).hexdigest(),
        "rates": {str(length): rate for length, rate in unit.rates.items()},
        "gates": unit.gates, "gates_per_lane": unit.gates / unit.parameters.width,
        "phases": unit.phases(), "ports_gates": unit.ports,
        "blocks": [{"module": block.module, "instances": block.instances,
                    "gates": unit.mapping.gates(block.area)}
                   for block in unit.mapping.blocks if block.area],
        "row_buffer_bits": unit.buffer_bits,
        "period_ns": unit.timing.period, "critical_path": critical_path(unit.timing.critical),
        "fj_per_element": unit.energy(period) if unit.power else None,
        "elements_per_ns": unit.elements,
        "elements_per_ns_and_mge": 1e6 * unit.elements / unit.gates,
    } for unit in units]
    return {
        "set": parameters.to_dict(),
        "library": library_facts(library),
        "tools": tools(),
        "flow_sha256": flow_digest(),
        "left_out": LEFT_OUT,
        "paper": PAPER,
        "logits": {"sigma": SIGMA, "shape": active(parameters)},
        "power_period_ns": period,
        "units": measured,
    }


def lines(report: dict) -> list[tuple[str, list[float], str]]:
    """Lines of the table of a report: label, value of each unit, and how a value is written."""
    units = report["units"]

    def line(label, value, form="{:,.0f}"):
        return label, [value(unit) for unit in units], form

    width = report["set"]["width"]
    energy = [] if units[0]["fj_per_element"] is None else [
        line("fJ per element, at the longer period", lambda unit: unit["fj_per_element"])]
    return [
        *(line(f"cycles per row of {int(length):,}",
               lambda unit, n=length: unit["rates"][n]["cycles_per_row"])
          for length in units[0]["rates"]),
        *(line(f"cycles from its last input to its first output, {int(length):,}",
               lambda unit, n=length: unit["rates"][n]["latency"])
          for length in units[0]["rates"]),
        line("GE without row buffers", lambda unit: unit["gates"]),
        line("GE per lane", lambda unit: unit["gates_per_lane"]),
        *(line(f"GE per lane, {phase}", lambda unit, name=phase: unit["phases"][name] / width)
          for phase in units[0]["phases"]),
        line("GE with ports and registers", lambda unit: unit["gates"] + unit["ports_gates"]),
        line("row buffers, bits", lambda unit: unit["row_buffer_bits"]),
        line("period, ns", lambda unit: unit["period_ns"], "{:.2f}"),
        *energy,
        line("elements per ns", lambda unit: unit["elements_per_ns"], "{:.2f}"),
        line("elements per ns and MGE", lambda unit: unit["elements_per_ns_and_mge"], "{:,.1f}"),
    ]


def comparison(report: dict) -> str:
    """The paper's figure, and what corresponds to it here."""
    ours, exact = report["units"]
    speed, density = (ours[key] / exact[key] for key in ("elements_per_ns",
                                                         "elements_per_ns_and_mge"))
    same = "exponents and sums"
    gains = [f"{speed - 1:+.1%} in elements per second", f"{density:.2f} times these for its area",
             f"{1 - ours['phases'][same] / exact['phases'][same]:.1%} less area for {same}"]
    if ours["fj_per_element"] is not None:
        saved = 1 - ours["fj_per_element"] / exact["fj_per_element"]
        gains.append(f"{saved:.1%} less energy for an element")
    return (f"{report['paper']}. Here both units take {ours['set']['width']} elements in each "
            f"cycle, and EXAQ's has, against the exact one, {', '.join(gains)}.")


def markdown(report: dict) -> str:
    """A report for a page: the table, the comparison, and what the figures rest on."""
    names = [unit["set"]["name"] for unit in report["units"]]
    rows = [f"| {report['library']['name']} | {' | '.join(names)} | ratio |", "|---|--:|--:|--:|"]
    rows += [f"| {label} | {' | '.join(map(form.format, values))} | {values[0] / values[1]:.3f} |"
             for label, values, form in lines(report)]
    return "\n".join([*rows, "", comparison(report), "", basis(report), ""])


def basis(report: dict) -> str:
    """Library, tools, and what the figures leave out."""
    library = report["library"]
    return (f"Library {library['name']}, {library['voltage']} V, a NAND2 has "
            f"{library['nand2_um2']:.3f} µm²; "
            + ", ".join(f"{tool} {number}" for tool, number in report["tools"].items())
            + f". Left out: {report['left_out']}.")


def show(report: dict) -> None:
    """Print a report as tables."""
    units, width = report["units"], report["set"]["width"]
    for unit in units:
        table = Table("block", title=f"{unit['set']['name']}: {unit['gates'] / 1000:,.1f} kGE "
                      "without row buffers", title_justify="left", box=box.SIMPLE)
        for heading in ("instances", "GE each", "GE per lane"):
            table.add_column(heading, justify="right")
        for block in unit["blocks"]:
            table.add_row(block["module"], str(block["instances"]), f"{block['gates']:,.0f}",
                          f"{block['gates'] * block['instances'] / width:,.1f}")
        console.print(table)
    table = Table("", *(unit["set"]["name"] for unit in units), "ratio", box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, values, form in lines(report):
        table.add_row(label, *map(form.format, values), f"{values[0] / values[1]:.3f}")
    console.print(table)
    for unit in units:
        path, start = unit["critical_path"], unit["critical_path"]["steps"][0]
        console.print(f"Critical path of {unit['set']['name']}: {path['delay_ns']:.2f} ns, "
                      f"{len(path['steps'])} cells, {start['instance'] or start['pin']} to "
                      f"{path['endpoint']}")
    console.print(comparison(report))
    console.print(basis(report))
