"""Streams of the array: how matrices become beats, and beats a matrix."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from golden.formats import Format
from golden.mixed import MixedWeights
from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights, groups

__all__ = ["pack", "unpack", "ColumnPass", "column_passes", "group_beats", "LayerStreams",
           "EngineStreams"]


def pack(values: NDArray[np.int64], bits: int) -> list[int]:
    """Rows of integers as one number each, the first value in the lowest bits.

    Examples
    --------
    >>> [hex(word) for word in pack(np.array([[1, 2], [-1, 0]]), 4)]
    ['0x21', '0xf']
    """
    planes = (values[..., None] >> np.arange(bits) & 1).astype(np.uint8)
    rows = np.packbits(planes.reshape(len(values), -1), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def unpack(words: Iterable[int], bits: int, count: int) -> NDArray[np.int64]:
    """Inverse of :func:`pack` for unsigned values, shape (words, count).

    Examples
    --------
    >>> unpack([0x21, 0xf], 4, 2).tolist()
    [[1, 2], [15, 0]]
    """
    size = -(-bits * count // 8)
    rows = [np.frombuffer(word.to_bytes(size, "little"), dtype=np.uint8) for word in words]
    planes = np.unpackbits(np.stack(rows), axis=1, bitorder="little", count=bits * count)
    return planes.reshape(-1, count, bits).astype(np.int64) @ (1 << np.arange(bits))


@dataclass(frozen=True)
class ColumnPass:
    """Weights that the columns of the array hold at a time.

    Parameters
    ----------
    features : ndarray of int64, shape (at most columns,)
        Output features; half as many if ``wide``.
    wide : bool
        Whether each feature takes two columns, the one of the low nibbles first.
    codes : ndarray of int64, shape (K, columns)
        Codes of the weights.
    scales, zeros : ndarray of int64, shape (groups, columns)
        Codes of the scales, and zero points; in the first column of a wide feature.
    """

    features: NDArray[np.int64]
    wide: bool
    codes: NDArray[np.int64]
    scales: NDArray[np.int64]
    zeros: NDArray[np.int64]


def column_passes(weights: GroupedWeights | MixedWeights,
                  parameters: ArrayParameters) -> list[ColumnPass]:
    """Passes over all columns that a layer takes, wide ones first.

    Raises
    ------
    ValueError
        If the set does not have the format of the weights or of the scales.
    """
    if isinstance(weights, MixedWeights):
        wide, narrow = weights.wide, weights.narrow
        split = wide.q.shape[1]
        return (_passes(wide, weights.features[:split], parameters)
                + _passes(narrow, weights.features[split:], parameters))
    return _passes(weights, np.arange(weights.q.shape[1]), parameters)


def _passes(weights: GroupedWeights, features: NDArray[np.int64],
            p: ArrayParameters) -> list[ColumnPass]:
    wide = p.wide and weights.w in ("int8", "uint8")
    if weights.scale != p.scale:
        raise ValueError(f"Format of the scales must be that of the set {p.name}, {p.scale}, "
                         f"not {weights.scale}")
    if wide:
        weights = weights.with_format("uint8")
    elif weights.w != p.w:
        raise ValueError(f"Format of the weights must be that of the set {p.name}, {p.w}, "
                         f"not {weights.w}")
    size = p.columns // (1 + wide)
    passes = []
    for start in range(0, len(features), size):
        part = weights.columns(slice(start, start + size))
        codes, scales, zeros = (_padded(each.T, size).T
                                for each in (part.codes, part.scales, part.zeros))
        if wide:
            codes = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(codes), -1)
            scales, zeros = (np.stack([each, 0 * each], axis=2).reshape(len(each), -1)
                             for each in (scales, zeros))
        passes.append(ColumnPass(features[start:start + size], wide, codes, scales, zeros))
    return passes


def _padded(block: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    return np.pad(block, ((0, rows - len(block)), (0, 0)))


def group_beats(k: int, group: int, parameters: ArrayParameters) -> list[int]:
    """Beats of each group of K.

    The last group may be shorter than G, but has ``least_beats``; lanes and beats that it has too
    many are padded.

    Raises
    ------
    ValueError
        If the set does not have the group size.
    """
    p = parameters
    whole = k > group
    if not (p.least_group * whole <= group <= p.group) or (whole and group % p.lanes):
        raise ValueError(f"Group size must be a multiple of {p.lanes} from {p.least_group} to "
                         f"{p.group} for set {p.name}, not {group}")
    rest = k - (groups(k, group) - 1) * group
    return [group // p.lanes] * (groups(k, group) - 1) + [
        max(-(-rest // p.lanes), p.least_beats)]


class _Streams:
    """What both kinds of streams have of a layer."""

    def __init__(self, x: Activations, weights: GroupedWeights | MixedWeights,
                 parameters: ArrayParameters):
        self._x, self._p = x, parameters
        fmt = self._x_format(parameters)
        if x.fmt != fmt:
            raise ValueError(f"Format of the activations must be that of the set "
                             f"{parameters.name}, {fmt.name}, not {x.fmt.name}")
        if x.zeros is not None and not parameters.x_zero:
            raise ValueError(f"Activations must have no zero points for set {parameters.name}")
        if x.group_scales is not None and x.group_scale != parameters.x_scale:
            raise ValueError(f"Format of the activations' group scales must be that of the set "
                             f"{parameters.name}, {parameters.x_scale}, not {x.group_scale}")
        if x.q.shape[1] != weights.shape[0]:
            raise ValueError(f"Shapes {x.q.shape} and {weights.shape} do not form a matrix product")
        self._shape = len(x.q), weights.shape[1]
        self._group = weights.group
        if x.group not in (None, self._group):
            raise ValueError(f"Group size of the activations must be that of the weights, "
                             f"{self._group}, not {x.group}")
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            self._sx = (x.scales * weights.global_scale).astype(np.float32)
        self._passes = column_passes(weights, parameters)
        self._beats = group_beats(weights.shape[0], self._group, parameters)
        self._blocks = [slice(row, row + parameters.rows)
                        for row in range(0, len(x.q), parameters.rows)]

    @staticmethod
    def _x_format(parameters: ArrayParameters) -> Format:
        """Format of the activations that are sent."""
        return parameters.x_format

    @property
    def tiles(self) -> int:
        """Output tiles."""
        return len(self._passes) * len(self._blocks)

    def _t_entries(self) -> tuple[NDArray[np.int64], int]:
        """Scale and, above it, zero point of each row and group, as far as the set has these.

        Shape (M, groups), and their width.
        """
        p, x = self._p, self._x
        bits = p.x_scale_format.bits if p.x_scale_format else 0
        entries, width = self._group_matrix(0), bits
        if p.x_scale_format:
            entries = entries | (x.group_scales if x.group_scales is not None
                                 else p.x_scale_format.encode(1.0))
        if p.x_zero:
            width += p.x_format.bits
            if x.zeros is not None:
                entries = entries | (x.zeros & (1 << p.x_format.bits) - 1) << bits
        return entries, width

    def _group_matrix(self, value: int) -> NDArray[np.int64]:
        """``value`` for each token and group."""
        return np.full((self._shape[0], len(self._beats)), value, dtype=np.int64)


class LayerStreams(_Streams):
    """Payloads of the array's streams for one layer.

    The array computes an output tile for each pass over the columns and each block of rows, the
    blocks of rows first. Operands are sent for each tile that needs them.

    Parameters
    ----------
    x : Activations
        M by K activations.
    weights : GroupedWeights or MixedWeights
        K by N weights.
    parameters : ArrayParameters
        Set of the array.

    Raises
    ------
    ValueError
        If the layer does not fit the set.
    """

    @cached_property
    def payloads(self) -> dict[str, list[int]]:
        """Payloads of each stream into the array."""
        streams = {"x": self._x_beats(), "w": self._w_beats(), "s": self._s_beats(),
                   "sx": self._sx_beats()}
        if self._p.x_groups:
            streams["t"] = self._t_beats()
        return streams

    def _x_beats(self) -> list[int]:
        """L activations of each row in a beat; the highest bit ends a group.

        Row ``r``, lane ``l`` lies at value ``r * L + l``. Rows past the last are zeros. Lanes past
        K are the zero point, which adds nothing.
        """
        p, x = self._p, self._x
        mask = (1 << p.x_format.bits) - 1
        fill = self._group_matrix(0) if x.zeros is None else x.zeros & mask
        codes = self._spread(x.codes, fill)
        beats = []
        ends = np.cumsum(self._beats) - 1
        for block in self._blocks:
            words = _beats(_padded(codes[block], p.rows), p.lanes, p.x_format.bits)
            for end in ends:
                words[end] |= 1 << p.rows * p.lanes * p.x_format.bits
            beats += words
        return beats * len(self._passes)

    def _w_beats(self) -> list[int]:
        """L weights of each column in a beat, column-major as in ``x``."""
        p = self._p
        return [beat for each in self._passes
                for beat in _beats(self._spread(each.codes.T, 0 * each.zeros.T), p.lanes,
                                   p.w_format.bits) * len(self._blocks)]

    def _s_beats(self) -> list[int]:
        """One beat for each group of each output tile.

        Column ``c`` has its scale and, above it, its zero point. Above the columns are a bit that
        marks wide weights, if the set has these, and one that marks the tile's last group.
        """
        p, beats = self._p, []
        entry = p.scale_format.bits + p.zero_bits
        for each in self._passes:
            words = pack(each.scales | each.zeros << p.scale_format.bits, entry)
            if p.wide:
                words = [word | each.wide << entry * p.columns for word in words]
            words[-1] |= 1 << entry * p.columns + p.wide
            beats += words * len(self._blocks)
        return beats

    def _t_beats(self) -> list[int]:
        """One beat for each group of each output tile: the entries of all rows."""
        entries, width = self._t_entries()
        return [beat for block in self._blocks
                for beat in pack(_padded(entries[block], self._p.rows).T, width)
                ] * len(self._passes)

    def _sx_beats(self) -> list[int]:
        """The float32 scale of each row of each output tile."""
        codes = self._sx.view(np.uint32)
        return [beat for block in self._blocks
                for beat in np.pad(codes[block], (0, self._p.rows - len(codes[block]))).tolist()
                ] * len(self._passes)

    def outputs(self, beats: list[int]) -> NDArray[np.int64]:
        """Codes of the outputs, shape (M, N), from the payloads of stream ``y``.

        An output tile is sent row by row, ``y_lanes`` features in a beat. The bit above them marks
        the tile's last beat and is checked.
        """
        p = self._p
        bits, lanes = p.y_format.bits, p.y_lanes
        y = np.zeros(self._shape, dtype=np.int64)
        words = unpack([beat & (1 << bits * lanes) - 1 for beat in beats], bits, lanes)
        last = [beat >> bits * lanes for beat in beats]
        start = 0
        for each in self._passes:
            columns = p.columns // (1 + each.wide)
            for block in self._blocks:
                size = p.rows * columns // lanes
                if last[start:start + size] != [0] * (size - 1) + [1]:
                    raise ValueError(f"Stream y must have a tile of {size} beats at beat {start}")
                tile = words[start:start + size].reshape(p.rows, columns)
                rows = len(y[block])
                y[block, each.features] = tile[:rows, :len(each.features)]
                start += size
        if start != len(beats):
            raise ValueError(f"Stream y must have {start} beats, not {len(beats)}")
        return y

    @property
    def output_beats(self) -> int:
        """Beats of stream ``y``."""
        return sum(self._p.rows * self._p.columns // (1 + each.wide) // self._p.y_lanes
                   for each in self._passes) * len(self._blocks)

    def _spread(self, values: NDArray[np.int64], fill: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of K with each group padded to its beats by its own ``fill``, (rows, groups)."""
        parts = []
        for g, beats in enumerate(self._beats):
            part = values[:, g * self._group:(g + 1) * self._group]
            padding = np.repeat(fill[:, g:g + 1], beats * self._p.lanes - part.shape[1], axis=1)
            parts += [part, padding]
        return np.concatenate(parts, axis=1)


