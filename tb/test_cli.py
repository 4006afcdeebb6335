"""The command ``mixpe`` as a user runs it: what it prints, writes and returns."""

import json
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from golden.awq import pack
from golden.parameters import CHOICES, SETS
from golden.quantise import quantise_weights
from golden.sets import ALL_SETS
from golden.softmax_parameters import EXACT_SETS, SOFTMAX_SETS
from golden.values_parameters import VALUES_SETS
from scripts.sim import labels
from tb.command_line import refuse, run, tree
from tb.marks import first_by_default

NAME = "mlp.down_proj"
BAD_NAME = "Name must be a lower-case identifier of at most 32 characters, not "
TINY = {"lanes": 4, "tile_rows": 2, "tile_columns": 2, "group": 16}


def write_layer(path: Path, name: str = NAME, *, group: int = 16, k: int = 32, **replaced) -> Path:
    """Checkpoint of one layer with N = 16, whose tensors can be replaced."""
    weights = quantise_weights(np.random.default_rng(0).normal(size=(k, 16)), w="uint4",
                               group=group)
    qweight, qzeros = pack(weights)
    parts = {"qweight": qweight, "qzeros": qzeros,
             "scales": weights.scales.astype(np.uint16).view(np.float16)} | replaced
    save_file({f"{name}.{part}": tensor for part, tensor in parts.items()}, path)
    return path


def write_set(path: Path, **values) -> Path:
    """Parameter set as TOML."""
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    return path


# Refusals


@pytest.mark.parametrize(("arguments", "message"), [
    (("frobnicate",), "No such command 'frobnicate'."),
    (("sim", "--frobnicate"), "No such option '--frobnicate'."),
    (("sim", "surplus"), "Got unexpected extra argument (surplus)"),
    (("sim", "--set"), "Option '--set' requires an argument."),
    (("sim", "--tokens", "0"),
     "Invalid value for '--tokens' / '-m': 0 is not in the range 1<=x<=65536."),
    (("sim", "--tokens", "many"),
     "Invalid value for '--tokens' / '-m': 'many' is not a valid integer range."),
    (("sim", "--seed", "-1"),
     "Invalid value for '--seed': -1 is not in the range 0<=x<=2147483647."),
    (("registers", "--page", "."), "Invalid value for '--page': File '.' is a directory."),
    (("netlist-sim", "--seed", "2147483648"),
     "Invalid value for '--seed': 2147483648 is not in the range 0<=x<=2147483647."),
    (("fpga", "--family", "absent"),
     "Invalid value for '--family' / '-f': 'absent' is not one of 'ecp5', 'ice40'."),
    (("fpga", "--seeds", "0"),
     "Invalid value for '--seeds': 0 is not in the range 1<=x<=1000."),
    (("sim", "--checkpoint", "absent"),
     "Checkpoint must be a .safetensors file or a folder; absent is none"),
    (("synth", "--liberty", "."), "Invalid value for '--liberty': File '.' is a directory."),
])
def test_arguments(tmp_path, arguments, message):
    refuse(tmp_path, *arguments, message=message)


@pytest.mark.parametrize("command", ["synth", "netlist-sim"])
def test_missing_cell_library(tmp_path, command):
    refuse(tmp_path, command, "--set", "tiny", "--liberty", "absent.lib",
           message=f"Cell library {tmp_path / 'absent.lib'}: No such file or directory")


def test_missing_cell_library_of_the_bench(tmp_path):
    refuse(tmp_path, "bench", "--liberty", "absent.lib",
           message=f"Cell library {tmp_path / 'absent.lib'}: No such file or directory")


@pytest.mark.parametrize(("command", "sets"), [
    ("sim", SETS), ("verilog", ALL_SETS), ("synth", SETS | SOFTMAX_SETS | VALUES_SETS),
    ("fpga", SETS),
    ("registers", ALL_SETS), ("netlist-sim", SETS | SOFTMAX_SETS | EXACT_SETS)])
def test_unknown_set(tmp_path, command, sets):
    refuse(tmp_path, command, "--set", "huge", message=(
        "Invalid value for '--set' / '-s': Parameter set must be one of "
        f"{', '.join(sets)} or a .toml file, not 'huge'"))


@pytest.mark.parametrize("command", ["sim", "figures", "fpga"])
def test_set_of_a_softmax_unit(tmp_path, command):
    refuse(tmp_path, command, "--set", "attention", message=(
        "Invalid value for '--set' / '-s': Parameter set must be an array, "
        "not a softmax unit as attention is"))


def test_set_of_an_exact_softmax_unit(tmp_path):
    refuse(tmp_path, "synth", "--set", "attention_exact", message=(
        "Invalid value for '--set' / '-s': Parameter set must be an array or a softmax unit "
        "or a unit for codes times V, not an exact softmax unit as attention_exact is"))


