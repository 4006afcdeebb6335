"""``mixpe sets``: parameter sets, what follows from them, and their peak rates."""

from collections.abc import Iterable

from rich import box
from rich.table import Table

from golden.parameters import CHOICES, ArrayParameters
from scripts.console import console

__all__ = ["show"]


def show(sets: Iterable[ArrayParameters]) -> None:
    """Print a table of the sets' formats, one of their shapes, and what own sets may choose."""
    formats = Table("set", "x", "w", "scale", "y", "mac", "sum, Σx, Σx(q-z)\nbits", box=box.SIMPLE)
    shapes  = Table("set", "R x C x L", "mesh", "bands", "G", "MAC\nper cycle", "full rate\nfrom K",
                    box=box.SIMPLE)
    for p in sets:
        formats.add_row(
            p.name, _activations(p), f"{p.w}, uint8" if p.wide else p.w, p.scale, p.y, p.mac,
            f"{p.joined_bits}, {p.row_sum_bits}, {p.corrected_bits}")
        shapes.add_row(
            p.name, f"{p.tile_rows} x {p.tile_columns} x {p.lanes}",
            f"{p.mesh_rows} x {p.mesh_columns}", str(p.bands), str(p.group), f"{p.peak:,}",
            f"{p.full_rate_length:,}")
    choices = Table("parameter of a set", "choices", box=box.SIMPLE)
    for name, values in CHOICES.items():
        choices.add_row(name, ", ".join(str(value).lower() for value in values))
    for table in (formats, shapes, choices):
        console.print(table)


def _activations(p: ArrayParameters) -> str:
    """Format of the activations, and what each of their groups has."""
    own = [f"{p.x_scale} scales"] if p.x_scale_format else []
    own += ["zero points"] if p.x_zero else []
    return ", ".join([f"{p.x} as {p.x_align} bits" if p.x_align else p.x, *own])
