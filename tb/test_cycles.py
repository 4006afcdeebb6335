"""The cycle model against the counters of the hardware, and by itself."""

import os
import secrets

import numpy as np
import pytest

from golden.cycles import GemmShape, commands_cycles, gemm_cycles
from golden.parameters import SETS, ArrayParameters
from hdl.export import verilog
from hdl.gemm import Gemm
from tb.engines import ENGINES as SMALL_ENGINES
from tb.runner import simulate
from tb.test_engine import ENGINES, QUICK, STEADY

#: Engines that other tests compile too, and a small one that aligns.
MODELS = [*(each for each in ENGINES if each.name in QUICK), STEADY, SMALL_ENGINES[3]]


def any_shape(rng, p: ArrayParameters, beats: int) -> GemmShape:
    """Shape that fits a set's buffers, of no more than some beats."""
    while True:
        group = int(rng.integers(p.least_beats, p.beats + 1)) * p.lanes
        k = int(rng.integers(1, 6 * p.group)) if rng.random() < 0.8 else int(rng.integers(1, 9))
        if k <= p.group and rng.random() < 0.3:
            group = k
        n = int(rng.integers(1, 5 * p.columns))
        wide = int(rng.integers(0, n + 1)) if p.wide and rng.random() < 0.7 else 0
        shape = GemmShape(m=int(rng.integers(1, 5 * p.rows)), k=k, n=n, wide=wide, group=group)
        try:
            if gemm_cycles(p, shape.m, k, n, wide=wide, group=group).busy <= beats:
                return shape
        except ValueError:
            continue


def runs(seed: int, p: ArrayParameters, *, alone: int, queued: int) -> list[list[dict]]:
    """Commands alone, and some in the queue."""
    rng = np.random.default_rng(seed)
    chosen = [[any_shape(rng, p, 3000)] for _ in range(alone)]
    chosen += [[any_shape(rng, p, 1500) for _ in range(count)]
               for count in rng.choice([2, 3, 4, 6], queued)]
    return [[vars(shape) for shape in shapes] for shapes in chosen]


def run(p, chosen, seed):
    engine = Gemm(p)
    simulate(verilog(engine), engine.module, "tb.bench_cycles", parameters=p.to_dict(),
             runs=chosen, seed=seed)


@pytest.mark.parametrize("parameters", MODELS, ids=lambda parameters: parameters.name)
def test_counters(parameters):
    seed = int(os.environ.get("COCOTB_RANDOM_SEED", secrets.randbelow(1 << 31)))
    print(f"COCOTB_RANDOM_SEED={seed}")
    run(parameters, runs(seed, parameters, alone=int(os.environ.get("ALONE", 12)), queued=int(os.environ.get("QUEUED", 6))), seed)
