"""The dequantiser, as exported Verilog, for formats and shapes that change its logic."""

import pytest

from golden.parameters import ArrayParameters
from hdl.dequantiser import Dequantiser
from hdl.export import verilog
from tb.packed import Packed
from tb.runner import simulate

SETS = [ArrayParameters(tile_columns=1, **shape) for shape in (
    {"name": "eight_rows", "lanes": 16, "tile_rows": 8},
    {"name": "five_rows", "lanes": 16, "tile_rows": 5, "scale": "bf16"},
    {"name": "one_row", "lanes": 4, "tile_rows": 1, "group": 16, "scale": "bf16", "w": "int4"},
    {"name": "wide_sum", "lanes": 64, "tile_rows": 2, "group": 4096, "w": "int8"},
    {"name": "wide_bf16", "lanes": 64, "tile_rows": 4, "group": 4096, "w": "int8", "scale": "bf16"},
    {"name": "long_group", "lanes": 64, "tile_rows": 3, "group": 4096},
)]


def check(parameters, count):
    """Run the bench on ``count`` sums."""
    block = Packed(Dequantiser(parameters))
    assert simulate(verilog(block), block.module, "tb.bench_dequantiser", inputs=block.inputs,
                    parameters=parameters.to_dict(), count=count) == 1


@pytest.mark.parametrize("parameters", SETS, ids=lambda parameters: parameters.name)
def test_dequantiser(parameters):
    check(parameters, 100_000)


@pytest.mark.full
@pytest.mark.parametrize("parameters", SETS, ids=lambda parameters: parameters.name)
def test_dequantiser_at_length(parameters):
    check(parameters, 1_000_000)
