"""``mixpe fidelity``: noise of every scheme, errors of softmax, salience against chance."""

import json
import math
import os
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich import box
from rich.table import Table

from golden.fidelity import (
    SCHEMES,
    SHARES,
    SIGMAS,
    SOFTMAX_UNITS,
    Noise,
    feature_errors,
    measure,
    selections,
    softmax_errors,
    standard_errors,
    total,
)
from golden.synthetic import (
    OUTLIER,
    OUTLIER_SHARE,
    WEIGHT_KINDS,
    activations,
    feature_magnitudes,
    gradients,
    layer,
    outlier_channels,
)
from scripts import checkpoint
from scripts.checkpoint import CheckpointError
from scripts.console import console, progress
from scripts.files import Section, write
from scripts.processes import processes
from scripts.proofs import sources_digest

__all__ = ["Amount", "main", "report_of", "tables"]

#: Layers of a file that are all measured when none is asked for.
FEW = 4


@dataclass(frozen=True)
class Amount:
    """How much is measured; the default is enough for figures that are stable to some 0.1 dB.

    Parameters
    ----------
    layers : dict of int to int
        How many made layers of each K.
    tokens, features : int
        M of a layer, and N, or as many features as are drawn from a layer of a file.
    heads : int
        Attention heads for each σ.
    rankings : int
        Random rankings of the output features.
    """

    layers: dict[int, int]
    tokens: int = 64
    features: int = 128
    heads: int = 8
    rankings: int = 32


FULL = Amount({1024: 16, 4096: 8})


def main(path: Path | None, chosen: str | None, seed: int, workers: int, output: Path,
         page: Path | None, amount: Amount = FULL) -> dict[str, Any]:
    """Measure, print the tables, write ``fidelity.json`` and ``fidelity.svg``; return the report.

    Parameters
    ----------
    path : Path, optional
        Checkpoint whose layers are measured too.
    chosen : str, optional
        Its layer; all if there are at most four.
    seed : int
        Of everything that is random.
    workers : int
        Processes; the results do not depend on them.
    output : Path
        Folder.
    page : Path, optional
        Page whose tables are renewed.
    amount : Amount
        How much is measured.

    Raises
    ------
    CheckpointError, click.UsageError
        If a file or a layer cannot be measured, or the page has no markers.
    """
    from scripts import fidelity_plot

    section = page and Section(page, "fidelity")
    report = report_of(path, chosen, seed, workers, amount)
    for title, rows in tables(report):
        console.print(_table(title, rows))
    console.print(_remarks(report))
    write(output / "fidelity.json", json.dumps(report, indent=2) + "\n")
    write(output / "fidelity.svg", fidelity_plot.svg(report))
    console.print(f"Written to {output / 'fidelity.json'}, {output / 'fidelity.svg'}")
    if section:
        section.renew(_markdown(report))
        console.print(f"Written to {page}")
    return report


def report_of(path: Path | None, chosen: str | None, seed: int, workers: int,
              amount: Amount = FULL) -> dict[str, Any]:
    """Everything measured, JSON-ready; parameters and errors are those of :func:`main`."""
    names = [] if path is None else _names(path, chosen)
    loaded = {name: _weights(path, name, seed, amount) for name in names}
    jobs = _jobs(seed, amount)
    found: dict[tuple, Any] = {}
    with progress(len(names) + len(jobs), "measuring", estimate=True) as step:
        layers = []
        for name, weights in loaded.items():
            layers.append(_measured_layer(path, name, *weights, seed, amount))
            step(f"measured {name}")
        for key, result in _results(jobs, workers):
            found[key] = result
            step(f"measured {key[0]}")
    noises = {(kind, k): [found["layer", kind, k, i] for i in range(count)]
              for kind in WEIGHT_KINDS for k, count in amount.layers.items()}
    return {
        "seed": seed, "sources_sha256": sources_digest("golden"),
        "schemes": [{**asdict(scheme), "weight_bits": round(scheme.weight_bits, 4)}
                    for scheme in SCHEMES.values()],
        "synthetic": [_synthetic(kind, k, each, amount) for (kind, k), each in noises.items()],
        "softmax": [{"sigma": sigma, "unit": unit, "bits": bits,
                     **_rounded(asdict(found["softmax", sigma, unit]))}
                    for sigma in SIGMAS for unit, bits in SOFTMAX_UNITS.items()],
        "selection": [_selected(found["selection",], share, seed, amount) for share in SHARES],
        "layers": layers,
    }


