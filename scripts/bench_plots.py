"""Plots of a report of ``mixpe bench``."""

from pathlib import Path

from scripts.designs import MEMORY

__all__ = ["main"]

#: What makes a file differ from run to run, taken out.
_METADATA = {"Date": None}

#: Operands of the plots.
KIND = "fixture"


def main(report: dict, output: Path) -> list[Path]:
    """Draw all into ``<output>/<name>.svg``; return the paths."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    output.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context({"svg.hashsalt": "mixpe", "font.size": 9, "axes.spines.top": False,
                         "axes.spines.right": False}):
        for draw in (_area, _energy, _shares):
            figure = Figure(figsize=(8, 4.5), layout="constrained")
            draw(figure.subplots(), report)
            paths.append(output / f"{draw.__name__.removeprefix('_')}.svg")
            figure.savefig(paths[-1], metadata=_METADATA)
    return paths


def _tiles(report: dict) -> dict[str, list[dict]]:
    """Tiles by family."""
    families = {}
    for each in report["designs"]:
        if each["block"] == "tile":
            families.setdefault(each["family"], []).append(each)
    return families


def _area(axes, report: dict) -> None:
    """Gate equivalents per MAC of each micro-architecture over the size of the tile."""
    for family, tiles in _tiles(report).items():
        points = sorted((each["macs"], each["gates_per_mac"]) for each in tiles
                        if each["set"]["lanes"] >= 16 or len(tiles) == 1)
        axes.plot(*zip(*points, strict=True), marker="o", label=family)
    for each in report["designs"]:
        if each["name"] == "INT8 PE":
            axes.axhline(each["gates_per_mac"], color="black", linestyle=":", label=each["name"])
    axes.set(xlabel="MAC per cycle of the tile", ylabel="GE per MAC", ylim=(0, None))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _energy(axes, report: dict) -> None:
    """Energy over area, of all tiles and elements that were simulated on the fixture."""
    families = {}
    for each in report["designs"]:
        if KIND in each["fj_per_mac"] and each["block"] in ("tile", "element"):
            families.setdefault(each["family"], []).append(each)
    for family, found in families.items():
        points = sorted((each["gates_per_mac"], each["fj_per_mac"][KIND]) for each in found)
        axes.plot(*zip(*points, strict=True), marker="o", linewidth=0.8, label=family)
    axes.set(xlabel="GE per MAC", xlim=(0, None), ylim=(0, None),
             ylabel=f"fJ per MAC, {KIND} operands, {report['energy_period_ns']:.2f} ns")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _shares(axes, report: dict) -> None:
    """Area and energy of each part of the largest tile of each family, and of the elements."""
    chosen = [max(tiles, key=lambda each: each["macs"]) for tiles in _tiles(report).values()]
    chosen += [each for each in report["designs"]
               if each["block"] in ("element", "dequantiser") and KIND in each["fj_per_mac"]]
    chosen = [each for each in chosen if KIND in each["fj_per_mac"]]
    bars = []
    for each in chosen:
        bars += [(f"{each['name']}, area", each["parts_gates_per_mac"]),
                 (f"{each['name']}, energy",
                  {part: energy for part, energy in each["parts_fj_per_mac"][KIND].items()
                   if part != MEMORY})]
    labels = [label for label, _ in bars]
    parts = list(dict.fromkeys(part for _, shares in bars for part in shares))
    left = [0.0] * len(bars)
    for part in parts:
        widths = [100 * shares.get(part, 0.0) / sum(shares.values()) for _, shares in bars]
        axes.barh(labels, widths, left=left, label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set(xlabel="per cent", xlim=(0, 100))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
