"""Jobs for the unit that multiplies codes by V: operands, streams, and golden's outputs."""

from dataclasses import dataclass

import numpy as np

from golden.attention import weighted_values
from golden.formats import FORMATS
from golden.quantise import Activations
from golden.softmax import SoftmaxResult
from golden.softmax_parameters import Constants
from golden.values_parameters import ValuesParameters
from tb.softmax_driver import fields

__all__ = ["Job", "any_exponents", "any_job", "cycles"]


@dataclass(frozen=True)
class Job:
    """Rows of codes, V, and its scales.

    Parameters
    ----------
    rows : list of ndarray of int64
        Codes of each query, ``2**b`` where masked; those that follow in a row are masked.
    invalid : ndarray of bool, shape (M,)
        Rows that are invalid.
    v : ndarray of int64, shape (N, D)
        Values.
    scales : ndarray of float32, shape (D,)
        Scales of the columns.
    chosen : int
        Set of exponents.
    """

    rows: list[np.ndarray]
    invalid: np.ndarray
    v: np.ndarray
    scales: np.ndarray
    chosen: int

    def outputs(self, p: ValuesParameters, exponents: list[tuple[int, ...]]) -> np.ndarray:
        """Codes of golden's outputs, shape (M, D)."""
        codes = np.full((len(self.rows), len(self.v)), p.levels, dtype=np.int64)
        for row, given in zip(codes, self.rows, strict=True):
            row[:len(given)] = given[:len(row)]
        counts = np.stack([(codes == k).sum(axis=1) for k in range(p.levels)], axis=1)
        table  = exponents[self.chosen]
        sums   = np.where(self.invalid, 0, counts @ np.array(table))
        # Thresholds made the codes and play no part any more.
        constants = Constants(tuple(range(p.levels - 1, 0, -1)), table)
        result = SoftmaxResult(codes, codes, counts, sums, counts.sum(axis=1) == 0, self.invalid)
        return weighted_values(result, constants, Activations(self.v.T, self.scales), y=p.y)

    def command(self, p: ValuesParameters) -> int:
        """Payload of the command."""
        n, d = self.v.shape
        return (len(self.rows) | n << 24 | d << 24 + p.count_bits
                | self.chosen << 40 + p.count_bits)

    def code_words(self, p: ValuesParameters) -> list[int]:
        """Payloads of the rows."""
        words = []
        for row, invalid in zip(self.rows, self.invalid, strict=True):
            for start in range(0, len(row), p.width):
                codes = row[start:start + p.width]
                last  = start + p.width >= len(row)
                flags = (1 << len(codes)) - 1 | int(invalid) << p.width | last << p.width + 1
                words.append(fields(codes, p.word_bits) | flags << p.width * p.word_bits)
        return words

    def v_items(self, p: ValuesParameters, rng) -> list[int]:
        """Payloads of V, once for each block of queries; what is beyond its edges is random."""
        n, d = self.v.shape
        beats, blocks = p.beats(n), -(-d // p.columns)
        padded = rng.integers(-128, 128, (beats * p.tokens, blocks * p.columns))
        padded[:n, :d] = self.v
        items = [int.from_bytes(padded[beat * p.tokens:(beat + 1) * p.tokens,
                                       block * p.columns:(block + 1) * p.columns]
                                .T.astype(np.int8).tobytes(), "little")
                 for block in range(blocks) for beat in range(beats)]
        return self._ended(items * -(-len(self.rows) // p.queries),
                           8 * p.tokens * p.columns)

    def s_items(self, p: ValuesParameters, rng) -> list[int]:
        """Payloads of the scales, once for each block of queries."""
        blocks = -(-len(self.scales) // p.columns)
        padded = rng.integers(0, 1 << 32, blocks * p.columns)
        padded[:len(self.scales)] = FORMATS["fp32"].encode(self.scales)
        items = [fields(each, 32) for each in padded.reshape(blocks, p.columns)]
        return self._ended(items * -(-len(self.rows) // p.queries), 32 * p.columns)

    def results(self, p: ValuesParameters, exponents: list[tuple[int, ...]]) -> list[int]:
        """Payloads of the outputs that golden expects, 0 where there is none."""
        outputs, words = self.outputs(p, exponents), []
        for first in range(0, len(outputs), p.queries):
            for column in range(0, outputs.shape[1], p.columns):
                for row in outputs[first:first + p.queries, column:column + p.columns]:
                    keep = (1 << len(row)) - 1
                    words.append(fields(row, p.y_format.bits)
                                 | keep << p.columns * p.y_format.bits)
        return self._ended(words, p.columns * (p.y_format.bits + 1))

    def _ended(self, items, bits):
        """Items, the last of which has the bit that tells so."""
        return [*items[:-1], items[-1] | 1 << bits]


def any_exponents(rng, p: ValuesParameters) -> list[tuple[int, ...]]:
    """Exponents of every set: random ones, and the greatest."""
    high  = 1 << p.exp_bits
    found = [(*map(int, np.sort(rng.integers(0, high, p.levels - 1))), high)
             for _ in range(p.sets)]
    found[-1] = (high,) * p.levels
    return found


def any_job(rng, p: ValuesParameters, m: int, n: int, d: int) -> Job:
    """Job of rows of some kinds: short, masked, constant, one code among masked ones, invalid."""
    rows = []
    for kind in rng.integers(0, 7, m):
        codes = rng.integers(0, p.levels, n)
        if kind == 1:
            codes = np.where(rng.random(n) < 0.5, p.levels, codes)
        elif kind == 2:
            codes[:] = p.levels
        elif kind == 3:
            codes[:] = rng.integers(p.levels)
        elif kind == 4:
            codes[np.arange(n) != rng.integers(n)] = p.levels
        elif kind == 5:
            codes = codes[:rng.integers(1, n + 1)]
        rows.append(codes)
    v = rng.integers(-128, 128, (n, d))
    if rng.random() < 0.3:
        v[:] = rng.choice([-128, 127, 0])
    scales = (rng.normal(size=d) * 2.0**rng.integers(-12, 4, d)).astype(np.float32)
    odd = rng.random(d) < 0.1
    scales[odd] = rng.choice(np.float32([0, -0.0, np.inf, np.nan, 1e-45, -1e-38, 3e38]), odd.sum())
    return Job(rows, rng.random(m) < 0.1, v, scales, int(rng.integers(p.sets)))


def cycles(job: Job, p: ValuesParameters) -> int:
    """Cycles that suffice for a job if nothing overlaps."""
    n, d = job.v.shape
    blocks  = -(-len(job.rows) // p.queries)
    columns = -(-d // p.columns)
    row     = max(p.words * p.beats(n) + max(map(len, job.rows)), 27)
    return blocks * (p.queries * row + columns * max(p.beats(n), p.drain_cycles)
                     + p.drain_cycles + 100)