@pytest.mark.parametrize(("file", "text", "message"), [
    ("absent.toml", None, "Parameter set absent.toml cannot be read: No such file or directory"),
    ("a.toml", "lanes = ", "Parameter set a.toml is not TOML: Invalid value (at end of document)"),
    ("a.toml", b"\xff",
     ("Parameter set a.toml is not TOML: 'utf-8' codec can't decode byte 0xff in position 0: "
      "invalid start byte")),
    ("a.toml", "x = " + 9999 * "[", "Parameter set a.toml is not TOML: it is nested too deeply"),
    ("a.toml", {**TINY, "rows": 4},
     ("Parameters must be among adders, bands, cut, group, lanes, mac, mesh_columns, mesh_rows, "
      "name, scale, tile_columns, tile_rows, w, w_depth, wide, x, x_align, x_depth, x_rows, "
      "x_scale, x_zero, y, y_lanes, not rows")),
    ("a.toml", {"lanes": 4}, "Parameters tile_columns, tile_rows must be given"),
    ("a.toml", {**TINY, "lanes": 3}, "Parameter lanes must divide the group size 16, not 3"),
    ("a.toml", {**TINY, "unit": "gemm"},
     "Parameter unit must be one of array, softmax, exact_softmax, values, not 'gemm'"),
    *((f"{name}.toml", TINY, f"{BAD_NAME}{name!r}") for name in ("Edge", "a-b", "1st", "a b")),
    *(("a.toml", {**TINY, "name": name}, f"{BAD_NAME}{name!r}")
      for name in ("../a", "a/b", "", "a.v", 1)),
])
def test_bad_sets(tmp_path, file, text, message):
    if isinstance(text, dict):
        write_set(tmp_path / file, **text)
    elif text is not None:
        (tmp_path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    refuse(tmp_path, "verilog", "--set", file, "--output", "out",
           message=f"Invalid value for '--set' / '-s': {message}")


@pytest.mark.parametrize("command", ["verilog", "registers"])
def test_set_without_an_engine(tmp_path, command):
    write_set(tmp_path / "a.toml", lanes=2, tile_rows=1, tile_columns=64, mesh_columns=32)
    refuse(tmp_path, command, "--set", "a.toml", message=(
        "Invalid value for '--set' / '-s': Parameter reset of field columns must be an integer "
        "from 0 to 2047, not 2048"))


#: Devices with few LUTs.
SMALL_DEVICES = """
import dataclasses
from synth.fpga import FAMILIES
ice40 = FAMILIES["ice40"]
devices = tuple(dataclasses.replace(device, luts=100) for device in ice40.devices)
FAMILIES["ice40"] = dataclasses.replace(ice40, devices=devices)
"""


def test_tile_that_does_not_fit(tmp_path):
    write_set(tmp_path / "a.toml", lanes=2, tile_rows=1, tile_columns=1, group=16)
    process = run("fpga", "--set", "a.toml", "--family", "ice40", cwd=tmp_path,
                  code=SMALL_DEVICES)
    (line,) = process.stderr.splitlines()
    assert line.startswith("mixpe: error: Design mixpe_a_tile must fit the hx8k of ice40 ")
    assert process.returncode == 2
    assert not list(tmp_path.rglob("seed*"))


@pytest.mark.parametrize(("output", "message"), [
    ("file", "Invalid value for '--output' / '-o': Directory 'file' is a file."),
    ("file/below", "file/below: Not a directory"),
    ("taken", "taken/mixpe_tiny_gemm.core: Is a directory"),
])
def test_unwritable_output(tmp_path, output, message):
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "mixpe_tiny_gemm.core").mkdir(parents=True)
    refuse(tmp_path, "verilog", "--set", "tiny", "--output", output, message=message)


def test_full_disk(tmp_path):
    with open("/dev/full", "w") as full:
        process = run("sets", cwd=tmp_path, capture_output=False, stdout=full,
                      stderr=subprocess.PIPE)
    assert process.stderr == "mixpe: error: No space left on device\n"
    assert process.returncode == 2


@pytest.mark.parametrize(("replaced", "message"), [
    ({"k": 40, "qweight": np.zeros((41, 2), np.int32), "group": 8},
     f"layer {NAME}: K must be a multiple of the number of groups 5, not 41"),
    ({"qzeros": np.zeros((2, 3), np.int32)},
     f"layer {NAME}: Shape of qzeros must be (2, 2), not (2, 3)"),
    ({"scales": np.full((2, 16), np.nan, np.float16)},
     f"layer {NAME}: Scales must be finite, not nan as at index (0, 0)"),
    ({"scales": np.ones((2, 16), np.float32)},
     f"tensor {NAME}.scales must be F16 or BF16, not F32"),
])
def test_bad_layers(tmp_path, replaced, message):
    write_layer(tmp_path / "a.safetensors", **replaced)
    refuse(tmp_path, "sim", "--set", "tiny", "-c", "a.safetensors",
           message=f"a.safetensors: {message}")


