"""``mixpe claims``: what layers of models gain, beside what the papers claim."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from math import exp, log
from pathlib import Path

import click
from rich import box
from rich.table import Table

from golden.softmax_parameters import SOFTMAX_SETS
from golden.workloads import MODELS, PHASES
from scripts import claims_plots, reports
from scripts.console import console, progress
from scripts.files import Section, write
from scripts.machines import DESIGNS, KINDS, Cost, Machine, constants, machines
from scripts.synth import library_facts, library_of, tools

__all__ = ["BASELINE", "Claim", "main", "report_of", "tables"]

#: Machine that others are compared with.
BASELINE = "INT8"

#: Models over which means are taken: language models as they are.
LANGUAGE = tuple(name for name, model in MODELS.items() if model.decodes and "FFN" not in name)

#: Models and tokens of the simulator of MixPE's authors.
PAPER_MODELS = ("ViT-Base", "ViT-Huge", "OPT-6.7B", "Llama-2-13B, FFN 20480")
PAPER_PHASE = PHASES[0].name

#: Longest prefill, with which targets are compared.
PREFILL = PHASES[2].name

#: Decoding of one sequence.
DECODE = PHASES[3].name

#: Model whose layers the page shows one by one.
SHOWN = "Llama-3.1-8B"

#: Synthetic weights whose noise counts.
WEIGHTS = "heavy"

#: Plots that the page shows.
FIGURES = ("speed", "shares", "break_even", "design_space", "roofline_llama_3_1_8b")

_MIXPE = "MixPE, arXiv 2411.16158"
_SIMULATOR = "github.com/yuzhang712/mixpe_simulator, mean over four models"

LEFT_OUT = ("embeddings, normalisation, residual sums, activation functions, the choice of "
            "experts; quantising activations, keys and values; scales of tokens; area and leakage "
            "of the operand buffers, which are of one size but not of one width, and the wires to "
            "their banks; row buffers of softmax; energy of the aligner; registers between tiles, "
            "the engine's control; leakage while the memory is waited for; wires, clock tree, "
            "glitches")


@dataclass(frozen=True)
class Claim:
    """What is published, and what comes out here.

    Parameters
    ----------
    name : str
    published : str
        What others say; empty if nothing.
    source : str
        Who.
    value : float
        Ours.
    unit : str
        What follows the value.
    target : float or None
        What ours should at least be.
    method : str
        How ours is measured.
    reason : str
        Why the two differ.
    """

    name: str
    published: str
    source: str
    value: float
    unit: str
    target: float | None
    method: str
    reason: str

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.value >= self.target

    def to_dict(self) -> dict:
        """All fields, and whether the target is met."""
        return asdict(self) | {"met": self.met}


def main(liberty: Path | None, changes: dict[str, float], checkpoint: Path | None,
         layer: str | None, workers: int, seed: int, page: Path | None, output: Path) -> dict:
    """Measure what is missing, compare, print; write ``<output>/claims.json``, plots and a page.

    Reports that ``mixpe bench``, ``mixpe synth`` and ``mixpe fidelity`` have left below
    ``output`` are taken if they are of the designs as they are now.

    Raises
    ------
    click.UsageError
        If a constant is wrong, or the page lacks its markers.
    """
    library = library_of(liberty)
    try:
        constants(changes)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    section = page and Section(page, "claims")
    noise = reports.fidelity_report(checkpoint, layer, seed, workers, output)
    bench = reports.bench_report(liberty, output, workers, DESIGNS)
    softmax = reports.softmax_report(SOFTMAX_SETS["attention"], liberty, output)
    try:
        found = list(machines(bench, softmax, changes))
        report = report_of(found, softmax, noise)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    report |= {"library": library_facts(library), "tools": tools(), "left_out": LEFT_OUT}
    _show(report)
    write(output / "claims.json", json.dumps(report, indent=2) + "\n")
    plots = claims_plots.main(report, output / "claims")
    console.print(f"Written to {output / 'claims.json'}, {', '.join(map(str, plots))}")
    if section:
        section.renew(tables(report))
        for path in plots:
            if path.stem in FIGURES:
                write(page.parent / "figures" / f"claims_{path.name}",
                      path.read_text(encoding="utf-8"))
        console.print(f"Written to {page} and its figures")
    return report


def report_of(found: list[Machine], softmax: dict, noise: dict) -> dict:
    """Everything, JSON-ready: times in ns, energies in pJ, areas in gate equivalents."""
    runs, costs = [], {}
    with progress(len(found) * len(MODELS), estimate=True) as step:
        for machine in found:
            for model in MODELS.values():
                step(f"{machine.kind.name}: {model.name}")
                for phase in model.phases():
                    parts = machine.layer(model, phase)
                    costs[machine.kind.name, model.name, phase.name] = parts
                    runs.append({
                        "machine": machine.kind.name, "model": model.name, "phase": phase.name,
                        **{part: _cost(cost, machine) for part, cost in parts.items()}})
    names = [machine.kind.name for machine in found]
    means = {name: _means(costs, name) for name in names}
    space = _design_space(found, noise)
    return {
        "baseline": BASELINE, "shown": [SHOWN, PREFILL],
        "constants": {name: asdict(value) for name, value in found[0].constants.items()},
        "models": {name: asdict(model) for name, model in MODELS.items()},
        "machines": [_machine(machine) for machine in found],
        "runs": runs,
        "means": means,
        "break_even": _break_even(found),
        "design_space": space,
        "softmax": softmax["units"],
        "fidelity": noise,
        "claims": [claim.to_dict() for claim in _claims(costs, softmax, space)],
    }


def _cost(cost: Cost, machine: Machine) -> dict:
    """A cost, JSON-ready."""
    return {
        "macs": cost.macs, "time_ns": cost.time, "compute_ns": cost.compute,
        "memory_ns": cost.memory, "bytes": cost.bytes, "bound": cost.bound,
        "utilisation": cost.macs / (cost.time * machine.peak),
        "energy_pj": dict(cost.energy), "total_pj": cost.total_energy,
    }


def _machine(machine: Machine) -> dict:
    """Shape, area and rate of a machine."""
    array = machine.array
    return {
        "name": machine.kind.name, "tile": machine.kind.tile, "foot": machine.kind.foot,
        "rows": array.rows, "columns": array.columns, "lanes": array.lanes,
        "macs": array.peak, "period_ns": machine.period, "macs_per_ns": machine.peak,
        "gates": machine.gates, "softmax_lanes": machine.softmax_lanes,
        "x_depth": array.x_depth, "w_depth": array.w_depth,
        "x_bits": machine.kind.x_bits, "w_bits": machine.kind.w_bits,
    }


def _mean(values: Iterable[float]) -> float:
    """Geometric mean."""
    logarithms = [log(value) for value in values]
    return exp(sum(logarithms) / len(logarithms))


def _compared(costs: dict, ours: str, rival: str, phase: str, value: Callable[[Cost], float],
              part: str = "linear", models: Iterable[str] = LANGUAGE) -> float:
    """Mean over models of what a rival takes over what ours takes."""
    return _mean(value(costs[rival, model, phase][part]) / value(costs[ours, model, phase][part])
                 for model in models)


def _time(cost: Cost) -> float:
    return cost.time


def _energy(cost: Cost) -> float:
    return cost.total_energy


def _means(costs: dict, name: str) -> dict[str, dict[str, float]]:
    """Speed and work per energy of the linear layers over those of the baseline."""
    return {quantity: {phase.name: _compared(costs, name, BASELINE, phase.name, value)
                       for phase in PHASES}
            for quantity, value in (("speed", _time), ("efficiency", _energy))}


def _break_even(found: list[Machine]) -> dict:
    """Dequantisations of a layer over its rows."""
    k = n = 4096
    by_name = {machine.kind.name: machine.array for machine in found}
    after, before = by_name[KINDS[0].name], by_name["INT8, dequantised first"]
    rows = [1 << power for power in range(12)]
    return {
        "k": k, "n": n, "group": after.group, "m": rows,
        "before": [n * k for _ in rows],
        "after": [m * n * k // after.group for m in rows],
        "first_tile": [-(-m // before.rows) * n * k for m in rows],
        "array": [-(-m // after.rows) * after.rows * n * k // after.group for m in rows],
    }


def _design_space(found: list[Machine], noise: dict) -> list[dict]:
    """Fidelity of each machine, and how much its multiply-accumulates do for area and energy."""
    fp16 = next(machine for machine in found if machine.kind.name == "FP16")

    def merit(machine):
        return 1 / (machine.unit_gates * machine.period * machine.energy_per_mac)

    return [{"name": machine.kind.name, "efficiency": merit(machine) / merit(fp16),
             "sqnr_db": _sqnr(noise, machine)} for machine in found]


def _sqnr(noise: dict, machine: Machine) -> float:
    """Signal to noise in dB of a layer's outputs in the arithmetic of a machine."""
    layers = [each for each in noise["synthetic"] if each["weights"] == WEIGHTS]
    longest = max(layers, key=lambda each: each["k"])
    return longest["sqnr_db"][machine.kind.scheme]["outputs"]


