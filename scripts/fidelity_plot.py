"""Plot of a report of ``mixpe fidelity``: schemes, softmax units, selection of features."""

import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["svg"]

#: Colours that Okabe and Ito chose for all kinds of sight.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")


def svg(report: dict[str, Any]) -> str:
    """SVG of a report; equal reports give equal text.

    Bars are signal to noise of the outputs at the greatest K, ticks that with quantised weights
    alone. Beside them: total variation of a row's probabilities over σ; estimated loss over the
    share of 8-bit features, the band being all random selections.
    """
    with matplotlib.rc_context({"svg.hashsalt": "mixpe", "font.size": 8,
                                "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(11, 6), layout="constrained")
        axes = figure.subplot_mosaic([["schemes", "softmax"], ["schemes", "selection"]],
                                     width_ratios=[3, 2])
        _schemes(axes["schemes"], report)
        _softmax(axes["softmax"], report["softmax"])
        _selection(axes["selection"], report["selection"])
        file = io.StringIO()
        # A date would make equal results differ.
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _schemes(axes: Axes, report: dict[str, Any]) -> None:
    longest = max(each["k"] for each in report["synthetic"])
    chosen = [each for each in report["synthetic"] if each["k"] == longest]
    names = list(chosen[0]["sqnr_db"])
    height = 0.8 / len(chosen)
    for place, (each, colour) in enumerate(zip(chosen, _COLOURS, strict=False)):
        rows = [row + (place + 0.5) * height - 0.4 for row in range(len(names))]
        noises = each["sqnr_db"].values()
        axes.barh(rows, [noise["outputs"] for noise in noises], height, color=colour,
                  label=f"{each['weights']}, outputs")
        axes.scatter([noise["weights"] for noise in noises], rows, marker="|", color="black",
                     label="weights alone" if place == 0 else None, zorder=3)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="signal to noise, dB", title=f"layers, K = {longest}")
    axes.legend(frameon=False, loc="lower right")


def _softmax(axes: Axes, points: list[dict[str, Any]]) -> None:
    units = dict.fromkeys(each["unit"] for each in points)
    for unit, colour in zip(units, _COLOURS, strict=False):
        own = [each for each in points if each["unit"] == unit]
        axes.semilogy([each["sigma"] for each in own], [each["variation"] for each in own],
                      marker="o", color=colour, label=unit)
    axes.set(xlabel="sigma of the logits", ylabel="total variation of a row", title="softmax")
    axes.legend(frameon=False, loc="center right")


def _selection(axes: Axes, points: list[dict[str, Any]]) -> None:
    shares = [100 * each["share"] for each in points]
    axes.fill_between(shares, [each["random_loss_least"] for each in points],
                      [each["random_loss_greatest"] for each in points], color="0.85",
                      linewidth=0)
    for way, colour in (("salience", _COLOURS[0]), ("random", "0.4")):
        axes.plot(shares, [each[f"{way}_loss"] for each in points], marker="o", color=colour,
                  label=way)
    axes.set(xlabel="features of 8 bits, per cent", ylabel="loss over that of 4 bits",
             ylim=(0, None), title="MixLLM's selection")
    axes.legend(frameon=False)
