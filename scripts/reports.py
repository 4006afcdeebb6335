"""Reports that one command has left for another, made anew unless they are of today's designs."""

import json
from collections.abc import Collection
from pathlib import Path

from golden.softmax_parameters import SoftmaxParameters
from scripts import bench, fidelity, softmax_synth
from scripts.designs import designs
from scripts.files import kept
from scripts.proofs import sources_digest
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
        return _same_flow(report, library) and (known if names is None else {
            name: known[name] for name in digests}) == digests

    paths = [output / "bench.json"] + [output / "claims" / "bench.json"] * (names is not None)
    for path in paths:
        if report := kept(path, usable):
            return report
    if names is None:
        return bench.main(liberty, True, workers, output)
    return bench.some(chosen, library, workers, paths[-1])


def softmax_report(parameters: SoftmaxParameters, liberty: Path | None, output: Path) -> dict:
    """Report of ``mixpe synth`` of a softmax set, with energies, below ``output``."""
    from hdl.export import digest

    path, library = output / "synth" / f"{parameters.name}.json", library_of(liberty)
    units = parameters, parameters.baseline()

    def usable(report: dict) -> bool:
        return _same_flow(report, library) and all(
            unit["fj_per_element"] is not None
            and unit["verilog_sha256"] == digest(softmax_synth.core(each))
            for unit, each in zip(report["units"], units, strict=True))

    report = kept(path, usable)
    if report is None:
        softmax_synth.main(parameters, liberty, True, path.parent)
        report = json.loads(path.read_text())
    return report


def fidelity_report(checkpoint: Path | None, layer: str | None, seed: int, workers: int,
                    output: Path) -> dict:
    """Report of ``mixpe fidelity`` below ``output``; made anew if there is a checkpoint."""
    def usable(report: dict) -> bool:
        return (report["seed"], report["layers"], report["sources_sha256"]) == (
            seed, [], sources_digest("golden"))

    if checkpoint is None and (report := kept(output / "fidelity.json", usable)):
        return report
    return fidelity.main(checkpoint, layer, seed, workers, output, None)


def _same_flow(report: dict, library: Library) -> bool:
    """Whether a report is of this library, flow and tools."""
    return (report["library"]["name"] == library.path.name and report["tools"] == tools()
            and report["flow_sha256"] == flow_digest())
