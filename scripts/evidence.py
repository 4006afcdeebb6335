"""``mixpe evidence``: what is proved, tested and measured of each set that comes with mixpe."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import as_completed
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from golden.sets import ALL_SETS, Parameters
from hdl.export import verilog
from hdl.files import write as write_files
from scripts.console import console, progress
from scripts.coverage import TARGET, share
from scripts.files import Section, kept, write
from scripts.mutate import unexplained
from scripts.processes import processes
from scripts.proofs import basis, finish
from scripts.softmax_synth import ROW_BUFFERS
from scripts.synth import LEFT_OUT, flow_digest, library_facts, library_of
from scripts.units import unit
from synth.liberty import Library
from synth.mapping import synthesise
from synth.timing import analyse

__all__ = ["KINDS", "Kind", "cells", "collected", "main", "markdown"]


def main(liberty: Path | None, workers: int, output: Path, page: Path | None,
         chosen: Iterable[Parameters] = tuple(ALL_SETS.values())) -> dict[str, Any]:
    """Collect the reports below ``output``, map each set; print and write ``evidence.json``.

    What was mapped is kept in ``<output>/evidence``, until Verilog, flow or library change.

    Parameters
    ----------
    liberty : Path, optional
        Cell library; NanGate 45 nm if absent.
    workers : int
        Processes.
    output : Path
        Folder of the other commands' reports, and of this one's.
    page : Path, optional
        Page whose tables are renewed.
    chosen : iterable of Parameters
        Sets; those that come with mixpe if absent.

    Raises
    ------
    click.ClickException
        If a report is missing or of other sources, or tells of a failure; all is written before.
    click.UsageError
        If the page has no markers.
    """
    section = page and Section(page, "evidence")
    library, sets = library_of(liberty), list(chosen)
    found, why = collected(output)
    silicon = _silicon(sets, library, output / "evidence", workers)
    report = {
        **basis(), "library": library_facts(library), "left_out": LEFT_OUT,
        "commands": {kind.name: {"missing": why[kind.name]} if kind.name in why
                     else kind.whole(found[kind.name]) for kind in KINDS},
        "sets": [{"set": p.name, **silicon[p.name],
                  **{kind.name: kind.of_set(found[kind.name], p.name) if kind.name in found
                     else None for kind in KINDS}} for p in sets],
    }
    _show(report)
    finish(report, output / "evidence.json", section, markdown)
    wrong = [f"{kind.command}: {why[kind.name]}" for kind in KINDS if kind.name in why]
    wrong += [f"{kind.command} has found {fault}" for kind in KINDS if kind.name in found
              if (fault := kind.fault(found[kind.name]))]
    if wrong:
        raise click.ClickException(f"Evidence must be whole and without failures: "
                                   f"{'; '.join(wrong)}")
    return report


@dataclass(frozen=True)
class Kind:
    """A kind of evidence, from the report of a command.

    Parameters
    ----------
    name : str
        Name of the report's file, and key in this one.
    command : str
        What makes the report.
    title : str
        Heading of the column.
    of_set : callable
        What a report says of a set, by name; None if nothing.
    cell : callable
        The same in a few words.
    whole : callable
        What a report says in all.
    fault : callable
        Failures that a report tells of; empty if none.
    """

    name: str
    command: str
    title: str
    of_set: Callable[[dict, str], dict | None]
    cell: Callable[[dict], str]
    whole: Callable[[dict], dict]
    fault: Callable[[dict], str]


def collected(output: Path) -> tuple[dict[str, dict], dict[str, str]]:
    """Reports of today's sources by kind; why there is none of the others."""
    found, why = {}, {}
    today = basis()
    for kind in KINDS:
        try:
            report = json.loads((output / f"{kind.name}.json").read_text(encoding="utf-8"))
            of = {key: report[key] for key in today}
        except FileNotFoundError:
            why[kind.name] = "was not run"
        except (ValueError, KeyError, TypeError):
            why[kind.name] = "its report cannot be read"
        else:
            if of == today:
                found[kind.name] = report
            else:
                why[kind.name] = "was run with other sources or tools"
    return found, why


# Kinds of evidence


def _proofs(cases: list[dict]) -> dict | None:
    return {"proofs": len(cases), **_sums(cases, "proved")} if cases else None


def _cases(report: dict) -> list[dict]:
    return [case for each in report["properties"] for case in each["cases"]]


def _formal_whole(report: dict) -> dict:
    copies = [copy for each in report["properties"] for copy in each["broken"]]
    return {"seconds": report["seconds"], "properties": len(report["properties"]),
            **_proofs(_cases(report)), "broken_copies": len(copies),
            "refuted": sum(copy["caught"] for copy in copies)}


def _formal_fault(report: dict) -> str:
    whole = _formal_whole(report)
    left = (whole["proofs"] - whole["proved"], whole["broken_copies"] - whole["refuted"])
    return f"{left[0]} claims not proved, {left[1]} broken copies not refuted" if any(left) else ""


