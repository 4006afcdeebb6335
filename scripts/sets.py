"""``mixpe sets``: parameter sets, what follows from them, and their peak rates."""

from collections.abc import Iterable, Mapping

from rich import box
from rich.table import Table

from golden.parameters import CHOICES, ArrayParameters
from golden.sets import Parameters
from golden.softmax_parameters import SOFTMAX_CHOICES, BaselineParameters, SoftmaxParameters
from golden.values_parameters import VALUES_CHOICES, ValuesParameters
from scripts.console import console

__all__ = ["show"]


def show(sets: Iterable[Parameters]) -> None:
    """Print tables of the sets' formats and shapes, and of what own sets may choose."""
    formats = Table("set", "x", "w", "scale", "y", "mac", "sum, Σx, Σx(q-z)\nbits", box=box.SIMPLE)
    shapes  = Table("set", "R x C x L", "mesh", "bands", "G", "MAC\nper cycle", "full rate\nfrom K",
                    box=box.SIMPLE)
    softmax = Table("softmax set", "x", "code\nbits", "sums", "y", "exponent, sum\nbits", "sets",
                    "W", "longest\nrow", "full rate\nfrom N", box=box.SIMPLE)
    values = Table("set for codes times V", "code\nbits", "y", "exponent, total\nbits", "sets",
                   "queries x columns\nx tokens", "products\nper cycle", "longest\nrow",
                   "full rate\nfrom N", box=box.SIMPLE)
    for p in sets:
        if isinstance(p, ValuesParameters):
            values.add_row(p.name, str(p.bits), p.y, f"{p.exp_bits + 1}, {p.total_bits}",
                           str(p.sets), f"{p.queries} x {p.columns} x {p.tokens}", f"{p.peak:,}",
                           f"{p.max_length:,}", f"{p.full_rate_length:,}")
            continue
        if not isinstance(p, ArrayParameters):
            softmax.add_row(p.name, p.x_format.name, *_exponents(p), str(p.width),
                            f"{p.max_length:,}", f"{p.full_rate_length:,}")
            continue
        formats.add_row(
            p.name, _activations(p), f"{p.w}, uint8" if p.wide else p.w, p.scale, p.y, p.mac,
            f"{p.joined_bits}, {p.row_sum_bits}, {p.corrected_bits}")
        shapes.add_row(
            p.name, f"{p.tile_rows} x {p.tile_columns} x {p.lanes}",
            f"{p.mesh_rows} x {p.mesh_columns}", str(p.bands), str(p.group), f"{p.peak:,}",
            f"{p.full_rate_length:,}")
    for table in (formats, shapes, _choices("parameter of a set", CHOICES), softmax,
                  _choices("parameter of a softmax set", SOFTMAX_CHOICES), values,
                  _choices("parameter of a set for codes times V", VALUES_CHOICES)):
        console.print(table)


def _choices(title: str, choices: Mapping[str, tuple[str | bool, ...]]) -> Table:
    """Values of each parameter that is chosen from a list."""
    table = Table(title, "choices", box=box.SIMPLE)
    for name, values in choices.items():
        table.add_row(name, ", ".join(str(value).lower() for value in values))
    return table


def _activations(p: ArrayParameters) -> str:
    """Format of the activations, and what each of their groups has."""
    own = [f"{p.x_scale} scales"] if p.x_scale_format else []
    own += ["zero points"] if p.x_zero else []
    return ", ".join([f"{p.x} as {p.x_align} bits" if p.x_align else p.x, *own])


def _exponents(p: SoftmaxParameters | BaselineParameters) -> tuple[str, ...]:
    """Codes, how they are summed, output, widths, and sets of constants."""
    widths = f"{p.exp_bits + 1}, {p.sum_bits}"
    if isinstance(p, SoftmaxParameters):
        return str(p.bits), p.accumulate, p.y, widths, str(p.sets)
    return "exact", "", p.y, widths, ""
