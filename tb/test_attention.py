"""Attention's second product from codes, against fractions, float32 and its bound."""

import math
import re
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from golden.attention import code_sums, reciprocals, weighted_values
from golden.exaq import constants
from golden.formats import FORMATS
from golden.quantise import Activations, quantise_activations
from golden.softmax import softmax
from golden.softmax_parameters import Constants, SoftmaxParameters

UNITS = {bits: SoftmaxParameters(name="valid", bits=bits, max_length=8192) for bits in (2, 3, 4)}
MANTISSA = {"fp32": 23, "fp16": 10, "bf16": 7}
KINDS = {
    "int8":       {"fmt": "int8"},
    "asymmetric": {"fmt": "int8", "group": 16, "zero": True},
    "groups":     {"fmt": "int8", "group": 16, "group_scale": "fp16"},
    "both":       {"fmt": "int8", "group": 16, "group_scale": "bf16", "zero": True},
    "fp16":       {"fmt": "fp16"},
    "bf16":       {"fmt": "bf16"},
}


def refuse(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


def head(bits, tokens, seed, columns=5, queries=7):
    """Constants, rows of codes with masked ones, and real values."""
    rng = np.random.default_rng(seed)
    x = FORMATS["fp16"].encode(rng.normal(size=(queries, tokens)) * 2)
    c = constants(-4.7, UNITS[bits])
    found = softmax(x, rng.random((queries, tokens)) < 0.2, c, UNITS[bits])
    return c, found, rng.normal(size=(tokens, columns)) * [0.01, 1, 1, 3, 100][:columns]


def real_products(c, found, values):
    """Σ (E_k / S)·V and its terms' groups' magnitudes Σ |Σ ...| as fractions, one by one."""
    real = [[Fraction(v) for v in column] for column in values.dequantise().tolist()]
    group = values.group or values.q.shape[1]
    exponents = [*c.exponents, 0]
    exact, terms = [], []
    for codes, total in zip(found.codes.tolist(), found.sums.tolist(), strict=True):
        exact.append([])
        terms.append([])
        for column in real:
            parts = [exponents[k] * v / max(total, 1) for k, v in zip(codes, column, strict=True)]
            sums = [sum(parts[i:i + group]) for i in range(0, len(parts), group)]
            exact[-1].append(float(sum(sums)))
            terms[-1].append(float(sum(map(abs, sums))))
    return np.array(exact), np.array(terms)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_bound(bits, kind):
    c, found, real = head(bits, 61, seed=bits)
    values = quantise_activations(real.T, **KINDS[kind])
    exact, terms = real_products(c, found, values)
    groups = 4 if values.group else 1
    u = 2.0**-24
    gamma = (groups + 5) * u / (1 - (groups + 5) * u)
    slack = 2.0**-149 * (1 + (1 + values.scales) * (groups + 1) / found.sums[:, None])
    for y, bits_of_y in MANTISSA.items():
        e = gamma * terms + slack
        least = FORMATS[y].step
        bound = e + (terms + e) * 2.0**(-1 - bits_of_y) + least / 2
        outputs = FORMATS[y].decode(weighted_values(found, c, values, y=y))
        assert outputs.shape == (7, 5)
        assert (np.abs(outputs - exact) <= bound).all()
        # Roundings are there: neither bound nor result is exact.
        assert np.abs(outputs - exact).max() > (bound / 100).min()


@pytest.mark.parametrize("kind", ["int8", "groups", "both"])
def test_each_rounding(kind):
    """One operation at a time in numpy's float32."""
    c, found, real = head(2, 50, seed=11)
    values = quantise_activations(real.T, **KINDS[kind])
    count, group = (4, 16) if values.group else (1, 50)
    outputs = weighted_values(found, c, values, y="fp32")
    for m, d in np.ndindex(7, 5):
        acc = np.float32(0)
        for g in range(count):
            part = slice(g * group, (g + 1) * group)
            zero = 0 if values.zeros is None else int(values.zeros[d, g])
            total = sum(([*c.exponents, 0])[k] * (int(v) - zero) if k < 4 else 0 for k, v in zip(
                found.codes[m, part].tolist(), values.q[d, part].tolist(), strict=True))
            assert code_sums(found, c, values)[g, d, m] == total
            scale = np.float32(1) if values.group_scales is None else np.float32(
                FORMATS[values.group_scale].decode(values.group_scales[d, g]))
            acc = acc + np.float32(total) * scale
        wanted = acc * values.scales[d] * reciprocals(found.sums)[m]
        assert np.array(outputs[m, d], np.uint32).view(np.float32) == wanted


#: 1 / S in float64 is the middle of two float32 numbers, and 1 / S itself is not.
TWICE = [846731599, 939524103, 943201287, 1614112203, 1745032969, 2004436223, 3394919015]


@pytest.mark.parametrize("seed", [1, 2])
def test_reciprocals(seed):
    """Against the neighbours, in fractions."""
    rng = np.random.default_rng(seed)
    sums = np.concatenate([np.arange(1, 300), 2**np.arange(32), 2**np.arange(1, 33) - 1,
                           rng.integers(1, 2**32, 2000), 2**24 + np.arange(-3, 4), TWICE])
    assert ((1 / np.array(TWICE)).astype(np.float32) != reciprocals(np.array(TWICE))).all()
    for total, found in zip(sums.tolist(), reciprocals(sums), strict=True):
        exact, near = Fraction(1, total), [np.nextafter(found, np.float32(side))
                                           for side in (0, 2)]
        error = abs(Fraction(float(found)) - exact)
        others = [abs(Fraction(float(other)) - exact) for other in near]
        assert error <= min(others)
        if error == min(others):
            assert found.view(np.uint32) % 2 == 0
    assert reciprocals(np.array([0])).tolist() == [0]


def test_masked_tokens_count_for_nothing():
    c = Constants((5 << 23, 3 << 23, 1 << 23), (1631, 4435, 12055, 32768))
    x = FORMATS["fp16"].encode([[0.0, -1.0, -math.inf], [-math.inf] * 3, [0.0, math.nan, 0.0]])
    found = softmax(x, None, c, UNITS[2])
    codes = FORMATS["fp16"].encode([[1.0, 2.0, math.nan], [1.0, 2.0, math.inf],
                                    [1.0, -math.inf, 3.0], [-0.0, -0.0, 9.0]])
    values = Activations(codes, np.ones(4, np.float32), FORMATS["fp16"])
    y = FORMATS["fp16"].decode(weighted_values(found, c, values))
    expected = (32768 + 2 * 12055) / (32768 + 12055)
    np.testing.assert_allclose(y[0, :2], expected, rtol=2.0**-10)
    assert np.isnan(y[0, 2])
    assert y[1].tolist() == [0, 0, 0, 0]
    assert np.isnan(y[2]).all()
    # Sums of zeros are +0.
    assert not np.signbit(y[:2, 3]).any()


def test_wide_values_are_exact():
    """Values that differ by more than float64 holds, and cancel."""
    c = Constants((5 << 23, 3 << 23, 1 << 23), (1631, 4435, 12055, 32768))
    found = softmax([[0, 0, 0, 0]], None, c, UNITS[2])
    row = np.array([2.0**120, 2.0**-120, -2.0**120, 0], ml_dtypes.bfloat16)
    values = Activations(row.view(np.uint16).astype(np.int64)[None], np.ones(1, np.float32),
                         FORMATS["bf16"])
    y = FORMATS["fp32"].decode(weighted_values(found, c, values, y="fp32"))
    assert y.tolist() == [[2.0**-122]]


def test_longest_row():
    """Extreme int8 values of 8,192 tokens: the sum needs 36 bits and is exact."""
    c = constants(-4.0, UNITS[2])
    found = softmax(np.zeros((1, 8192), int), None, c, UNITS[2])
    values = Activations(np.full((1, 8192), -128), np.ones(1, np.float32))
    assert code_sums(found, c, values).tolist() == [[[-128 * 8192 * 32768]]]
    assert FORMATS["fp16"].decode(weighted_values(found, c, values)).tolist() == [[-128]]


def test_errors():
    c, found, _ = head(2, 10, seed=1)
    with refuse("Values must be of 10 tokens as the codes, not of 9"):
        weighted_values(found, c, quantise_activations(np.zeros((2, 9))))