def _claims(costs: dict, softmax: dict, space: list[dict]) -> list[Claim]:
    """What the papers say, and ours."""
    w4a8, w4a16, mixllm, shift = (kind.name for kind in KINDS[:4])

    def speed(ours, rival, phase, **options):
        return _compared(costs, ours, rival, phase, _time, **options)

    def efficiency(ours, rival, phase, **options):
        return _compared(costs, ours, rival, phase, _energy, **options)

    area = "linear layers, equal area and memory bandwidth, mean over the language models"
    four = "as above, the four models and 64 tokens of the simulator"
    designs = {each["name"]: each["efficiency"] for each in space}
    sqnr = {each["name"]: each["sqnr_db"] for each in space}
    exaq, exact = softmax["units"]
    bound = _mean(costs[w4a8, model, DECODE]["linear"].memory
                  / costs[w4a8, model, DECODE]["linear"].time
                  for model in LANGUAGE)
    return [
        Claim("speed, MixPE W4A8 over INT8, prefill of 2,048", "2.6",
              f"{_MIXPE}, abstract, over accelerators that it does not name",
              speed(w4a8, BASELINE, PREFILL), "x", 4.0, area,
              "our INT8 element is the smallest that we could make, without shadow and "
              "dequantiser; ours pays for dequantisers and accumulators of every sum"),
        Claim("speed, MixPE W4A8 over INT8, 64 tokens", "7.0", _SIMULATOR,
              speed(w4a8, BASELINE, PAPER_PHASE, models=PAPER_MODELS), "x", None, four,
              "the simulator runs these layers as 4 x 4 bits on 4,096 elements against 1,024 of "
              "INT8, and charges dequantisation 8 times too little to itself and 8 times too much "
              "to others; with 64 tokens the memory bounds ours"),
        Claim("speed, MixPE W4A8 over INT8 by pair sums, prefill of 2,048", "", "",
              speed(w4a8, "INT8, pair sums", PREFILL), "x", None, area,
              "an INT8 tile that takes our own pair sums is the best INT8 that we know"),
        Claim("speed, MixPE W4A8 over weights dequantised to INT8 first, prefill of 2,048", "", "",
              speed(w4a8, "INT8, dequantised first", PREFILL), "x", None, area,
              "the same weights from memory, Booth multipliers behind dequantisers"),
        Claim("speed, MixPE W4A8 over weights dequantised to INT8 first and pair sums, prefill of "
              "2,048", "", "", speed(w4a8, "INT8 by pair sums, dequantised first", PREFILL), "x",
              None, area, "the same with our pair sums and dequantisers that are not counted: what "
              "dequantising after the group gains by itself"),
        Claim("speed, whole layers with attention and softmax, MixPE W4A8 over INT8, prefill of "
              "2,048", "", "", speed(w4a8, BASELINE, PREFILL, part="whole"), "x", None,
              "as above, attention and softmax too",
              "keys and values have 4 bits in ours and 8 in INT8; softmax has codes of 2 bits in "
              "ours and exact exponents in INT8, for the same area"),
        Claim("energy, INT8 over MixPE W4A8, prefill of 2,048", "1.4",
              f"{_MIXPE}, abstract", efficiency(w4a8, BASELINE, PREFILL), "x", 2.5,
              area + ", memory and buffers included",
              "that paper's 28 nm library, memories and rivals are not ours"),
        Claim("energy, INT8 over MixPE W4A8, 64 tokens", "2.8", _SIMULATOR,
              efficiency(w4a8, BASELINE, PAPER_PHASE, models=PAPER_MODELS), "x", None, four,
              "with 64 tokens much of the energy is the memory's, which halves with the weights"),
        Claim("speed, MixPE W4A16 over FP16, 64 tokens", "3.2", _SIMULATOR,
              speed(w4a16, "FP16", PAPER_PHASE, models=PAPER_MODELS), "x", None, four,
              "ours aligns activations to 12 bits by group, so that sums are integers, and shares "
              "pair sums; a fused multiply-add has eight times the area"),
        Claim("area efficiency times power efficiency, MixPE W4A8 over INT8", "2.29",
              "design-space plot of the simulator", designs[w4a8] / designs[BASELINE], "x", None,
              "tiles and feet on operands of a checkpoint layer",
              "the plot compares single elements with multiplier and shift&add; ours is a tile"),
        Claim("area efficiency times power efficiency, MixPE W4A16 over FP16", "4.82",
              "design-space plot of the simulator", designs[w4a16], "x", None,
              "tiles and feet on operands of a checkpoint layer", "as above"),
        Claim("softmax for the same area, EXAQ over exact exponents", "1.37",
              "EXAQ, arXiv 2410.03185, abstract: 36.9 % faster",
              exaq["elements_per_ns_and_mge"] / exact["elements_per_ns_and_mge"], "x", 4.0,
              "cores without row buffers, 2-bit codes, elements in a second and an area",
              "theirs is software whose exponents and sums alone change; in hardware the "
              "exponents' units go too, and a row has four divisions"),
        Claim("softmax at the same width, EXAQ over exact exponents", "1.37",
              "EXAQ, as above", exaq["elements_per_ns"] / exact["elements_per_ns"], "x", None,
              "elements in a second, each unit at its own period", "as above"),
        Claim("time, MixLLM W4.4A8 over MixPE W4A8, prefill of 2,048", "", "",
              1 / speed(mixllm, w4a8, PREFILL), "x", None, area,
              "a tenth of the features takes two columns, 1.10 times the passes; its dequantisers "
              "multiply two scales and join columns, which takes area and a longer clock period"),
        Claim("noise, MixLLM W4.4A8 below MixPE W4A8", "lower error at 4.4 bits",
              "MixLLM, arXiv 2412.14590",
              sqnr[mixllm] - sqnr[w4a8], "dB", 0.0,
              "outputs of a layer of synthetic tensors, the golden model's arithmetic",
              "signal to noise, not perplexity"),
        Claim("speed, DenseShift W3A8 over INT8, prefill of 2,048", "1.6",
              "DenseShift, arXiv 2208.09708, on a processor and with float activations",
              speed(shift, BASELINE, PREFILL), "x", None, area, "another machine altogether"),
        Claim("decoding alone, MixPE W4A8: share of the time that its weights must take", "", "",
              100 * bound, "%", None, "memory traffic at full bandwidth over the time",
              "what is left is the latency of the first word"),
        Claim("speed, MixPE W4A8 over INT8 by pair sums, decoding alone", "", "",
              speed(w4a8, "INT8, pair sums", DECODE), "x", None, area,
              "both wait for the memory: the ratio of the bits of a weight"),
        Claim("speed, MixPE W4A8 over INT8, decoding alone", "", "",
              speed(w4a8, BASELINE, DECODE), "x", None, area,
              "more than that, for an array of INT8 elements uses one row and does not even keep "
              "up with the memory"),
    ]