def _vectors(operations: list[dict]) -> dict | None:
    return {"operations": len(operations), **_sums(operations, "vectors", "mismatches")
            } if operations else None


def _mutants(blocks: list[dict]) -> dict | None:
    return {"blocks": len(blocks), **_sums(blocks, "mutants", "equivalent", "killed"),
            "survivors": sum(len(block["survivors"]) for block in blocks),
            "explained": sum(each["reason"] is not None for block in blocks
                             for each in block["survivors"])} if blocks else None


def _coverage(sets: list[dict]) -> dict | None:
    modules = [module for each in sets for module in each["modules"]]
    crosses = [cross for each in sets for cross in each["crosses"]]
    points = {kind: _sums([module[kind] for module in modules], "hit", "total", "excluded")
              for kind in ("line", "toggle")}
    return {"tests": sum(each["tests"] for each in sets), **points,
            **_sums(crosses, "bins", "hit")} if sets else None


def _coverage_cell(found: dict) -> str:
    bins = f", {found['hit']:,} of {found['bins']:,} bins" if found["bins"] else ""
    return f"{share(found['line']):.1%} lines, {share(found['toggle']):.1%} toggles{bins}"


def _coverage_fault(report: dict) -> str:
    missing = sum(cross["bins"] - cross["hit"] for each in report["sets"]
                  for cross in each["crosses"])
    found = [f"{missing} bins not reached"] * bool(missing)
    for each in report["sets"]:
        own = _coverage([each])
        found += [f"{share(own[kind]):.2%} of {kind}s of {each['set']}"
                  for kind in ("line", "toggle") if share(own[kind]) < TARGET]
    return ", ".join(found)


def _second(fixtures: list[dict]) -> dict | None:
    return {"fixtures": len(fixtures), **_sums(fixtures, "cycles", "equal")} if fixtures else None


def _second_fault(report: dict) -> str:
    different = sum(not each["equal"] for each in report["fixtures"])
    return f"{different} fixtures that differ" if different else ""


def _soak(entries: list[dict], minutes: float) -> dict | None:
    return {"hours": round(minutes / 60, 2), **_sums(entries, "jobs", "tests", "outputs",
                                                     "failures")} if entries else None


def _sums(parts: list[dict], *names: str) -> dict[str, int]:
    """Sums over parts by name."""
    return {name: sum(part[name] for part in parts) for name in names}


def _of(parts: list[dict], name: str) -> list[dict]:
    """Parts that are of a set."""
    return [part for part in parts if part.get("set") == name]


#: Every kind, in the order of the columns.
KINDS = (
    Kind("formal", "make formal", "proofs",
         lambda report, name: _proofs(_of(_cases(report), name)),
         lambda found: f"{found['proved']} of {found['proofs']}", _formal_whole, _formal_fault),
    Kind("vectors", "make vectors", "vectors, mismatches",
         lambda report, name: _vectors(_of(report["operations"], name)),
         lambda found: f"{found['vectors']:,}, {found['mismatches']:,}",
         lambda report: {"seed": report["seed"], "seconds": report["seconds"],
                         **_vectors(report["operations"])},
         lambda report: f"{count} mismatches" if (count := sum(
             each["mismatches"] for each in report["operations"])) else ""),
    Kind("mutate", "make mutate", "mutants killed",
         lambda report, name: _mutants(_of(report["blocks"], name)),
         lambda found: f"{found['killed']:,} of {found['mutants'] - found['equivalent']:,}",
         lambda report: {"seed": report["seed"], "seconds": report["seconds"],
                         **_mutants(report["blocks"])},
         lambda report: ", ".join(f"{count} survivors of {block['block']} without a reason"
                                  for block in report["blocks"]
                                  if (count := unexplained(block)))),
    Kind("coverage", "make coverage", "coverage",
         lambda report, name: _coverage(_of(report["sets"], name)), _coverage_cell,
         lambda report: {"seed": report["seed"], "seconds": report["seconds"],
                         "sets": len(report["sets"]), **_coverage(report["sets"])},
         _coverage_fault),
    Kind("second_sim", "make second-sim", "cycles equal in two simulators",
         lambda report, name: _second(_of(report["fixtures"], name)),
         lambda found: f"{found['cycles']:,} of {found['equal']} of {found['fixtures']} fixtures",
         lambda report: {"seed": report["seed"], "seconds": report["seconds"],
                         **_second(report["fixtures"])}, _second_fault),
    Kind("soak", "make soak", "soak: jobs, failures",
         lambda report, name: _soak(_of(report["entries"], name), sum(
             each["job_seconds"] for each in _of(report["entries"], name)) / 60),
         lambda found: f"{found['jobs']:,}, {found['failures']:,}",
         lambda report: {"seed": report["seed"], "seconds": report["seconds"],
                         **_soak(report["entries"], report["minutes"]),
                         "random_sets": sum(entry["sets"] for entry in report["entries"]
                                            if entry["set"] is None)},
         lambda report: f"{report['failures']} failures" if report["failures"] else ""),
)


