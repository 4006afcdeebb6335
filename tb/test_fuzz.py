"""Hostile files and command lines: one line and exit status 2, or success; never anything else."""

import json
import os
import string
import tempfile
import time
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from golden.parameters import CHOICES, RANGES
from golden.registers import unit_registers
from golden.sets import ALL_SETS, UNITS, parameter_set
from golden.softmax_parameters import SOFTMAX_CHOICES, SOFTMAX_RANGES
from golden.values_parameters import VALUES_CHOICES, VALUES_RANGES
from scripts import checkpoint
from scripts.checkpoint import CheckpointError
from scripts.machines import constants
from scripts.mixpe import cli
from scripts.sweep import MAX_COMBINATIONS, Sweep
from tb.command_line import invoke

#: 10,000 examples in the long tests; each must end in some seconds.
fuzz = settings(max_examples=10_000 if settings().max_examples > 100 else 60,
                deadline=timedelta(seconds=20))

KEYWORDS = ["module", "endmodule", "reg", "wire", "always", "assign", "logic", "input"]
PATHS = ["../x", "/", "/etc/passwd", "..", ".", "~", "a/b", "a\\b", "-", "--", "", " ", "\n",
         "$(x)", "a;b", "a\tb", "x" * 300, "x" * 5000, "\u202e", "é", "\udc80", "[red]", "%s",
         "{0}"]
NUMBERS = ["0", "-1", "1", "2147483648", "9" * 400, "1e400", "-1e400", "nan", "inf", "0x10",
           "1_0", "٣", "1.5", "+1", "\u00bd"]
#: What an argument may be: what a command line can hold, which is any bytes but NUL.
WORDS = st.one_of(st.sampled_from(KEYWORDS + PATHS + NUMBERS + ["a=b", "=", "a=nan", "a=1e400"]),
                  st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
                  st.binary(max_size=20).map(lambda word: os.fsdecode(word.replace(b"\0", b""))))


# Files


def header(entries: list[tuple[str, object]]) -> bytes:
    """JSON of an object that may have a key several times."""
    return ("{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in entries)
            + "}").encode()


INTEGERS = st.one_of(st.integers(-1, 70), st.sampled_from([2**31, 2**53, 2**62, 2**63, 2**64]))
NAMES = st.one_of(st.sampled_from([f"a.{part}" for part in
                                   ("qweight", "qzeros", "scales", "g_idx", "weight")]),
                  st.sampled_from(["a", "__metadata__", "", "\n.qweight", "../x.qweight"]),
                  st.text(max_size=300))
ENTRIES = st.one_of(
    st.fixed_dictionaries({
        "dtype": st.sampled_from(["I32", "F16", "BF16", "F32", "F64", "U8", "F8_E8M0", "?"]),
        "shape": st.lists(INTEGERS, max_size=3),
        "data_offsets": st.lists(INTEGERS, max_size=3)}),
    st.none(), st.text(max_size=9), st.lists(INTEGERS, max_size=2))
MAGIC = [b"PK\x03\x04", b"\x80\x04\x95", b"\x80\x02}q\x00.", b"GGUF", b"\x93NUMPY", b"\x1f\x8b"]


