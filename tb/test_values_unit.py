"""The unit that multiplies codes by V against :func:`golden.attention.weighted_values`."""

import pytest

from golden.values_parameters import VALUES_SETS
from hdl.export import verilog
from hdl.values.core import Values
from hdl.values.reciprocal import Reciprocal
from hdl.values.unit import ValuesUnit
from tb.runner import simulate

TINY = VALUES_SETS["attention_tiny_pv"]

UNITS = [
    TINY,
    TINY.replace(name="three_values", bits=3, width=3, words=2, queries=3, columns=3, products=4,
                 max_length=50, exp_bits=11, y="bf16", code_bits=16, sets=1),
    TINY.replace(name="four_values", bits=4, width=2, queries=2, columns=5, products=16,
                 max_length=33, y="fp32"),
    VALUES_SETS["attention_pv"].replace(name="few_values", queries=2),
]


def first_by_default(sets):
    """The first of some sets, and the others in the long tests."""
    return [sets[0], *(pytest.param(each, marks=pytest.mark.full) for each in sets[1:])]


@pytest.mark.parametrize("parameters", first_by_default(UNITS),
                         ids=lambda parameters: parameters.name)
def test_unit(parameters):
    unit = Values(parameters)
    simulate(verilog(unit), unit.module, "tb.bench_values", parameters=parameters.to_dict(),
             rounds=3, resets=4)


@pytest.mark.parametrize("parameters", first_by_default(UNITS),
                         ids=lambda parameters: parameters.name)
def test_ports(parameters):
    unit = ValuesUnit(parameters)
    simulate(verilog(unit), unit.module, "tb.bench_values_unit", parameters=parameters.to_dict(),
             rounds=3, resets=4)


@pytest.mark.parametrize("parameters", [
    TINY, pytest.param(TINY.replace(name="long_values", max_length=65536),
                       marks=pytest.mark.full)], ids=lambda parameters: parameters.name)
def test_reciprocal(parameters):
    block = Reciprocal(parameters)
    simulate(verilog(block), block.module, "tb.bench_reciprocal", parameters=parameters.to_dict(),
             count=500)
