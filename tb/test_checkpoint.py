"""Reading of checkpoints: what is read, and the message of each refusal."""

import json
import os
import re
from datetime import timedelta
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from golden.awq import pack, unpack
from golden.quantise import quantise_weights
from scripts import checkpoint
from scripts.checkpoint import CheckpointError, layers, load

FIXTURE = Path(__file__).parent / "data" / "awq_gemm.safetensors"
LAYERS = ["model.layers.0.mlp.down_proj", "model.layers.0.self_attn.o_proj"]
AWQ = {"quant_method": "awq", "bits": 4, "version": "gemm", "group_size": 4, "zero_point": True}

WEIGHTS = quantise_weights(np.random.default_rng(0).normal(size=(8, 16)), w="uint4", group=4)


def layer(name: str = "a", **replaced) -> dict[str, np.ndarray]:
    """Tensors of a layer of K = 8, N = 16, G = 4; None drops one."""
    qweight, qzeros = pack(WEIGHTS)
    parts = {"qweight": qweight, "qzeros": qzeros,
             "scales": WEIGHTS.scales.astype(np.uint16).view(np.float16)} | replaced
    return {f"{name}.{part}": tensor for part, tensor in parts.items() if tensor is not None}


def write(folder: Path, *, shards: dict[str, dict] | None = None, **files) -> Path:
    """Fill a folder with shards and JSON files, named with two underscores for a dot."""
    for name, tensors in (shards or {"model.safetensors": layer()}).items():
        save_file(tensors, folder / name)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(json.dumps(content))
    return folder


def raw(folder: Path, header: bytes, data: bytes = b"", length: int | None = None) -> Path:
    """A file with any header."""
    path = folder / "raw.safetensors"
    size = len(header) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + header + data)
    return path


def refused(path: Path, *, name: str | None = None) -> str:
    """Message of the refusal to load a layer, or to list the layers."""
    with pytest.raises(CheckpointError) as error:
        load(path, name) if name else layers(path)
    message = str(error.value)
    assert message.isprintable()  # one line
    assert isinstance(error.value, ValueError)
    return message


# What is read


def test_fixture():
    tensors = load_file(FIXTURE)
    assert layers(FIXTURE) == layers(str(FIXTURE)) == LAYERS
    for name in LAYERS:
        expected = unpack(tensors[f"{name}.qweight"], tensors[f"{name}.qzeros"],
                          tensors[f"{name}.scales"].view(np.uint16))
        actual = load(FIXTURE, name)
        np.testing.assert_array_equal(actual.dequantise(), expected.dequantise())
        assert (actual.scale, actual.group) == ("fp16", 128)


def test_fixture_names_its_writer():
    with safe_open(FIXTURE, framework="numpy") as file:
        writer = json.loads(file.metadata()["source"])["writer"]
    pins = Path(checkpoint.__file__).with_name("requirements-fixture.txt").read_text()
    assert writer.replace(" ", "==") in pins


def test_bfloat16_scales_stay_bfloat16(tmp_path):
    codes = np.arange(0x3f80, 0x3f80 + 32, dtype=np.uint16).reshape(2, 16) | 0x8000  # negative
    save_file(layer(scales=codes.view(ml_dtypes.bfloat16)), tmp_path / "x.safetensors")
    actual = load(tmp_path / "x.safetensors", "a")
    assert actual.scale == "bf16"
    np.testing.assert_array_equal(actual.scales, codes)
    np.testing.assert_array_equal(actual.q, WEIGHTS.q)


@pytest.mark.parametrize("files", [
    {},
    {"config__json": {"quantization_config": AWQ}},
    {"config__json": {"quantization_config": AWQ | {"group_size": -1}}},
    {"config__json": {"model_type": "llama"}, "quantize_config__json": AWQ},
    {"quant_config__json": {"w_bit": 4, "q_group_size": 4, "version": "GEMM", "zero_point": True}},
])
def test_folder(tmp_path, files):
    write(tmp_path, shards={"one.safetensors": layer("a"), "two.safetensors": layer("b")}, **files)
    assert layers(tmp_path) == ["a", "b"]
    np.testing.assert_array_equal(load(tmp_path, "b").q, WEIGHTS.q)