@st.composite
def safetensors(draw) -> bytes:
    """A file that is almost one: lengths, keys, places and data may be wrong, its end cut off."""
    text = header(draw(st.lists(st.tuples(NAMES, ENTRIES), max_size=5)))
    length = draw(st.one_of(st.just(len(text)), st.integers(0, 2**64 - 1),
                            st.integers(0, len(text) + 9)))
    content = length.to_bytes(8, "little") + text + draw(st.binary(max_size=80))
    cut = draw(st.one_of(st.none(), st.integers(0, len(content))))
    return draw(st.sampled_from([b"", b"", b"", *MAGIC])) + content[:cut]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder whose contents each example replaces."""
    return tmp_path_factory.mktemp("fuzz")


def attempt(read, *arguments, error: type[Exception] = ValueError):
    """Result and None, or None and the message of the refusal, which is not empty."""
    try:
        return read(*arguments), None
    except error as refusal:
        message = str(refusal)
    assert message
    return None, message


def refused(read, *arguments) -> str | None:
    """Message of the refusal of a checkpoint, one printable line; None if there was none."""
    _, message = attempt(read, *arguments, error=CheckpointError)
    assert message is None or message.isprintable()
    return message


@fuzz
@given(content=safetensors(), name=NAMES)
def test_checkpoint_files(folder, content, name):
    path = folder / "x.safetensors"
    path.write_bytes(content)
    refused(checkpoint.layers, path)
    refused(checkpoint.load, path, "a")
    refused(checkpoint.matrices, path)
    refused(checkpoint.features, path, name, 2, 1)
    foreign = content.startswith((b"PK", b"\x80", b"GGUF", b"\x93NUMPY"))
    if foreign and int.from_bytes(content[:8], "little") > checkpoint.MAX_JSON:
        assert "must be safetensors, not " in refused(checkpoint.layers, path)


SHARDS = st.one_of(st.sampled_from(["x.safetensors", "../x.safetensors", "/etc/passwd", "link",
                                    "absent", "", ".", "..", "a/b", "x\n"]), st.text(max_size=5))
JSON = st.recursive(st.none() | st.booleans() | INTEGERS | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8)
CONFIGS = st.one_of(JSON, st.fixed_dictionaries({"quantization_config": st.one_of(
    JSON, st.fixed_dictionaries({"quant_method": st.just("awq"), "bits": JSON,
                                 "version": st.just("gemm"), "group_size": JSON}))}))


@fuzz
@given(index=st.one_of(JSON, st.fixed_dictionaries({"weight_map": st.one_of(
           JSON, st.dictionaries(NAMES, SHARDS, max_size=3))})),
       config=CONFIGS, present=st.tuples(st.booleans(), st.booleans()))
def test_checkpoint_folders(folder, index, config, present):
    """No index leads out of its folder, whatever it says."""
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        path = Path(directory)
        (path / "link").symlink_to("/etc/passwd")
        save_file({"a.qweight": np.zeros((8, 2), np.int32)}, path / "x.safetensors")
        for name, content, wanted in (("model.safetensors.index.json", index, present[0]),
                                      ("config.json", config, present[1])):
            if wanted:
                (path / name).write_text(json.dumps(content))
        read = []
        right = checkpoint._bytes
        with mock.patch.object(checkpoint, "_bytes",
                               lambda file, count: read.append(file) or right(file, count)):
            refused(checkpoint.layers, path)
            refused(checkpoint.load, path, "a")
        assert {os.path.realpath(file.parent) for file in read} <= {os.path.realpath(path)}


@pytest.mark.parametrize(("tensors", "accepted"), [(100_000, True), (300_000, False)])
def test_many_tensors(folder, tensors, accepted):
    """A header of very many tensors is read or refused in seconds."""
    entry = '{"dtype":"I32","shape":[0,1],"data_offsets":[0,0]}'
    text = ("{" + ",".join(f'"{index}.qweight":{entry}' for index in range(tensors)) + "}").encode()
    path = folder / "many.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    begin = time.monotonic()
    message = refused(checkpoint.layers, path)
    assert time.monotonic() - begin < 20
    assert (message is None) == accepted


# Sets and sweeps

VALUES = st.one_of(st.booleans(), st.integers(-1, 300), st.integers(), st.floats(), WORDS,
                   st.lists(st.integers(0, 3), max_size=2), st.just({"a": 1}))
FIELDS = {"array": (CHOICES, RANGES), "softmax": (SOFTMAX_CHOICES, SOFTMAX_RANGES),
          "exact_softmax": (SOFTMAX_CHOICES, SOFTMAX_RANGES),
          "values": (VALUES_CHOICES, VALUES_RANGES)}


def toml(value) -> str:
    """A value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}"
                               for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        encodable = value.encode("utf-8", "replace").decode()  # TOML has no surrogates
        return '"' + "".join(f"\\U{ord(char):08x}" for char in encodable) + '"'
    return json.dumps(value)


