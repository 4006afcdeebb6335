"""Write the checkpoint that the tests read, ``tb/data/``, with a public quantiser.

A random Llama of one layer is saved, quantised by auto-round and exported as AutoAWQ "gemm". Kept
are the layers that have several groups along K, bit for bit as written, in ``awq_gemm.safetensors``
and the weights they were quantised from in ``awq_reference.safetensors``. The metadata of the
former, JSON under the key ``source``, names the writer and, for each layer, the SHA-256 of the
weights as auto-round itself dequantises them (float16, K by N).

The packages are large and only needed here, so they live in an environment of their own::

    python3 -m venv build/fixture-venv
    build/fixture-venv/bin/pip install -r scripts/requirements-fixture.txt
    build/fixture-venv/bin/python -m scripts.make_fixture

Two runs write equal files.
"""

import hashlib
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

__all__ = ["LAYERS", "heavy_tailed", "make_model", "quantise", "main"]

SEED = 20240817
GROUP = 128

#: The layers whose K, 256 and 384, is a multiple of the group size; N is 64.
LAYERS = ("model.layers.0.self_attn.o_proj", "model.layers.0.mlp.down_proj")

DATA = Path(__file__).parent.parent / "tb" / "data"


def heavy_tailed(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Weights like those of a language model, float16, ``shape`` (N, K).

    Student's t with 5 degrees of freedom, a spread of its own for each output, one input in 32
    four times as large, and a slight offset for each output.
    """
    n, k = shape
    weights = 0.02 * rng.standard_t(5, size=shape) * rng.lognormal(sigma=0.3, size=(n, 1))
    weights[:, rng.choice(k, k // 32, replace=False)] *= 4
    return (weights + rng.normal(scale=0.01, size=(n, 1))).astype(np.float16)


def make_model(folder: Path) -> dict[str, np.ndarray]:
    """Save a random Llama and a tokenizer in ``folder``; return the weights of :data:`LAYERS`."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    rng = np.random.default_rng(SEED)
    torch.manual_seed(SEED)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=384, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=1, head_dim=64)).half()
    originals = {}
    for layer in LAYERS:
        weight = model.get_submodule(layer).weight
        originals[layer] = heavy_tailed(rng, tuple(weight.shape))
        weight.data.copy_(torch.from_numpy(originals[layer]))
    model.save_pretrained(folder)
    words = models.WordLevel({"<unk>": 0}, unk_token="<unk>")  # auto-round loads it and no more
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words)).save_pretrained(folder)
    return originals


def quantise(model: Path, output: Path) -> Path:
    """Quantise the model by rounding to nearest; return the checkpoint's only shard."""
    from auto_round import AutoRound

    AutoRound(str(model), iters=0, disable_opt_rtn=True, bits=4, group_size=GROUP, sym=False,
              device_map="cpu", ignore_layers="q_proj,k_proj,v_proj,gate_proj,up_proj",
              ).quantize_and_save(str(output), format="auto_awq")
    shard, = output.rglob("*.safetensors")
    return shard


def main() -> None:
    """Write both files."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when the packages are imported
    from auto_round.export.export_to_awq.utils import dequantize_gemm
    from safetensors.numpy import save_file
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        originals = make_model(folder / "model")
        tensors = load_file(quantise(folder / "model", folder / "quantised"))

    source = {"writer": f"auto-round {version('auto-round')}",
              "scheme": f"auto_awq, 4 bits, group size {GROUP}, asymmetric, rounded to nearest",
              "sha256": {}}
    kept = {}
    for layer in LAYERS:
        names = [f"{layer}.{part}" for part in ("qweight", "qzeros", "scales")]
        dequantised = dequantize_gemm(*(tensors[name] for name in names), 4, GROUP).numpy()
        source["sha256"][layer] = hashlib.sha256(dequantised.tobytes()).hexdigest()
        kept |= {name: tensors[name].numpy() for name in names}
    weights = {f"{layer}.weight": weight for layer, weight in originals.items()}
    DATA.mkdir(exist_ok=True)
    # One key each: safetensors writes several in no fixed order.
    save_file(kept, DATA / "awq_gemm.safetensors", {"source": json.dumps(source)})
    save_file(weights, DATA / "awq_reference.safetensors", {"source": f"seed {SEED}"})


if __name__ == "__main__":
    main()
