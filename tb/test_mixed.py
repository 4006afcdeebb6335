"""8- and 4-bit output features: salience, selection over all layers, and quantisation."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.gemm import gemm
from golden.mixed import MixedWeights, quantise_mixed, salience, select_features
from golden.quantise import quantise_activations, quantise_weights

WEIGHTS = np.random.default_rng(1).standard_t(4, (11, 10)) * 0.02


def refuse(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


@pytest.mark.parametrize("samples", [1, 3])
def test_salience_one_weight_at_a_time(samples):
    gradients = np.random.default_rng(2).normal(size=(samples, *WEIGHTS.shape)) * 100
    quantised = quantise_weights(WEIGHTS, w="uint4", group=4)
    real, expected = quantised.dequantise(), []
    for n in range(10):
        losses = []
        for sample in gradients:
            change = math.fsum(sample[k, n] * (real[k, n] - WEIGHTS[k, n]) for k in range(11))
            losses.append(abs(change + change * change / 2))
        expected.append(math.fsum(losses) / samples)
    np.testing.assert_allclose(salience(WEIGHTS, quantised, gradients), expected, rtol=1e-9)


def test_salience_of_a_known_change():
    """The first order alone is -1; the second adds 1/2, before the magnitude is taken."""
    quantised = quantise_weights([[7.0, 7.0], [0.0, 7.0]], w="int4", group=2)
    values = salience([[7.5, 7.0], [0.0, 7.0]], quantised, [[[2.0, 1.0], [1.0, 1.0]]] * 2)
    assert values.tolist() == [0.5, 0.0]
    values = salience([[7.5, 7.0], [0.0, 7.0]], quantised,
                      [[[2.0, 1.0], [1.0, 1.0]], [[-2.0, 1.0], [1.0, 1.0]]])
    assert values.tolist() == [1.0, 0.0]


def test_shapes_of_salience():
    quantised = quantise_weights(WEIGHTS, w="uint4", group=4)
    with refuse("Shape of the weights must be (11, 10), not (11, 9)"):
        salience(WEIGHTS[:, 1:], quantised, np.ones((1, 11, 10)))
    for shape in ((11, 10), (0, 11, 10), (2, 10, 11)):
        with refuse(f"Shape of the gradients must be samples by (11, 10), not {shape}"):
            salience(WEIGHTS, quantised, np.ones(shape))


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 5), max_size=6)),
       st.sampled_from([0, 0.1, 0.2, 0.5, 0.9, 1]))
def test_selection_is_the_sorted_list(layers, share):
    chosen = select_features({name: np.array(values, dtype=float)
                              for name, values in layers.items()}, share)
    every = [(name, n) for name, values in layers.items() for n in range(len(values))]
    # Python's sort is stable: of equals the first come first.
    top = sorted(every, key=lambda feature: -layers[feature[0]][feature[1]])
    top = top[:round(share * len(every))]
    assert list(chosen) == list(layers)
    assert {name: features.tolist() for name, features in chosen.items()} == {
        name: sorted(n for other, n in top if other == name) for name in layers}


def test_errors_of_selection():
    for share in (-0.1, 1.1, math.nan):
        with refuse(f"Parameter share must be from 0 to 1, not {share}"):
            select_features({"up": np.ones(3)}, share)
    with refuse("Saliences must be numbers, not nan as in layer down"):
        select_features({"up": np.ones(3), "down": np.array([1, math.nan])}, 0.5)


@pytest.mark.parametrize("narrow", ["uint4", "int4", "shift3"])
@pytest.mark.parametrize("share", [0, 0.1, 0.2, 0.5, 1])
def test_features_are_quantised_one_by_one(share, narrow):
    """Shares of MixLLM: each feature is as if it were alone, and in its place."""
    ranks = np.random.default_rng(5).permutation(10).astype(float)
    chosen = select_features({"layer": ranks}, share)["layer"]
    assert len(chosen) == share * 10
    mixed = quantise_mixed(WEIGHTS, chosen, group=4, narrow=narrow)
    assert (mixed.shape, mixed.wide.w, mixed.narrow.w) == ((11, 10), "int8", narrow)
    assert mixed.features[:len(chosen)].tolist() == sorted(chosen.tolist())
    x = quantise_activations(np.random.default_rng(6).normal(size=(3, 11)))
    y, real = gemm(x, mixed), mixed.dequantise()
    for n in range(10):
        alone = quantise_weights(WEIGHTS[:, [n]], w="int8" if n in chosen else narrow, group=4)
        np.testing.assert_array_equal(real[:, [n]], alone.dequantise())
        np.testing.assert_array_equal(y[:, [n]], gemm(x, alone))


def test_error_falls_with_the_share():
    errors = []
    gradients = np.random.default_rng(7).normal(size=(4, *WEIGHTS.shape))
    ranks = salience(WEIGHTS, quantise_weights(WEIGHTS, w="uint4", group=4), gradients)
    for share in (0, 0.1, 0.2, 0.5, 1):
        chosen = select_features({"layer": ranks}, share)["layer"]
        mixed = quantise_mixed(WEIGHTS, chosen, group=4)
        change = (gradients * (mixed.dequantise() - WEIGHTS)).sum(axis=1)
        errors.append(np.abs(change + change**2 / 2).mean(axis=0).sum())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 10


@pytest.mark.parametrize(("features", "options", "message"), [
    ([10], {}, "Wide features must be different numbers of range(10), not [10]"),
    ([-1, 3], {}, "Wide features must be different numbers of range(10), not [-1, 3]"),
    ([3, 3], {}, "Wide features must be different numbers of range(10), not [3, 3]"),
    ([1], {"scale": "e4m3"},
     "Parameter scale must have no global scale for wide and narrow weights, not 'e4m3'"),
    ([1], {"group": 0}, "Group size must be at least 1, not 0"),
])
def test_errors_of_quantisation(features, options, message):
    with refuse(message):
        quantise_mixed(WEIGHTS, features, **{"group": 4} | options)
    with refuse("Weights must be a matrix, not of shape (10,)"):
        quantise_mixed(WEIGHTS[0], [1], group=4)


def part(w="uint4", k=8, **options):
    return quantise_weights(np.random.default_rng(8).normal(size=(k, 2)), w=w,
                            **{"group": 4} | options)


@pytest.mark.parametrize(("wide", "narrow", "features", "message"), [
    (part("int4"), part(), range(4), "Format of the wide weights must be int8 or uint8, not int4"),
    (part("int8"), part(group=8), range(4),
     "Parameter group must be the same for wide and narrow weights, not 4 and 8"),
    (part("uint8", scale="bf16"), part(), range(4),
     "Parameter scale must be the same for wide and narrow weights, not bf16 and fp16"),
    (part("int8"), part(k=7), range(4),
     "K must be the same for wide and narrow weights, not 8 and 7"),
    *((part("int8"), part(), features, "Features must be a permutation of range(4)")
      for features in ([0, 1, 2], [0, 1, 2, 2], [1, 2, 3, 4])),
])
def test_errors_of_mixed_weights(wide, narrow, features, message):
    MixedWeights(part("int8"), part(), np.array([2, 0, 3, 1]))
    with refuse(message):
        MixedWeights(wide, narrow, np.array(features))