HINT = "; use --requantise to round its weights anew"


@pytest.mark.parametrize(("changes", "message"), [
    ({"name": "other", "group": 8, "lanes": 2},
     ("Layer does not fit set other: Group size must be a multiple of 2 from 8 to 8 for set "
      f"other, not 16{HINT}")),
    ({"name": "signed", "w": "int4"},
     ("Layer does not fit set signed: Weights less their zero points must "
      f"be from -8 to 7 for int4, not 8 as at index (0, 6){HINT}")),
])
def test_layer_that_does_not_fit(tmp_path, changes, message):
    write_layer(tmp_path / "a.safetensors")
    write_set(tmp_path / "a.toml", **TINY | changes)
    refuse(tmp_path, "sim", "--set", "a.toml", "-c", "a.safetensors", message=message)


def test_absent_layer(tmp_path):
    write_layer(tmp_path / "a.safetensors")
    refuse(tmp_path, "sim", "--set", "tiny", "-c", "a.safetensors", "--layer", "down_proj",
           message=f"a.safetensors has no layer 'down_proj'; near to it are {NAME}")


@pytest.mark.parametrize(("content", "message"), [
    (lambda whole: whole[:-1],
     ("is no whole safetensors file: "
      "'Error while deserializing header: incomplete metadata, file not fully covered'")),
    (lambda whole: whole[:20], "is truncated: it ends in the header"),
    (lambda whole: b"", "is truncated: it ends in the header"),
    (lambda whole: pickle.dumps([1, 2, 3]),
     "must be safetensors, not a Python pickle; convert it with the safetensors package"),
])
def test_bad_files(tmp_path, content, message):
    path = write_layer(tmp_path / "a.safetensors")
    path.write_bytes(content(path.read_bytes()))
    refuse(tmp_path, "sim", "--set", "tiny", "-c", path.name, message=f"{path.name} {message}")


# What succeeds


def test_help(tmp_path):
    process = run("--help", cwd=tmp_path)
    assert (process.stderr, process.returncode) == ("", 0)
    commands = process.stdout.partition("Commands:\n")[2].splitlines()
    assert {line.split()[0] for line in commands} >= {
        "attention", "formats", "fpga", "netlist-sim", "registers", "sets", "sim", "sizes", "synth",
        "verilog"}
    bare = run(cwd=tmp_path)
    assert (bare.stdout, bare.stderr, bare.returncode) == ("", process.stdout, 2)


def test_sets(tmp_path):
    write_set(tmp_path / "mine.toml", **TINY)
    write_set(tmp_path / "own.toml", unit="softmax", width=2)
    process = run("sets", "mine.toml", "own.toml", cwd=tmp_path)
    assert (process.stderr, process.returncode) == ("", 0)
    rows = [line.split() for line in process.stdout.splitlines() if line.strip()]
    named = [row for row in rows if row[0] in {*SETS, "mine"}]
    assert [row[0] for row in named] == 2 * [*SETS, "mine"]
    formats, shapes = (row for row in named if row[0] == "tiny")
    assert formats == ["tiny", "int8", "uint4", "fp16", "fp32", "pair_sum", "16,", "12,", "17"]
    assert shapes == ["tiny", "2", "x", "2", "x", "4", "2", "x", "2", "2", "16", "128", "112"]
    softmax = {row[0]: row[1:] for row in rows if row[0] in {*SOFTMAX_SETS, *EXACT_SETS, "own"}}
    assert [*softmax] == [*SOFTMAX_SETS, *EXACT_SETS, "own"]
    assert softmax["attention"] == "fp16 2 counters uint8 16, 29 4 16 8,192 128".split()
    assert softmax["attention_exact"] == "fp16 exact uint8 25, 38 16 8,192 128".split()
    values = {row[0]: row[1:] for row in rows if row[0] in VALUES_SETS}
    assert [*values] == [*VALUES_SETS]
    assert values["attention_pv"] == "2 fp16 16, 36 4 16 x 2 x 32 1,024 8,192 993".split()
    weights = next(row for row in rows if row[0] == "w")
    assert weights[1:] == ", ".join(CHOICES["w"]).split()


