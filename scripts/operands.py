"""Operands whose switching is measured, by their statistics."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden import synthetic
from golden.formats import FORMATS
from golden.gemm import gemm
from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights, groups, quantise_weights
from golden.rivals import RivalParameters, progressive
from scripts import checkpoint
from scripts.sim import quantised_activations

__all__ = ["KINDS", "PARTIAL", "STALL", "WIDE", "RivalOperands", "Sums", "busy", "cycles",
           "operands", "outputs", "rival_operands", "source_of", "streams_of", "sums", "warm_up"]

#: Kinds of operands, and what each is. Activations of the layers have outlier channels.
KINDS = {
    "zero":     "zeros, or the codes 0 of formats that lack them",
    "constant": "one beat of a layer of normal weights, held",
    "gaussian": "a layer of normal weights, quantised by group",
    "heavy":    "a layer of weights of Student's t distribution, quantised by group",
    "fixture":  "a layer of the checkpoint of the tests",
    "random":   "uniform codes",
}

#: Kinds of tiles alone: part of the tile, or of the time, is without work.
PARTIAL = {
    "idle":  "the layer of `fixture`, zero activations in half of the lanes",
    "stall": "the layer of `fixture`, no operands in three of four cycles",
}

#: Cycles of a beat of the kind ``stall``.
STALL = 4

#: Kind that only sets with wide weights have: the fixture's layer in 8 bits, two columns each.
WIDE = "wide"

FIXTURE = Path(__file__).parent.parent / "tb" / "data" / "awq_gemm.safetensors"

#: K and columns of a layer, those of the fixture's, and its rows. All designs see all of these.
LENGTH, COLUMNS, ROWS = 384, 64, 32

#: Least streams that are simulated side by side.
LEAST_STREAMS = 8

#: Least cycles of a stream that are measured.
MEASURED = 64


def warm_up(parameters: ArrayParameters, kind: str = "") -> int:
    """Cycles before those that are measured: two groups, which clear what a tile held."""
    return 2 * parameters.beats * _period(kind)


def cycles(parameters: ArrayParameters, kind: str = "") -> int:
    """Cycles of a stream; after the warm-up whole passes through the K of a layer."""
    pass_ = groups(LENGTH, parameters.group) * parameters.beats * _period(kind)
    return warm_up(parameters, kind) + -(-MEASURED // pass_) * pass_


def busy(parameters: ArrayParameters, kind: str) -> NDArray[np.bool_]:
    """Cycles of a stream in which there are operands: all but those of a stall."""
    return np.arange(cycles(parameters, kind)) % _period(kind) == 0


def _period(kind: str) -> int:
    """Cycles of a beat."""
    return STALL if kind == "stall" else 1


def streams_of(parameters: ArrayParameters) -> int:
    """Streams of a tile, which together have all columns of a layer."""
    return max(-(-COLUMNS // parameters.tile_columns), LEAST_STREAMS)


def operands(parameters: ArrayParameters, kind: str,
             streams: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes of activations, shape (cycles, streams, R, L), and of weights, with C in place of R.

    The same layer in the formats of each set, whatever its shape: with all streams a design sees
    each row, column and k of it equally often, as the shape allows. A stream walks along K of rows
    and columns of its own, and begins anew at its end. In cycles that are not :func:`busy` the
    codes are those of the next beat.

    Raises
    ------
    ValueError
        If ``kind`` is not one of :data:`KINDS` or :data:`PARTIAL`, nor :data:`WIDE` with wide
        weights.
    """
    _check(kind, parameters, PARTIAL)
    p = parameters
    streams = streams_of(p) if streams is None else streams
    length = np.count_nonzero(busy(p, kind))
    shapes = [(length, streams, count, p.lanes) for count in (p.tile_rows, p.tile_columns)]
    if kind == "zero":
        return tuple(np.zeros(shape, dtype=np.int64) for shape in shapes)
    if kind == "random":
        rng = np.random.default_rng(1)
        return tuple(rng.integers(0, 1 << fmt.bits, shape)
                     for fmt, shape in zip((p.x_format, p.w_format), shapes, strict=True))
    x, w = _layer(p, kind)
    codes = _halves(w.codes) if kind == WIDE else w.codes
    x, w = (_held(kind, _beats(each, shape))
            for each, shape in zip((x.codes, codes.T), shapes, strict=True))
    if kind == "idle":
        x = np.where(np.arange(p.lanes) < p.lanes - p.lanes // 2, x, 0)
    # The beat that is taken next is at the inputs.
    beat = -(-np.arange(cycles(p, kind)) // _period(kind)) % length
    return x[beat], w[beat]


@dataclass(frozen=True)
class RivalOperands:
    """Codes that enter a rival; zero points and scales only if it dequantises.

    ``x`` has shape (cycles, streams, R, L), ``w`` (cycles, streams, C, L), the others (cycles,
    streams, C).
    """

    x: NDArray[np.int64]
    w: NDArray[np.int64]
    zeros: NDArray[np.int64] | None = None
    scales: NDArray[np.int64] | None = None


def source_of(parameters: RivalParameters) -> ArrayParameters:
    """Set of the tile whose layer a rival gets: its shape, activations and groups.

    Weights are int8 for an int8 element; the others get the layer of uint4, dequantised by
    themselves or before.
    """
    p = parameters
    integer = p.x_format.is_integer
    return ArrayParameters(
        name=p.name, x=p.x_format.name, w="int8" if p.kind == "int8_pe" else "uint4",
        mac="product" if integer else "float", lanes=p.lanes, tile_rows=p.tile_rows,
        tile_columns=p.tile_columns, group=p.group)


def rival_operands(parameters: RivalParameters, kind: str,
                   streams: int | None = None) -> RivalOperands:
    """Operands of a rival: the layer that :func:`operands` gives a tile of its shape.

    Weights of a float element are those of the layer, rounded to fp16. Uniform codes would be no
    numbers for floats: ``random`` is a layer of uniform numbers here.

    Raises
    ------
    ValueError
        If ``kind`` is not one of :data:`KINDS`.
    """
    p = source_of(parameters)
    _check(kind, p)
    streams = streams_of(p) if streams is None else streams
    x, weights = _layer(p, kind)
    zeros = scales = None
    if parameters.kind == "int8_first":
        first = progressive(weights.dequantise(), weights.group)
        codes, zeros, scales = first.q, first.zeros, first.scales
    elif parameters.kind == "fp16_first":
        codes, zeros, scales = weights.codes, weights.zeros, weights.scales
    elif parameters.kind == "fp16_fma":
        codes = FORMATS["fp16"].encode(weights.dequantise())
    else:
        codes = weights.codes

    def of_columns(values):
        """Values of each column and group, in each beat."""
        if values is None:
            return None
        each_k = np.repeat(values, weights.group, axis=0)
        return _beats(each_k.T, (cycles(p), streams, p.tile_columns, p.lanes))[..., 0]

    x, w = (_beats(each, (cycles(p), streams, count, p.lanes))
            for each, count in ((x.codes, p.tile_rows), (codes.T, p.tile_columns)))
    return RivalOperands(*(None if each is None else _held(kind, each) for each in (
        x, w, of_columns(zeros), of_columns(scales))))


@dataclass(frozen=True)
class Sums:
    """What dequantisers take with each row of each group.

    Shapes are (groups, rows, streams) of what a row has, with columns behind it of all else.
    Scales are codes, the others integers in steps of their formats. Sums of activations without
    zero points have zeros there; ``x_scale`` is zero if a token has one scale. Wide weights have
    sums of their low and high halves in two columns; ``joined`` and the rest are in the first.
    """

    sum: NDArray[np.int64]
    joined: NDArray[np.int64]
    row_sum: NDArray[np.int64]
    zero: NDArray[np.int64]
    x_zero: NDArray[np.int64]
    column_sum: NDArray[np.int64]
    scale: NDArray[np.int64]
    x_scale: NDArray[np.int64]


def sums(parameters: ArrayParameters, kind: str, count: int, streams: int | None = None) -> Sums:
    """Sums of ``count`` groups of operands of a kind; a stream has rows and columns of its own.

    Raises
    ------
    ValueError
        If ``kind`` is not one of :data:`KINDS`, nor :data:`WIDE` with wide weights, or
        activations are floats.
    """
    _check(kind, parameters)
    p = parameters
    if p.float_sums:
        raise ValueError(f"Activations must be integers, not {p.x}")
    streams = streams_of(p) if streams is None else streams
    x, w = _layer(p, kind)
    parts = [w.q, w.q - np.repeat(w.zeros, w.group, axis=0)[:len(w.q)], w.zeros, w.scales]
    if kind == WIDE:
        parts = [_halves(w.q), *(_first(part) for part in parts[1:])]
    columns = np.arange(streams * p.tile_columns) % parts[0].shape[1]
    q, weights, zeros, scales = (part[:, columns].reshape(len(part), streams, -1)
                                 for part in parts)
    place = np.arange(count) % len(zeros)
    k = (place[:, None] * w.group + np.arange(w.group)) % len(q)
    tokens = np.arange(streams * p.band_rows) % len(x.q)
    rows = x.q[tokens][:, k].reshape(streams, p.band_rows, count, w.group)

    def of_columns(values):
        """Values of each group and column, for all rows."""
        return np.repeat(values[:, None], p.band_rows, axis=1)

    def of_rows(values):
        """Values of each row and group, if there are any."""
        if values is None:
            return np.zeros((count, p.band_rows, streams), dtype=np.int64)
        return values[tokens][:, place].reshape(streams, p.band_rows, count).transpose(2, 1, 0)

    total = np.einsum("srgk,gksc->grsc", rows, q[k], optimize=True)
    joined = total
    if kind == WIDE:
        joined = _first(total[..., ::2] + 16 * total[..., 1::2])
    found = Sums(
        sum=total, joined=joined,
        row_sum=rows.sum(axis=-1).transpose(2, 1, 0), zero=of_columns(zeros[place]),
        x_zero=of_rows(x.zeros), column_sum=of_columns(weights[k].sum(axis=1)),
        scale=of_columns(scales[place]), x_scale=of_rows(x.group_scales))
    if kind == "constant":
        found = Sums(**{name: np.broadcast_to(values[:1, :1], values.shape)
                        for name, values in vars(found).items()})
    return found


def outputs(parameters: ArrayParameters,
            kind: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Accumulators of a layer's outputs, shape (M, N), and the scales of its tokens.

    Raises
    ------
    ValueError
        If ``kind`` is not one of :data:`KINDS`.
    """
    _check(kind, parameters.replace(wide=False))
    x, weights = _layer(parameters, kind)
    codes = gemm(replace(x, scales=np.ones_like(x.scales)), weights, y="fp32")
    found, scales = codes.astype(np.uint32).view(np.float32), x.scales
    if kind == "constant":
        found, scales = (np.broadcast_to(each.flat[0], each.shape) for each in (found, scales))
    return found, scales


def _check(kind: str, parameters: ArrayParameters, others: Collection[str] = ()) -> None:
    kinds = [*KINDS, *others, *[WIDE] * parameters.wide]
    if kind not in kinds:
        raise ValueError(f"Operands must be one of {', '.join(kinds)}, not {kind!r}")


def _layer(p: ArrayParameters, kind: str) -> tuple[Activations, GroupedWeights]:
    """Activations (M, K) and weights (K, N): the fixture's, or drawn in its shape.

    Whatever the set, the numbers before they are quantised are the same; K is whole groups.
    Uniform codes are those of a layer of uniform numbers.
    """
    rng = np.random.default_rng(1)
    w = "int8" if kind == WIDE else p.w
    if kind in ("fixture", WIDE, *PARTIAL):
        weights = checkpoint.load(FIXTURE, checkpoint.layers(FIXTURE)[0])
        if (weights.w, weights.scale) != (w, p.scale):
            weights = quantise_weights(weights.dequantise(), w=w, scale=p.scale,
                                       group=min(weights.group, p.group))
    else:
        draw = {"zero": np.zeros, "random": lambda size: rng.uniform(-1, 1, size)}.get(
            kind, lambda size: synthetic.weights(
                rng, "heavy" if kind == "heavy" else "gaussian", size))
        length = groups(LENGTH, p.group) * p.group
        weights = quantise_weights(draw((length, COLUMNS)), w=w, group=p.group, scale=p.scale)
    if kind == WIDE:
        weights = weights.with_format("uint8")
    rng = np.random.default_rng(2)
    x = synthetic.activations(rng, ROWS, len(weights.q))
    if kind == "zero":
        x = np.zeros_like(x)
    elif kind == "random":
        x = rng.uniform(-1, 1, x.shape).astype(np.float32)
    return quantised_activations(x, p, weights.group), weights


def _halves(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Low and high halves of codes of 8 bits, in two columns each."""
    return np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)


def _first(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Values in the first of two columns each."""
    return np.stack([values, 0 * values], axis=-1).reshape(*values.shape[:-1], -1)


def _held(kind: str, beats: NDArray[np.int64]) -> NDArray[np.int64]:
    """Beats (cycles, streams, ...); of those of kind ``constant`` each stream holds one."""
    if kind != "constant":
        return beats
    streams = np.arange(beats.shape[1])
    return np.broadcast_to(beats[streams % len(beats), streams], beats.shape)


def _beats(codes: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Beats (cycles, streams, count, lanes) of codes (rows, K), both wrapped round."""
    length, streams, count, lanes = shape
    k = codes.shape[1] // lanes * lanes
    rows = codes[np.arange(streams * count) % len(codes)][:, np.arange(length * lanes) % k]
    return rows.reshape(streams, count, length, lanes).transpose(2, 0, 1, 3)
