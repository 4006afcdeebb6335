"""The unit that multiplies codes by V against :func:`golden.attention.weighted_values`."""

import pytest

from golden.values_parameters import VALUES_SETS
from hdl.export import export, verilog
from hdl.values.core import Values
from hdl.values.reciprocal import Reciprocal
from hdl.values.unit import ValuesUnit
from scripts.synth import library_of
from synth.mapping import simulation_model, synthesise
from tb.marks import first_by_default
from tb.runner import simulate

TINY = VALUES_SETS["attention_tiny_pv"]

UNITS = [
    TINY,
    TINY.replace(name="three_values", bits=3, width=3, words=2, queries=3, columns=3, products=4,
                 max_length=50, exp_bits=11, y="bf16", code_bits=16, sets=1),
    TINY.replace(name="four_values", bits=4, width=2, queries=2, columns=5, products=16,
                 max_length=33, y="fp32"),
    VALUES_SETS["attention_pv"].replace(name="few_values", queries=2),
    # Totals of 18 bits, fewer than a float32 keeps.
    TINY.replace(name="short_values", max_length=33, exp_bits=4),
]


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


@pytest.mark.full
def test_netlist(tmp_path):
    parameters = TINY.replace(name="mapped_values", max_length=32)
    unit = Values(parameters)
    mapping = synthesise(export(unit, tmp_path), unit.module, library_of(None), tmp_path)
    simulate(simulation_model(mapping), mapping.top, "tb.bench_values",
             parameters=parameters.to_dict(), rounds=1, resets=2)
