"""Cycles of a layer of any size on the engine, its memory interface included."""

from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np

from golden.cycles import gemm_cycles
from golden.parameters import ArrayParameters
from golden.quantise import groups
from golden.stream import group_beats

__all__ = ["LayerCycles", "Memory", "command_rows", "layer_cycles"]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What stands before the engine's ports: an interface that all streams share.

    A command's operands are fetched before it starts, so that its streams offer an item in every
    cycle, and its outputs are stored after it has ended.

    Parameters
    ----------
    bytes_per_cycle : float
        Rate of all streams together, more than 0.
    latency : int
        Cycles from a request to the first byte, paid once for each command; stores do not wait.
    double_buffered : bool
        Whether there is room for the operands and outputs of two commands, so that one's are moved
        while another runs. The activations of both are in the engine's own buffer.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    bytes_per_cycle: float
    latency: int = 0
    double_buffered: bool = True

    def __post_init__(self) -> None:
        rate = self.bytes_per_cycle
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not (
                isfinite(rate) and rate > 0):
            raise ValueError(f"Parameter bytes_per_cycle must be a number above 0, not {rate!r}")
        if type(self.latency) is not int or self.latency < 0:
            raise ValueError(f"Parameter latency must be an integer of at least 0, "
                             f"not {self.latency!r}")
        if type(self.double_buffered) is not bool:
            raise ValueError(f"Parameter double_buffered must be True or False, "
                             f"not {self.double_buffered!r}")


@dataclass(frozen=True, kw_only=True)
class LayerCycles:
    """Cycles of a layer.

    Parameters
    ----------
    commands : int
        Commands that the layer is split into.
    compute : int
        Cycles of all commands, each alone with its operands at the ports.
    memory : dict of str to float
        Cycles in which the interface moves each stream, and those of the ``latency``.
    total : int
        Cycles of the layer.
    utilisation : float
        Multiply-accumulates of the layer over those that the array could do in ``total``.
    """

    commands: int
    compute: int
    memory: dict[str, float]
    total: int
    utilisation: float

    @property
    def bound(self) -> str:
        """What takes most: ``compute``, or if all memory cycles are more the greatest of these."""
        if self.compute >= sum(self.memory.values()):
            return "compute"
        return max(self.memory, key=lambda name: self.memory[name])


def layer_cycles(parameters: ArrayParameters, m: int, k: int, n: int, memory: Memory, *,
                 wide: int = 0, group: int | None = None) -> LayerCycles:
    """Cycles of an M by K by N layer, split along M into as few commands as fit.

    Parameters
    ----------
    parameters : ArrayParameters
        Set of the engine.
    m, k, n : int
        Rows, depth and output features; M may be any number from 1 on.
    memory : Memory
        Interface.
    wide : int
        Output features of 8 bits.
    group : int, optional
        Weights along K that share a scale; the set's if absent.

    Raises
    ------
    ValueError
        If K does not fit in ``x_depth``, or the engine refuses the shape otherwise.

    Notes
    -----
    A command has at most ``x_depth // padded_beats`` blocks of rows, and one if a pass of its
    weights does not fit in ``w_depth``. If that makes several commands and the memory is double
    buffered, so that two of them are in the engine, each has at most ``x_depth // (2 *
    padded_beats)``; where that is 0 they follow each other as if it were not.

    Each command moves the bits of its formats: M·K activations, K·N weights, scales and zero
    points of the groups, scales of the rows, M·N outputs; weights and their scales again for each
    command. With ``load = latency + ceil(bytes in / rate)``, ``store = ceil(bytes out / rate)``:

        one after the other   Σ_i load[i] + compute[i] + store[i]
        double buffered       load[0] + Σ_i max(compute[i], load[i + 1] + store[i - 1]) + store[-1]

    ``compute`` being :func:`golden.cycles.gemm_cycles` of each, load and store 0 beyond the ends.

    Examples
    --------
    >>> from golden.parameters import SETS
    >>> layer = layer_cycles(SETS["edge"], 2048, 4096, 4096, Memory(bytes_per_cycle=64))
    >>> layer.commands, layer.bound, round(layer.utilisation, 3)
    (128, 'compute', 0.995)
    """
    p = parameters
    if type(m) is not int or m < 1:
        raise ValueError(f"Parameter m must be an integer of at least 1, not {m!r}")
    size  = p.group if group is None else group
    beats = sum(group_beats(k, size, p)) if type(k) is int and k > 0 else 0
    if beats > p.x_depth:
        raise ValueError(f"Parameter x_depth must be at least {beats} for K = {k}, "
                         f"not {p.x_depth}")
    overlapped, rows = command_rows(p, m, beats, double=memory.double_buffered)
    whole, rest = divmod(m, rows)
    sizes = [rows] * bool(whole) + [rest] * bool(rest)
    count = np.array([whole] * bool(whole) + [1] * bool(rest))
    which = np.repeat(np.arange(len(sizes)), count)

    compute = np.array([gemm_cycles(p, each, k, n, wide=wide, group=group).total
                        for each in sizes])
    moved = [_bytes(p, each, k, n, wide, groups(k, size)) for each in sizes]
    rate  = memory.bytes_per_cycle
    load  = np.array([memory.latency + ceil((sum(each.values()) - each["y"]) / rate)
                      for each in moved])
    store = np.array([ceil(each["y"] / rate) for each in moved])
    if overlapped:
        beside = np.append(load[which[1:]], 0) + np.append(0, store[which[:-1]])
        total  = (load[which[0]] + np.maximum(compute[which], beside).sum() + store[which[-1]])
    else:
        total = (compute + load + store) @ count
    cycles = {name: sum(int(number) * each[name] for number, each in
                        zip(count, moved, strict=True)) / rate for name in moved[0]}
    return LayerCycles(commands=int(count.sum()), compute=int(compute @ count),
                       memory=cycles | {"latency": memory.latency * float(count.sum())},
                       total=int(total), utilisation=m * k * n / (p.peak * int(total)))


def command_rows(p: ArrayParameters, m: int, beats: int, *, double: bool) -> tuple[bool, int]:
    """Whether the commands of a layer overlap, and how many rows each has at most.

    Parameters
    ----------
    p : ArrayParameters
        Set of the engine.
    m : int
        Rows of the layer.
    beats : int
        Beats of a row, padded ones included; at most ``x_depth``.
    double : bool
        Whether the memory is double buffered.
    """
    blocks = p.x_depth // max(1, beats) if beats <= p.w_depth else 1
    half   = p.x_depth // (2 * max(1, beats))
    if m > blocks * p.rows and double and half:
        return True, min(blocks, half) * p.rows
    return False, blocks * p.rows


def _bytes(p: ArrayParameters, m: int, k: int, n: int, wide: int, count: int) -> dict[str, int]:
    """Bytes of each stream of a command with a number of groups."""
    entry = (p.x_scale_format.bits if p.x_scale_format else 0) + p.x_format.bits * p.x_zero
    bits = {
        "x":  m * k * p.x_input_format.bits,
        "w":  k * (8 * wide + p.w_format.bits * (n - wide)),
        "s":  count * n * (p.scale_format.bits + p.zero_bits),
        "sx": 32 * m,
        "t":  m * count * entry * p.t_stream,
        "y":  m * n * p.y_format.bits,
    }
    return {name: -(-value // 8) for name, value in bits.items()}
