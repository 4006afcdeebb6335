"""Plot of a sweep: energy, or the clock period without energies, against area."""

import io
from typing import Any

import matplotlib
from matplotlib.figure import Figure

__all__ = ["svg"]

#: Colour of each micro-architecture, of those that Okabe and Ito chose for all kinds of sight.
COLOURS = {"product": "#000000", "shift_add": "#e69f00", "pair_sum": "#0072b2",
           "shift": "#009e73", "float": "#cc79a7", "bit_plane": "#d55e00", "radix4": "#f0e442"}

#: Colour of any other.
_OTHER = "#56b4e9"

#: Areas of the smallest and the largest marker, points squared.
_SIZES = (25, 160)


def svg(report: dict[str, Any]) -> str:
    """SVG of a report of ``mixpe explore``; equal reports give equal text.

    A marker is a point, its colour the micro-architecture and its size the clock period. Those of
    the front are filled, labelled with the period in ns, and joined in the order of their areas.
    """
    vertical = "fj_per_mac" if "fj_per_mac" in report["objectives"] else "period_ns"
    points = report["points"]
    with matplotlib.rc_context({"svg.hashsalt": "mixpe", "font.size": 9}):
        figure = Figure(figsize=(8.5, 5), layout="constrained")
        axes = figure.add_subplot()
        periods = [point["period_ns"] for point in points]
        for place, point in enumerate(points):
            colour = _colour(point)
            axes.scatter(
                point["gates_per_mac"], point[vertical], s=_size(point["period_ns"], periods),
                facecolors=colour if place in report["front"] else "none", edgecolors=colour,
                alpha=1 if place in report["front"] else 0.45, linewidths=1, zorder=3)
        best = [points[place] for place in report["front"]]
        axes.plot([point["gates_per_mac"] for point in best], [point[vertical] for point in best],
                  color="0.6", linewidth=1, zorder=2)
        for point in best:
            axes.annotate(f"{point['period_ns']:.2f}", (point["gates_per_mac"], point[vertical]),
                          xytext=(7, -9), textcoords="offset points", fontsize=7, color="0.3")
        axes.set_xlabel("area, GE per MAC")
        axes.set_ylabel("energy, fJ per MAC" if vertical == "fj_per_mac" else "period, ns")
        axes.set_title(f"{report['sweep']}: {len(points)} tiles, {report['library']['name']}")
        axes.grid(color="0.9", zorder=0)
        _legend(figure, axes, points, periods)
        file = io.StringIO()
        # A date would make equal results differ.
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _colour(point: dict[str, Any]) -> str:
    return COLOURS.get(point["point"]["mac"], _OTHER)


def _size(period: float, periods: list[float]) -> float:
    """Area of the marker of a period."""
    low, high = min(periods), max(periods)
    share = (period - low) / (high - low) if high > low else 0.5
    return _SIZES[0] + share * (_SIZES[1] - _SIZES[0])


def _legend(figure: Figure, axes, points: list[dict[str, Any]], periods: list[float]) -> None:
    """What colours, sizes and filling mean, beside the plot."""
    macs = {point["point"]["mac"]: _colour(point) for point in points}
    entries = [axes.scatter([], [], s=50, color=colour, label=mac)
               for mac, colour in macs.items()]
    for period in sorted({min(periods), max(periods)}):
        entries.append(axes.scatter([], [], s=_size(period, periods), facecolors="0.6",
                                    edgecolors="0.6", label=f"{period:.2f} ns"))
    entries.append(axes.scatter([], [], s=50, facecolors="0.4", edgecolors="0.4", label="front"))
    entries.append(axes.scatter([], [], s=50, facecolors="none", edgecolors="0.4", alpha=0.6,
                                label="dominated"))
    figure.legend(handles=entries, loc="outside right upper")
