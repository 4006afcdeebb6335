"""Cycles of the GEMM engine, equal to its counters, from recurrences over output tiles."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from golden.parameters import RESCALE_LATENCY, ArrayParameters
from golden.quantise import groups
from golden.stream import group_beats

__all__ = ["COMMANDS", "GemmCycles", "GemmShape", "commands_cycles", "gemm_cycles"]

#: Commands that can be under way at a time; two more wait to be admitted.
COMMANDS = 4

#: Greatest M, K and N.
_LIMIT = (1 << 24) - 1

#: Cycles from a start to the reading of its shape.
_QUEUE = 2

#: Cycles from the reading of a shape to the offer of a command, without the bits that are divided.
_ADMISSION = 9

#: Cycles from an item's way into a channel to its beat.
_CHANNEL = 2

#: Cycles from an item's way into the aligner to that into the channel, without those of a group.
_ALIGNER = 3

#: Groups behind the one whose exponent is offered that the aligner has room for.
_EXPONENTS = 3


@dataclass(frozen=True, kw_only=True)
class GemmShape:
    """A command of the engine.

    Parameters
    ----------
    m, k, n : int
        Rows, depth and output features, from 1 to 2**24 - 1.
    wide : int
        Features of 8 bits.
    group : int, optional
        Weights along K that share a scale; the set's if absent.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    m: int
    k: int
    n: int
    wide: int = 0
    group: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("m", 1, _LIMIT), ("k", 1, _LIMIT), ("n", 1, _LIMIT),
                                ("wide", 0, self.n), ("group", 1, (1 << 16) - 1)):
            value = getattr(self, name)
            if name == "group" and value is None:
                continue
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"Parameter {name} must be an integer from {low} to {high}, "
                                 f"not {value!r}")


@dataclass(frozen=True, kw_only=True)
class GemmCycles:
    """Counters of the engine after some commands.

    Parameters
    ----------
    total : int
        CYCLES: those in which a command waits or runs.
    busy : int
        BUSY: beats.
    stalls : dict of str to int
        STALL_X and so on by stream: ``x``, ``w``, ``s``, ``t``, ``sx``, ``y``.
    """

    total: int
    busy: int
    stalls: dict[str, int]

    @property
    def edges(self) -> int:
        """Cycles at the start and at the end that are neither beats nor stalls."""
        return self.total - self.busy - sum(self.stalls.values())


def gemm_cycles(parameters: ArrayParameters, m: int, k: int, n: int, *, wide: int = 0,
                group: int | None = None) -> GemmCycles:
    """Cycles of a GEMM alone, started in an idle engine.

    Every input stream offers an item in each cycle from the start on, and ``y`` is always taken.
    Costs a few operations for each block of rows, whatever N.

    Parameters
    ----------
    parameters : ArrayParameters
        Set of the engine.
    m, k, n, wide, group
        As in :class:`GemmShape`.

    Raises
    ------
    ValueError
        If the engine refuses the shape.

    Examples
    --------
    >>> from golden.parameters import SETS
    >>> gemm_cycles(SETS["edge"], 16, 1024, 64)
    GemmCycles(total=1134, busy=1024, stalls={'x': 2, 'w': 0, 's': 0, 't': 0, 'sx': 0, 'y': 0})
    """
    return commands_cycles(parameters, [GemmShape(m=m, k=k, n=n, wide=wide, group=group)])


