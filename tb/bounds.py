"""Largest values of the counts of a GEMM engine: their bits above these stay 0."""

from collections.abc import Iterator
from dataclasses import dataclass

from golden.parameters import ArrayParameters
from hdl.admission import command_layout
from hdl.channel import COUNT
from hdl.engine import COMMANDS

__all__ = ["Bound", "bounds", "largest"]

#: What passes over the columns are a simulation's, at most.
PASSES = (1 << 10) - 1


@dataclass(frozen=True)
class Bound:
    """What a count cannot exceed.

    Parameters
    ----------
    module, name : str
        Regular expressions of the module's name, without ``mixpe_<set>_``, and the signal's.
    largest : int
        Its largest value; -1 if it is always the same.
    reason : str
        Why.
    first : int
        First bit of the count in the signal, which has ``COUNT.width``.
    """

    module: str
    name: str
    largest: int
    reason: str
    first: int = 0

    @property
    def bits(self) -> tuple[int, int]:
        """Lowest and highest bit of the signal that the count never needs."""
        return (self.first + max(self.largest, 0).bit_length(), self.first + COUNT.width - 1)


def largest(p: ArrayParameters) -> dict[str, int]:
    """Largest value of each number of an admitted command, by its name in the layout.

    The blocks of activations fit in the buffer, and no block takes less than ``least_beats``.
    """
    features = (1 << COUNT.width) - 1
    blocks   = p.x_depth // p.least_beats
    size     = p.columns // 2 if p.wide else p.columns
    return {
        "m": blocks * p.rows, "n": features, "wide": features * p.wide, "blocks": blocks,
        "passes": -(-features // size) + p.wide, "wide_passes": -(-features // size) * p.wide,
        "beats": p.x_depth, "padded_beats": p.x_depth, "groups": blocks,
        "group_beats": max(p.beats, p.least_beats), "x_lines": blocks * p.rows // p.x_rows,
        "x_items": p.x_depth, "t_items": blocks,
    }


def bounds(p: ArrayParameters, passes: int = PASSES) -> Iterator[Bound]:
    """All bounds of a set, in runs of at most so many passes over the columns."""
    most = largest(p)
    counts = ("Counts of a command: activations fit in their buffer and weights of several blocks "
              "in theirs")
    # Of shapes too that are refused at last, for what all their blocks need.
    divided = {name: (most[name], counts) for name in ("wide", "wide_passes", "group_beats")} | {
        "padded_beats": (p.x_depth + p.least_beats - 1, counts),
        "groups": (-(-p.x_depth // p.least_beats), counts)}
    # Admission multiplies as many bits of blocks, beats and groups as the buffer's depth has.
    product = ((1 << p.x_depth.bit_length()) - 1)**2
    divided |= dict.fromkeys(("x_items", "t_items"), (
        product, "Products of numbers as long as the buffer's depth"))
    for name, field in command_layout(p):
        if name in most:
            yield Bound("engine", r"\w+_command", most[name], counts, field.offset)
            for slot in range(COMMANDS):
                yield Bound("engine", "_slots", most[name], counts,
                            slot * command_layout(p).size + field.offset)
            if name in divided:
                yield Bound("admission|engine", "o__payload", *divided[name], field.offset)
    yield Bound("admission", "remainder", max(p.lanes, p.beats, p.rows, p.columns) - 1,
                "A remainder is less than its divisor")
    constant = {"1": -1}
    for channel, (outer, inner, length, repeats, segments) in {
            "x": ("x_lines", "beats", "x_items", "passes", "1"),
            "w": ("passes", "beats", "beats", "blocks", "passes"),
            "s": ("passes", "groups", "groups", "blocks", "passes"),
            "sx": ("m", "1", "m", "passes", "1"),
            "t": ("m", "groups", "t_items", "passes", "1")}.items():
        for port, name in (("outer", outer), ("inner", inner), ("length", length),
                           ("repeats", repeats), ("segments", segments)):
            yield Bound(f"{channel}_channel", port, (most | constant)[name], counts)
        for counter, name in (("item", inner), ("line", outer), ("segment", segments)):
            # A count of one thing stays at 0.
            yield Bound(f"{channel}_channel", counter,
                        min(most[name] - 1, passes) if name in most else -1,
                        "Counters of what a command has, and of passes by the thousand")
    for counter, name in (("beat", "beats"), ("block", "blocks"), ("group_beat", "group_beats"),
                          ("token", "m"), ("result_token", "m")):
        yield Bound("engine", rf"{counter}(_\d+)?", most[name], counts)
    for counter in ("pass_", "scale_pass", "result_pass", "(first_)?feature"):
        yield Bound("engine", counter, passes, "Passes by the thousand are no simulation's")
