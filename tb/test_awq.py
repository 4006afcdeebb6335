"""The AutoAWQ layout: a checkpoint that a public quantiser wrote, and round trips."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.numpy import load_file

from golden.awq import pack, unpack
from golden.quantise import GroupedWeights

DATA = Path(__file__).parent / "data"
CHECKPOINT = load_file(DATA / "awq_gemm.safetensors")
ORIGINALS = load_file(DATA / "awq_reference.safetensors")
LAYERS = [name.removesuffix(".weight") for name in ORIGINALS]

ONE = 0x3c00  # 1.0 in fp16


def unpacked(layer: str) -> GroupedWeights:
    """A layer of the checkpoint."""
    qweight, qzeros, scales = (CHECKPOINT[f"{layer}.{part}"]
                               for part in ("qweight", "qzeros", "scales"))
    return unpack(qweight, qzeros, scales.view(np.uint16))


@pytest.mark.parametrize(("layer", "shape"), [("model.layers.0.self_attn.o_proj", (256, 64)),
                                              ("model.layers.0.mlp.down_proj", (384, 64))])
def test_shape_of_the_fixture(layer, shape):
    weights = unpacked(layer)
    assert (weights.q.shape, weights.group, weights.w, weights.scale) == (shape, 128, "uint4",
                                                                          "fp16")


@pytest.mark.parametrize("layer", LAYERS)
def test_every_weight_is_near_its_original(layer):
    # Rounding to nearest errs by half a step, a little more where the zero point was rounded too.
    weights = unpacked(layer)
    steps = np.repeat(CHECKPOINT[f"{layer}.scales"].astype(np.float64), weights.group, axis=0)
    error = np.abs(weights.dequantise() - ORIGINALS[f"{layer}.weight"].T)
    assert (error / steps).max() <= 0.55


@pytest.mark.parametrize("layer", LAYERS)
def test_dequantises_as_the_quantiser_does(layer):
    with safe_open(DATA / "awq_gemm.safetensors", framework="numpy") as file:
        source = json.loads(file.metadata()["source"])
    actual = unpacked(layer).dequantise().astype(np.float16)  # exact product, rounded once
    assert hashlib.sha256(actual.tobytes()).hexdigest() == source["sha256"][layer]


@pytest.mark.parametrize("layer", LAYERS)
def test_packs_what_the_quantiser_packed(layer):
    qweight, qzeros = pack(unpacked(layer))
    np.testing.assert_array_equal(qweight, CHECKPOINT[f"{layer}.qweight"], strict=True)
    np.testing.assert_array_equal(qzeros, CHECKPOINT[f"{layer}.qzeros"], strict=True)


@st.composite
def layers(draw) -> GroupedWeights:
    """Any layer of up to 3 groups of up to 5 rows and up to 3 words."""
    groups, group, words = (draw(st.integers(1, limit)) for limit in (3, 5, 3))
    nibbles = lambda rows: draw(arrays(np.int64, (rows, 8 * words), elements=st.integers(0, 15)))
    scales = draw(arrays(np.int64, (groups, 8 * words), elements=st.integers(0x8000, 0xfbff)))
    return GroupedWeights("uint4", "fp16", group, nibbles(groups * group), nibbles(groups), scales)


@given(layers())
def test_unpack_inverts_pack(weights):
    actual = unpack(*pack(weights), weights.scales)
    assert actual.group == weights.group
    for name in ("q", "zeros", "scales"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(weights, name), strict=True)


@given(arrays(np.int32, st.tuples(st.integers(1, 4), st.integers(1, 3))))
def test_pack_inverts_unpack(words):
    scales = np.full((len(words), 8 * words.shape[1]), ONE)
    for actual in pack(unpack(words, words, scales)):
        np.testing.assert_array_equal(actual, words, strict=True)


def matrix(rows, columns, dtype=np.int32):
    """Zeros."""
    return np.zeros((rows, columns), dtype=dtype)


@pytest.mark.parametrize(("qweight", "qzeros", "scales", "message"), [
    (matrix(4, 1, np.int16), matrix(2, 1), matrix(2, 8),
     r"Tensor qweight must be a matrix of int32, not int16 of shape \(4, 1\)"),
    (matrix(4, 1), matrix(2, 1).ravel(), matrix(2, 8),
     r"Tensor qzeros must be a matrix of int32, not int32 of shape \(2,\)"),
    (matrix(4, 1), matrix(0, 1), matrix(0, 8),
     r"Tensor qzeros must be a matrix of int32, not int32 of shape \(0, 1\)"),
    (matrix(4, 1), matrix(2, 1), matrix(2, 8, np.float16),
     "Tensor scales must be integer codes of fp16, not float16"),
    (matrix(200, 1), matrix(3, 1), matrix(3, 8),
     "K must be a multiple of the number of groups 3, not 200"),
    (matrix(4, 2), matrix(2, 1), matrix(2, 16), r"Shape of qzeros must be \(2, 2\), not \(2, 1\)"),
    (matrix(4, 1), matrix(2, 1), matrix(2, 7), r"Shape of scales must be \(2, 8\), not \(2, 7\)"),
    (matrix(4, 1), matrix(2, 1), matrix(2, 8) + 0x7c00, r"Scales must be finite.* \(0, 0\)"),
])
def test_unpack_refuses(qweight, qzeros, scales, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        unpack(qweight, qzeros, scales)


def test_scales_keep_their_format():
    weights = unpack(matrix(2, 1), matrix(1, 1), matrix(1, 8) + 0xbf80, scale="bf16")
    assert weights.dequantise().tolist() == [[0.0] * 8] * 2
    assert weights.scale == "bf16"
    assert weights.scales.tolist() == [[0xbf80] * 8]


@pytest.mark.parametrize(("w", "n", "zero", "message"), [
    ("int4", 8, 0, "Weight format must be uint4 for AutoAWQ, not int4"),
    ("uint4", 12, 0, "N must be a multiple of 8 for AutoAWQ, not 12"),
    ("uint4", 8, 16, "Zero points must be at most 15 for AutoAWQ, not 16"),
])
def test_pack_refuses(w, n, zero, message):
    codes = lambda value: np.full((1, n), value, dtype=np.int64)
    with pytest.raises(ValueError, match=f"^{message}$"):
        pack(GroupedWeights(w, "fp16", 1, codes(0), codes(zero), codes(ONE)))
