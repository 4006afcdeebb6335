"""Layers of models against the sizes that their authors publish, and counts by hand."""

import pytest

from golden.workloads import ATTENTION, CONTEXT, MODELS, PHASES, Model, Phase, layer

#: Parameters in all as published, and those of the embeddings and the last projection.
PUBLISHED = {
    "ViT-Base":      (86e6, 768 * (3 * 16 * 16 + 197)),
    "ViT-Huge":      (632e6, 1280 * (3 * 14 * 14 + 257)),
    "OPT-6.7B":      (6.7e9, 4096 * (50272 + 2050)),
    "Llama-2-13B":   (13.02e9, 2 * 32000 * 5120),
    "Llama-3.1-8B":  (8.03e9, 2 * 128256 * 4096),
    "Mixtral-8x7B":  (46.7e9, 2 * 32000 * 4096),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_are_those_published(name):
    """Prefill of many tokens takes all experts, so every weight is counted."""
    model = MODELS[name]
    gemms, _ = layer(model, Phase("long", 1, 4096, 4096))
    weights = model.layers * sum(each.k * each.n * each.count for each in gemms
                                 if each.kind != ATTENTION)
    total, embeddings = PUBLISHED[name]
    assert weights + embeddings == pytest.approx(total, rel=0.01)


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
@pytest.mark.parametrize("name", MODELS)
def test_products_are_those_of_each_token(name, phase):
    """Linear layers: a token times the weights that it takes; attention: heads by context."""
    model = MODELS[name]
    gemms, rows = layer(model, phase)
    inner = model.inner * (2 + model.gated) * model.hidden
    kv = model.hidden * model.kv_heads // model.heads
    attended = 2 * model.hidden * phase.context * phase.rows
    assert sum(each.macs for each in gemms if each.kind == ATTENTION) == attended
    linear = sum(each.macs for each in gemms if each.kind != ATTENTION)
    wanted = phase.rows * (model.hidden * 2 * (model.hidden + kv) + model.chosen * inner)
    # Experts round the tokens of each up.
    assert wanted <= linear < wanted + model.experts * inner
    assert (rows.rows, rows.length) == (model.heads * phase.rows, phase.context)


def test_few_tokens_take_few_experts():
    model = MODELS["Mixtral-8x7B"]

    def down(batch):
        return next(each for each in layer(model, Phase("", batch, 1, CONTEXT))[0]
                    if each.name == "down")

    assert [(down(batch).count, down(batch).m) for batch in (1, 2, 8, 64)] == [
        (2, 1), (4, 1), (7, 3), (8, 16)]


def test_models_that_see_do_not_decode():
    assert [phase.name for phase in MODELS["ViT-Huge"].phases()] == [
        "prefill 64", "prefill 512", "prefill 2048", "image 257"]
    assert MODELS["OPT-6.7B"].phases() == PHASES
    assert all(model.source for model in MODELS.values())


@pytest.mark.parametrize(("changes", "message"), [
    ({"heads": 3}, "heads must divide the 8 hidden features, not be 3"),
    ({"kv_heads": 3}, "kv_heads must divide the 4 heads, not be 3"),
    ({"experts": 2, "chosen": 3}, "chosen must be from 1 to 2 experts, not 3"),
])
def test_bad_models_are_refused(changes, message):
    values = {"name": "m", "source": "", "layers": 1, "hidden": 8, "heads": 4, "kv_heads": 4,
              "inner": 16, "gated": False}
    with pytest.raises(ValueError, match=message):
        Model(**values | changes)