def tables(report: dict) -> str:
    """Markdown of the report."""
    machine_rows = "".join(
        f"| {each['name']} | {each['rows']} x {each['columns']} x {each['lanes']} | "
        f"{each['macs']:,} | {each['period_ns']:.2f} | {each['macs_per_ns'] / 1000:.2f} | "
        f"{each['gates'] / 1e6:.2f} | {each['w_bits']:.2f} |\n" for each in report["machines"])
    phases = [phase.name for phase in PHASES]
    claim_rows = "".join(
        f"| {each['name']} | {each['published'] or 'nothing'} | "
        f"{each['value']:.2f} {each['unit']} | {_target(each)} | {_met(each)} | "
        f"{'; '.join(filter(None, (each['source'], each['method'], each['reason'])))} |\n"
        for each in report["claims"])
    constant_rows = "".join(
        f"| {name} | {each['value']:g} {each['unit']} | {each['source']} |\n"
        for name, each in report["constants"].items())
    model_rows = "".join(
        f"| {name} | {each['layers']} | {each['hidden']:,} | {each['heads']} / {each['kv_heads']} "
        f"| {each['inner']:,} | {each['experts']} | {each['source']} |\n"
        for name, each in report["models"].items())
    return (
        "### Claims\n\n| claim | published | ours | target | met | published by; how ours is "
        "measured; why they differ |\n|---|---|--:|--:|---|---|\n" + claim_rows
        + "\n### Machines\n\n| machine | rows x columns x lanes | MAC per cycle | period, ns | "
        "10¹² MAC per s | MGE | bits of a weight |\n|---|---|--:|--:|--:|--:|--:|\n"
        + machine_rows
        + _phase_table(report, phases, "speed", "Speed of linear layers")
        + _phase_table(report, phases, "efficiency", "Products per energy of linear layers")
        + _layer_table(report, phases) + _share_table(report)
        + "\n### Constants\n\n| constant | value | source |\n|---|--:|---|\n" + constant_rows
        + "\n### Models\n\n| model | layers | features | heads / of keys | inner features | "
        "experts | source |\n|---|--:|--:|--:|--:|--:|---|\n" + model_rows
        + f"\nLeft out: {report['left_out']}. Library {report['library']['name']}; "
        + ", ".join(f"{tool} {number}" for tool, number in report["tools"].items()) + ".\n")


