"""Cocotb test that closes the crosses of a softmax unit; run by :mod:`scripts.coverage`."""

import json
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from golden.exaq import constants
from tb.axi_unit import pauses
from tb.bench_softmax import P
from tb.bench_softmax_unit import UnitDriver
from tb.crosses import SHARES, SOFTMAX, Collector
from tb.row_aims import row
from tb.row_sampler import RowSampler
from tb.settings import SETTINGS


@cocotb.test(timeout_time=500, timeout_unit="ms")
async def crosses(dut):
    """Rows that aim at what was not reached yet, in so many rounds; outputs match golden."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    collector = Collector(SOFTMAX, P)
    bench, sampler = UnitDriver(dut), RowSampler(dut, P, collector)
    sets = [constants(-float(lo), P) for lo in rng.uniform(2, 12, P.sets)]
    await bench.begin(sets)
    for _ in range(SETTINGS["rounds"]):
        aims = [collector.named(cross.name, bin_) for cross in SOFTMAX
                for bin_ in collector.missing(cross.name)]
        for values in aims:
            values.setdefault("output", "codes")
        for codes in (False, True):
            sampler.codes = codes
            await bench.write("MODE", int(codes))
            for stalls, shares in SHARES.items():
                rows = [row(rng, P, values) for values in aims
                        if (values["output"], values["stalls"])
                        == ("codes" if codes else "probabilities", stalls)]
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