def test_index_places_tensors(tmp_path):
    tensors = layer()
    files = {name: f"{name}.safetensors" for name in tensors}
    write(tmp_path, shards={file: {name: tensors[name]} for name, file in files.items()},
          model__safetensors__index__json={"metadata": {}, "weight_map": files})
    save_file(layer("unlisted"), tmp_path / "other.safetensors")
    assert layers(tmp_path) == ["a"]
    np.testing.assert_array_equal(load(tmp_path, "a").zeros, WEIGHTS.zeros)


def test_layers_are_sorted(tmp_path):
    index = {"weight_map": dict.fromkeys(["b.qweight", "a.qweight"], "model.safetensors")}
    assert layers(write(tmp_path, model__safetensors__index__json=index)) == ["a", "b"]


def test_only_the_layer_is_read(tmp_path):
    bad = layer("b", scales=np.full((2, 16), np.nan, dtype=np.float16))
    write(tmp_path, shards={"model.safetensors": layer() | bad})
    assert layers(tmp_path) == ["a", "b"]
    np.testing.assert_array_equal(load(tmp_path, "a").q, WEIGHTS.q)


# Files that are refused


@pytest.mark.parametrize(("content", "kind"), [
    (b"PK\x03\x04" + bytes(60), "a zip archive, as PyTorch and numpy write"),
    (b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.", "a Python pickle"),
    (b"\x80\x04N.", "a Python pickle"),
    (b"GGUF" + bytes(60), "GGUF"),
    (b"\x93NUMPY" + bytes(60), "a numpy array"),
])
def test_other_formats(tmp_path, content, kind):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    assert refused(path) == (f"{path} must be safetensors, not {kind}; convert it with the "
                             "safetensors package")


def test_length_that_looks_like_another_format(tmp_path):
    for length in (0x80, 0x4b50):  # a pickle, a zip archive
        path = raw(tmp_path, b"{}".ljust(length))
        assert refused(path) == f"{path} has no AutoAWQ layer: no tensor's name ends in .qweight"


def test_missing(tmp_path):
    path = tmp_path / "absent"
    assert refused(path) == f"Checkpoint must be a .safetensors file or a folder; {path} is none"


def test_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "must be a .safetensors file or a folder" in refused(tmp_path / "pipe")
    assert refused(tmp_path) == f"{tmp_path / 'pipe.safetensors'} must be a regular file"


def test_unreadable(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied", "x.safetensors")

    monkeypatch.setattr(Path, "open", denied)  # file modes do not stop a superuser
    assert refused(FIXTURE) == "x.safetensors cannot be read: Permission denied"


@pytest.mark.parametrize("size", [0, 7, 8, 100, 700, 22255])
def test_truncated(tmp_path, size):
    path = tmp_path / "x.safetensors"
    path.write_bytes(FIXTURE.read_bytes()[:size])
    expected = (f"{path} is truncated: it ends in the header" if size < 22255 else
                f"{path} is no whole safetensors file: 'Error while deserializing header: "
                "incomplete metadata, file not fully covered'")
    assert refused(path) == refused(path, name=LAYERS[0]) == expected


TENSOR = b'"a.qweight":{"dtype":"I32","shape":[1,1],"data_offsets":[0,4]}'
edited = TENSOR.replace

HEADERS = {
    "one byte too long": (
        b"{}", (16 << 20) + 1, "header must have at most 16777216 bytes, not 16777217"),
    "2**63 bytes": (
        b"{}", 1 << 63, "header must have at most 16777216 bytes, not 9223372036854775808"),
    "too much data": (
        b"{}", None, "is no whole safetensors file"),
    "out of bounds": (
        b"{" + edited(b"[0,4]", b"[4,8]") + b"}", None, "is no whole safetensors file"),
    "overlap": (
        b"{" + TENSOR + b"," + edited(b"a.", b"b.") + b"}", None, "is no whole safetensors file"),
    "size of 2**64": (
        b"{" + edited(b"[1,1]", b"[1,4294967296,4294967296]") + b"}", None,
        "is no whole safetensors file"),
    "type of two lines": (
        b"{" + edited(b"I32", b"I3\\n2") + b"}", None, r"unknown variant `I3\n2`"),
    "cut JSON": (
        b"{" + TENSOR, None, "header must be JSON: Expecting ',' delimiter"),
    "not UTF-8": (
        b'{"a":"\xff"}', None, "header must be JSON: 'utf-8' codec can't decode"),
    "deep": (
        b'{"a":' + b"[" * 100_000, None, "header must be JSON: maximum recursion depth"),
    "number of 5000 digits": (
        b'{"a":' + b"9" * 5000 + b"}", None, "header must be JSON: Exceeds the limit"),
    "list": (
        b"[1]", None, "header must be a JSON object, not list"),
    "repeated tensor": (
        b"{" + TENSOR + b"," + edited(b"a.", b"\\u0061.") + b"}", None,
        "header must have each key once, not 'a.qweight' repeatedly"),
    "repeated type": (
        b"{" + edited(b'"I32"', b'"I32","dtype":"F32"') + b"}", None,
        "header must have each key once, not 'dtype' repeatedly"),
    "name with an escape": (
        b"{" + edited(b"a.", b"a\\u001b[2J.") + b"}", None,
        r"must be at most 256 printable characters, not 'a\x1b[2J.qweight'"),
    "name of 257": (
        b"{" + edited(b"a.", b"a" * 249 + b".") + b"}", None,
        "must be at most 256 printable characters, not 'aaa"),
}


@pytest.mark.parametrize(("header", "length", "message"), HEADERS.values(), ids=HEADERS)
def test_headers(tmp_path, header, length, message):
    path = raw(tmp_path, header, bytes(4), length)
    actual = refused(path)
    assert actual.startswith(str(path))
    assert message in actual


def test_longest_name(tmp_path):
    assert len(layers(raw(tmp_path, b"{" + edited(b"a.", b"a" * 248 + b".") + b"}", bytes(4)))) == 1


def test_number_of_tensors(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_TENSORS", 3)
    write(tmp_path)
    assert layers(tmp_path) == ["a"]
    save_file(layer() | {"b": np.zeros(1)}, tmp_path / "model.safetensors")
    assert refused(tmp_path) == (f"{tmp_path / 'model.safetensors'} must name at most 3 tensors, "
                                 "not 4")


# Layers that are refused


def test_unknown_layer():
    assert refused(FIXTURE, name="model.layers.1.mlp.down_proj") == (
        f"{FIXTURE} has no layer 'model.layers.1.mlp.down_proj'; near to it are "
        "model.layers.0.mlp.down_proj, model.layers.0.self_attn.o_proj")
    assert refused(FIXTURE, name="?\n") == f"{FIXTURE} has no layer '?\\n'"


F16, I32 = np.float16, np.int32


@pytest.mark.parametrize(("replaced", "message"), [
    ({"qzeros": None}, ": tensor a.qzeros is missing"),
    ({"scales": None}, ": tensor a.scales is missing"),
    ({"g_idx": np.zeros(8, I32)}, ": layer a must be AutoAWQ, not GPTQ as its g_idx shows"),
    ({"qweight": np.zeros((8, 2), np.int16)}, ": tensor a.qweight must be I32, not I16"),
    ({"qzeros": np.zeros((2, 2), np.int64)}, ": tensor a.qzeros must be I32, not I64"),
    ({"scales": np.ones((2, 16), np.float32)}, ": tensor a.scales must be F16 or BF16, not F32"),
    ({"qweight": np.zeros(16, I32)},
     ": tensor a.qweight must be a matrix of 1 to 134217728 elements, not of shape [16]"),
    ({"qzeros": np.zeros((0, 2), I32)},
     ": tensor a.qzeros must be a matrix of 1 to 134217728 elements, not of shape [0, 2]"),
    ({"qweight": np.zeros((200, 2), I32), "qzeros": np.zeros((3, 2), I32)},
     ": layer a: K must be a multiple of the number of groups 3, not 200"),
    ({"qzeros": np.zeros((2, 1), I32)}, ": layer a: Shape of qzeros must be (2, 2), not (2, 1)"),
    ({"scales": np.ones((2, 15), F16)}, ": layer a: Shape of scales must be (2, 16), not (2, 15)"),
    ({"scales": np.ones((1, 16), F16)}, ": layer a: Shape of scales must be (2, 16), not (1, 16)"),
])
def test_layers(tmp_path, replaced, message):
    path = tmp_path / "x.safetensors"
    save_file(layer(**replaced), path)
    assert refused(path, name="a") == f"{path}{message}"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_scales_must_be_finite(tmp_path, value, dtype):
    scales = np.ones((2, 16), dtype)
    scales[1, 3] = value
    path = tmp_path / "x.safetensors"
    save_file(layer(scales=scales), path)
    assert re.fullmatch(f"{path}: layer a: Scales must be finite, .*index \\(1, 3\\)",
                        refused(path, name="a"))


def test_shape_larger_than_memory(tmp_path):
    header = TENSOR.replace(b"[1,1]", b"[0,4611686018427387904]").replace(b"[0,4]", b"[0,0]")
    header += b',"a.qzeros":{"dtype":"I32","shape":[0,1],"data_offsets":[0,0]}'
    header += b',"a.scales":{"dtype":"F16","shape":[0,1],"data_offsets":[0,0]}'
    path = raw(tmp_path, b"{" + header + b"}")
    assert refused(path, name="a").endswith("not of shape [0, 4611686018427387904]")


def test_tensor_larger_than_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_WORDS", 31)  # the scales have 32
    write(tmp_path)
    assert refused(tmp_path, name="a") == (
        f"{tmp_path / 'model.safetensors'}: tensor a.scales must be a matrix of 1 to 31 elements, "
        "not of shape [2, 16]")


# Folders that are refused


@pytest.mark.parametrize(("file", "content", "message"), [
    ("config.json", {"quantization_config": AWQ | {"quant_method": "gptq"}},
     "quant_method must be awq, not 'gptq'"),
    ("config.json", {"quantization_config": AWQ | {"bits": 8}}, "bits must be 4, not 8"),
    ("config.json", {"quantization_config": AWQ | {"version": "gemv"}},
     "version must be gemm, not 'gemv'"),
    ("config.json", {"quantization_config": {"quant_method": "awq", "bits": 4}},
     "version must be gemm, not None"),
    ("config.json", {"quantization_config": "awq"},
     "quantization_config must be an object, not 'awq'"),
    ("config.json", {"quantization_config": "awq" * 100},
     "quantization_config must be an object, not 'awqawqawqawq...qawqawqawqawq'"),
    ("config.json", {"quantization_config": AWQ | {"bits": "4\n" + "5" * 50}},
     "bits must be 4, not '4\\n555555555...5555555555555'"),
    ("config.json", {"model_type": "llama"}, "quantization_config is missing"),
    ("quantize_config.json", {"bits": 4, "desc_act": False}, "quant_method must be awq, not None"),
    ("quantization_config.json", AWQ | {"bits": 3}, "bits must be 4, not 3"),
    ("quant_config.json", {"w_bit": 3, "version": "GEMM"}, "bits must be 4, not 3"),
    ("quant_config.json", {"w_bit": 4, "version": "GEMV_FAST"},
     "version must be gemm, not 'GEMV_FAST'"),
])
def test_configurations(tmp_path, file, content, message):
    write(tmp_path)
    path = tmp_path / file
    path.write_text(json.dumps(content))
    assert refused(tmp_path) == refused(tmp_path, name="a") == f"{path}: {message}"


@pytest.mark.parametrize("key", ["group_size", "q_group_size"])
def test_group_size_must_be_as_configured(tmp_path, key):
    config = {"w_bit": 4, key: 128} if key == "q_group_size" else AWQ | {key: 128}
    write(tmp_path, quant_config__json=config | {"version": "gemm"})
    assert refused(tmp_path, name="a") == (
        f"{tmp_path}: layer a: group size must be 128 as {tmp_path / 'quant_config.json'} says, "
        "not 4")


def test_group_size_may_be_any_json(tmp_path):
    write(tmp_path, quant_config__json=AWQ | {"group_size": "4\n"})
    assert "group size must be '4\\n' as" in refused(tmp_path, name="a")


@pytest.mark.parametrize(("content", "message"), [
    (b"{", "must be JSON: Expecting property name"),
    (b"[]", "must be a JSON object, not list"),
    (b'{"a":1,"a":2}', "must have each key once, not 'a' repeatedly"),
    (b" " * ((16 << 20) + 1), "must have at most 16777216 bytes"),
])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json"])
def test_broken_json(tmp_path, file, content, message):
    write(tmp_path)
    path = tmp_path / file
    path.write_bytes(content)
    assert refused(tmp_path).startswith(f"{path} {message}")


@pytest.mark.parametrize("index", [{}, {"weight_map": ["a"]}, {"weight_map": {"a.qweight": 1}}])
def test_index_without_a_map(tmp_path, index):
    write(tmp_path, model__safetensors__index__json=index)
    assert refused(tmp_path) == (f"{tmp_path / 'model.safetensors.index.json'}: weight_map must "
                                 "give the file of each tensor")


def test_names_in_an_index(tmp_path):
    index = {"weight_map": {"a\n.qweight": "model.safetensors"}}
    write(tmp_path, model__safetensors__index__json=index)
    assert refused(tmp_path) == (f"{tmp_path / 'model.safetensors.index.json'}: names of tensors "
                                 "must be at most 256 printable characters, not 'a\\n.qweight'")


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/passwd", "..", "", "a/b.safetensors",
                                   "a\\b.safetensors", "a\0b", ".hidden", "a\nb"])
def test_shard_names_must_be_plain(tmp_path, shard):
    save_file(layer(), tmp_path / "x.safetensors")
    (folder := tmp_path / "folder").mkdir()
    write(folder, model__safetensors__index__json={"weight_map": dict.fromkeys(layer(), shard)})
    assert refused(folder) == f"{folder}: file names must be plain, not {shard!r}"


@pytest.mark.parametrize("link", ["model.safetensors", "config.json",
                                  "model.safetensors.index.json"])
def test_links_may_not_leave_the_folder(tmp_path, link):
    save_file(layer(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": AWQ}))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    (folder := tmp_path / "folder").mkdir()
    (folder / link).symlink_to(tmp_path / link)
    assert refused(folder) == (f"{folder / link} must lie in the folder, not lead out of it by a "
                               "link")


def test_links_within_the_folder(tmp_path):
    write(tmp_path, shards={"blob": layer()})
    (tmp_path / "model.safetensors").symlink_to("blob")
    assert layers(tmp_path) == ["a"]


def test_loop_of_links(tmp_path):
    (tmp_path / "x.safetensors").symlink_to("x.safetensors")
    assert refused(tmp_path).startswith(f"{tmp_path / 'x.safetensors'} cannot be read: Too many ")


def test_index_that_names_what_is_not_there(tmp_path):
    shards = dict.fromkeys(layer(), "model.safetensors") | {"a.qzeros": "absent.safetensors"}
    write(tmp_path, model__safetensors__index__json={"weight_map": shards})
    assert refused(tmp_path, name="a") == (f"{tmp_path / 'absent.safetensors'} cannot be read: No "
                                           "such file or directory")
    shards = dict.fromkeys(layer("b"), "model.safetensors")
    write(tmp_path, model__safetensors__index__json={"weight_map": shards})
    assert refused(tmp_path, name="b") == (f"{tmp_path / 'model.safetensors'} must hold the tensor "
                                           "b.qweight, as the index says")


def test_tensor_in_two_files(tmp_path):
    write(tmp_path, shards={"one.safetensors": layer(), "two.safetensors": layer()})
    assert re.fullmatch(rf"Tensor a\.\w+ must be in one file, not in {tmp_path}/one\.safetensors "
                        rf"and {tmp_path}/two\.safetensors", refused(tmp_path))


def test_folder_of_something_else(tmp_path):
    assert refused(tmp_path) == f"{tmp_path} must hold a .safetensors file"
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    assert refused(tmp_path) == f"{tmp_path} must hold a .safetensors file, not pytorch_model.bin"


# Any bytes


@pytest.fixture(scope="module")
def anything(tmp_path_factory) -> Path:
    """File that is rewritten for every example."""
    return tmp_path_factory.mktemp("fuzz") / "x.safetensors"


def read_or_refuse(path: Path, content: bytes):
    """Load every layer of a file with this content; nothing else may be raised."""
    path.write_bytes(content)
    message = ""
    try:
        for name in layers(path):
            load(path, name)
    except CheckpointError as error:
        message = str(error)
    assert message.isprintable()


SOUND = FIXTURE.read_bytes()
HEADER = 8 + int.from_bytes(SOUND[:8], "little")


@settings(deadline=timedelta(seconds=10))
@given(content=st.binary(max_size=200), sized=st.booleans())
def test_any_bytes(anything, content, sized):
    read_or_refuse(anything, len(content).to_bytes(8, "little") * sized + content)


@settings(deadline=timedelta(seconds=10))
@given(edits=st.lists(st.tuples(st.integers(0, HEADER - 1), st.binary(max_size=3),
                                st.integers(0, 8)), min_size=1, max_size=4),
       sized=st.booleans())
def test_any_edits_of_a_header(anything, edits, sized):
    content = bytearray(SOUND[:HEADER])
    for place, inserted, dropped in edits:
        content[place:place + dropped] = inserted
    if sized:
        content[:8] = (len(content) - 8).to_bytes(8, "little")
    read_or_refuse(anything, bytes(content) + SOUND[HEADER:])


NUMBERS = st.one_of(st.integers(-1, 400), st.integers(-2**70, 2**70), st.floats(), st.none())
ENTRIES = st.fixed_dictionaries({
    "dtype": st.sampled_from(["I32", "F16", "BF16", "F32", "F4", "F8_E8M0", "?"]),
    "shape": st.lists(NUMBERS, max_size=3),
    "data_offsets": st.lists(NUMBERS, max_size=3),
})


@settings(deadline=timedelta(seconds=10))
@given(header=st.dictionaries(st.sampled_from([*layer(), "a.g_idx", "__metadata__"]),
                              ENTRIES | NUMBERS), size=st.integers(0, 64))
def test_any_entries(anything, header, size):
    text = json.dumps(header).encode()
    read_or_refuse(anything, len(text).to_bytes(8, "little") + text + bytes(size))


@settings(deadline=timedelta(seconds=10))
@given(shapes=st.fixed_dictionaries({
    "qweight": st.tuples(st.integers(0, 8), st.integers(0, 2)),
    "qzeros":  st.tuples(st.integers(0, 4), st.integers(0, 2)),
    "scales":  st.tuples(st.integers(0, 4), st.integers(0, 16))}))
def test_any_shapes(anything, shapes):
    dtypes = {"qweight": I32, "qzeros": I32, "scales": F16}
    save_file(layer(**{part: np.zeros(shape, dtypes[part]) for part, shape in shapes.items()}),
              anything)
    (k, words), (groups, n) = shapes["qweight"], shapes["scales"]
    sound = (k and words and groups and k % groups == 0 and n == 8 * words
             and shapes["qzeros"] == (groups, words))
    if sound:
        assert load(anything, "a").q.shape == (k, n)
    else:
        refused(anything, name="a")
