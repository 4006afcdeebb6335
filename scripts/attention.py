"""``mixpe attention``: a causal attention head through the Verilog of both of its units."""

from dataclasses import dataclass

import click
import numpy as np
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden.attention import weighted_values
from golden.exaq import calibrate, constants, exact_softmax_reference
from golden.formats import FORMATS
from golden.quantise import quantise_activations
from golden.softmax import softmax
from golden.softmax_parameters import SoftmaxParameters
from golden.values_parameters import ValuesParameters
from scripts.console import console
from tb.attention_head import causal_scores, relative
from tb.attention_unit import HeadRun, run_head

__all__ = ["main"]

#: Elements of a word of both units; small, for they are compiled once for each number of bits.
WIDTH = 4


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
    description = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                   TimeElapsedColumn())
    with Progress(*description, console=console, transient=True) as progress:
        for bits in progress.track((2, 3, 4), description="an attention head with codes of "
                                                          "2, 3 and 4 bits"):
            heads.append(_head(bits, scores, v, seed))
    console.print(_table(heads, tokens, columns, sigma))
    console.print(f"Verilog {', '.join(_softmax_set(head.bits, tokens).name for head in heads)}: "
                  f"softmax unit and unit for V in a chain, {WIDTH} elements a word, seed {seed}")
    for head in heads:
        if head.mismatches:
            raise click.ClickException(f"{head.mismatches} of {head.run.y.size} outputs of the "
                                       f"head with {head.bits} bits differ from golden")


def _softmax_set(bits: int, tokens: int) -> SoftmaxParameters:
    """Softmax unit that takes whole rows."""
    return SoftmaxParameters(name=f"head_{bits}bit", width=WIDTH, bits=bits, max_length=tokens,
                             y="fp16", sets=1, least_length=min(32, tokens))


def _values_set(softmax_set: SoftmaxParameters) -> ValuesParameters:
    """Unit for V that takes the codes of a softmax unit."""
    p = softmax_set
    return ValuesParameters(name=f"{p.name}_values", width=p.width, bits=p.bits, queries=4,
                            columns=4, max_length=p.max_length, exp_bits=p.exp_bits,
                            code_bits=p.y_format.bits, y="fp32", sets=1)


def _head(bits: int, scores: np.ndarray, v: np.ndarray, seed: int) -> Head:
    """Run a head with constants from its own scores."""
    unit = _softmax_set(bits, scores.shape[1])
    values, reals = quantise_activations(v.T, fmt="int8"), FORMATS["fp16"].decode(scores)
    lo = calibrate([reals], bits, "linear").lo
    chosen = constants(lo, unit)
    found = softmax(scores, None, chosen, unit)
    expected = weighted_values(found, chosen, values, y="fp32")
    exact = exact_softmax_reference(reals)
    run = run_head(unit, _values_set(unit), chosen, scores, values, seed=seed)
    return Head(bits, lo, run, int(np.count_nonzero(run.y != expected)),
                relative(FORMATS["fp16"].decode(found.probabilities), exact),
                relative(FORMATS["fp32"].decode(run.y), exact @ v))


def _table(heads: list[Head], tokens: int, columns: int, sigma: float) -> Table:
    """The heads side by side."""
    table = Table(title=f"Causal attention head: {tokens} queries and tokens, {columns} columns "
                  f"of V in int8, scores of deviation {sigma}", title_justify="left",
                  box=box.SIMPLE)
    for heading in ("bits of\na code", "lowest\nlevel", "cycles", "mis-\nmatches",
                    "error of\nprobabilities", "error of\noutputs"):
        table.add_column(heading, justify="right")
    for head in heads:
        table.add_row(str(head.bits), f"{head.lo:.2f}", f"{head.run.cycles:,}",
                      str(head.mismatches), f"{head.probability:.1%}", f"{head.output:.1%}")
    return table
