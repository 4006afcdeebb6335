"""Rules, widths and files of parameter sets."""

import re

import numpy as np
import pytest

from golden.formats import FORMATS
from golden.gemm import group_sums
from golden.parameters import ACCUMULATE_LOOP, MACS, SETS, ArrayParameters
from golden.quantise import Activations, GroupedWeights

NAME = "Name must be a lower-case identifier of at most 32 characters, not "
KEYS = ("Parameters must be among adders, bands, cut, group, lanes, mac, mesh_columns, mesh_rows, "
        "name, scale, tile_columns, tile_rows, w, w_depth, wide, x, x_align, x_depth, x_rows, "
        "x_scale, x_zero, y, y_lanes, not ")
FLOAT = ("Parameter mac must be float for float activations that are not aligned, and only then, "
         "not ")
ADDERS = ("Parameter adders must be compressors for mac product, shift_add and float, which add by "
          "carry chains anyway, not ")
WEIGHTS = ("Parameter w must be one of int2, int3, int4, uint4, int8, ternary, shift2, shift3, "
           "shift4, e2m1, not ")
MAC = ("Parameter mac must be one of shift_add, bit_plane, radix4, pair_sum, product, shift, "
       "float, not ")
SHIFT = "Parameter w must be shift2, shift3 or shift4 for mac shift, not "
ALIGNED = "Parameter x_scale must be e8m0 for aligned activations, and only then, not "

P = ArrayParameters(name="valid", lanes=4, tile_rows=2, tile_columns=2, group=32)


