"""Rescaling, as exported Verilog, for each output format."""

import pytest

from golden.parameters import SETS
from hdl.export import verilog
from hdl.rescale import Rescale
from tb.packed import Packed
from tb.runner import simulate


def check(y, count):
    """Run the bench for one output format on ``count`` random numbers and the corners."""
    parameters = SETS["tiny"].replace(y=y)
    block = Packed(Rescale(parameters))
    assert simulate(verilog(block), block.module, "tb.bench_rescale", inputs=block.inputs,
                    parameters=parameters.to_dict(), count=count) == 2


@pytest.mark.parametrize("y", ["fp32", "fp16", "bf16", "int8"])
def test_rescale(y):
    check(y, 50_000)


@pytest.mark.full
@pytest.mark.parametrize("y", ["fp32", "fp16", "bf16", "int8"])
def test_rescale_at_length(y):
    check(y, 1_000_000)