def _beats(block: NDArray[np.int64], lanes: int, bits: int) -> list[int]:
    """Beats of a block of shape (rows or columns, K): ``lanes`` values of each row."""
    rows, k = block.shape
    return pack(block.reshape(rows, k // lanes, lanes).swapaxes(0, 1).reshape(k // lanes, -1),
                bits)


class EngineStreams(_Streams):
    """Items of the engine's streams for one GEMM.

    Each operand is sent once: the matrix of activations row by row, the weights pass by pass.

    Parameters
    ----------
    x, weights, parameters
        As of :class:`LayerStreams`; but activations that the engine aligns are floats.
    """

    @staticmethod
    def _x_format(parameters: ArrayParameters) -> Format:
        return parameters.x_input_format

    @cached_property
    def payloads(self) -> dict[str, list[int]]:
        """Items of each stream into the engine."""
        p, x = self._p, self._x
        m, k = x.q.shape
        padding = -k % p.lanes
        lines = -(-m // p.x_rows) * p.x_rows
        x_codes, *w_codes = (np.pad(codes, ((0, rows), (0, padding))) for rows, codes in (
            (lines - m, x.codes), *((0, each.codes.T) for each in self._passes)))
        entry = p.scale_format.bits + p.zero_bits
        streams = {
            "x":  [item for start in range(0, lines, p.x_rows) for item in _beats(
                x_codes[start:start + p.x_rows], p.lanes, p.x_input_format.bits)],
            "w":  [item for codes in w_codes for item in _beats(codes, p.lanes, p.w_format.bits)],
            "s":  [item for each in self._passes
                   for item in pack(each.scales | each.zeros << p.scale_format.bits, entry)],
            "sx": self._sx.view(np.uint32).tolist(),
        }
        if p.t_stream:
            entries, width = self._t_entries()
            streams["t"] = pack(entries.reshape(-1, 1), width)
        return streams

    @property
    def k(self) -> int:
        """Length of a row of activations."""
        return self._x.q.shape[1]

    @property
    def beats(self) -> int:
        """Beats of the array that the GEMM takes."""
        return self.tiles * sum(self._beats)

    def outputs(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Codes of the outputs, shape (M, N), from those of stream ``y`` in their order.

        Passes follow each other, and in each the rows. What TKEEP says is absent is left out.
        """
        m = self._shape[0]
        if len(codes) != self._shape[0] * self._shape[1]:
            raise ValueError(f"Stream y must have {self._shape[0] * self._shape[1]} outputs, "
                             f"not {len(codes)}")
        y = np.zeros(self._shape, dtype=np.int64)
        start = 0
        for each in self._passes:
            stop = start + m * len(each.features)
            y[:, each.features] = codes[start:stop].reshape(m, -1)
            start = stop
        return y
