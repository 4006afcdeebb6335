"""The softmax units against their integer specifications."""

import pytest

from golden.softmax_parameters import SOFTMAX_SETS, BaselineParameters
from hdl.export import verilog
from hdl.softmax.core import Softmax
from hdl.softmax.division import Division
from hdl.softmax.exact import ExactSoftmax
from hdl.softmax.exponent import LATENCY, Exponent
from hdl.softmax.quotient import Quotient, quotient_stages
from hdl.softmax.thresholds import Threshold
from hdl.softmax.unit import SoftmaxUnit
from tb.marks import first_by_default
from tb.runner import simulate

TINY = SOFTMAX_SETS["attention_tiny"]

UNITS = [
    TINY.replace(name="blocks", max_length=200),
    TINY.replace(name="fine", bits=4, x="bf16", y="fp16", width=8, max_length=100, exp_bits=11),
    TINY.replace(name="scalar", bits=3, y="u16", width=1, sets=1, max_length=100),
]

#: Rows of up to 8,192 elements, 16 of them in each cycle.
LONG = [each for each in SOFTMAX_SETS.values() if each is not TINY]

TABLED = [
    TINY.replace(name="tabled", accumulate="lut", width=8, exp_bits=9),
    TINY.replace(name="tabled_3bit", accumulate="lut", bits=3, sets=3, y="u16"),
    TINY.replace(name="tabled_4bit", accumulate="lut", bits=4, x="bf16", y="fp16", width=6,
                 max_length=100),
]


@pytest.mark.parametrize("parameters", first_by_default(UNITS),
                         ids=lambda parameters: parameters.name)
def test_unit(parameters):
    unit = Softmax(parameters)
    simulate(verilog(unit), unit.module, "tb.bench_softmax", parameters=parameters.to_dict(),
             rounds=2, resets=3)


@pytest.mark.full
@pytest.mark.parametrize("parameters", [*LONG, LONG[0].baseline()],
                         ids=lambda parameters: parameters.name)
def test_long_rows(parameters):
    exact = isinstance(parameters, BaselineParameters)
    unit = (ExactSoftmax if exact else Softmax)(parameters)
    simulate(verilog(unit), unit.module, "tb.bench_softmax", parameters=parameters.to_dict(),
             exact=exact, rounds=1, resets=2)


@pytest.mark.parametrize("parameters", first_by_default(TABLED),
                         ids=lambda parameters: parameters.name)
def test_table_of_sums(parameters):
    unit = Softmax(parameters)
    assert unit.exponent_sum.fill_cycles == parameters.lut_entries + 1
    simulate(verilog(unit), unit.module, "tb.bench_softmax", parameters=parameters.to_dict(),
             rounds=1, resets=2)


@pytest.mark.parametrize("parameters", first_by_default(UNITS[:2]),
                         ids=lambda parameters: parameters.name)
def test_ports(parameters):
    unit = SoftmaxUnit(parameters)
    simulate(verilog(unit), unit.module, "tb.bench_softmax_unit", parameters=parameters.to_dict(),
             rounds=2, resets=4)


@pytest.mark.parametrize("parameters", UNITS[:2], ids=lambda parameters: parameters.name)
def test_thresholds(parameters):
    block = Threshold(parameters)
    simulate(verilog(block), block.module, "tb.bench_threshold", parameters=parameters.to_dict(),
             count=3000)


@pytest.mark.parametrize("parameters", UNITS[:2], ids=lambda parameters: parameters.name)
def test_division(parameters):
    block = Division(parameters)
    simulate(verilog(block), block.module, "tb.bench_division", parameters=parameters.to_dict(),
             count=2000, latency=block.cycles * block.rounds + 1)


RIVALS = [
    TINY.baseline().replace(max_length=512),  # 1 / 512 is halfway between two outputs
    TINY.baseline().replace(name="fine_exact", y="fp16", least_length=1),
    TINY.baseline().replace(name="scalar_exact", y="u16", width=1, max_length=4, least_length=1),
]


@pytest.mark.parametrize("parameters", first_by_default(RIVALS),
                         ids=lambda parameters: parameters.name)
def test_rival(parameters):
    unit = ExactSoftmax(parameters)
    simulate(verilog(unit), unit.module, "tb.bench_softmax", parameters=parameters.to_dict(),
             exact=True, rounds=2, resets=3, latency=unit.latency)


@pytest.mark.full
@pytest.mark.parametrize("parameters", RIVALS[1:], ids=lambda parameters: parameters.name)
def test_ports_of_the_rival(parameters):
    unit = SoftmaxUnit(parameters)
    simulate(verilog(unit), unit.module, "tb.bench_softmax_unit", parameters=parameters.to_dict(),
             exact=True, rounds=1, resets=4)


@pytest.mark.parametrize("parameters", first_by_default(RIVALS),
                         ids=lambda parameters: parameters.name)
def test_exponent(parameters):
    block = Exponent(parameters)
    simulate(verilog(block), block.module, "tb.bench_exponent", parameters=parameters.to_dict(),
             count=2000, latency=LATENCY)


@pytest.mark.parametrize("parameters", first_by_default(RIVALS),
                         ids=lambda parameters: parameters.name)
def test_quotient(parameters):
    block = Quotient(parameters)
    simulate(verilog(block), block.module, "tb.bench_quotient", parameters=parameters.to_dict(),
             latency=quotient_stages(parameters))
