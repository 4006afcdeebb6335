"""Layers of language and vision models as the GEMMs and softmax rows that they take."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

__all__ = ["ATTENTION", "CONTEXT", "INSIDE", "LINEAR", "MEMORY", "MODELS", "PHASES", "Gemm",
           "Model", "Phase", "SoftmaxRows", "layer"]

#: Kinds of GEMMs: weights that are the model's own, or keys and values that the tokens have left.
LINEAR, ATTENTION = "linear", "attention"

#: Where activations and outputs lie: scores and probabilities stay between the units.
MEMORY, INSIDE = "memory", "inside"


@dataclass(frozen=True)
class Gemm:
    """A GEMM of a layer, ``count`` times with other weights.

    Parameters
    ----------
    name : str
        What it computes.
    m, k, n : int
        M rows of activations, K products of a sum, N output features.
    count : int
        How often a layer has it.
    kind : str
        ``linear``, or ``attention`` if the weights are keys or values.
    x_from, y_to : str
        Where activations come from and outputs go: ``memory`` or ``inside``.
    """

    name: str
    m: int
    k: int
    n: int
    count: int = 1
    kind: str = LINEAR
    x_from: str = MEMORY
    y_to: str = MEMORY

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all."""
        return self.m * self.k * self.n * self.count


@dataclass(frozen=True)
class SoftmaxRows:
    """``rows`` rows of softmax of ``length`` elements each."""

    rows: int
    length: int


@dataclass(frozen=True)
class Phase:
    """What a model is asked for.

    Parameters
    ----------
    name : str
    sequences : int
        Sequences that are computed together.
    tokens : int
        New tokens of each sequence; 1 in decoding.
    context : int
        Tokens that each attends to, the new ones included.
    """

    name: str
    sequences: int
    tokens: int
    context: int

    @property
    def rows(self) -> int:
        """Rows of activations, all new tokens."""
        return self.sequences * self.tokens

    @property
    def decodes(self) -> bool:
        """Whether each sequence gains one token."""
        return self.tokens == 1


#: Tokens that a decoded token attends to; chosen, as many as the longest prefill has.
CONTEXT = 2048

#: Prefill of one sequence and decoding of a batch.
PHASES = (*(Phase(f"prefill {tokens}", 1, tokens, tokens) for tokens in (64, 512, 2048)),
          *(Phase(f"decode {batch}", batch, 1, CONTEXT) for batch in (1, 8, 64)))


@dataclass(frozen=True)
class Model:
    """A transformer; all of its layers are alike.

    Embeddings, normalisation, residual sums, activation functions and the last layer's projection
    to words or classes are left out.

    Parameters
    ----------
    name : str
    source : str
        Where the numbers stand.
    layers : int
        Transformer layers.
    hidden : int
        Features of a token.
    heads, kv_heads : int
        Attention heads, and how many of them have keys and values of their own.
    inner : int
        Features between the two halves of the feed-forward network.
    gated : bool
        Whether the first half has two matrices, one of which gates the other.
    experts, chosen : int
        Feed-forward networks of a layer, and how many of them a token takes.
    sequence : int
        Tokens of an image, for a model that does not decode; 0 for one that does.

    Raises
    ------
    ValueError
        If a parameter breaks a rule.
    """

    name: str
    source: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    inner: int
    gated: bool
    experts: int = 1
    chosen: int = 1
    sequence: int = 0

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ValueError(f"Parameter heads must divide the {self.hidden} hidden features, "
                             f"not be {self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"Parameter kv_heads must divide the {self.heads} heads, "
                             f"not be {self.kv_heads}")
        if not 1 <= self.chosen <= self.experts:
            raise ValueError(f"Parameter chosen must be from 1 to {self.experts} experts, "
                             f"not {self.chosen}")

    @property
    def decodes(self) -> bool:
        """Whether the model generates tokens."""
        return not self.sequence

    @property
    def head(self) -> int:
        """Features of a head."""
        return self.hidden // self.heads

    def phases(self) -> tuple[Phase, ...]:
        """Phases that make sense: all of :data:`PHASES`, or prefill and an image's own tokens."""
        if self.decodes:
            return PHASES
        return (*(phase for phase in PHASES if not phase.decodes),
                Phase(f"image {self.sequence}", 1, self.sequence, self.sequence))


