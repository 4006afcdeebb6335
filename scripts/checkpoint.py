"""Read layers of AutoAWQ "gemm" checkpoints, and float matrices, from safetensors.

A file is untrusted: sizes are checked before memory is taken, and nothing in it is executed.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from golden.awq import unpack
from golden.quantise import GroupedWeights

__all__ = ["CheckpointError", "MAX_JSON", "MAX_TENSORS", "MAX_WORDS", "MAX_LENGTH",
           "layers", "load", "matrices", "features"]

#: Bytes of a header, an index or a configuration.
MAX_JSON = 16 << 20

#: Tensors of a header or an index.
MAX_TENSORS = 1 << 18

#: Elements of a tensor; 8 weights each. The largest layer of Llama 3.1 405B has four fifths.
MAX_WORDS = 1 << 27

#: Inputs of a float matrix, K.
MAX_LENGTH = 1 << 15

#: Types of float matrices.
FLOATS = ("F16", "BF16", "F32")

_DTYPES = {"qweight": ("I32",), "qzeros": ("I32",), "scales": ("F16", "BF16")}

# numpy lacks bfloat16; safetensors finds the type here once this package is imported.
_SCALES = {np.dtype(np.float16): "fp16", np.dtype(ml_dtypes.bfloat16): "bf16"}

# First bytes of other files. They are compared only if they are no sensible length of a header.
_FOREIGN = {
    b"PK":        "a zip archive, as PyTorch and numpy write",
    b"\x80":      "a Python pickle",
    b"GGUF":      "GGUF",
    b"\x93NUMPY": "a numpy array",
}

_CONFIGS = ("config.json", "quantize_config.json", "quant_config.json", "quantization_config.json")


class CheckpointError(ValueError):
    """A checkpoint is not what this module reads; the message is one line."""


def layers(path: str | Path) -> list[str]:
    """Names of the quantised layers, sorted.

    Parameters
    ----------
    path : str or Path
        A .safetensors file or the folder of a checkpoint.

    Raises
    ------
    CheckpointError
        If there are none or ``path`` cannot be read.
    """
    with _reading(path):
        return _layers(path, _tensors(Path(path)))


def load(path: str | Path, layer: str) -> GroupedWeights:
    """One layer; no other is read. Scales keep their format, fp16 or bf16.

    Takes some 13 bytes of memory for each weight at its peak, 8 in the end.

    Parameters
    ----------
    path : str or Path
        A .safetensors file or the folder of a checkpoint.
    layer : str
        Name, such as ``model.layers.0.mlp.down_proj``.

    Raises
    ------
    CheckpointError
        If ``path`` cannot be read, or the layer is missing or breaks a rule of the format.
    """
    with _reading(path):
        return _load(Path(path), layer)


def matrices(file: str | Path) -> list[str]:
    """Names of a file's float matrices, sorted; the end ``.weight`` is left out.

    Raises
    ------
    CheckpointError
        If ``file`` cannot be read.
    """
    with _reading(file), _open(Path(file)) as tensors:
        parts = {name: tensors.get_slice(name) for name in tensors.keys()}
        return sorted(name.removesuffix(".weight") for name, part in parts.items()
                      if part.get_dtype() in FLOATS and len(part.get_shape()) == 2)


def features(file: str | Path, layer: str, count: int, seed: int) -> tuple[np.ndarray, int]:
    """Some output features of a float matrix, which PyTorch stores as N by K.

    Parameters
    ----------
    file : str or Path
        A .safetensors file.
    layer : str
        Name of the tensor, with or without ``.weight``.
    count : int
        How many features to draw, ascending; all if there are no more.
    seed : int
        Of the draw.

    Returns
    -------
    ndarray of float64, shape (K, at most count), and N

    Raises
    ------
    CheckpointError
        If ``file`` cannot be read, or the tensor is missing, no matrix of floats, longer than
        :data:`MAX_LENGTH`, or not finite.
    """
    with _reading(file), _open(Path(file)) as tensors:
        name = f"{layer}.weight" if f"{layer}.weight" in tensors.keys() else layer
        if name not in tensors.keys():
            near = get_close_matches(layer, matrices(file), cutoff=0.2)
            hint = f"; near to it are {', '.join(near)}" if near else ""
            raise CheckpointError(f"{file} has no float matrix {layer!r}{hint}")
        part = tensors.get_slice(name)
        dtype, shape = part.get_dtype(), part.get_shape()
        if dtype not in FLOATS or len(shape) != 2:
            raise CheckpointError(f"{file}: tensor {name} must be a matrix of "
                                  f"{', '.join(FLOATS)}, not {dtype} of shape {shape}")
        n, k = shape
        if not (n and 1 <= k <= MAX_LENGTH):
            raise CheckpointError(f"{file}: tensor {name} must have 1 to {MAX_LENGTH} inputs and "
                                  f"an output, not shape {shape}")
        chosen = np.sort(np.random.default_rng(seed).permutation(n)[:count])
        rows = np.concatenate([part[row:row + 1] for row in chosen.tolist()])
    weights = rows.astype(np.float64).T
    if not np.isfinite(weights).all():
        raise CheckpointError(f"{file}: tensor {name} must be finite")
    return weights, n


def _load(path: Path, layer: str) -> GroupedWeights:
    tensors = _tensors(path)
    if f"{layer}.qweight" not in tensors:
        near = get_close_matches(layer, _layers(path, tensors), cutoff=0.2)
        hint = f"; near to it are {', '.join(near)}" if near else ""
        raise CheckpointError(f"{path} has no layer {layer!r}{hint}")
    if f"{layer}.g_idx" in tensors:
        raise CheckpointError(f"{path}: layer {layer} must be AutoAWQ, not GPTQ as its g_idx shows")
    for part in _DTYPES:
        if f"{layer}.{part}" not in tensors:
            raise CheckpointError(f"{path}: tensor {layer}.{part} is missing")
    qweight, qzeros, scales = (_read(tensors[f"{layer}.{part}"], f"{layer}.{part}", dtypes)
                               for part, dtypes in _DTYPES.items())
    try:
        weights = unpack(qweight, qzeros, scales.view(np.uint16), scale=_SCALES[scales.dtype])
    except ValueError as error:
        raise CheckpointError(f"{path}: layer {layer}: {error}") from None
    for file, config in _configs(path):
        if (group := config.get("group_size", -1)) not in (weights.group, -1):
            raise CheckpointError(f"{path}: layer {layer}: group size must be {brief(group)} "
                                  f"as {file} says, not {weights.group}")
    return weights


def _layers(path: str | Path, tensors: Collection[str]) -> list[str]:
    names = sorted(name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight"))
    if not names:
        raise CheckpointError(f"{path} has no AutoAWQ layer: no tensor's name ends in .qweight")
    return names


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Turn the system's errors into this module's."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"{error.filename or path} cannot be read: {reason}") from None


# Files


def _tensors(path: Path) -> dict[str, Path]:
    """File of each tensor."""
    if path.is_file():
        return dict.fromkeys(_open(path).keys(), path)
    if not path.is_dir():
        raise CheckpointError(f"Checkpoint must be a .safetensors file or a folder; {path} is none")
    for file, config in _configs(path):
        for key, wanted in (("quant_method", "awq"), ("bits", "4"), ("version", "gemm")):
            if str(said := config.get(key)).lower() != wanted:
                raise CheckpointError(f"{file}: {key} must be {wanted}, not {brief(said)}")

    index = path / "model.safetensors.index.json"
    if index.exists():
        shards = _json(_inside(path, index.name)).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
            raise CheckpointError(f"{index}: weight_map must give the file of each tensor")
        _check_names(index, shards)
        files = {shard: _inside(path, shard) for shard in set(shards.values())}
        return {name: files[shard] for name, shard in shards.items()}

    tensors = {}
    for found in sorted(path.glob("*.safetensors")):
        file = _inside(path, found.name)
        for name in _open(file).keys():
            if name in tensors:
                raise CheckpointError(f"Tensor {name} must be in one file, not in {tensors[name]} "
                                      f"and {file}")
            tensors[name] = file
    if not tensors:
        others = sorted(file.name for file in path.glob("*")
                        if file.suffix in (".bin", ".pt", ".pth", ".gguf", ".npz"))
        raise CheckpointError(f"{path} must hold a .safetensors file"
                              + (f", not {others[0]}" if others else ""))
    return tensors


def _inside(folder: Path, name: str) -> Path:
    """Path of a file in a folder, which neither its name nor a link may leave."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise CheckpointError(f"{folder}: file names must be plain, not {name!r}")
    path = folder / name
    if os.path.dirname(os.path.realpath(path, strict=True)) != os.path.realpath(folder):
        raise CheckpointError(f"{path} must lie in the folder, not lead out of it by a link")
    return path