def test_verilog(tmp_path):
    outputs = []
    for _ in range(2):
        process = run("verilog", "--set", "tiny", "-o", "out", cwd=tmp_path)
        assert (process.stderr, process.returncode) == ("", 0)
        outputs.append(tree(tmp_path))
    files = ["out/mixpe_tiny.json", "out/mixpe_tiny.v", *(
        f"out/mixpe_tiny_gemm{suffix}"
        for suffix in (".json", ".v", ".md", ".h", ".rdl", "_tb.sv", ".core"))]
    assert process.stdout.splitlines() == files
    assert outputs[0].keys() == {"out", *files}
    assert outputs[0] == outputs[1]
    registers = run("registers", "--set", "tiny", "-o", "out", cwd=tmp_path)
    assert registers.returncode == 0
    assert tree(tmp_path) == outputs[0]


@pytest.mark.parametrize(("name", "unit"), [
    ("attention_tiny", "softmax"), ("attention_tiny_exact", "softmax"),
    ("attention_tiny_pv", "values")])
def test_verilog_of_another_unit(tmp_path, name, unit):
    process = run("verilog", "--set", name, "-o", "out", cwd=tmp_path)
    files = [f"out/mixpe_{name}_{unit}{suffix}"
             for suffix in (".json", ".v", ".md", ".h", ".rdl", "_tb.sv", ".core")]
    assert (process.stderr, process.returncode) == ("", 0)
    assert process.stdout.splitlines() == files
    written = tree(tmp_path)
    assert written.keys() == {"out", *files}
    registers = run("registers", "--set", name, "-o", "out", cwd=tmp_path)
    assert registers.returncode == 0
    assert tree(tmp_path) == written


def test_registers(tmp_path):
    process = run("registers", "--set", "tiny", "-o", "out", "--page", "page.md", cwd=tmp_path)
    files = [f"out/mixpe_tiny_gemm{suffix}" for suffix in (".md", ".h", ".rdl")]
    assert (process.stdout.splitlines(), process.stderr, process.returncode) == (
        [*files, "page.md"], "", 0)
    assert tree(tmp_path).keys() == {"out", *files, "page.md"}
    assert tree(tmp_path)["page.md"] == tree(tmp_path)["out/mixpe_tiny_gemm.md"]


# Simulation: equal to golden, and found out if either side is changed

SIM = ("sim", "--set", "tiny", "-m", "3", "-c", "a.safetensors")

#: An output code of each layer is off by one in its last place.
WRONG_GOLDEN = """
import golden.gemm
right = golden.gemm.gemm
def wrong(*arguments, **options):
    codes = right(*arguments, **options)
    codes[-1, -1] ^= 1
    return codes
golden.gemm.gemm = wrong
"""

#: Accumulators begin at 1.0 instead of +0.
WRONG_VERILOG = """
import re
import hdl.export
right = hdl.export.verilog
def wrong(block):
    start = r"(assign acc = \\w+ \\? )64'h0{16}"
    text, count = re.subn(start, r"\\g<1>64'h3f8000003f800000", right(block))
    assert count == 1
    return text
hdl.export.verilog = wrong
"""


@pytest.mark.parametrize("name", first_by_default(["a[/b]", NAME, "[red]a:smile:"]))
def test_sim(tmp_path, name):
    """Names are printed as they are, whatever a terminal library makes of brackets."""
    write_layer(tmp_path / "a.safetensors", name)
    process = run(*SIM, cwd=tmp_path)
    assert (process.stderr, process.returncode) == ("", 0)
    assert tree(tmp_path).keys() == {"a.safetensors"}
    rows = [line.split() for line in process.stdout.splitlines()]
    layers = [row for row in rows if row[:1] == [name]]
    assert [row[6] for row in layers] == ["none", "random"]
    assert [row[1:6] for row in layers] == [["3", "x", "32", "x", "16"]] * 2
    assert [row[-3] for row in layers] == ["0", "0"]  # mismatches
    (steady,) = (row for row in rows if row[:2] == ["steady", "state,"])
    assert steady[-4:-2] == ["100.00%", "0"]


@pytest.mark.parametrize(("code", "wrong"), [
    pytest.param(WRONG_GOLDEN, 1, id="golden"),
    pytest.param(WRONG_VERILOG, 48, id="verilog", marks=pytest.mark.full)])
def test_sim_finds_a_difference(tmp_path, code, wrong):
    write_layer(tmp_path / "a.safetensors")
    process = run(*SIM, cwd=tmp_path, code=code)
    assert process.stderr == f"mixpe: error: {wrong} of 48 outputs of {NAME} differ from golden\n"
    assert process.returncode == 1


@pytest.mark.parametrize(("names", "ends"), [
    (["model.layers.0.mlp.up"], ["mlp.up"]),
    (["a.0.mlp.up", "a.1.mlp.up", "a.0.mlp.down"], ["0.mlp.up", "1.mlp.up", "0.mlp.down"]),
    (["a.b.c", "b.c", "head"], ["a.b.c", "b.c", "head"]),
])
def test_labels_of_layers_differ(names, ends):
    assert labels(set(names)) == dict(zip(names, ends, strict=True))