_CONFIG = "config.json of {}, Hugging Face Hub"

#: Models by name.
MODELS = {model.name: model for model in (
    Model("ViT-Base", "Dosovitskiy et al., arXiv 2010.11929, table 1; images of 224 x 224 in "
          "patches of 16 x 16 and a class token", layers=12, hidden=768, heads=12, kv_heads=12,
          inner=3072, gated=False, sequence=197),
    Model("ViT-Huge", "arXiv 2010.11929, table 1; patches of 14 x 14", layers=32, hidden=1280,
          heads=16, kv_heads=16, inner=5120, gated=False, sequence=257),
    Model("OPT-6.7B", _CONFIG.format("facebook/opt-6.7b"), layers=32, hidden=4096, heads=32,
          kv_heads=32, inner=16384, gated=False),
    Model("Llama-2-13B, FFN 20480", "as in the simulator of MixPE's authors, "
          "github.com/yuzhang712/mixpe_simulator: two matrices of 5,120 x 20,480", layers=40,
          hidden=5120, heads=40, kv_heads=40, inner=20480, gated=False),
    Model("Llama-2-13B", _CONFIG.format("meta-llama/Llama-2-13b-hf"), layers=40, hidden=5120,
          heads=40, kv_heads=40, inner=13824, gated=True),
    Model("Llama-3.1-8B", _CONFIG.format("meta-llama/Llama-3.1-8B"), layers=32, hidden=4096,
          heads=32, kv_heads=8, inner=14336, gated=True),
    Model("Mixtral-8x7B", "Jiang et al., arXiv 2401.04088, table 1", layers=32, hidden=4096,
          heads=32, kv_heads=8, inner=14336, gated=True, experts=8, chosen=2),
)}


def layer(model: Model, phase: Phase) -> tuple[tuple[Gemm, ...], SoftmaxRows]:
    """GEMMs and softmax rows of one layer.

    Heads that share keys and values are rows of one GEMM. Attention is computed for the whole
    square of tokens, what a causal mask hides included. Tokens spread evenly over the experts;
    of a few tokens as many experts are taken as random choice takes on average.

    Examples
    --------
    >>> gemms, rows = layer(MODELS["Llama-3.1-8B"], PHASES[-1])
    >>> [(gemm.name, gemm.m, gemm.k, gemm.n, gemm.count) for gemm in gemms][:3]
    [('q', 64, 4096, 4096, 1), ('k, v', 64, 4096, 1024, 2), ('o', 64, 4096, 4096, 1)]
    >>> rows
    SoftmaxRows(rows=2048, length=2048)
    """
    rows, hidden, wide = phase.rows, model.hidden, model.kv_heads * model.head
    gemms = [Gemm("q", rows, hidden, hidden), Gemm("k, v", rows, hidden, wide, 2),
             Gemm("o", rows, hidden, hidden), *_feed_forward(model, rows)]
    shared = model.heads // model.kv_heads * phase.tokens
    count = model.kv_heads * phase.sequences
    gemms += [Gemm("q times k", shared, model.head, phase.context, count, ATTENTION, y_to=INSIDE),
              Gemm("p times v", shared, phase.context, model.head, count, ATTENTION,
                   x_from=INSIDE)]
    return tuple(gemms), SoftmaxRows(model.heads * rows, phase.context)


def _feed_forward(model: Model, rows: int) -> Iterator[Gemm]:
    """Both halves of the feed-forward network of each expert that is taken."""
    # A token takes an expert with the probability chosen / experts.
    missed = (1 - model.chosen / model.experts)**rows
    taken = max(model.chosen, round(model.experts * (1 - missed)))
    each = -(-rows * model.chosen // taken)
    first = Gemm("gate, up" if model.gated else "up", each, model.hidden, model.inner,
                 taken * (1 + model.gated))
    yield first
    yield replace(first, name="down", k=model.inner, n=model.hidden, count=taken)
