"""Plots of a report of ``mixpe claims``."""

from pathlib import Path

from synth.pareto import front

__all__ = ["main"]

#: What makes a file differ from run to run, taken out.
_METADATA = {"Date": None}

#: Colour-blind safe; a machine keeps its colour in all plots.
_COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#e69f00", "#000000", "#888888", "#d55e00", "#cc79a7",
            "#7a5195", "#b3a000")
_MARKERS = "osD^vP*Xdh"


def main(report: dict, output: Path) -> list[Path]:
    """Draw all into ``<output>/<name>.svg``; equal reports give equal files. Returns the paths."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    output.mkdir(parents=True, exist_ok=True)
    plots = {"speed": _speed, "energy": _energy, "shares": _shares, "break_even": _break_even,
             "design_space": _design_space}
    plots |= {f"roofline_{_slug(model)}": lambda axes, report, model=model: _roofline(
        axes, report, model) for model in report["models"]}
    paths = []
    with mpl.rc_context({"svg.hashsalt": "mixpe", "font.size": 9, "axes.spines.top": False,
                         "axes.spines.right": False}):
        for name, draw in plots.items():
            figure = Figure(figsize=(8.5, 4.5), layout="constrained")
            draw(figure.subplots(), report)
            paths.append(output / f"{name}.svg")
            figure.savefig(paths[-1], metadata=_METADATA)
    return paths


def _slug(name: str) -> str:
    """Name as part of a file's name."""
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def _styles(report: dict) -> dict[str, dict]:
    """Colour and marker of each machine."""
    names = [each["name"] for each in report["machines"]]
    return {name: {"color": colour, "marker": marker}
            for name, colour, marker in zip(names, _COLOURS, _MARKERS, strict=True)}


def _legend(axes) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _bars(axes, report: dict, quantity: str, label: str) -> None:
    """Means over the models in each phase, a bar for each machine."""
    styles, means = _styles(report), report["means"]
    phases = list(next(iter(means.values()))[quantity])
    width = 0.8 / len(means)
    for index, (name, found) in enumerate(means.items()):
        places = [phase + (index - len(means) / 2 + 0.5) * width for phase in range(len(phases))]
        axes.bar(places, list(found[quantity].values()), width, label=name,
                 color=styles[name]["color"])
    axes.axhline(1, color="0.4", linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(phases)), phases)
    axes.set(ylabel=label)
    _legend(axes)


def _speed(axes, report: dict) -> None:
    """Speed of the linear layers over that of the INT8 array."""
    _bars(axes, report, "speed", f"speed of linear layers, {report['baseline']} = 1")


def _energy(axes, report: dict) -> None:
    """Work for an energy over that of the INT8 array."""
    _bars(axes, report, "efficiency", f"products per energy, memory included, "
                                      f"{report['baseline']} = 1")


def _shares(axes, report: dict) -> None:
    """Energy of a product by what draws it."""
    runs = [run for run in report["runs"] if (run["model"], run["phase"]) == tuple(report["shown"])]
    left = [0.0] * len(runs)
    names = [run["machine"] for run in runs]
    for part in runs[0]["linear"]["energy_pj"]:
        widths = [1e3 * run["linear"]["energy_pj"][part] / run["linear"]["macs"] for run in runs]
        axes.barh(names, widths, left=left, label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="fJ per product", title=", ".join(report["shown"]))
    _legend(axes)


def _roofline(axes, report: dict, model: str) -> None:
    """Speed of the phases of a model over the products that a byte brings."""
    styles = _styles(report)
    runs = [run for run in report["runs"] if run["model"] == model]
    bandwidth = report["constants"]["bandwidth"]["value"]
    intensities = [run["linear"]["macs"] / run["linear"]["bytes"] for run in runs]
    span = [min(intensities) / 2, max(intensities) * 2]
    for machine in report["machines"]:
        peak, style = machine["macs_per_ns"], styles[machine["name"]]
        xs = sorted([*span, min(max(peak / bandwidth, span[0]), span[1])])
        axes.plot(xs, [min(peak, bandwidth * x) for x in xs], color=style["color"], linewidth=0.8)
        points = [(run["linear"]["macs"] / run["linear"]["bytes"],
                   run["linear"]["macs"] / run["linear"]["time_ns"])
                  for run in runs if run["machine"] == machine["name"]]
        axes.plot(*zip(*points, strict=True), linestyle="", markersize=5, label=machine["name"],
                  **style)
    axes.set(xscale="log", yscale="log", title=f"{model}, linear layers",
             xlabel="products per byte of memory traffic", ylabel="products per ns")
    axes.grid(color="0.92", which="both")
    _legend(axes)


def _break_even(axes, report: dict) -> None:
    """Dequantisations before and after the product over the rows of activations."""
    found = report["break_even"]
    rows = found["m"]
    axes.plot(rows, found["before"], color=_COLOURS[6], label="before: N·K")
    axes.plot(rows, found["after"], color=_COLOURS[0], label="after: M·N·K / G")
    axes.plot(rows, found["first_tile"], color=_COLOURS[7], linestyle="--",
              label="before, in the tile: again for each block of rows")
    axes.plot(rows, found["array"], color=_COLOURS[1], linestyle="--",
              label="after, in the array: rows filled up")
    axes.axvline(found["group"], color="0.5", linewidth=0.8, linestyle=":")
    axes.annotate(f"M = G = {found['group']}", (found["group"], min(found["after"])),
                  xytext=(4, 4), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="M, rows of activations",
             ylabel=f"dequantisations, K = {found['k']:,}, N = {found['n']:,}")
    axes.grid(color="0.92", which="both")
    _legend(axes)


def _design_space(axes, report: dict) -> None:
    """Fidelity over area and power efficiency of the multiply-accumulates, FP16 being 1."""
    styles = _styles(report)
    points = [each for each in report["design_space"] if each["sqnr_db"] is not None]
    best = front([(-each["efficiency"], -each["sqnr_db"]) for each in points])
    for place, each in enumerate(points):
        style = styles[each["name"]]
        axes.plot([each["efficiency"]], [each["sqnr_db"]], linestyle="", markersize=8,
                  label=each["name"], markerfacecolor=style["color"] if place in best else "none",
                  **style)
    line = sorted((points[place]["efficiency"], points[place]["sqnr_db"]) for place in best)
    axes.plot(*zip(*line, strict=True), color="0.6", linewidth=0.8, zorder=0, label="front")
    axes.set_xscale("log", base=2)
    low, high = axes.get_ylim()
    axes.set(ylim=(low - 0.05 * (high - low), high),
             xlabel="area efficiency times power efficiency, FP16 = 1",
             ylabel="signal to quantisation noise, dB")
    axes.grid(color="0.92")
    _legend(axes)