def refuse(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize(("changes", "message"), [
    *(({"name": name}, f"{NAME}{name!r}") for name in (
        "", "Edge", "1st", "a-b", "a b", "a\n", "a" * 33, "é", "a/b", None)),
    ({"x": "fp32"}, "Parameter x must be one of int8, fp16, bf16, not 'fp32'"),
    ({"x_scale": "e4m3"}, "Parameter x_scale must be one of token, fp16, bf16, e8m0, not 'e4m3'"),
    ({"x_zero": 2}, "Parameter x_zero must be one of False, True, not 2"),
    ({"wide": None}, "Parameter wide must be one of False, True, not None"),
    ({"wide": 1}, "Parameter wide must be one of False, True, not 1"),
    *(({"w": w}, f"{WEIGHTS}{w!r}") for w in ("uint8", ["int4"])),
    ({"scale": "fp32"}, "Parameter scale must be one of fp16, bf16, e8m0, e4m3, not 'fp32'"),
    ({"y": "int4"}, "Parameter y must be one of fp32, fp16, bf16, int8, not 'int4'"),
    ({"mac": "dsp"}, f"{MAC}'dsp'"),
    *(({"x_align": value}, f"Parameter x_align must be an integer from 0 to 24, not {value!r}")
      for value in (-1, 25, 8.0, None, False)),
    *(({name: value}, f"Parameter {name} must be an integer from 1 to {limit}, not {value!r}")
      for name, limit in (("lanes", 256), ("tile_rows", 64), ("tile_columns", 64),
                          ("mesh_rows", 64), ("mesh_columns", 64), ("bands", 64),
                          ("group", 32768), ("y_lanes", 64), ("x_rows", 4096))
      for value in (0, -1, limit + 1, 2.0, "2", True, None)),
    ({"lanes": 6}, "Parameter lanes must divide the group size 32, not 6"),
    ({"lanes": 1}, "Parameter lanes must be even for mac pair_sum, not 1"),
    ({"lanes": 16}, "Parameter lanes must be at most group / 4 = 8, not 16"),
    ({"tile_rows": 3, "mesh_rows": 3},
     "Parameters tile_rows * mesh_rows must be at most group / lanes = 8, not 9; use more bands"),
    ({"y_lanes": 4}, "Parameter y_lanes must divide the number of columns 2, not 4"),
    ({"wide": True, "y_lanes": 2}, "Parameter y_lanes must divide the number of columns 1, not 2"),
    ({"wide": True, "tile_columns": 1, "mesh_columns": 2},
     "Parameter tile_columns must be even for wide, not 1"),
    ({"wide": True, "w": "int4"}, "Parameter w must be uint4 for wide, not 'int4'"),
    ({"x_align": 8}, "Parameter x_align must be 0 for x int8, not 8"),
    *(({"x": "bf16", "x_align": bits, "x_scale": "e8m0"},
       f"Parameter x_align must be 0 or at least 3, not {bits}") for bits in (1, 2)),
    ({"x": "fp16"}, f"{FLOAT}'pair_sum'"),
    ({"mac": "float"}, f"{FLOAT}'float'"),
    ({"x": "fp16", "x_align": 8, "x_scale": "e8m0", "mac": "float"}, f"{FLOAT}'float'"),
    ({"adders": "luts"},
     "Parameter adders must be one of compressors, carry_chains, not 'luts'"),
    ({"cut": 1}, "Parameter cut must be one of operands, shared, not 1"),
    ({"mac": "product", "adders": "carry_chains"}, f"{ADDERS}'carry_chains'"),
    *(({"mac": "shift", "w": w}, f"{SHIFT}{w!r}") for w in ("uint4", "ternary")),
    ({"x": "fp16", "mac": "float", "x_zero": True},
     "Parameter x must be int8 for x_zero, not 'fp16'"),
    ({"x_scale": "e8m0"}, f"{ALIGNED}'e8m0'"),
    *(({"x": "fp16", "x_align": 8, "x_scale": scale}, f"{ALIGNED}{scale!r}")
      for scale in ("token", "fp16")),
    ({"x": "bf16", "mac": "float", "x_scale": "fp16"},
     "Parameter x_scale must be token for float activations, not 'fp16'"),
])
def test_rules(changes, message):
    with refuse(message):
        P.replace(**changes)


@pytest.mark.parametrize("changes", [
    {"name": "a" * 32}, {"lanes": 8}, {"lanes": 1, "mac": "product"},
    {"lanes": 1, "mac": "shift_add"}, {"tile_rows": 4, "mesh_rows": 2}, {"y_lanes": 2},
    {"group": 4096, "lanes": 256}, {"tile_rows": 8, "bands": 64}, {"tile_columns": 64},
    {"mesh_columns": 64}, {"group": 4096, "lanes": 64, "tile_rows": 64},
    {"group": 4096, "lanes": 64, "mesh_rows": 32}, {"tile_columns": 64, "y_lanes": 64},
    {"group": 32768, "lanes": 256}, {"wide": True}, {"wide": True, "x_zero": True},
    {"x": "fp16", "x_align": 3, "x_scale": "e8m0"}, {"x": "bf16", "x_align": 24, "x_scale": "e8m0"},
    {"x": "bf16", "mac": "float"}, {"w": "shift2", "mac": "shift"}, {"w": "shift4"},
    {"x_zero": True, "x_scale": "fp16"}, {"x_scale": "bf16"}, {"scale": "e4m3", "w": "e2m1"},
])
def test_ends_of_the_rules(changes):
    assert vars(P.replace(**changes)).items() >= changes.items()


def extreme(values):
    """Width of the narrowest two's complement integer that holds all values, by trial."""
    values, bits = list(values), 1
    while not all(-(1 << bits - 1) <= value < 1 << bits - 1 for value in values):
        bits += 1
    return bits


X = {"int8": {}, "zero": {"x_zero": True},
     "aligned": {"x": "fp16", "x_align": 11, "x_scale": "e8m0"},
     "float": {"x": "fp16", "mac": "float"}, "bfloat": {"x": "bf16", "mac": "float"}}


@pytest.mark.parametrize("group", [4, 6, 31, 32, 33, 128, 4096])
@pytest.mark.parametrize("x", X)
@pytest.mark.parametrize("w", ["int2", "int3", "int4", "uint4", "int8", "ternary", "shift2",
                               "shift3", "shift4", "e2m1", "wide"])
def test_widths_hold_every_group_and_no_more(w, x, group):
    """A group of extremes needs every bit: golden's own sums say so."""
    wide = w == "wide"
    p = ArrayParameters(**{"name": "width", "mac": "product", "w": "uint4" if wide else w,
                           "wide": wide, "lanes": 1, "tile_rows": 1, "tile_columns": 2,
                           "group": group} | X[x])
    fmt = FORMATS["uint8" if wide else w]

    def sums(zeros=(0,), x_zeros=(0,), fmt=fmt):
        """Sums of all extremes of a group in steps."""
        ends = np.array([[p.x_format.low] * group, [p.x_format.high] * group])
        if not p.x_format.is_integer:
            ends = p.x_format.encode(ends * p.x_format.step)
        q = np.array([[fmt.low, fmt.high]] * group)
        return [total for zero in zeros for x_zero in x_zeros for total in group_sums(
            Activations(ends, np.ones(2, np.float32), p.x_format, group,
                        np.full((2, 1), x_zero) if x_zero else None),
            GroupedWeights(fmt.name, "fp16", group, q, np.full((1, 2), zero),
                           np.zeros((1, 2), int))).ravel().tolist()]

    assert p.sum_bits == extreme(sums(fmt=FORMATS[p.w]))
    assert p.joined_bits == extreme(sums())
    x_zeros = (0, -128, 127) if p.x_zero else (0,)
    assert p.corrected_bits == extreme(sums((0, fmt.max_zero), x_zeros))
    assert p.row_sum_bits == extreme([p.x_format.low * group, p.x_format.high * group])
    assert p.column_sum_bits == extreme(
        group * (q - zero) for q in (fmt.low, fmt.high) for zero in (0, fmt.max_zero))
    assert p.zero_bits == fmt.max_zero.bit_length()


@pytest.mark.parametrize(("changes", "derived"), [
    ({}, {"beats": 8, "band_rows": 2, "rows": 2, "columns": 2, "peak": 16,
          "full_rate_length": 32, "latency": 15}),
    ({"mesh_rows": 3, "mesh_columns": 5, "bands": 7, "y_lanes": 2, "tile_rows": 1},
     {"beats": 8, "band_rows": 3, "rows": 21, "columns": 10, "peak": 840,
      "full_rate_length": 480, "latency": 22}),
    # The product of scales takes two cycles, a float of a wide sum two.
    ({"x_scale": "fp16"}, {"latency": 17, "dequantise_latency": 7}),
    ({"x": "fp16", "mac": "float"}, {"latency": 17, "dequantise_latency": 7}),
    # The shortest group holds a band's rows, or a read-modify-write.
    ({}, {"least_beats": 4, "least_group": 16}),
    ({"tile_rows": 3, "mesh_rows": 2}, {"least_beats": 6, "least_group": 24}),
])
def test_shapes(changes, derived):
    p = P.replace(**changes)
    assert {name: getattr(p, name) for name in derived} == derived


def test_buffers_hold_two_items_at_least():
    """A buffer needs two, also that of the scales of one row with one group."""
    p = ArrayParameters(name="one", lanes=4, tile_rows=1, tile_columns=2, group=16, x_depth=4)
    assert (p.t_depth, p.sx_depth) == (2, 2)


@pytest.mark.parametrize("p", [
    *SETS.values(),
    P.replace(lanes=8, mesh_columns=64),
    P.replace(lanes=8, mesh_rows=2),
    P.replace(group=8, lanes=2, tile_rows=1, mesh_rows=4),
    P.replace(group=64, lanes=2, mesh_rows=16),
    P.replace(lanes=4, mesh_columns=3),
], ids=lambda p: f"{p.beats}x{p.mesh_rows}x{p.mesh_columns}")
def test_scale_queue_never_holds_back_a_group(p):
    """An array that ends a group every ``least_beats`` cycles never waits for an entry."""
    # An entry is taken in cycle 0. The bottom row of the first tile column reaches the foot after
    # a register for each tile row and two more, the top row band_rows - 1 later, the last tile
    # column mesh_columns - 1 later; two registers on, the entry can be taken again.
    lifetime = (p.mesh_rows + 2) + (p.band_rows - 1) + (p.mesh_columns - 1) + 2
    free, returns = p.scale_queue, []
    for cycle in range(50 * p.least_beats):
        free += returns.count(cycle)
        if cycle % p.least_beats == 0:
            assert free > 0
            free -= 1
            returns.append(cycle + lifetime)
    assert p.scale_queue <= 1 + lifetime // p.least_beats


def test_sets():
    assert {name: p.name for name, p in SETS.items()} == {name: name for name in SETS}
    assert {"tiny", "paper", "edge", "fpga"} <= SETS.keys()
    assert SETS["paper"].mac == "shift_add"
    assert {p.mac for p in SETS.values()} <= MACS.keys()
    assert all(p.beats >= ACCUMULATE_LOOP for p in SETS.values())
    assert SETS["edge"].peak == 1024


@pytest.mark.parametrize("p", SETS.values(), ids=lambda p: p.name)
def test_baseline_differs_in_formats_and_mac_alone(p):
    baseline = p.baseline()
    assert baseline.to_dict() == p.to_dict() | {
        "name": f"{p.name}_int8", "x": "int8", "x_align": 0, "x_scale": "token", "w": "int8",
        "wide": False, "mac": "product"}
    assert baseline.peak == p.peak


def test_dictionary():
    assert ArrayParameters.from_dict(P.to_dict()) == P
    assert ArrayParameters.from_dict({"name": "valid", "lanes": 4, "tile_rows": 2,
                                      "tile_columns": 2}) == P.replace(group=128)
    with refuse(KEYS + "Lanes, rows"):
        ArrayParameters.from_dict(P.to_dict() | {"rows": 2, "Lanes": 1})
    with refuse("Parameters lanes, name must be given"):
        ArrayParameters.from_dict({"tile_rows": 2, "tile_columns": 2})