def commands_cycles(parameters: ArrayParameters, shapes: Iterable[GemmShape],
                    starts: Sequence[int] | None = None) -> GemmCycles:
    """Cycles of some commands in an engine that was idle.

    With the pulse of the first command's start in cycle 0, streams as in :func:`gemm_cycles`.

    Parameters
    ----------
    parameters : ArrayParameters
        Set of the engine.
    shapes : iterable of GemmShape
        At least one.
    starts : sequence of int, optional
        Cycle of each start, the first being 0; as soon as the queue takes them if absent.

    Raises
    ------
    ValueError
        If the engine refuses a shape or a start.

    Notes
    -----
    A **command** i is read by the admission in cycle ``c = max(start + 2, offer' + 1)``, ``'``
    being the command before, and divided in seven steps of as many cycles as their dividends have
    bits, and one more; its place is there, ``A``, one cycle after

        offer = max(c + 9 + Σ bits, done of command i - 4 + 1)

    **Activations** of a block b of rows come as ``lines`` of ``x_rows`` rows, ``beats`` items each,
    one in a cycle, from A on and after those before. Their first beat can be entered at

        X[b] = begin[b] + (lines[b] - 1) * beats + 2

    and none of the following ones waits for them. While they come the first line's items also wait
    for places in the buffer, which the last pass of commands before frees item by item. Weights
    and scales have one item for each beat and group, so that they are never later than
    activations. Group scales t come row by row like activations, at ``T[b]`` the first.

    An **output tile** begins at B, its first group ends at G and the tile at E:

        B = max(E' + 1, X)                            in the first pass; E' + 1 in others
        G = max(B + first - 1, T, freed'' + 1)        freed'': by the output tile two before
        E = G + padded_beats - first

    ``first`` being the beats of its first group. The output unit reads it until

        freed = max(E + drained, freed' + 1) + rows * columns / y_lanes - 1
        drained = mesh_rows + mesh_columns + band_rows + dequantise_latency + 1

    (a wide tile in half of these), and the last of them leaves, ``done``, 5 cycles later. CYCLES
    counts from the cycle after start to done.
    """
    shapes = tuple(shapes)
    if not shapes:
        raise ValueError("Shapes must be at least one, not none")
    if starts is not None and (len(starts) != len(shapes) or starts[0] != 0):
        raise ValueError(f"Starts must be 0 and {len(shapes) - 1} more, not {list(starts)}")
    engine = _Engine(parameters, alone=len(shapes) == 1)
    for index, shape in enumerate(shapes):
        engine.run(_Command(parameters, shape), None if starts is None else starts[index])
    return engine.counters()


