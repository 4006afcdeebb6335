"""Rules, widths and files of parameter sets."""

import re

import numpy as np
import pytest

from golden.formats import FORMATS
from golden.gemm import group_sums
from golden.parameters import ACCUMULATE_LOOP, MACS, SETS, ArrayParameters, parameter_set
from golden.quantise import GroupedWeights

NAME = "Name must be a lower-case identifier of at most 32 characters, not "
KEYS = ("Parameters must be among bands, group, lanes, mac, mesh_columns, mesh_rows, name, scale, "
        "tile_columns, tile_rows, w, x, y, y_lanes, not ")

P = ArrayParameters(name="valid", lanes=4, tile_rows=2, tile_columns=2, group=32)


def refuse(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize(("changes", "message"), [
    *(({"name": name}, f"{NAME}{name!r}") for name in (
        "", "Edge", "1st", "a-b", "a b", "a\n", "a" * 33, "é", "a/b", None)),
    ({"x": "fp16"}, "Parameter x must be one of int8, not 'fp16'"),
    ({"w": "int2"}, "Parameter w must be one of int4, uint4, int8, not 'int2'"),
    ({"w": ["int4"]}, "Parameter w must be one of int4, uint4, int8, not ['int4']"),
    ({"scale": "fp32"}, "Parameter scale must be one of fp16, bf16, not 'fp32'"),
    ({"y": "int4"}, "Parameter y must be one of fp32, fp16, bf16, int8, not 'int4'"),
    ({"mac": "dsp"}, "Parameter mac must be one of shift_add, pair_sum, product, not 'dsp'"),
    *(({name: value}, f"Parameter {name} must be an integer from 1 to {limit}, not {value!r}")
      for name, limit in (("lanes", 256), ("tile_rows", 64), ("tile_columns", 64),
                          ("mesh_rows", 64), ("mesh_columns", 64), ("bands", 64),
                          ("group", 4096), ("y_lanes", 64))
      for value in (0, -1, limit + 1, 2.0, "2", True, None)),
    ({"lanes": 6}, "Parameter lanes must divide the group size 32, not 6"),
    ({"lanes": 1}, "Parameter lanes must be even for mac pair_sum, not 1"),
    ({"lanes": 16}, "Parameter lanes must be at most group / 4 = 8, not 16"),
    ({"tile_rows": 3, "mesh_rows": 3},
     "Parameters tile_rows * mesh_rows must be at most group / lanes = 8, not 9; use more bands"),
    ({"y_lanes": 4}, "Parameter y_lanes must divide the number of columns 2, not 4"),
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
])
def test_ends_of_the_rules(changes):
    assert vars(P.replace(**changes)).items() >= changes.items()


def extreme(values):
    """Width of the narrowest two's complement integer that holds all values, by trial."""
    bits = 1
    while not all(-(1 << bits - 1) <= value < 1 << bits - 1 for value in values):
        bits += 1
    return bits


@pytest.mark.parametrize("group", [4, 6, 8, 31, 32, 33, 128, 4096])
@pytest.mark.parametrize("w", ["int4", "uint4", "int8"])
def test_widths_hold_every_group_and_no_more(w, group):
    """A group of extremes needs every bit: golden's own sums say so."""
    p = ArrayParameters(name="width", mac="product", w=w, lanes=1, tile_rows=1, tile_columns=1,
                        group=group)
    fmt = FORMATS[w]
    weights = [fmt.low, fmt.high]
    q = np.tile(np.array([weights]), (group, 1))

    def sums(zero):
        zeros = np.full((1, 2), zero)
        x = np.array([[-128] * group, [127] * group])
        return group_sums(x, GroupedWeights(w, "fp16", group, q, zeros, zeros * 0)).ravel()

    assert p.sum_bits == extreme(sums(0))
    assert p.corrected_bits == extreme([*sums(0), *sums(fmt.max_zero)])
    assert p.row_sum_bits == extreme([-128 * group, 127 * group])


@pytest.mark.parametrize(("changes", "derived"), [
    ({}, {"beats": 8, "band_rows": 2, "rows": 2, "columns": 2, "peak": 16,
          "full_rate_length": 32, "latency": 16}),
    ({"mesh_rows": 3, "mesh_columns": 5, "bands": 7, "y_lanes": 2, "tile_rows": 1},
     {"beats": 8, "band_rows": 3, "rows": 21, "columns": 10, "peak": 840,
      "full_rate_length": 480, "latency": 23}),
])
def test_shapes(changes, derived):
    p = P.replace(**changes)
    assert {name: getattr(p, name) for name in derived} == derived


@pytest.mark.parametrize("p", [
    *SETS.values(),
    P.replace(lanes=8, mesh_columns=64),
    P.replace(lanes=8, mesh_rows=2),
    P.replace(group=8, lanes=2, tile_rows=1, mesh_rows=4),
    P.replace(group=64, lanes=2, mesh_rows=16),
    P.replace(lanes=4, mesh_columns=3),
], ids=lambda p: f"{p.beats}x{p.mesh_rows}x{p.mesh_columns}")
def test_scale_queue_never_holds_back_a_group(p):
    """An array that ends a group every ``beats`` cycles never waits for an entry."""
    # An entry is taken in cycle 0. The bottom row of the first tile column reaches the foot after
    # a register for each tile row and two more, the top row band_rows - 1 later, the last tile
    # column mesh_columns - 1 later; two registers on, the entry can be taken again.
    lifetime = (p.mesh_rows + 2) + (p.band_rows - 1) + (p.mesh_columns - 1) + 2
    free, returns = p.scale_queue, []
    for cycle in range(50 * p.beats):
        free += returns.count(cycle)
        if cycle % p.beats == 0:
            assert free > 0
            free -= 1
            returns.append(cycle + lifetime)
    assert p.scale_queue <= 1 + lifetime // p.beats


def test_sets():
    assert {name: p.name for name, p in SETS.items()} == {name: name for name in SETS}
    assert {"tiny", "paper", "edge", "fpga"} <= SETS.keys()
    assert SETS["paper"].mac == "shift_add"
    assert {p.mac for p in SETS.values()} <= MACS.keys()
    assert all(p.beats >= ACCUMULATE_LOOP for p in SETS.values())
    assert SETS["edge"].peak == 1024


@pytest.mark.parametrize("p", SETS.values(), ids=lambda p: p.name)
def test_baseline_differs_in_weights_and_mac_alone(p):
    baseline = p.baseline()
    assert baseline.to_dict() == p.to_dict() | {"name": f"{p.name}_int8", "w": "int8",
                                                "mac": "product"}
    assert baseline.peak == p.peak


def test_dictionary():
    assert ArrayParameters.from_dict(P.to_dict()) == P
    assert ArrayParameters.from_dict({"name": "valid", "lanes": 4, "tile_rows": 2,
                                      "tile_columns": 2}) == P.replace(group=128)
    with refuse(KEYS + "Lanes, rows"):
        ArrayParameters.from_dict(P.to_dict() | {"rows": 2, "Lanes": 1})
    with refuse("Parameters lanes, name must be given"):
        ArrayParameters.from_dict({"tile_rows": 2, "tile_columns": 2})


FILE = """
# A comment.
lanes = 8
tile_rows = 2
tile_columns = 4
w = "int4"
"""


@pytest.mark.parametrize(("text", "wanted"), [
    (FILE, {"name": "mine"}),
    (FILE + 'name = "other"\n', {"name": "other"}),
    (FILE + "bands = 3\n", {"name": "mine", "bands": 3}),
])
def test_file(tmp_path, text, wanted):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert parameter_set(str(path)) == ArrayParameters(
        lanes=8, tile_rows=2, tile_columns=4, w="int4", **wanted)


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.toml", FILE + "lane = 3\n", KEYS + "lane"),
    ("a.toml", "lanes = 8\n", "Parameters tile_columns, tile_rows must be given"),
    ("a.toml", FILE + "bands = 0\n", "Parameter bands must be an integer from 1 to 64, not 0"),
    ("a.toml", "[array]\n" + FILE, KEYS + "array"),
    ("My-Set.toml", FILE, NAME + "'My-Set'"),
])
def test_file_that_breaks_a_rule(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with refuse(message):
        parameter_set(str(tmp_path / name))


def test_file_that_is_none(tmp_path):
    broken, binary = tmp_path / "broken.toml", tmp_path / "binary.toml"
    broken.write_text("lanes = \n")
    binary.write_bytes(b"name = '\xff'")
    with refuse(f"Parameter set {broken} is not TOML: Invalid value (at line 1, column 9)"):
        parameter_set(str(broken))
    with pytest.raises(ValueError, match=rf"^Parameter set {binary} is not TOML: 'utf-8' codec"):
        parameter_set(str(binary))
    with refuse(f"Parameter set {tmp_path}/none.toml cannot be read: No such file or directory"):
        parameter_set(f"{tmp_path}/none.toml")
    (tmp_path / "folder.toml").mkdir()
    with refuse(f"Parameter set {tmp_path}/folder.toml cannot be read: Is a directory"):
        parameter_set(f"{tmp_path}/folder.toml")


def test_set_by_name():
    assert all(parameter_set(name) is p for name, p in SETS.items())
    with refuse(f"Parameter set must be one of {', '.join(SETS)} or a .toml file, not 'huge'"):
        parameter_set("huge")
