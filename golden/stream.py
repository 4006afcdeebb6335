"""Streams of the array: how matrices become beats, and beats a matrix."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from golden.parameters import ArrayParameters
from golden.quantise import Activations, GroupedWeights

__all__ = ["pack", "unpack", "output_tiles", "x_beats", "w_beats", "s_beats", "sx_beats",
           "y_matrix"]


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


def output_tiles(m: int, n: int, parameters: ArrayParameters) -> Iterator[tuple[slice, slice]]:
    """Row and column slices of the output tiles, in the order in which the array computes them.

    Rows come first, so that a block of weights is repeated for every block of activations.
    """
    for column in range(0, n, parameters.columns):
        for row in range(0, m, parameters.rows):
            yield (slice(row, row + parameters.rows), slice(column, column + parameters.columns))


def _padded(block: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    return np.pad(block, ((0, rows - len(block)), (0, 0)))


def _beats(block: NDArray[np.int64], lanes: int, bits: int) -> list[int]:
    """Beats of a block of shape (rows or columns, K): ``lanes`` values of each row."""
    rows, k = block.shape
    return pack(block.reshape(rows, k // lanes, lanes).swapaxes(0, 1).reshape(k // lanes, -1),
                bits)


def x_beats(x: Activations, n: int, parameters: ArrayParameters) -> list[int]:
    """Payloads of stream ``x`` for all output tiles: L activations of each row in a beat.

    Row ``r``, lane ``l`` lies at value ``r * L + l``. Rows past the last are zeros.
    """
    return [beat for rows, _ in output_tiles(len(x.q), n, parameters)
            for beat in _beats(_padded(x.q[rows], parameters.rows), parameters.lanes,
                               parameters.x_format.bits)]


def w_beats(weights: GroupedWeights, m: int, parameters: ArrayParameters) -> list[int]:
    """Payloads of stream ``w``: L weights of each column in a beat, column-major as in ``x``."""
    return [beat for _, columns in output_tiles(m, weights.q.shape[1], parameters)
            for beat in _beats(_padded(weights.q.T[columns], parameters.columns),
                               parameters.lanes, parameters.w_format.bits)]


def s_beats(weights: GroupedWeights, m: int, parameters: ArrayParameters) -> list[int]:
    """Payloads of stream ``s``: one for each group of each output tile.

    Column ``c`` has its scale and, above it, its zero point; the highest bit marks the last group
    of an output tile.
    """
    scale_bits, zero_bits = parameters.scale_format.bits, parameters.w_format.zero_bits
    entries = weights.scales | weights.zeros << scale_bits
    width = (scale_bits + zero_bits) * parameters.columns
    beats = []
    for _, columns in output_tiles(m, weights.q.shape[1], parameters):
        beats += pack(_padded(entries.T[columns], parameters.columns).T, scale_bits + zero_bits)
        beats[-1] |= 1 << width
    return beats


def sx_beats(x: Activations, n: int, parameters: ArrayParameters) -> list[int]:
    """Payloads of stream ``sx``: the float32 scale of each row of each output tile."""
    codes = x.scales.astype(np.float32).view(np.uint32)
    return [beat for rows, _ in output_tiles(len(x.q), n, parameters)
            for beat in np.pad(codes[rows], (0, parameters.rows - len(codes[rows]))).tolist()]


def y_matrix(beats: list[int], m: int, n: int, parameters: ArrayParameters) -> NDArray[np.int64]:
    """Codes of the outputs, shape (M, N), from the payloads of stream ``y``.

    An output tile is sent row by row, ``y_lanes`` columns in a beat. The bit above them marks the
    tile's last beat and is checked.
    """
    bits, lanes = parameters.y_format.bits, parameters.y_lanes
    size = parameters.rows * parameters.columns // lanes
    last = [beat >> bits * lanes for beat in beats]
    y = np.zeros((m, n), dtype=np.int64)
    tiles = list(output_tiles(m, n, parameters))
    if last != ([0] * (size - 1) + [1]) * len(tiles):
        raise ValueError(f"Stream y must have {len(tiles)} tiles of {size} beats, "
                         f"not {len(beats)} beats with ends at {np.flatnonzero(last).tolist()}")
    words = unpack([beat & (1 << bits * lanes) - 1 for beat in beats], bits, lanes)
    blocks = words.reshape(len(tiles), parameters.rows, parameters.columns)
    for (rows, columns), block in zip(tiles, blocks, strict=True):
        target = y[rows, columns]
        target[:] = block[:target.shape[0], :target.shape[1]]
    return y