class _Command:
    """What the admission makes of a shape."""

    def __init__(self, p: ArrayParameters, shape: GemmShape):
        group = p.group if shape.group is None else shape.group
        if shape.wide and not p.wide:
            raise ValueError(f"Parameter wide must be 0 for set {p.name}, not {shape.wide}")
        sizes = group_beats(shape.k, group, p)
        self.m = shape.m
        self.beats = -(-shape.k // p.lanes)
        self.padded = sum(sizes)
        self.first, self.groups = sizes[0], groups(shape.k, group)
        self.wait = (self.beats if p.x_zero and self.groups == 1 else self.first) - 1
        self.blocks = -(-shape.m // p.rows)
        self.lines = -(-shape.m // p.x_rows)
        self.wide_passes = -(-shape.wide // max(1, p.columns // 2))
        self.passes = self.wide_passes + -(-(shape.n - shape.wide) // p.columns)
        #: Bits of all dividends of the admission.
        self.divided = sum(value.bit_length() for value in (
            shape.k, group, self.beats, shape.m, shape.m, shape.wide, shape.n - shape.wide))
        if self.blocks * self.padded > p.x_depth:
            raise ValueError(f"Parameter x_depth must be at least {self.blocks * self.padded} for "
                             f"M = {shape.m} and K = {shape.k}, not {p.x_depth}")
        if self.blocks > 1 and self.padded > p.w_depth:
            raise ValueError(f"Parameter w_depth must be at least {self.padded} for K = {shape.k} "
                             f"and several blocks of rows, not {p.w_depth}")


@dataclass(frozen=True)
class _Tile:
    """When an output tile ran.

    Parameters
    ----------
    begin : int
        Its first beat.
    wait, resumed : int
        Index of the beat that waits for group scales, and when it was entered.
    first, ended : int
        Index of the first group's last beat, which waits for a bank, and when it was entered.
    end : int
        Its last beat.
    """

    begin: int
    wait: int
    resumed: int
    first: int
    ended: int
    end: int

    def beat(self, index: int) -> int:
        """Cycle of a beat."""
        if index >= self.first:
            return self.ended + index - self.first
        return self.resumed + index - self.wait if index >= self.wait else self.begin + index


class _Items:
    """Items of a channel that a command brings, and when its last pass frees them.

    Parameters
    ----------
    number : int
        Of its first item, among all items of the channel.
    length : int
        Items of a block.
    group : int
        Beats of a group if each has an item, or 0 if each beat has.
    """

    def __init__(self, number: int, length: int, group: int):
        self.number, self.length, self._group = number, length, group
        #: When each block's last line came; at least its first item, which others follow.
        self.came: list[list[int]] = []
        self._used: list[tuple[int, _Tile]] = []

    def ready(self, block: int) -> int:
        """First cycle in which a block's first item can be used; others follow at full rate."""
        return self.came[block][0] + _CHANNEL

    def use(self, before: int, tile: _Tile) -> None:
        """Use the next block for the last time.

        ``before`` is the cycle in which the item before the block's first was used. That the item
        had not come by then need not be looked at: what takes its place comes later anyway.
        """
        self._used.append((before, tile))

    def freed(self, number: int) -> int:
        """Cycle of an item's last reading: that in which the one before is used."""
        block, index = divmod(number - self.number, self.length)
        first, tile = self._used[block]
        if index == 0:
            return first
        return tile.ended + (index - 1) * self._group if self._group else tile.beat(index - 1)

    def check(self, block: int, tile: _Tile) -> None:
        """Refuse items that came later than the rate of a block's first promises."""
        for index, came in enumerate(self.came[block]):
            used = tile.ended + index * self._group if self._group else tile.beat(index)
            if came + _CHANNEL > min(used, tile.end):
                raise ValueError("Parameter x_align must be 0 for the cycles of these commands, "
                                 "whose groups differ in length")


class _Channel:
    """Places of a ring buffer.

    Parameters
    ----------
    depth : int
        Items of each line of a block.
    lines : int
        Lines of a block.
    """

    def __init__(self, depth: int, lines: int):
        self._depth, self.lines = depth, lines
        self._commands: list[_Items] = []
        self._number = 0   # of the next item
        self._loaded = -1  # when the last item came

    def add(self, blocks: int, length: int, group: int) -> _Items:
        """Items of another command, which come next."""
        self._commands.append(_Items(self._number, length, group))
        self._number += blocks * length
        return self._commands[-1]

    def room(self, number: int) -> int:
        """First cycle in which there is a place for an item."""
        before = number - self._depth
        if before < 0:
            return -1
        index = bisect_right(self._commands, before, key=lambda items: items.number) - 1
        return self._commands[index].freed(before) + 1

    def load(self, items: _Items, begin: int, lines: int) -> None:
        """Load a command's lines, one item in each cycle from ``begin`` on.

        A block's first line waits for places. These become free in order, so that its last item
        tells when it is complete.
        """
        number, length = items.number, items.length
        for start in range(0, lines, self.lines):
            here  = min(self.lines, lines - start)
            begin = max(begin, self._loaded + 1)
            line  = max(begin + length - 1, self.room(number + length - 1))
            items.came.append([max(begin, self.room(number)) if here == 1
                               else line + (here - 2) * length + 1])
            self._loaded = line + (here - 1) * length
            number += length


class _Aligner:
    """When the aligner's items come, one by one.

    An item is taken, read from the ring once its group is complete, shifted, rounded and loaded;
    the last one of a group goes with its scale.
    """

    def __init__(self, p: ArrayParameters):
        self._depth, self._rows = 2 * p.beats, p.rows
        self._taken = self._left = self._shifted = self._loaded = -1  # the last item
        self._reads: list[int] = []    # when each item was read
        self._offers: list[int] = []   # when each group's exponent was read, to be offered next

    def load(self, c: _Command, place: int, x: tuple[_Channel, _Items],
             t: tuple[_Channel, _Items]) -> None:
        """Load a command's activations and the scales of their groups."""
        for row in range(c.m):
            block, line = divmod(row, self._rows)
            final = line == self._rows - 1 or row == c.m - 1
            came: tuple[list[int], list[int]] = ([], [])
            for group in range(c.groups):
                size = min(c.first, c.beats - group * c.first)
                # Lines but the first take the places of that one.
                places = (x[0].room, t[0].room) if line == 0 else (lambda _: -1,) * 2
                number = x[1].number + block * c.beats + group * c.first
                leaves = max(place, places[1](t[1].number + block * c.groups + group))
                loads  = self._group(size, place, leaves,
                                     [places[0](number + index) for index in range(size)])
                came[0].extend(loads)
                came[1].append(self._left)
            if final:
                x[1].came.append(came[0])
                t[1].came.append(came[1])

    def _group(self, size: int, place: int, leaves: int, rooms: list[int]) -> list[int]:
        """When the items of a group are loaded, the last one leaving no sooner than ``leaves``."""
        number = len(self._reads)
        full   = self._offers[-_EXPONENTS] if len(self._offers) >= _EXPONENTS else -1
        for index in range(number, number + size):
            freed = self._reads[index - self._depth] if index >= self._depth else -1
            self._taken = max(self._taken + 1, place, freed + 1, full + 1)
        self._offers.append(max(self._taken + 1, self._left))
        loads = []
        for index, room in enumerate(rooms):
            before = self._reads[-1] if self._reads else -1
            read = max(before + 1, self._taken + 1, self._left)
            self._reads.append(read)
            self._left = max(read + 1, self._offers[-1] + 1, self._shifted,
                             leaves if index == size - 1 else -1)
            self._shifted = max(self._left + 1, self._loaded)
            self._loaded  = max(self._shifted + 1, room)
            loads.append(self._loaded)
        return loads


class _Engine:
    """The engine after some commands.

    Parameters
    ----------
    p : ArrayParameters
    alone : bool
        Whether there is a single command: its items never wait for places.
    """

    def __init__(self, p: ArrayParameters, *, alone: bool):
        self._p, self._alone = p, alone
        self._drained = p.mesh_rows + p.mesh_columns + p.band_rows + p.dequantise_latency + 1
        self._read = self._offered = -1           # when the last shape was read, and admitted
        self._spans: list[tuple[int, int]] = []   # start and end of each command
        # The last beat, and the last one that was not padding
        self._end = self._operand = -1
        # When the last two output tiles were sent, the earlier one first
        self._freed = -1, -1
        self._x, self._t = _Channel(p.x_depth, p.rows // p.x_rows), _Channel(p.t_depth, p.rows)
        self._aligner = _Aligner(p)
        self._busy, self._stalls = 0, dict.fromkeys(("x", "w", "s", "t", "sx", "y"), 0)

    def counters(self) -> GemmCycles:
        """What the registers say."""
        total, reached = 0, -1
        for start, done in self._spans:
            total += done - max(start, reached)
            reached = done
        return GemmCycles(total=total, busy=self._busy, stalls=self._stalls)

    def run(self, c: _Command, start: int | None) -> None:
        """Run another command."""
        start = self._admit(c, start)
        x, t  = self._load(c)
        self._end = max(self._end, self._offered)
        for block in range(c.blocks):
            tile = self._tile(c, 0, x, t, block)
            if self._p.x_align and not self._alone:
                x.check(block, tile)
                t.check(block, tile)
        if c.passes > 1:
            wide = max(0, min(c.wide_passes, c.passes - 1) - 1)
            self._repeat(c, 1, wide * c.blocks)
            self._repeat(c, c.wide_passes, (c.passes - 2 - wide) * c.blocks)
            for block in range(c.blocks):
                self._tile(c, c.passes - 1, x, t, block)
        self._busy += c.passes * c.blocks * c.padded
        self._spans.append((start, self._freed[1] + RESCALE_LATENCY))

    def _admit(self, c: _Command, start: int | None) -> int:
        """Start of a command, which is admitted."""
        if start is None:
            start = self._read if self._spans else 0
        if self._spans and start < self._read:
            raise ValueError(f"Start {len(self._spans)} must be in cycle {self._read} or later, "
                             f"as the queue is full, not in {start}")
        self._read = max(start + _QUEUE, self._offered + 1)
        done = self._spans[-COMMANDS][1] if len(self._spans) >= COMMANDS else -1
        self._offered = max(self._read + _ADMISSION + c.divided, done + 1)
        return start

    def _load(self, c: _Command) -> tuple[_Items, _Items]:
        """Activations, and scales of their groups, if there are any."""
        place = self._offered + 1
        x = self._x.add(c.blocks, c.beats, 0)
        t = self._t.add(c.blocks, c.groups, c.first)
        if not self._p.x_align:
            self._x.load(x, place, c.lines)
            self._t.load(t, place, c.m if self._p.x_groups else 0)
        elif self._alone:
            # From the second group on each is complete when the one before has been read.
            self._x.load(x, place + min(c.first, c.beats) + _ALIGNER, c.lines)
        else:
            self._aligner.load(c, place, (self._x, x), (self._t, t))
        return x, t

    def _tile(self, c: _Command, pass_: int, x: _Items, t: _Items, block: int) -> _Tile:
        """Compute an output tile of the first or the last pass."""
        x_ready = t_ready = -1
        if pass_ == 0:
            x_ready = x.ready(block)
            # The aligner hands on scales before the activations of their groups.
            t_ready = t.ready(block) if self._p.t_stream else -1
        end, operand = self._end, self._operand
        tile = self._compute(c, wide=pass_ < c.wide_passes, x_ready=x_ready, t_ready=t_ready)
        if pass_ == c.passes - 1 and not self._alone:
            x.use(operand, tile)
            if self._p.x_groups:
                t.use(end, tile)
        return tile

    def _compute(self, c: _Command, *, wide: bool, x_ready: int = -1, t_ready: int = -1) -> _Tile:
        """Compute an output tile, and send it."""
        p = self._p
        begin   = max(self._end + 1, x_ready)
        resumed = max(begin + c.wait, t_ready)
        due     = resumed + c.first - 1 - c.wait
        ended   = max(due, self._freed[0] + 1)
        tile = _Tile(begin, c.wait, resumed, c.first - 1, ended, ended + c.padded - c.first)
        for name, cycles in (("x", begin - self._end - 1), ("t", resumed - begin - c.wait),
                             ("y", ended - due)):
            self._stalls[name] += cycles
        self._end, self._operand = tile.end, tile.beat(c.beats - 1)
        sent = p.rows * p.columns // p.y_lanes // (1 + wide)
        self._freed = self._freed[1], max(tile.end + self._drained, self._freed[1] + 1) + sent - 1
        return tile

    def _repeat(self, c: _Command, pass_: int, count: int) -> None:
        """Compute output tiles of a pass and those like it, for which nothing is loaded.

        As soon as two of them have moved all that counts by as many cycles, all others do, by
        twos.
        """
        wide = pass_ < c.wide_passes
        while count >= 2:
            before, stalls = self._state(), dict(self._stalls)
            self._compute(c, wide=wide)
            self._compute(c, wide=wide)
            count -= 2
            moves = {new - old for new, old in zip(self._state(), before, strict=True)}
            if len(moves) == 1:
                pairs = count // 2
                count -= 2 * pairs
                moved  = pairs * moves.pop()
                self._end, self._operand = self._end + moved, self._operand + moved
                self._freed = self._freed[0] + moved, self._freed[1] + moved
                self._stalls = {name: value + pairs * (value - stalls[name])
                                for name, value in self._stalls.items()}
        if count:
            self._compute(c, wide=wide)

    def _state(self) -> tuple[int, ...]:
        """All that later output tiles of the command depend on."""
        return self._end, self._operand, *self._freed
