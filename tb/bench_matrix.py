"""Cocotb tests of an array on given layers; run by :mod:`tb.test_matrix`."""

import cocotb
import numpy as np

from golden.gemm import gemm
from tb.array_driver import ArrayDriver
from tb.random_layer import random_layer
from tb.settings import SETTINGS, STALLS, parameters
from tb.stream import no_pauses, random_pauses, reset

P = parameters()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(stalls=[False, True])
async def layers(dut, stalls):
    """Layers of every group size match golden, one after the other without a reset."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench = ArrayDriver(dut, P, random_pauses(rng, **STALLS) if stalls else no_pauses)
    await reset(dut)
    for m, k, n, group in SETTINGS["layers"]:
        options = {"wide": int(rng.integers(0, n + 1))} if P.wide else {}
        x, weights = random_layer(rng, P, m, k, n, group=group, **options)
        np.testing.assert_array_equal(await bench.run(x, weights), gemm(x, weights, y=P.y),
                                      err_msg=f"{(m, k, n)} in groups of {group}")
    await bench.idle()
