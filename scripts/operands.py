"""Operands whose switching is measured, by their statistics."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden import synthetic
from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights, quantise_weights
from scripts import checkpoint
from scripts.sim import fitted, quantised_activations

__all__ = ["KINDS", "STREAMS", "Sums", "warm_up", "cycles", "streams_of", "operands", "sums"]

#: Kinds of operands, and what each is. Activations of the layers have outlier channels.
KINDS = {
    "zero":     "zeros, or the codes 0 of formats that lack them",
    "constant": "one beat of a layer of normal weights, held",
    "gaussian": "a layer of normal weights, quantised by group",
    "heavy":    "a layer of weights of Student's t distribution, quantised by group",
    "fixture":  "a layer of the checkpoint of the tests",
    "random":   "uniform codes",
}

FIXTURE = Path(__file__).parent.parent / "tb" / "data" / "awq_gemm.safetensors"

#: Most streams that are simulated side by side, each with rows and columns of its own.
STREAMS = 32

#: Least streams, and how many elements all streams of a tile have together.
LEAST_STREAMS, ELEMENTS = 8, 256

#: Least cycles of a stream that are measured.
MEASURED = 64


def warm_up(parameters: ArrayParameters) -> int:
    """Cycles before those that are measured: two groups, which clear what a tile held."""
    return 2 * parameters.beats


def cycles(parameters: ArrayParameters) -> int:
    """Cycles of a stream; after the warm-up whole groups."""
    return warm_up(parameters) + -(-MEASURED // parameters.beats) * parameters.beats


def streams_of(parameters: ArrayParameters) -> int:
    """Streams of a tile: at least 512 cycles are measured, and fewer of a large one."""
    elements = parameters.tile_rows * parameters.tile_columns
    return min(max(ELEMENTS // elements, LEAST_STREAMS), STREAMS)


def operands(parameters: ArrayParameters, kind: str,
             streams: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes of activations, shape (cycles, streams, R, L), and of weights, with C in place of R.

    The same layer in the formats of each set: sets of one shape differ in nothing else. A stream
    walks along K of rows and columns of its own, and begins anew at its end.

    Raises
    ------
    ValueError
        If ``kind`` is not one of :data:`KINDS`.
    """
    _check(kind)
    p = parameters
    streams = streams_of(p) if streams is None else streams
    shapes = [(cycles(p), streams, count, p.lanes) for count in (p.tile_rows, p.tile_columns)]
    rng = np.random.default_rng(1)
    if kind == "zero":
        return tuple(np.zeros(shape, dtype=np.int64) for shape in shapes)
    if kind == "random":
        return tuple(rng.integers(0, 1 << fmt.bits, shape)
                     for fmt, shape in zip((p.x_format, p.w_format), shapes, strict=True))
    x, w = _layer(p, kind, p.tile_rows * streams, p.tile_columns * streams, cycles(p) * p.lanes)
    found = tuple(_beats(codes, shape)
                  for codes, shape in zip((x.codes, w.codes.T), shapes, strict=True))
    if kind == "constant":
        found = tuple(np.broadcast_to(codes[0], codes.shape) for codes in found)
    return found


@dataclass(frozen=True)
class Sums:
    """What a dequantiser takes with each row of each group; shapes (groups, rows, streams).

    Scales are codes, all else integers in steps of their formats. Sums of activations without
    zero points have zeros there; ``x_scale`` is zero if a token has one scale.
    """

    sum: NDArray[np.int64]
    row_sum: NDArray[np.int64]
    zero: NDArray[np.int64]
    x_zero: NDArray[np.int64]
    column_sum: NDArray[np.int64]
    scale: NDArray[np.int64]
    x_scale: NDArray[np.int64]


def sums(parameters: ArrayParameters, kind: str, groups: int, streams: int = STREAMS) -> Sums:
    """Sums of the groups of operands of a kind; each stream is a column with rows of its own.

    Raises
    ------
    ValueError
        If ``kind`` is not one of :data:`KINDS`, or activations are floats.
    """
    _check(kind)
    p = parameters
    if p.float_sums:
        raise ValueError(f"Activations must be integers, not {p.x}")
    x, w = _layer(p, kind, p.band_rows * streams, streams, groups * p.group)
    w = w.columns(np.arange(streams) % w.shape[1])
    place = np.arange(groups) % len(w.zeros)
    k = (place[:, None] * w.group + np.arange(w.group)) % len(w.q)
    rows = x.q[:, k].reshape(streams, p.band_rows, groups, w.group)
    weights, zero = w.q[k], w.zeros[place]

    def of_column(values):
        """Values of each column, for all rows."""
        return np.repeat(values[:, None], p.band_rows, axis=1)

    def of_rows(values):
        """Values of each row and group, if there are any."""
        if values is None:
            return np.zeros((groups, p.band_rows, streams), dtype=np.int64)
        return values[:, place].reshape(streams, p.band_rows, groups).transpose(2, 1, 0)

    found = Sums(
        sum=np.einsum("srgk,gks->grs", rows, weights, optimize=True),
        row_sum=rows.sum(axis=-1).transpose(2, 1, 0), zero=of_column(zero),
        x_zero=of_rows(x.zeros), column_sum=of_column((weights - zero[:, None]).sum(axis=1)),
        scale=of_column(w.scales[place]), x_scale=of_rows(x.group_scales))
    if kind == "constant":
        found = Sums(**{name: np.broadcast_to(values[:1, :1], values.shape)
                        for name, values in vars(found).items()})
    return found


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"Operands must be one of {', '.join(KINDS)}, not {kind!r}")


def _layer(p: ArrayParameters, kind: str, m: int, n: int,
           k: int) -> tuple[Activations, GroupedWeights]:
    """Activations (M, K) and weights (K, N), of the shape that is asked for or of the fixture.

    Uniform codes are those of a layer of uniform numbers.
    """
    rng = np.random.default_rng(1)
    if kind == "fixture":
        weights = checkpoint.load(FIXTURE, checkpoint.layers(FIXTURE)[0])
        if weights.w != p.w:
            weights = fitted(weights, p, requantise=True)
    else:
        draw = {"zero": np.zeros, "random": lambda size: rng.uniform(-1, 1, size)}.get(
            kind, lambda size: synthetic.weights(
                rng, "heavy" if kind == "heavy" else "gaussian", size))
        weights = quantise_weights(draw((k, n)), w=p.w, group=p.group, scale=p.scale)
    x = synthetic.activations(rng, m, len(weights.q))
    if kind == "zero":
        x = np.zeros_like(x)
    elif kind == "random":
        x = rng.uniform(-1, 1, x.shape).astype(np.float32)
    return quantised_activations(x, p, weights.group), weights


def _beats(codes: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Beats (cycles, streams, count, lanes) of codes (rows, K), both wrapped round."""
    length, streams, count, lanes = shape
    k = codes.shape[1] // lanes * lanes
    rows = codes[np.arange(streams * count) % len(codes)][:, np.arange(length * lanes) % k]
    return rows.reshape(streams, count, length, lanes).transpose(2, 0, 1, 3)
