"""Arrays of every named set, and of sets at the edges of what is allowed."""

import pytest

from golden.parameters import SETS, ArrayParameters
from hdl.array import Array
from hdl.export import verilog
from tb.runner import simulate

PARAMETERS = [
    *SETS.values(),
]


def shapes(p: ArrayParameters) -> list[tuple[int, int, int]]:
    """One row, no multiple of the array, one group and several, more than one tile each way."""
    return [(1, p.group, 1), (p.rows, p.group, p.columns), (p.rows + 1, 2 * p.group, p.columns),
            (p.rows, 3 * p.group, p.columns + 1), (2 * p.rows - 1, p.group, 2 * p.columns - 1)]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda parameters: parameters.name)
def test_array(parameters):
    array = Array(parameters)
    simulate(verilog(array), array.module, "tb.bench_array", parameters=parameters.to_dict(),
             shapes=shapes(parameters), latency=array.latency, full_rate_length=1024)
