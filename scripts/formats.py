"""``mixpe formats``: the formats, and which weights an array takes with which activations."""

from math import log2
from pathlib import Path
from string import ascii_lowercase

from golden.formats import FORMATS, Format
from golden.parameters import CHOICES, MACS, ArrayParameters
from scripts.console import console
from scripts.files import write

__all__ = ["ACTIVATIONS", "WEIGHTS", "combination", "main", "page"]

#: Kinds of activations, and the parameters that choose each.
ACTIVATIONS = {
    "int8":                {},
    "int8, zero points":   {"x_zero": True},
    "int8, group scales":  {"x_scale": "fp16"},
    "int8, both":          {"x_zero": True, "x_scale": "fp16"},
    "fp16":                {"x": "fp16"},
    "bf16":                {"x": "bf16"},
    "fp16, aligned":       {"x": "fp16", "x_align": 12, "x_scale": "e8m0"},
    "bf16, aligned":       {"x": "bf16", "x_align": 12, "x_scale": "e8m0"},
}

#: Kinds of weights, likewise.
WEIGHTS = {w: {"w": w} for w in CHOICES["w"]} | {"uint4, uint8": {"w": "uint4", "wide": True}}

_PAGE = """\
# Formats

Number formats and how an array may combine them. Written by `make formats`; do not edit.

## Numbers

Every finite number is a multiple of the step.

| format | bits | lowest | highest | step | zero points | infinities, NaN |
|---|--:|--:|--:|---|---|---|
{formats}

`shift2` to `shift4` are DenseShift's powers of two, without zero (arXiv 2208.09708); `e2m1` and \
`e8m0` are of OCP Microscaling Formats 1.0, `e4m3` of OCP 8-bit Floating Point 1.0.

## Weights and activations

Each cell names the micro-architectures (`mac`) of the arrays that multiply such weights with such \
activations; a cell without any is refused.

| weights | {activations} |
|---|{rule}
{combinations}

| letter | `mac` | |
|---|---|---|
{macs}

`uint4, uint8` is `wide`: each output tile has weights of one or the other. "Group scales" are of \
fp16 or bf16 (`x_scale`), "zero points" those of `x_zero`. "Aligned" activations are integers of \
3 to 24 bits (`x_align`) with an e8m0 scale for each group; any other float is multiplied as it is.

Any of these goes with weight scales of {scales}, outputs of {outputs}, and groups of any \
multiple of `lanes` from `least_group` to the set's own size; the last group of K may be shorter. \
One group for the whole of K is a scale for each output feature.
"""


def combination(weights: str, activations: str, mac: str, **options) -> ArrayParameters:
    """Set with weights and activations of some kind.

    Raises
    ------
    ValueError
        If an array cannot have them with this micro-architecture.
    """
    defaults = {"name": "combination", "lanes": 4, "tile_rows": 2, "tile_columns": 2, "group": 256}
    return ArrayParameters(**defaults | options | WEIGHTS[weights] | ACTIVATIONS[activations],
                           mac=mac)


def _macs(weights: str, activations: str) -> list[str]:
    """Micro-architectures that take the two."""
    found = []
    for mac in MACS:
        try:
            combination(weights, activations, mac)
        except ValueError:
            continue
        found.append(mac)
    return found


def page() -> str:
    """Markdown page of formats and combinations."""
    letters = dict(zip(MACS, ascii_lowercase, strict=False))
    combinations = [
        " | ".join([f"| {weights}", *(" ".join(letters[mac] for mac in _macs(weights, activations))
                                      for activations in ACTIVATIONS)]) + " |"
        for weights in WEIGHTS]
    return _PAGE.format(
        formats="\n".join(map(_row, FORMATS.values())), activations=" | ".join(ACTIVATIONS),
        rule="---|" * len(ACTIVATIONS), combinations="\n".join(combinations),
        macs="\n".join(f"| {letters[mac]} | `{mac}` | {text} |" for mac, text in MACS.items()),
        scales=_listed(CHOICES["scale"]), outputs=_listed(CHOICES["y"]))


def _row(fmt: Format) -> str:
    """Row of the table of numbers."""
    lowest, highest = (f"{bound * fmt.step:.6g}" for bound in (fmt.low, fmt.high))
    step = f"2^{int(log2(fmt.step))}"
    zeros = f"0 to {fmt.max_zero}" if fmt.max_zero else ""
    specials = {"ieee": "both", "nan": "NaN", "none": ""}[fmt.specials]
    return (f"| {fmt.name} | {fmt.bits} | {lowest} | {highest} | {step} | {zeros} | "
            f"{specials} |")


def _listed(names: tuple[str | bool, ...]) -> str:
    """Names as a list in a sentence."""
    *others, last = map(str, names)
    return f"{', '.join(others)} or {last}"


def main(path: Path) -> None:
    """Write the page."""
    write(path, page())
    console.print(f"Written to {path}")