@st.composite
def set_files(draw) -> tuple[str, str]:
    """Unit and text of a parameter set, most of whose values are possible."""
    unit = draw(st.sampled_from(sorted(UNITS)))
    choices, ranges = FIELDS[unit]
    known = {field.name for field in fields(UNITS[unit])}
    values = {}
    for field in sorted(known & (choices.keys() | ranges.keys())):
        right = (st.sampled_from(choices[field]) if field in choices
                 else st.integers(ranges[field][0], min(ranges[field][1], 40)))
        kind = draw(st.integers(0, 19))
        if kind < 12:
            values[field] = draw(right)
        elif kind == 12:
            values[field] = draw(VALUES)
    if draw(st.integers(0, 3)) == 0:
        values["name"] = draw(VALUES)
    if draw(st.integers(0, 9)) == 0:
        values[draw(WORDS)] = draw(VALUES)
    return unit, f"unit = {toml(unit)}\n" + "".join(
        f"{toml(key)} = {toml(value)}\n" for key, value in values.items())


@fuzz
@given(file=set_files())
def test_sets(folder, file):
    """A file is a set, whose every property is a number, or one line says why not."""
    unit, text = file
    path = folder / "fuzzed.toml"
    path.write_text(text)
    parameters, _ = attempt(parameter_set, str(path))
    if parameters is None:
        return
    assert parameters.unit == unit
    assert parameters.name.isidentifier()
    for field, allowed in FIELDS[unit][0].items():
        if hasattr(parameters, field) and field in parameters.to_dict():
            value = getattr(parameters, field)
            assert type(value) is type(allowed[0])
    for name in dir(type(parameters)):
        if isinstance(getattr(type(parameters), name), property):
            getattr(parameters, name)
    _, message = attempt(unit_registers, parameters)
    assert message is None or message.startswith("Parameter ")


@fuzz
@given(text=st.binary(max_size=60))
def test_any_bytes_of_a_set_or_a_sweep(folder, text):
    path = folder / "bytes.toml"
    path.write_bytes(text)
    attempt(parameter_set, str(path))
    _, message = attempt(Sweep.load, path)
    assert message.startswith(f"Sweep {path}")


AXES = st.dictionaries(st.one_of(st.sampled_from([*RANGES, *CHOICES, "period"]), WORDS),
                       st.one_of(VALUES, st.lists(VALUES, max_size=60)), max_size=6)


@fuzz
@given(base=st.one_of(VALUES, AXES), axes=st.one_of(VALUES, st.lists(AXES, max_size=3)))
def test_sweeps(base, axes):
    """A sweep has points, or one line says why not; in little time."""
    sweep, _ = attempt(Sweep.from_dict, "fuzzed", {"base": base, "axes": axes})
    assert sweep is None or 1 <= len(sweep.points) <= MAX_COMBINATIONS


def test_sweep_of_too_many_combinations():
    axes = {name: list(range(1, 21)) for name in ("lanes", "tile_rows", "tile_columns", "bands",
                                                  "mesh_rows", "mesh_columns", "y_lanes")}
    with pytest.raises(ValueError, match=f"^Axes must have at most {MAX_COMBINATIONS} combinations "
                                         r"in all, not 1280000000$"):
        Sweep.from_dict("huge", {"axes": [axes]})


@fuzz
@given(changes=st.dictionaries(st.one_of(st.sampled_from(["area", "bandwidth", "latency"]), WORDS),
                               st.floats(), max_size=3))
def test_constants(changes):
    found, _ = attempt(constants, changes)
    assert found is None or all(0 < each.value < float("inf") for each in found.values())


# Command lines


