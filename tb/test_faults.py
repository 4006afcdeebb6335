"""Faults around the hardware: resets, unknown initial values, bad neighbours, hostile accesses."""

import json

import pytest

from golden.parameters import SETS
from golden.softmax_parameters import SOFTMAX_SETS
from golden.values_parameters import VALUES_SETS
from hdl.array import Array
from hdl.export import description, verilog
from hdl.gemm import Gemm
from hdl.softmax.core import Softmax
from hdl.softmax.unit import SoftmaxUnit
from hdl.values.core import Values
from hdl.values.unit import ValuesUnit
from tb import runner
from tb.engines import SMALL

#: Sets whose transfers are short: a reset in every cycle does not take long.
SOFTMAX = SOFTMAX_SETS["attention_tiny"].replace(name="faulty_rows", max_length=12, least_length=5)
VALUES  = VALUES_SETS["attention_tiny_pv"].replace(name="faulty_values", max_length=12)
ENGINE  = SMALL.replace(name="faulty", x_depth=64, w_depth=64, x_zero=True, x_scale="fp16")

#: Units with standard ports, as tb.bench_faults calls them.
UNITS = {"engine": Gemm(ENGINE), "softmax": SoftmaxUnit(SOFTMAX), "values": ValuesUnit(VALUES)}

#: Blocks with the bench and the test that resets them in a transfer, and how many cycles apart
#: the default test does.
RESETS = {
    "array":    (Array(SETS["tiny"]), "tb.bench_array", "reset_at_any_time", 3),
    "softmax":  (Softmax(SOFTMAX), "tb.bench_softmax", "reset_in_the_middle", 7),
    "values":   (Values(VALUES), "tb.bench_values", "reset_in_the_middle", 11),
    "engine":   (UNITS["engine"], "tb.bench_gemm",
                 "reset_in_the_middle/soft=False,reset_in_the_middle/soft=True", 9),
    "softmax, soft": (UNITS["softmax"], "tb.bench_softmax_unit", "soft_reset", 7),
    "values, soft": (UNITS["values"], "tb.bench_values_unit", "soft_reset", 11),
}

#: What the benches read besides.
SETTINGS = {"shapes": [], "lengths": [0], "layers": [], "rounds": 1, "count": 1}


def simulate(block, bench, tests, **settings):
    """Run some tests on a block."""
    return runner.simulate(verilog(block), block.module, bench, tests=tests,
                           parameters=block.parameters.to_dict(), **SETTINGS | settings)


def check_resets(name: str, every: int):
    """Reset in cycles of a transfer that are so far apart."""
    block, bench, tests, _ = RESETS[name]
    assert simulate(block, bench, tests, every=every) == len(tests.split(","))


@pytest.mark.parametrize("name", RESETS)
def test_reset_in_many_cycles(name):
    check_resets(name, RESETS[name][-1])


@pytest.mark.full
@pytest.mark.parametrize("name", RESETS)
def test_reset_in_every_cycle(name):
    check_resets(name, 1)


def gate(port: str) -> str | None:
    """Line that tells whether an output means anything, without its prefix; None if it always does.

    Those are the lines of a channel that are not its handshake.
    """
    prefix, _, line = port.rpartition("_")
    if prefix == "s_axil" and line in ("bresp", "rdata", "rresp"):
        return f"{line[0]}valid"
    return "tvalid" if prefix.startswith("m_axis") and line != "tvalid" else None


def trace(unit: str, source: str, path, initial: int) -> list[list[int]]:
    """Outputs in every cycle from the first one after a reset, for some initial values."""
    block = UNITS[unit]
    ports = description(block, "")["ports"]
    outputs = [name for name, port in ports.items() if port["direction"] == "output"]
    gated = [(name, gate(name)) for name in outputs if gate(name)]
    runner.simulate(source, block.module, "tb.bench_faults", tests="traces", seed=1,
                    initial=initial, unit=unit, parameters=block.parameters.to_dict(),
                    trace=str(path), outputs=outputs, gated=gated, **SETTINGS)
    return json.loads(path.read_text())


@pytest.mark.parametrize("unit", UNITS)
def test_initial_values(unit, tmp_path):
    """No output depends on what registers and memories held before the reset."""
    source = verilog(UNITS[unit])
    assert "initial" not in source
    first, *others = (trace(unit, source, tmp_path / "trace.json", seed) for seed in (1, 2, 3))
    assert len(first) > 200
    for other in others:
        assert other == first


@pytest.mark.parametrize("unit", UNITS)
def test_neighbours(unit):
    block = UNITS[unit]
    tests = ["lines_between_transfers", "silent_neighbours", "registers_under_way"]
    if unit != "softmax":
        tests += ["nobody_asked", "short_streams", "long_streams"]
    assert simulate(block, "tb.bench_faults", ",".join(tests), unit=unit) == len(tests)
