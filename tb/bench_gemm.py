"""Cocotb tests of the GEMM engine; run by :mod:`tb.test_engine`."""

import cocotb
import numpy as np

from golden.gemm import gemm
from tb.gemm_driver import GemmDriver
from tb.random_layer import random_layer
from tb.settings import SETTINGS, parameters

P = parameters()


def pauses(rng):
    """Iterator of booleans that pauses a share of the cycles."""
    share = rng.choice([0, 0.2, 0.5, 0.9])
    while True:
        yield bool(rng.random() < share)


def options(rng, k: int, n: int) -> dict:
    """Group size and wide features of a layer."""
    sizes = list(range(P.least_group, P.group + 1, P.lanes))
    group = int(rng.choice([*sizes, P.group]))
    if k <= P.group and rng.random() < 0.3:
        group = k  # one for each channel
    chosen = {"group": group}
    if P.wide:
        chosen["wide"] = int(rng.choice([0, n, rng.integers(0, n + 1)]))
    return chosen


async def compare(bench, rng, m, k, n, **chosen):
    """Run a random GEMM of a shape and compare it with golden."""
    x, weights = random_layer(rng, P, m, k, n, **chosen)
    actual = await bench.run(x, weights)
    np.testing.assert_array_equal(actual, gemm(x, weights, y=P.y), err_msg=str((m, k, n, chosen)))


@cocotb.test(timeout_time=50, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def shapes(dut, stalls):
    """Random shapes, group sizes and shares of wide features match golden."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = GemmDriver(dut, P)
    await bench.reset()
    if stalls:
        bench.pause({name: pauses(rng) for name in [*bench.sources, "y"]})
    blocks = P.x_depth // P.least_beats
    for _ in range(SETTINGS["count"]):
        m = int(rng.integers(1, min(SETTINGS["limit"], blocks * P.rows) + 1))
        deepest = min(P.x_depth // -(-m // P.rows), P.w_depth) - P.least_beats
        k = int(rng.integers(1, min(SETTINGS["limit"], max(1, deepest) * P.lanes) + 1))
        n = int(rng.integers(1, SETTINGS["limit"] + 1))
        await compare(bench, rng, m, k, n, **options(rng, k, n))
    await bench.idle()
    assert await bench.read("ERROR") == 0
    assert await bench.read("DONE") == SETTINGS["count"]
