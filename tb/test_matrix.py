"""Every kind of weights with every kind of activations in every group size, bit for bit."""

import re

import pytest

from golden.parameters import ArrayParameters
from hdl.array import Array
from hdl.export import verilog
from scripts.formats import ACTIVATIONS, WEIGHTS, combination
from tb.runner import simulate

#: Group sizes, the largest of which the sets have; and one group for all of K.
GROUPS = [16, 32, 64, 128, 256]
PER_CHANNEL = 200

#: Arrays of one tile, of a mesh, and of bands with outputs that leave in several lanes.
SHAPES = {
    "tile":  {"tile_rows": 2, "tile_columns": 2},
    "mesh":  {"tile_rows": 1, "tile_columns": 2, "mesh_rows": 2, "mesh_columns": 2, "y": "bf16"},
    "bands": {"tile_rows": 1, "tile_columns": 4, "bands": 2, "y_lanes": 2, "y": "fp32"},
}

#: Formats of scales that the shapes have by turns.
SCALES = ["fp16", "bf16", "e8m0", "e4m3"]


def macs(weights: str, activations: str) -> list[str]:
    """Micro-architectures by the rules, as ArrayParameters must know them."""
    if ACTIVATIONS[activations].get("x", "int8") != "int8" and "aligned" not in activations:
        return ["float"]
    return ["pair_sum", "shift_add", "product"] + ["shift"] * weights.startswith("shift")


def design(index: int, weights: str, activations: str, shape: str) -> ArrayParameters:
    """Set of a combination; micro-architectures and scales take turns."""
    choices = macs(weights, activations)
    name = re.sub(r"( points| group|\W)+", "_", f"{weights}_{activations}_{shape}")
    return combination(weights, activations, choices[index % len(choices)], name=name,
                       scale=SCALES[index % len(SCALES)], lanes=4, group=GROUPS[-1],
                       **{"y": "fp16", **SHAPES[shape]})


def layers(p: ArrayParameters) -> list[tuple[int, int, int, int]]:
    """M, K, N and G: every group size, last groups that are whole, short, and of one weight."""
    ends = [0, 7, 1, 2, p.lanes]
    sizes = [(group * (1 + (group < 100)) + ends[index], group)
             for index, group in enumerate(GROUPS)]
    sizes += [(PER_CHANNEL, PER_CHANNEL), (1, 1), (5, 8)]
    return [(1 + index % (p.rows + 1), k, 1 + (3 * index + 2) % (2 * p.columns), group)
            for index, (k, group) in enumerate(sizes)]


def check(parameters: ArrayParameters, chosen: slice = slice(None)):
    """Run some of the layers on the exported array."""
    array = Array(parameters)
    assert simulate(verilog(array), array.module, "tb.bench_matrix",
                    layers=layers(parameters)[chosen], parameters=parameters.to_dict()) == 2


ALL = [design(index, *each) for index, each in enumerate(
    (weights, activations, shape)
    for shape in SHAPES for weights in WEIGHTS for activations in ACTIVATIONS)]

#: Each kind of weights and of activations at least once, and each shape.
QUICK = [design(index, *each) for index, each in enumerate([
    ("int2",         "int8, zero points",  "tile"),
    ("int3",         "fp16, aligned",      "tile"),
    ("int4",         "bf16",               "tile"),
    ("uint4",        "int8, both",         "mesh"),
    ("uint4",        "fp16",               "tile"),
    ("int8",         "int8",               "tile"),
    ("ternary",      "bf16, aligned",      "tile"),
    ("shift2",       "int8, group scales", "bands"),
    ("shift3",       "bf16, aligned",      "tile"),
    ("shift4",       "int8, group scales", "tile"),
    ("e2m1",         "fp16, aligned",      "tile"),
    ("uint4, uint8", "int8, both",         "tile"),
])]


@pytest.mark.parametrize("chosen", [
    lambda p: (p.w, p.wide),
    lambda p: (p.x, bool(p.x_align), p.x_zero, p.x_scale != "token"),
    lambda p: p.scale,
    lambda p: p.y,
    lambda p: p.mac,
], ids=["weights", "activations", "scale", "y", "mac"])
def test_every_choice_is_among_the_quick(chosen):
    assert {chosen(p) for p in QUICK} == {chosen(p) for p in ALL}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("activations", ACTIVATIONS)
def test_combinations_are_the_rules(weights, activations):
    """ArrayParameters allows what the rules say and nothing else."""
    for mac in ("pair_sum", "shift_add", "product", "shift", "float"):
        if mac in macs(weights, activations):
            assert combination(weights, activations, mac).mac == mac
        else:
            with pytest.raises(ValueError, match=r"^Parameter (mac|w) must be "):
                combination(weights, activations, mac)


@pytest.mark.parametrize("parameters", QUICK, ids=lambda parameters: parameters.name)
def test_quick(parameters):
    """Every other layer, the even and the odd ones by turns."""
    check(parameters, slice(QUICK.index(parameters) % 2, None, 2))


@pytest.mark.full
@pytest.mark.parametrize("parameters", ALL, ids=lambda parameters: parameters.name)
def test_all(parameters):
    check(parameters)
