"""Arrays of every named set, and of sets at the edges of what is allowed."""

import pytest

from golden.parameters import SETS, ArrayParameters
from hdl.array import Array
from hdl.export import verilog
from tb.runner import simulate

#: Run by default: the smallest, and those whose control differs most from each other.
QUICK = ("tiny", "one", "int4_bf16", "full", "wide")

PARAMETERS = [
    *SETS.values(),
    # One element; every index has a single value.
    ArrayParameters(name="one", mac="shift_add", lanes=1, tile_rows=1, tile_columns=1, group=4),
    # No zero points, thus no row sums; a row of outputs takes two beats of three.
    ArrayParameters(name="int4_bf16", w="int4", y="bf16", lanes=2, tile_rows=2, tile_columns=3,
                    mesh_columns=2, group=8, y_lanes=3),
    # As many rows as a group has beats, so that the shadows never rest; three bands.
    ArrayParameters(name="full", w="int8", scale="bf16", y="int8", mac="product", lanes=4,
                    tile_rows=2, tile_columns=2, mesh_rows=2, bands=3, group=16, y_lanes=2),
    # The same with zero points, rows of one beat, and a mesh as deep as a group is long.
    ArrayParameters(name="deep", scale="bf16", y="fp32", mac="product", lanes=3, tile_rows=1,
                    tile_columns=2, mesh_rows=5, group=15, y_lanes=2),
    # Operands pass through three columns of tiles.
    ArrayParameters(name="mesh_2x3", w="int4", y="int8", mac="shift_add", lanes=2, tile_rows=1,
                    tile_columns=2, mesh_rows=2, mesh_columns=3, group=8, y_lanes=3),
    # More columns of tiles than a group has beats: several groups are between west and east.
    ArrayParameters(name="wide", lanes=2, tile_rows=2, tile_columns=1, mesh_columns=5, group=8,
                    y_lanes=5),
]


def shapes(p: ArrayParameters) -> list[tuple[int, int, int]]:
    """One row, no multiple of the array, one group and several, more than one tile each way."""
    return [(1, p.group, 1), (p.rows, p.group, p.columns), (p.rows + 1, 2 * p.group, p.columns),
            (p.rows, 3 * p.group, p.columns + 1), (2 * p.rows - 1, p.group, 2 * p.columns - 1)]


@pytest.mark.parametrize("parameters", [
    pytest.param(each, marks=[pytest.mark.full] * (each.name not in QUICK))
    for each in PARAMETERS], ids=lambda parameters: parameters.name)
def test_array(parameters):
    array = Array(parameters)
    simulate(verilog(array), array.module, "tb.bench_array", parameters=parameters.to_dict(),
             shapes=shapes(parameters), lengths=[0, 1024])
