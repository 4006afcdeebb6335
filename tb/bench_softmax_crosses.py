"""Cocotb test that closes the crosses of a softmax unit; run by :mod:`scripts.coverage`."""

import json
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from golden.exaq import constants
from golden.softmax_parameters import THRESHOLD_BITS, Constants
from tb.axi_unit import pauses
from tb.bench_softmax import P
from tb.bench_softmax_unit import UnitDriver
from tb.crosses import SHARES, SOFTMAX, Collector
from tb.row_aims import row
from tb.row_sampler import RowSampler
from tb.settings import SETTINGS


def unusual_constants(rng) -> Constants:
    """Any constants in order, whose bits are those of no clip."""
    thresholds = rng.choice(1 << THRESHOLD_BITS, P.levels - 1, replace=False)
    exponents  = rng.integers(1 << P.exp_bits, size=P.levels - 1, endpoint=True)
    return Constants(tuple(int(each) for each in sorted(thresholds, reverse=True)),
                     (*(int(each) for each in sorted(exponents)), 1 << P.exp_bits))


@cocotb.test(timeout_time=500, timeout_unit="ms")
async def crosses(dut):
    """Rows that aim at what was not reached yet, in so many rounds at most; outputs match golden.

    In some rounds, at least, constants have bits that those of clips have not.
    """
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    collector = Collector(SOFTMAX, P)
    bench, sampler = UnitDriver(dut), RowSampler(dut, P, collector)
    await bench.begin([])
    for index in range(SETTINGS["rounds"]):
        sets = [unusual_constants(rng) if index % 2 else constants(-float(lo), P)
                for lo in rng.uniform(2, 12, P.sets)]
        await bench.set_constants(sets)
        aims = [collector.named(cross.name, bin_) for cross in SOFTMAX
                for bin_ in collector.missing(cross.name)]
        if not aims and index > 4:
            break
        for values in aims:
            values.setdefault("output", "codes")
        for codes in (False, True):
            sampler.codes = codes
            await bench.write("MODE", int(codes))
            for stalls, shares in SHARES.items():
                rows = [row(rng, P, values) for values in aims
                        if (values["output"], values["stalls"])
                        == ("codes" if codes else "probabilities", stalls)]
                rows.insert(0, row(rng, P, {}))  # before which the unit waits, whatever comes
                for port, share in ((bench.x, shares[0]), (bench.y, shares[1])):
                    port.set_pause_generator(pauses(rng, share))
                for each in rows:
                    await bench.send(*each)
                for each in rows:
                    await bench.compare(each, sets, codes=codes)
                await ClockCycles(dut.aclk, 20)
                assert bench.x.idle()
                assert bench.y.empty()
    Path(SETTINGS["output"]).write_text(json.dumps(collector.report()))
