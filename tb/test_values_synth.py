"""The report that compares the unit for codes times V with the engine."""

import json

import pytest

from golden.values_parameters import VALUES_SETS
from scripts import values_synth

TINY = VALUES_SETS["attention_tiny_pv"]


def test_passes_of_each_design():
    designs = values_synth.designs(TINY)
    assert all(design.block.closure() for design in designs)
    passes = {design.name: design.passes for design in designs}
    assert passes == {
        "sums for 4 codes": {2: 1}, "sums for 8 codes": {3: 1}, "sums for 16 codes": {4: 1},
        "feet, lanes, outputs": {}, "engine, int2": {2: 4, 3: 8, 4: 16},
        "engine, uint4": {2: 4, 3: 4, 4: 4}}
    assert values_synth.Measured("", 8, 2.5, 1.0, {2: 4}).cost(2) == 10
    assert values_synth.Measured("", 8, 2.5, 1.0, {2: 4}).cost(3) is None


@pytest.mark.full
def test_report(tmp_path):
    values_synth.main(TINY, None, tmp_path)
    report = json.loads((tmp_path / f"{TINY.name}.json").read_text())
    found  = {each["name"]: each for each in report["blocks"]}
    assert [each["macs"] for each in found.values()] == [16, 16, 16, 16, 64, 64]
    sums = [found[f"sums for {levels} codes"]["gates"] for levels in (4, 8, 16)]
    assert 0 < sums[0] < sums[1] < sums[2] < 4 * sums[0]
    assert all(each["period_ns"] > 0 for each in found.values())