#: Modules whose ``main`` a command runs, and what the command looks at.
MAINS = {name: {"ratios": [], "blocks": [], "failures": 0} for name in (
    "attention", "bench", "claims", "coverage", "evidence", "explore", "fidelity", "formal",
    "formats", "fpga", "mutate", "netlist_sim", "second_sim", "sim", "sizes", "soak",
    "softmax_synth", "synth", "values_synth", "vectors")}
MAINS |= {name: [] for name in ("figures", "registers", "verilog")}


@contextmanager
def nothing_runs():
    """Commands return at once."""
    others = ("sets.show", "soak.repeat", "engine.local", "engine.remote", "engine.queue")
    with ExitStack() as stack:
        for name, result in MAINS.items():
            stack.enter_context(mock.patch(f"scripts.{name}.main", return_value=result))
        for name in others:
            stack.enter_context(mock.patch(f"scripts.{name}"))
        yield


def check_refusal(status: int, text: str):
    """Success, or status 2 and one line."""
    assert status in (0, 2)
    if status == 2:
        assert text.startswith("mixpe: error: ")
        assert text.count("\n") == 1
    else:
        assert text == ""


@st.composite
def command_lines(draw) -> list[str]:
    """A command with options of its own, right and hostile values, and surplus words."""
    name = draw(st.sampled_from(sorted(cli.commands)))
    arguments = [name]
    for option in cli.commands[name].params:
        if draw(st.integers(0, 2)):
            continue
        words = st.one_of(WORDS, st.sampled_from([*ALL_SETS, "tiny", "1", "build", "a=1"]))
        flags = [*option.opts, *option.secondary_opts]
        if option.param_type_name == "argument":
            arguments.append(draw(words))
        elif option.is_flag:
            arguments.append(draw(st.sampled_from(flags)))
        else:
            arguments += [draw(st.sampled_from(flags)), draw(words)]
    return arguments + draw(st.lists(WORDS, max_size=1))


@fuzz
@given(arguments=command_lines())
def test_command_lines(folder, arguments):
    """No command line ends in a traceback or leaves a file when nothing ran."""
    if "--help" in arguments or "-h" in arguments or "--version" in arguments:
        arguments = arguments[:1]
    with tempfile.TemporaryDirectory(dir=folder) as directory, chdir(directory), nothing_runs():
        status, _, text = invoke(*arguments, cwd=directory)
        check_refusal(status, text)
        assert os.listdir(directory) == []


@fuzz
@given(file=set_files(), name=st.text(string.ascii_lowercase + "._-", min_size=1, max_size=9),
       output=st.sampled_from(["out", "out/deep", "."]))
def test_nothing_is_written_elsewhere(folder, file, name, output):
    """A set's files lie in the output folder, whatever it is called; or there are none."""
    with tempfile.TemporaryDirectory(dir=folder) as directory, chdir(directory):
        path = Path("in") / f"{name}.toml"
        path.parent.mkdir()
        path.write_text(file[1])
        status, _, text = invoke("registers", "--set", path, "-o", output, cwd=directory)
        check_refusal(status, text)
        written = {each for each in Path().rglob("*") if each.is_file()} - {path}
        assert bool(written) == (status == 0)
        assert all(each.parent == Path(output) for each in written)


@fuzz
@given(content=safetensors(), layer=st.one_of(st.none(), WORDS))
def test_command_on_checkpoints(folder, content, layer):
    """A checkpoint that cannot be run is one line, of a simulation and of a measurement."""
    path = folder / "y.safetensors"
    path.write_bytes(content)
    options = [] if layer is None else [f"--layer={layer}"]
    for name in ("sim", "fidelity"):
        with tempfile.TemporaryDirectory(dir=folder) as directory, chdir(directory):
            status, _, text = invoke(name, "-c", path, *options, cwd=directory)
            assert status == 2
            check_refusal(status, text)
            assert os.listdir(directory) == []
