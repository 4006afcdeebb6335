"""The GEMM engine through its ports, with buffers of the least sizes that make sense."""

import os
import secrets

import pytest

from golden.parameters import SETS, ArrayParameters
from hdl.export import verilog
from hdl.gemm import Gemm
from tb.runner import simulate

TINY = SETS["tiny"].replace(x_depth=64, w_depth=32)

#: Buffers for GEMMs with M, K and N up to 600.
LARGE = {"x_depth": 16384, "w_depth": 1024}

#: Rates need groups that are long against rows.
STEADY = ArrayParameters(name="steady", lanes=16, tile_rows=2, tile_columns=4, group=128)

ENGINES = [
    TINY.replace(**LARGE),
    TINY.replace(name="mixed", wide=True, x_zero=True, x_scale="fp16", x_rows=4),
    TINY.replace(name="float", x="fp16", mac="float", w="int4", lanes=2, bands=1),
    TINY.replace(name="aligned", x="fp16", x_align=8, x_scale="e8m0", w="int4"),
]


#: Engines of the default tests, besides ``STEADY``; the others are run by the long ones.
QUICK = ["mixed", "float"]


def run(parameters, **settings):
    """Simulate; return the number of tests. The seed is printed, and repeated if it is given."""
    seed = int(os.environ.get("COCOTB_RANDOM_SEED", secrets.randbelow(1 << 31)))
    print(f"COCOTB_RANDOM_SEED={seed}")
    engine = Gemm(parameters)
    return simulate(verilog(engine), engine.module, "tb.bench_gemm",
                    parameters=parameters.to_dict(), seed=seed, **settings)


@pytest.mark.parametrize("parameters", [
    pytest.param(each, marks=[pytest.mark.full] * (each.name not in QUICK)) for each in ENGINES],
    ids=lambda parameters: parameters.name)
def test_engine(parameters):
    run(parameters, count=6, limit=600, products=10**6, resets=4)


def test_steady_rate():
    assert run(STEADY, tests="steady_rate/decode=False,steady_rate/decode=True",
               count=1, limit=1, products=1, resets=1, steady=4096, passes=32) == 2


@pytest.mark.full
@pytest.mark.parametrize("parameters", ENGINES, ids=lambda parameters: parameters.name)
def test_many_shapes(parameters):
    run(parameters.replace(**LARGE), count=50, limit=600, products=10**7, resets=40)


@pytest.mark.full
@pytest.mark.parametrize("name", SETS)
def test_named_sets(name):
    run(SETS[name], count=4, limit=200, products=10**6, resets=2)


@pytest.mark.full
def test_steady_rate_of_edge():
    run(SETS["edge"], count=2, limit=600, products=10**7, resets=1, steady=4096, passes=32)