def _layer_table(report: dict, phases: list[str]) -> str:
    """Time, utilisation and bound of the linear layers of the model that the page shows."""
    runs = {(run["machine"], run["phase"]): run["linear"] for run in report["runs"]
            if run["model"] == SHOWN}

    def cell(run: dict) -> str:
        return f"{run['time_ns'] / 1e6:.2f}, {100 * run['utilisation']:.0f} %, {run['bound']}"

    rows = "".join(
        f"| {each['name']} | "
        + " | ".join(cell(runs[each["name"], phase]) for phase in phases) + " |\n"
        for each in report["machines"])
    return (f"\n### {SHOWN}, a layer's linear part\n\nTime in ms, utilisation, and what takes "
            f"longer.\n\n| machine | {' | '.join(phases)} |\n|---|{'--:|' * len(phases)}\n{rows}")


def _share_table(report: dict) -> str:
    """Shares of the energy of the model that the page shows, in prefill and in decoding."""
    runs = [run for run in report["runs"]
            if run["model"] == SHOWN and run["phase"] in (PREFILL, DECODE)]
    parts = list(runs[0]["linear"]["energy_pj"])
    rows = "".join(
        f"| {run['machine']} | {run['phase']} | {1e3 * energy['total_pj'] / energy['macs']:,.0f} | "
        + " | ".join(f"{100 * energy['energy_pj'][part] / energy['total_pj']:.0f} %"
                     for part in parts) + " |\n"
        for run in runs for energy in (run["linear"],))
    return (f"\n### {SHOWN}, shares of energy\n\n| machine | phase | fJ per product | "
            f"{' | '.join(parts)} |\n|---|---|--:|{'--:|' * len(parts)}\n{rows}")


