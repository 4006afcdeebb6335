"""``mixpe sets``: parameter sets, what follows from them, and their peak rates."""

from collections.abc import Iterable

from rich import box
from rich.table import Table

from golden.parameters import ArrayParameters
from scripts.console import console

__all__ = ["show"]


def show(sets: Iterable[ArrayParameters]) -> None:
    """Print a table of parameter sets."""
    table = Table("set", "x, w, scale, y", "mac", "R x C x L", "mesh", "bands", "G",
                  "sum, Σx, Σx(q-z)\nbits", "MAC\nper cycle", "full rate\nfrom K", box=box.SIMPLE)
    for p in sets:
        table.add_row(
            p.name, f"{p.x}, {p.w}, {p.scale}, {p.y}", p.mac,
            f"{p.tile_rows} x {p.tile_columns} x {p.lanes}", f"{p.mesh_rows} x {p.mesh_columns}",
            str(p.bands), str(p.group), f"{p.sum_bits}, {p.row_sum_bits}, {p.corrected_bits}",
            f"{p.peak:,}", f"{p.full_rate_length:,}")
    console.print(table)
