"""Reports that one command has left for another, made anew unless they are of today's designs."""

import json
from collections.abc import Callable, Collection
from pathlib import Path

from golden.softmax_parameters import SoftmaxParameters
from scripts import bench, fidelity, softmax_synth
from scripts.designs import designs
from scripts.synth import flow_digest, library_of, tools
from synth.liberty import Library

__all__ = ["bench_report", "fidelity_report", "softmax_report"]


def bench_report(liberty: Path | None, output: Path, workers: int,
                 names: Collection[str] | None = None) -> dict:
    """Report of ``mixpe bench`` below ``output``.

    With ``names`` one that has these designs will do; if none is there, they alone are measured,
    into ``<output>/claims``.
    """
    library = library_of(liberty)
    chosen = [each for each in designs() if names is None or each.name in names]
    digests = {each.name: each.digest for each in chosen}

    def usable(report: dict) -> bool:
        known = {each["name"]: each["verilog_sha256"] for each in report["designs"]}
        return (known if names is None else {
            name: known[name] for name in digests}) == digests

    paths = [output / "bench.json"] + [output / "claims" / "bench.json"] * (names is not None)
    for path in paths:
        if report := _kept(path, library, usable):
            return report
    if names is None:
        return bench.main(liberty, True, workers, output)
    return bench.some(chosen, library, workers, paths[-1])


def softmax_report(parameters: SoftmaxParameters, liberty: Path | None, output: Path) -> dict:
    """Report of ``mixpe synth`` of a softmax set, with energies, below ``output``."""
    path = output / "synth" / f"{parameters.name}.json"
    report = _kept(path, library_of(liberty), lambda report: _usable(report, parameters))
    if report is None:
        softmax_synth.main(parameters, liberty, True, path.parent)
        report = json.loads(path.read_text())
    return report


def _kept(path: Path, library: Library, usable: Callable[[dict], bool]) -> dict | None:
    """Report in a file, if there is one, of this library, flow and tools, and it is usable."""
    try:
        report = json.loads(path.read_text())
        same = (report["library"]["name"] == library.path.name and report["tools"] == tools()
                and report["flow_sha256"] == flow_digest() and usable(report))
    except (OSError, ValueError, KeyError):
        return None
    return report if same else None


def _usable(report: dict, parameters: SoftmaxParameters) -> bool:
    """Whether a report has energies, and is of both units as they are now."""
    from hdl.export import digest

    return all(unit["fj_per_element"] is not None
               and unit["verilog_sha256"] == digest(softmax_synth.core(each))
               for unit, each in zip(report["units"], (parameters, parameters.baseline()),
                                     strict=True))


def fidelity_report(checkpoint: Path | None, layer: str | None, seed: int, workers: int,
                    output: Path) -> dict:
    """Report of ``mixpe fidelity`` below ``output``; made anew if there is a checkpoint."""
    path = output / "fidelity.json"
    if checkpoint is None:
        try:
            report = json.loads(path.read_text())
            if (report["seed"], report["layers"], report["sources_sha256"]) == (
                    seed, [], fidelity.sources_digest()):
                return report
        except (OSError, ValueError, KeyError):
            pass
    return fidelity.main(checkpoint, layer, seed, workers, output, None)
