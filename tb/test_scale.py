"""Products of scales, as exported Verilog, for pairs of formats."""

import pytest

from golden.parameters import ArrayParameters
from hdl.export import verilog
from hdl.scale import Scale
from tb.packed import Packed
from tb.runner import simulate

#: Pairs that differ in what can be subnormal, infinite, NaN or without fraction.
QUICK = [("bf16", "bf16"), ("e4m3", "fp16"), ("e8m0", "e8m0")]
SLOW  = [(scale, x_scale) for scale in ("fp16", "bf16", "e4m3", "e8m0")
         for x_scale in ("fp16", "bf16", "e8m0") if (scale, x_scale) not in QUICK]


def check(scale, x_scale, count):
    """Run the bench on ``count`` pairs of corners and as many random ones."""
    aligned = {"x": "bf16", "x_align": 8} if x_scale == "e8m0" else {}
    block = Packed(Scale(ArrayParameters(
        name=f"{scale}_{x_scale}", scale=scale, x_scale=x_scale, **aligned, lanes=4, tile_rows=1,
        tile_columns=1, group=16)))
    assert simulate(verilog(block), block.module, "tb.bench_scale", inputs=block.inputs,
                    parameters=block.parameters.to_dict(), count=count) == 1


@pytest.mark.parametrize(("scale", "x_scale"), QUICK)
def test_scale(scale, x_scale):
    check(scale, x_scale, 20_000)


@pytest.mark.full
@pytest.mark.parametrize(("scale", "x_scale"), [*QUICK, *SLOW])
def test_scale_at_length(scale, x_scale):
    check(scale, x_scale, 500_000)