def _jobs(seed: int, amount: Amount) -> dict[tuple, tuple]:
    """What is measured apart from files, each as a function and its arguments; long ones first."""
    layers = {("layer", kind, k, i): (_layer_noises, kind, k, i, seed, amount)
              for k in sorted(amount.layers, reverse=True) for kind in WEIGHT_KINDS
              for i in range(amount.layers[k])}
    heads = {("softmax", sigma, unit): (_softmax, sigma, bits, seed, amount)
             for sigma in SIGMAS for unit, bits in SOFTMAX_UNITS.items()}
    return layers | heads | {("selection",): (_features, seed)}


def _results(jobs: dict[tuple, tuple], workers: int) -> Iterator[tuple[tuple, Any]]:
    """Results of jobs by their keys, as they end."""
    if workers == 1:
        yield from ((key, job[0](*job[1:])) for key, job in jobs.items())
        return
    # The processes share the cores already; threads of each would wait for one another.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with processes(workers) as pool:
        futures = {pool.submit(*job): key for key, job in jobs.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _layer_noises(kind: str, k: int, index: int, seed: int, amount: Amount) -> dict[str, Noise]:
    """Noise of every scheme in a made layer."""
    made = layer(kind, k, tokens=amount.tokens, features=amount.features,
                 seed=(seed, k, index, list(WEIGHT_KINDS).index(kind)))
    return {name: measure(scheme, made.x, made.w, made.gradients)
            for name, scheme in SCHEMES.items()}


def _softmax(sigma: float, bits: int | None, seed: int, amount: Amount):
    return softmax_errors(sigma, bits, heads=amount.heads, seed=seed)


def _features(seed: int):
    return feature_errors(seed=seed)


def _synthetic(kind: str, k: int, noises: list[dict[str, Noise]],
               amount: Amount) -> dict[str, Any]:
    """Noise of every scheme in all made layers of a kind and length."""
    by_scheme = {name: [each[name] for each in noises] for name in SCHEMES}
    return {
        "weights": kind, "k": k, "layers": len(noises), "tokens": amount.tokens,
        "features": amount.features,
        "sqnr_db": {name: _rounded(total(each).decibels()) for name, each in by_scheme.items()},
        "standard_error_db": {name: _rounded(standard_errors(each))
                              for name, each in by_scheme.items()},
    }


def _selected(features: dict, share: float, seed: int, amount: Amount) -> dict[str, Any]:
    """Errors at a share of wide features, chosen by salience and by chance."""
    rng = np.random.default_rng(seed)
    salient = {name: each.ranks for name, each in features.items()}
    random = [{name: rng.random(len(ranks)) for name, ranks in salient.items()}
              for _ in range(amount.rankings)]
    (best,), others = (selections(features, share, ranks) for ranks in ([salient], random))
    losses, ratios = ([getattr(each, name) for each in others] for name in ("loss", "sqnr"))
    return {"share": share, "bits": 4 + 4 * share, "rankings": amount.rankings, **_rounded({
        "salience_loss": best.loss, "random_loss": float(np.mean(losses)),
        "random_loss_deviation": float(np.std(losses)),
        "random_loss_least": min(losses), "random_loss_greatest": max(losses),
        "salience_sqnr_db": best.sqnr, "random_sqnr_db": float(np.mean(ratios)),
        "random_sqnr_deviation_db": float(np.std(ratios))})}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers to five digits, which do not depend on the machine; infinities as words."""
    words = {math.inf: "exact", -math.inf: "overflow", None: None}
    return {name: words[value] if value in words else float(f"{value:.5g}")
            for name, value in values.items()}


# Files


def _names(path: Path, chosen: str | None) -> list[str]:
    """Layers of a file or folder to measure."""
    quantised, floats = _contents(path)
    names = quantised or floats
    if chosen is not None:
        return [chosen]
    if len(names) > FEW:
        raise click.UsageError(f"Layer must be given, one of the {len(names)} of {path}: "
                               f"{', '.join(names[:FEW])}, ...")
    if not names:
        raise CheckpointError(f"{path} has no matrix of {', '.join(checkpoint.FLOATS)}")
    return names


def _contents(path: Path) -> tuple[list[str], list[str]]:
    """Quantised layers and float matrices of a file or folder."""
    floats = checkpoint.matrices(path) if path.is_file() else []
    try:
        return checkpoint.layers(path), floats
    except CheckpointError:
        if not path.is_file():
            raise
        return [], floats


def _weights(path: Path, name: str, seed: int,
             amount: Amount) -> tuple[np.ndarray, int, str]:
    """Weights (K, features) of a layer as real numbers, N, and what they are."""
    quantised, _ = _contents(path)
    if name in quantised or (quantised and not path.is_file()):
        loaded = checkpoint.load(path, name)
        k, n = loaded.shape
        if k > checkpoint.MAX_LENGTH:
            raise CheckpointError(f"{path}: layer {name} must have at most "
                                  f"{checkpoint.MAX_LENGTH} inputs, not {k}")
        drawn = np.sort(np.random.default_rng(seed).permutation(n)[:amount.features])
        return loaded.columns(drawn).dequantise(), n, f"dequantised {loaded.w}"
    return *checkpoint.features(path, name, amount.features, seed), "float"


def _measured_layer(path: Path, name: str, w: np.ndarray, n: int, kind: str, seed: int,
                    amount: Amount) -> dict[str, Any]:
    """Noise of every scheme in a layer of a file, with made activations and gradients."""
    rng, (k, count) = np.random.default_rng(seed), w.shape
    x = activations(rng, amount.tokens, k, outlier_channels(rng, k))
    slopes = gradients(rng, 2, k, feature_magnitudes(rng, count))
    found = {}
    for scheme_name, scheme in SCHEMES.items():
        try:
            found[scheme_name] = _rounded(measure(scheme, x, w, slopes).decibels())
        except ValueError as error:
            raise CheckpointError(f"{path}: layer {name}, {scheme_name}: {error}") from None
    return {"file": path.name, "layer": name, "weights": kind, "k": k, "n": n, "features": count,
            "tokens": amount.tokens, "sqnr_db": found}


# Tables

#: Rows of cells, the first being the headings.
Rows = list[list[str]]


def tables(report: dict[str, Any]) -> list[tuple[str, Rows]]:
    """Titles and rows of all tables of a report; the first cells of rows are text."""
    return [*(_layer_table(each) for each in report["layers"]), _synthetic_table(report),
            _length_table(report), _softmax_table(report), _selection_table(report)]


def _db(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}"


def _bits(report: dict[str, Any]) -> dict[str, str]:
    """Mean bits of a weight of each scheme."""
    return {each["name"]: f"{each['weight_bits']:.2f}" for each in report["schemes"]}


_PARTS = ("weights", "activations", "outputs")


def _layer_table(each: dict[str, Any]) -> tuple[str, Rows]:
    title = (f"{each['file']}, {each['layer']}: {each['weights']} weights, K = {each['k']}, "
             f"{each['features']} of {each['n']} output features, {each['tokens']} tokens; dB")
    rows = [["scheme", *_PARTS, "arithmetic"]]
    rows += [[name, *(_db(noise[part]) for part in rows[0][1:])]
             for name, noise in each["sqnr_db"].items()]
    return title, rows


def _synthetic_table(report: dict[str, Any]) -> tuple[str, Rows]:
    """Every noise at the greatest K."""
    longest = max(each["k"] for each in report["synthetic"])
    chosen = [each for each in report["synthetic"] if each["k"] == longest]
    first, bits = chosen[0], _bits(report)
    rows = [["scheme", "bits of a weight",
             *(f"{each['weights']}: {part}" for each in chosen for part in _PARTS), "arithmetic"]]
    for name in first["sqnr_db"]:
        rows.append([name, bits[name],
                     *(_db(each["sqnr_db"][name][part]) for each in chosen for part in _PARTS),
                     _db(first["sqnr_db"][name]["arithmetic"])])
    count = first["layers"] * first["features"]
    return f"Signal to noise in dB, K = {longest}, {count:,} output features", rows


def _length_table(report: dict[str, Any]) -> tuple[str, Rows]:
    """Outputs at every K."""
    chosen = report["synthetic"]
    rows = [["scheme", *(f"{each['weights']}: K = {each['k']}" for each in chosen)]]
    rows += [[name, *(_db(each["sqnr_db"][name]["outputs"]) for each in chosen)]
             for name in chosen[0]["sqnr_db"]]
    return "Signal to noise of the outputs in dB", rows


def _softmax_table(report: dict[str, Any]) -> tuple[str, Rows]:
    rows = [["unit", "sigma", "lowest level", "total variation", "mean error of a probability",
             "error of outputs"]]
    for each in report["softmax"]:
        rows.append([each["unit"], f"{each['sigma']:.1f}",
                     "" if each["lo"] is None else f"{each['lo']:.2f}",
                     f"{each['variation']:.2%}", f"{each['absolute']:.1e}",
                     f"{each['outputs']:.2%}"])
    return "Softmax and attention against float64", rows


def _selection_table(report: dict[str, Any]) -> tuple[str, Rows]:
    rows = [["8-bit features", "bits of a weight", "loss, salience", "loss, random",
             "SQNR, salience", "SQNR, random"]]
    for each in report["selection"]:
        rows.append([f"{each['share']:.0%}", f"{each['bits']:.1f}", f"{each['salience_loss']:.3f}",
                     f"{each['random_loss']:.3f} ± {each['random_loss_deviation']:.3f}",
                     _db(each["salience_sqnr_db"]), _db(each["random_sqnr_db"])])
    count = report["selection"][0]["rankings"]
    return f"MixLLM: loss over that of 4 bits, and SQNR in dB; {count} random selections", rows


#: Where headings are broken on a terminal.
_BREAKS = {": ": ":\n", "activations": "activa-\ntions", "arithmetic": "arith-\nmetic"}


def _table(title: str, rows: Rows) -> Table:
    """A table for the terminal."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column(rows[0][0], no_wrap=True)
    for heading in rows[0][1:]:
        for long, short in _BREAKS.items():
            heading = heading.replace(long, short)
        table.add_column(heading, justify="right")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _remarks(report: dict[str, Any]) -> str:
    """What the numbers are of, in a sentence or two."""
    kinds = "; ".join(f"{kind}: {text}, standard error of outputs {_error(report, kind)}"
                      for kind, text in WEIGHT_KINDS.items())
    return (f"Activations are normal with {OUTLIER_SHARE:.0%} outlier channels {OUTLIER:g} times "
            f"larger. {kinds}. Seed {report['seed']}.")


def _error(report: dict[str, Any], kind: str) -> str:
    """Typical and greatest standard error of the outputs' figures."""
    errors = [noise["outputs"] for each in report["synthetic"] if each["weights"] == kind
              for noise in each["standard_error_db"].values()]
    return f"{np.median(errors):.2f} dB, at most {max(errors):.2f} dB"


def _markdown(report: dict[str, Any]) -> str:
    """The tables of a page."""
    parts = []
    for title, (head, *rows) in tables(report):
        rule = "|---|" + "--:|" * (len(head) - 1)
        lines = "\n".join(f"| {' | '.join(row)} |" for row in [head])
        body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        parts.append(f"### {title}\n\n{lines}\n{rule}\n{body}\n\n")
    return "".join(parts) + _remarks(report) + "\n"
