"""The dequantiser, as exported Verilog, for formats and shapes that change its logic."""

import pytest

from golden.parameters import ArrayParameters
from hdl.export import verilog
from tb.column import Column
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

#: Sums, scales and units that other formats bring.
FORMATS = [ArrayParameters(lanes=4, **({"tile_rows": 2, "tile_columns": 1, "group": 32} | shape))
           for shape in (
    # Activations with scales, or zero points, or both.
    {"name": "x_scale_fp16", "x_scale": "fp16"},
    {"name": "x_scale_bf16", "x_scale": "bf16", "scale": "bf16", "w": "int8", "group": 4096,
     "mac": "product"},
    {"name": "x_zero", "x_zero": True},
    {"name": "x_zero_int8", "x_zero": True, "w": "int8", "scale": "bf16", "group": 4096},
    {"name": "both", "x_zero": True, "x_scale": "bf16"},
    # Sums of two columns: zero points of eight bits.
    {"name": "joined", "wide": True, "tile_columns": 2},
    {"name": "joined_both", "wide": True, "tile_columns": 2, "x_zero": True, "x_scale": "fp16"},
    # Scales that are powers of two need no multiplier; sums that count halves and less.
    {"name": "e8m0", "w": "e2m1", "scale": "e8m0"},
    {"name": "e8m0_long", "w": "int8", "scale": "e8m0", "group": 4096, "mac": "product"},
    {"name": "e4m3", "w": "e2m1", "scale": "e4m3"},
    {"name": "shift", "w": "shift3", "mac": "shift", "scale": "e4m3", "x_scale": "fp16"},
    {"name": "mx_aligned", "x": "bf16", "x_align": 12, "x_scale": "e8m0", "w": "e2m1",
     "scale": "e8m0"},
    {"name": "aligned_fp16", "x": "fp16", "x_align": 24, "x_scale": "e8m0", "group": 128},
    {"name": "aligned_e4m3", "x": "fp16", "x_align": 3, "x_scale": "e8m0", "scale": "e4m3"},
    # Sums of floats become floats first.
    {"name": "float_fp16", "x": "fp16", "mac": "float"},
    {"name": "float_bf16", "x": "bf16", "mac": "float", "w": "int4", "scale": "bf16"},
    {"name": "float_zeros", "x": "bf16", "mac": "float", "scale": "e4m3"},
    {"name": "float_e8m0", "x": "bf16", "mac": "float", "w": "e2m1", "scale": "e8m0"},
)]

#: Those that between them have all of it, and some shapes.
QUICK = ["one_row", "x_scale_bf16", "x_zero_int8", "joined_both", "shift", "mx_aligned",
         "float_e8m0"]


def check(parameters, count):
    """Run the bench on ``count`` sums."""
    block = Packed(Column(parameters))
    assert simulate(verilog(block), block.module, "tb.bench_dequantiser", inputs=block.inputs,
                    parameters=parameters.to_dict(), count=count) == 1


@pytest.mark.parametrize("parameters", [each for each in [*SETS, *FORMATS] if each.name in QUICK],
                         ids=lambda parameters: parameters.name)
def test_dequantiser(parameters):
    check(parameters, 4_000)


@pytest.mark.full
@pytest.mark.parametrize("parameters", [*SETS, *FORMATS], ids=lambda parameters: parameters.name)
def test_dequantiser_at_length(parameters):
    check(parameters, 1_000_000 if parameters in SETS else 200_000)