def _configs(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """What the files of a folder say of quantisation; nothing for a path that is no folder."""
    configs = []
    for name in _CONFIGS:
        if not (path / name).exists():
            continue
        config = _json(file := _inside(path, name))
        if name == "config.json":
            config = config.get("quantization_config", {})
        if not isinstance(config, dict):
            raise CheckpointError(f"{file}: quantization_config must be an object, "
                                  f"not {brief(config)}")
        if "w_bit" in config:  # AutoAWQ's own file: other keys, and no method
            config = {"quant_method": "awq", "bits": config["w_bit"],
                      "group_size": config.get("q_group_size", -1)} | config
        if config:
            configs.append((file, config))
    if not configs and (path / "config.json").exists():
        raise CheckpointError(f"{path / 'config.json'}: quantization_config is missing")
    return configs


# Contents


def _read(file: Path, name: str, dtypes: tuple[str, ...]) -> np.ndarray:
    """One matrix."""
    with _open(file) as tensors:
        if name not in tensors.keys():
            raise CheckpointError(f"{file} must hold the tensor {name}, as the index says")
        part = tensors.get_slice(name)
        dtype, shape = part.get_dtype(), part.get_shape()
        if dtype not in dtypes:
            raise CheckpointError(f"{file}: tensor {name} must be {' or '.join(dtypes)}, "
                                  f"not {dtype}")
        if len(shape) != 2 or not 1 <= shape[0] * shape[1] <= MAX_WORDS:
            raise CheckpointError(f"{file}: tensor {name} must be a matrix of 1 to {MAX_WORDS} "
                                  f"elements, not of shape {shape}")
        return tensors.get_tensor(name)


def _open(file: Path) -> safe_open:
    """Open a file whose header is sound and whose data are as long as it says."""
    length = int.from_bytes(_bytes(file, 8), "little")
    if length > MAX_JSON:
        for magic, kind in _FOREIGN.items():
            if _bytes(file, len(magic)) == magic:
                raise CheckpointError(f"{file} must be safetensors, not {kind}; convert it with "
                                      "the safetensors package")
        raise CheckpointError(f"{file}: header must have at most {MAX_JSON} bytes, not {length}")
    header = _bytes(file, 8 + length)[8:]
    if not header or len(header) < length:
        raise CheckpointError(f"{file} is truncated: it ends in the header")
    _check_names(file, _parse(header, f"{file}: header"))
    try:
        return safe_open(file, framework="numpy")
    except SafetensorError as error:
        reason = repr(str(error)[:200])  # quoted, as it may repeat any text of the header
        raise CheckpointError(f"{file} is no whole safetensors file: {reason}") from None


def _check_names(file: Path, names: Collection[str]) -> None:
    if len(names) > MAX_TENSORS:
        raise CheckpointError(f"{file} must name at most {MAX_TENSORS} tensors, not {len(names)}")
    for name in names:
        if len(name) > 256 or not name.isprintable():
            raise CheckpointError(f"{file}: names of tensors must be at most 256 printable "
                                  f"characters, not {name[:256]!r}")


def _json(file: Path) -> dict[str, Any]:
    text = _bytes(file, MAX_JSON + 1)
    if len(text) > MAX_JSON:
        raise CheckpointError(f"{file} must have at most {MAX_JSON} bytes")
    return _parse(text, str(file))


def _parse(text: bytes, what: str) -> dict[str, Any]:
    """Object in JSON without repeated keys, of which others silently take the last."""
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
            raise CheckpointError(f"{what} must have each key once, not {key[:256]!r} repeatedly")
        return values

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} must be JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} must be a JSON object, not {type(value).__name__}")
    return value


def _bytes(file: Path, count: int) -> bytes:
    """The first bytes of a file, at most ``count``."""
    if not file.is_file():  # a pipe would block
        raise CheckpointError(f"{file} must be a regular file")
    with file.open("rb") as stream:
        return stream.read(count)
