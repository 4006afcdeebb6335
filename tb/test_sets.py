"""Parameter sets by name and from files."""

import pytest

from golden.parameters import SETS, ArrayParameters
from golden.sets import ALL_SETS, UNITS, parameter_set
from golden.softmax_parameters import (
    EXACT_SETS,
    SOFTMAX_SETS,
    BaselineParameters,
    SoftmaxParameters,
)
from golden.values_parameters import VALUES_SETS, ValuesParameters
from tb.test_parameters import KEYS, NAME, refuse

FILE = """
# A comment.
lanes = 8
tile_rows = 2
tile_columns = 4
w = "int4"
"""

SOFTMAX = 'unit = "softmax"\nwidth = 8\n'


@pytest.mark.parametrize(("text", "wanted"), [
    (FILE, {"name": "mine"}),
    (FILE + 'name = "other"\n', {"name": "other"}),
    (FILE + "bands = 3\n", {"name": "mine", "bands": 3}),
    (FILE + 'unit = "array"\n', {"name": "mine"}),
])
def test_file(tmp_path, text, wanted):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert parameter_set(str(path)) == ArrayParameters(
        lanes=8, tile_rows=2, tile_columns=4, w="int4", **wanted)


def test_file_of_another_unit(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SOFTMAX + "bits = 3\n")
    assert parameter_set(str(path)) == SoftmaxParameters(name="mine", width=8, bits=3)
    path.write_text(SOFTMAX.replace("softmax", "exact_softmax"))
    assert parameter_set(str(path)) == BaselineParameters(name="mine", width=8)
    path.write_text(SOFTMAX.replace("softmax", "values"))
    assert parameter_set(str(path)) == ValuesParameters(name="mine", width=8)


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.toml", FILE + "lane = 3\n", KEYS + "lane"),
    ("a.toml", "lanes = 8\n", "Parameters tile_columns, tile_rows must be given"),
    ("a.toml", FILE + "bands = 0\n", "Parameter bands must be an integer from 1 to 64, not 0"),
    ("a.toml", "[array]\n" + FILE, KEYS + "array"),
    ("My-Set.toml", FILE, NAME + "'My-Set'"),
    *(("a.toml", f"{FILE}unit = {unit}\n",
       f"Parameter unit must be one of array, softmax, exact_softmax, values, not {shown}")
      for unit, shown in (('"exaq"', "'exaq'"), ("['array']", "['array']"), ("1", "1"))),
    ("a.toml", SOFTMAX + "bits = 5\n", "Parameter bits must be an integer from 2 to 4, not 5"),
    ("a.toml", SOFTMAX + "lanes = 5\n",
     ("Parameters must be among accumulate, bits, exp_bits, least_length, max_length, name, sets, "
      "width, x, y, not lanes")),
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
    assert all(parameter_set(name) is p for name, p in ALL_SETS.items())
    with refuse(f"Parameter set must be one of {', '.join(ALL_SETS)} or a .toml file, not 'huge'"):
        parameter_set("huge")


def test_names_are_unique_over_all_units():
    assert len(ALL_SETS) == sum(map(len, (SETS, SOFTMAX_SETS, EXACT_SETS, VALUES_SETS)))
    assert all(name == p.name for name, p in ALL_SETS.items())
    assert {f"{name}_exact" for name in SOFTMAX_SETS} == EXACT_SETS.keys()
    assert {p.unit for p in ALL_SETS.values()} == UNITS.keys()
    assert all(type(p) is UNITS[p.unit] for p in ALL_SETS.values())


@pytest.mark.parametrize(("source", "units", "message"), [
    ("attention", ["array"], "an array, not a softmax unit as attention is"),
    ("attention_exact", ["array"], "an array, not an exact softmax unit as attention_exact is"),
    ("attention_pv", ["array"], "an array, not a unit for codes times V as attention_pv is"),
    ("edge", ["softmax", "exact_softmax"],
     "a softmax unit or an exact softmax unit, not an array as edge is"),
])
def test_set_of_another_unit(tmp_path, source, units, message):
    with refuse(f"Parameter set must be {message}"):
        parameter_set(source, units)
    path = tmp_path / f"{source}.toml"
    path.write_text(f'unit = "{ALL_SETS[source].unit}"\n')
    with refuse(f"Parameter set must be {message}".replace(f"as {source} ", f"as {path} ")):
        parameter_set(str(path), units)


def test_unknown_set_names_those_of_the_units():
    with refuse(f"Parameter set must be one of {', '.join(SETS)} or a .toml file, not 'huge'"):
        parameter_set("huge", ["array"])
