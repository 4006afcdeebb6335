"""``mixpe attention``: a causal attention head through the Verilog of both of its units."""

from dataclasses import dataclass

import click
import numpy as np
from rich import box
from rich.table import Table

from golden.exaq import exact_softmax_reference
from golden.formats import FORMATS
from golden.softmax_parameters import SoftmaxParameters
from golden.synthetic import causal_scores
from golden.values_parameters import ValuesParameters
from scripts.console import console, progress
from tb.attention_head import quantised_head, relative
from tb.attention_unit import HeadRun, run_head

__all__ = ["BITS", "Head", "softmax_set", "values_set", "run", "main"]

#: Elements of a word of both units; small, for they are compiled once for each number of bits.
WIDTH = 4

#: Bits of the codes of the heads that are run.
BITS = (2, 3, 4)


@dataclass(frozen=True)
class Head:
    """A head that has been run, beside golden and softmax attention in float64.

    Parameters
    ----------
    bits : int
        b, bits of a code.
    lo : float
        Lowest level of the exponents.
    run : HeadRun
        What the Verilog gave.
    mismatches : int
        Outputs that differ from golden.
    probability, output : float
        Root mean square errors of the probabilities and the outputs against softmax attention in
        float64, relative to the root mean square of what is exact.
    """

    bits: int
    lo: float
    run: HeadRun
    mismatches: int
    probability: float
    output: float


def main(tokens: int, columns: int, sigma: float, seed: int) -> None:
    """Run a head with codes of 2, 3 and 4 bits and print its errors.

    Raises
    ------
    click.ClickException
        Exit status 1 if an output differs from golden.
    """
    rng = np.random.default_rng(seed)
    scores, v = causal_scores(sigma, tokens, rng), rng.normal(size=(tokens, columns))
    heads = []
    with progress(len(BITS)) as step:
        for bits in BITS:
            step(f"running an attention head with codes of {bits} bits")
            heads.append(run(bits, scores, v, seed))
    console.print(_table(heads, tokens, columns, sigma))
    console.print(f"Verilog {', '.join(softmax_set(head.bits, tokens).name for head in heads)}: "
                  f"softmax unit and unit for V in a chain, {WIDTH} elements a word, seed {seed}")
    for head in heads:
        if head.mismatches:
            raise click.ClickException(f"{head.mismatches} of {head.run.y.size} outputs of the "
                                       f"head with {head.bits} bits differ from golden")


def softmax_set(bits: int, tokens: int) -> SoftmaxParameters:
    """Softmax unit that takes whole rows."""
    return SoftmaxParameters(name=f"head_{bits}bit", width=WIDTH, bits=bits, max_length=tokens,
                             y="fp16", sets=1, least_length=min(32, tokens))


def values_set(softmax: SoftmaxParameters) -> ValuesParameters:
    """Unit for V that takes the codes of a softmax unit."""
    p = softmax
    return ValuesParameters(name=f"{p.name}_pv", width=p.width, bits=p.bits, queries=2,
                            columns=2, max_length=p.max_length, exp_bits=p.exp_bits,
                            code_bits=p.y_format.bits, y="fp32", sets=1)


def run(bits: int, scores: np.ndarray, v: np.ndarray, seed: int) -> Head:
    """Run a head with constants from its own scores.

    Parameters
    ----------
    bits : int
        b, bits of a code.
    scores : ndarray of int64, shape (queries, tokens)
        fp16 codes of the logits.
    v : ndarray of float64, shape (tokens, columns)
        V, which is quantised to int8.
    seed : int
        Seed of what is beyond the edges of V.
    """
    unit = softmax_set(bits, scores.shape[1])
    expected = quantised_head(unit, scores, v)
    exact = exact_softmax_reference(unit.x_format.decode(scores))
    outcome = run_head(unit, values_set(unit), expected.constants, scores, expected.values,
                       seed=seed)
    return Head(bits, expected.lo, outcome, int(np.count_nonzero(outcome.y != expected.outputs)),
                relative(unit.y_format.decode(expected.result.probabilities), exact),
                relative(FORMATS["fp32"].decode(outcome.y), exact @ v))


def _table(heads: list[Head], tokens: int, columns: int, sigma: float) -> Table:
    """The heads side by side."""
    table = Table(title=f"Causal attention head: {tokens} tokens, {columns} columns, "
                  f"deviation {sigma}", title_justify="left", box=box.SIMPLE)
    for heading in ("bits of\na code", "lowest\nlevel", "cycles", "mis-\nmatches",
                    "error of\nprobabilities", "error of\noutputs"):
        table.add_column(heading, justify="right")
    for head in heads:
        table.add_row(str(head.bits), f"{head.lo:.2f}", f"{head.run.cycles:,}",
                      str(head.mismatches), f"{head.probability:.1%}", f"{head.output:.1%}")
    return table
