"""A block behind one input and one output port: a bench pays for each signal that it touches."""

from amaranth import *
from amaranth.lib.wiring import In, Out

from hdl.block import Block, Use

__all__ = ["Packed", "pack", "settings"]


class Packed(Block):
    """A block with its inputs in ``i`` and its outputs in ``o``, in the order of its signature.

    Parameters
    ----------
    block : Block
        Block to wrap; no port may be a stream.

    Members
    -------
    i : In(sum of the inputs' widths)
    o : Out(sum of the outputs' widths)
    """

    def __init__(self, block: Block):
        self._block = block
        self.inputs, self.outputs = (
            [(name, Shape.cast(member.shape).width)
             for name, member in block.signature.members.items() if member.flow == flow]
            for flow in (In, Out))
        super().__init__(block.parameters, f"packed_{block.module.rpartition('_')[2]}", {
            "i": In(sum(width for _, width in self.inputs)),
            "o": Out(sum(width for _, width in self.outputs)),
        }, uses=(block,))

    def elaborate(self, platform):
        m = Module()

        m.submodules.block = block = Use(self._block)
        m.d.comb += [
            Cat(getattr(block, name) for name, _ in self.inputs).eq(self.i),
            self.o.eq(Cat(getattr(block, name) for name, _ in self.outputs)),
        ]

        return m


def settings(block: Block) -> dict:
    """What the bench of a block must know to pack its inputs; nothing of one with its own ports."""
    return {"inputs": block.inputs} if isinstance(block, Packed) else {}


def pack(inputs, values):
    """Words of ``i``.

    Parameters
    ----------
    inputs : list of (str, int)
        Names and widths, :attr:`Packed.inputs`.
    values : dict of str to sequence of int
        Values of each input, all equally long.

    Returns
    -------
    list of int
    """
    words, place = [0] * len(values[inputs[0][0]]), 0
    for name, width in inputs:
        mask = (1 << width) - 1
        words = [word | (int(value) & mask) << place
                 for word, value in zip(words, values[name], strict=True)]
        place += width
    return words