def _phase_table(report: dict, phases: list[str], quantity: str, title: str) -> str:
    """Means over the models by machine and phase."""
    rows = "".join(
        f"| {name} | " + " | ".join(f"{found[quantity][phase]:.2f}" for phase in phases) + " |\n"
        for name, found in report["means"].items())
    return (f"\n### {title}\n\n{report['baseline']} is 1; geometric mean over the language "
            f"models.\n\n| machine | {' | '.join(phases)} |\n|---|{'--:|' * len(phases)}\n{rows}")


def _target(claim: dict) -> str:
    return "" if claim["target"] is None else f"≥ {claim['target']:g}"


def _met(claim: dict) -> str:
    return {None: "", True: "yes", False: "**no**"}[claim["met"]]


def _show(report: dict) -> None:
    """The report as tables."""
    table = Table("machine", title="Machines of equal area", title_justify="left", box=box.SIMPLE)
    for name in ("rows x columns x lanes", "MAC per cycle", "period, ns", "10^12 MAC/s", "MGE"):
        table.add_column(name, justify="right")
    for each in report["machines"]:
        table.add_row(each["name"], f"{each['rows']} x {each['columns']} x {each['lanes']}",
                      f"{each['macs']:,}", f"{each['period_ns']:.2f}",
                      f"{each['macs_per_ns'] / 1000:.2f}", f"{each['gates'] / 1e6:.2f}")
    console.print(table)
    for quantity, title in (("speed", "Speed of linear layers"),
                            ("efficiency", "Products per energy, memory included")):
        table = Table("machine", title=f"{title}, {report['baseline']} = 1", box=box.SIMPLE,
                      title_justify="left")
        for phase in PHASES:
            table.add_column(phase.name, justify="right")
        for name, found in report["means"].items():
            table.add_row(name, *(f"{found[quantity][phase.name]:.2f}" for phase in PHASES))
        console.print(table)
    table = Table("claim", "published", title="Claims", title_justify="left", box=box.SIMPLE)
    for name in ("ours", "target"):
        table.add_column(name, justify="right")
    table.add_column("met")
    table.add_column("how measured")
    for each in report["claims"]:
        table.add_row(each["name"], each["published"], f"{each['value']:.2f} {each['unit']}",
                      _target(each), _met(each).strip("*"), each["method"])
    console.print(table)
    console.print(f"Left out: {report['left_out']}.")
