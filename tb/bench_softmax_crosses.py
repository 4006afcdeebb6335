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
from tb.row_sampler import RowSampler
from tb.settings import SETTINGS


def length(rng, kind: str, rest: str) -> int:
    """Number of elements of a row."""
    if kind == "longest":
        return P.max_length
    words = 1 if kind == "word" else int(rng.integers(2, min(P.words, 6)))
    return words * P.width - (int(rng.integers(1, P.width)) if rest == "rest" else 0)


def row(rng, values: dict) -> tuple[np.ndarray, np.ndarray, int]:
    """Row that is in a bin of some cross, what its values do not say being random."""
    fmt, minus = P.x_format, P.x_format.infinity | 1 << P.x_format.bits - 1
    kinds = {axis: str(rng.choice(SOFTMAX[0].axes[axis](P))) for axis in ("length", "rest")}
    n = length(rng, values.get("length", kinds["length"]), values.get("rest", kinds["rest"]))
    # Below the maximum, 0, by little and by much, to have codes of every kind.
    x = fmt.encode(-np.abs(rng.normal(size=n)) * rng.choice([1, 4, 8]) - 2.0**-6)
    mask, places = np.zeros(n, dtype=bool), list(rng.permutation(n))
    left_out = values.get("left_out", "nothing")
    for kind in ("mask", "-inf"):
        if left_out in (kind, "both") and places:
            mask, x = _left_out(mask, x, places.pop(), kind, minus)
    if left_out == "all":
        for place in places:
            mask, x = _left_out(mask, x, place, str(rng.choice(["mask", "-inf"])), minus)
        places = []
    ties = values.get("ties", "one")
    if len(places) < {"none": 0, "one": 1, "all": 2, "several": 3}[ties]:
        return row(rng, values)  # some row has room, as the bin is listed
    count = {"none": 0, "one": 1, "all": len(places), "several": len(places) // 2 + 1}[ties]
    x[places[:count]] = 0
    if "special" in values:
        x[rng.integers(n)] = {"inf": fmt.infinity, "nan": fmt.nan}[values["special"]]
    if values.get("code") == "masked" and not mask.any():
        mask[rng.integers(n)] = n > 1
    return x, mask, int(values.get("set", rng.integers(P.sets)))


def _left_out(mask, x, place, kind, minus):
    """The same with an element left out."""
    mask, x = mask.copy(), x.copy()
    if kind == "mask":
        mask[place] = True
    else:
        x[place] = minus
    return mask, x


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
                rows = [row(rng, values) for values in aims
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