# Silicon

#: Names of the memories that stay outside the netlists: what a chip has as SRAM.
_BUFFERS = {"array": r"\w+_channel\.\w+", "softmax": ROW_BUFFERS, "exact_softmax": ROW_BUFFERS,
            "values": r"\w+_rows\.buffer_\d+_\d+"}


def _silicon(sets: list[Parameters], library: Library, output: Path, workers: int
             ) -> dict[str, dict[str, Any]]:
    """Module, hash, area and frequency of each set's unit, by the set's name."""
    found = {}
    flow = flow_digest()
    # The largest come first, so that none of them ends alone.
    sets = sorted(sets, key=_size, reverse=True)
    with (processes(workers) as pool, progress(len(sets), "mapping", estimate=True) as step):
        tasks = {pool.submit(_mapped, p, library.path, flow, output): p for p in sets}
        for task in as_completed(tasks):
            found[tasks[task].name] = task.result()
            step(f"mapped {tasks[task].name}")
    return found


def _size(p: Parameters) -> int:
    """Something that grows with the unit's area."""
    return p.peak if p.unit in ("array", "values") else p.width


def _mapped(p: Parameters, liberty: Path, flow: str, output: Path) -> dict[str, Any]:
    """Module, hash, area and frequency of a set's unit, which may be kept from an earlier run."""
    block = unit(p)
    text = verilog(block)
    key = {"module": block.module, "verilog_sha256": sha256(text.encode()).hexdigest()}
    origin = {"flow_sha256": flow, "library": liberty.name, "outside": _BUFFERS[p.unit], **key,
              **basis()["tools"]}
    path = output / f"{p.name}.json"
    if known := kept(path, lambda content: content["origin"] == origin):
        return known["result"]
    folder = output / p.name
    (source,) = write_files({f"{block.module}.v": text}, folder)
    mapping = synthesise(source, block.module, Library.load(liberty), folder, flatten=False,
                         outside=_BUFFERS[p.unit])
    timing = analyse(mapping.netlist)
    result = {
        **key, "gates": round(mapping.gates(mapping.blocks[0].total)),
        "memory_gates": round(mapping.gates(mapping.memory_area)),
        "buffer_bits": sum(memory.bits * memory.instances for memory in mapping.memories
                               if memory.outside),
        "period_ns": round(timing.period, 4), "mhz": round(1000 / timing.period),
    }
    write(path, json.dumps({"origin": origin, "result": result}, indent=2) + "\n")
    return result


# Tables


def cells(report: dict[str, Any]) -> list[list[str]]:
    """The table of the sets, its head first."""
    rows = [["set", "Verilog", "kGE", "MHz", *(kind.title for kind in KINDS)]]
    for each in report["sets"]:
        rows.append([each["set"], each["verilog_sha256"][:12], f"{each['gates'] / 1000:,.1f}",
                     f"{each['mhz']:,}", *("" if each[kind.name] is None
                                           else kind.cell(each[kind.name]) for kind in KINDS)])
    return rows


def _whole_cells(report: dict[str, Any]) -> list[list[str]]:
    """The table of the commands, its head first."""
    rows = [["command", "in all"]]
    for kind in KINDS:
        facts = report["commands"][kind.name]
        rows.append([kind.command, ", ".join(f"{name.replace('_', ' ')} {_shown(name, value)}"
                                             for name, value in facts.items())])
    return rows


def _shown(name: str, value: Any) -> str:
    """A number, the seed among them, a text, or points that were reached."""
    if name == "seed":
        return str(value)
    if isinstance(value, dict):
        return f"{share(value):.1%}"
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def _show(report: dict[str, Any]) -> None:
    """The report as tables."""
    for title, (head, *rows) in (("Evidence by set", cells(report)),
                                 ("Evidence by command", _whole_cells(report))):
        table = Table(title=title, title_justify="left", box=box.SIMPLE)
        for heading in head:
            table.add_column(heading, overflow="fold",
                             justify="right" if heading in ("kGE", "MHz") else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def markdown(report: dict[str, Any]) -> str:
    """The tables of a page."""
    parts = []
    for head, *rows in (cells(report), _whole_cells(report)):
        rule = ["--:" if heading in ("kGE", "MHz") else "---" for heading in head]
        parts.append("".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rows)))
    versions = ", ".join(f"{name} {each}" for name, each in report["tools"].items())
    library = report["library"]
    return "\n".join(parts) + (
        f"\nSources of `golden` and `hdl` {report['sources_sha256'][:12]}; {versions}; library "
        f"{library['name']}, {library['voltage']} V. Left out of area and frequency: "
        f"{report['left_out']}.\n")
