"""Where the words of rows wait."""

from amaranth import *
from amaranth.lib import fifo
from amaranth.lib.wiring import In, Out

from golden.base_parameters import BaseParameters
from hdl.block import Block

__all__ = ["RowBuffer"]


class RowBuffer(Block):
    """Queue of words: a memory with one port to write and one to read, and its addresses.

    A block of its own, so that reports tell it from the logic. A word that is written can be read
    two cycles later.

    Parameters
    ----------
    parameters : BaseParameters
    name : str
        What the words are.
    width : int
        Of a word.
    depth : int
        Words; the memory has one less, which is best a power of two.

    Members
    -------
    w_data : In(width)
    w_en : In(1)
        Write, if there is room.
    w_rdy : Out(1)
        There is room.
    r_data : Out(width)
    r_en : In(1)
        Take the word, if there is one.
    r_rdy : Out(1)
        There is a word.
    """

    def __init__(self, parameters: BaseParameters, name: str, width: int, depth: int):
        self.width, self.depth = width, depth
        super().__init__(parameters, f"{name}_buffer", {
            "w_data": In(width), "w_en": In(1), "w_rdy": Out(1),
            "r_data": Out(width), "r_en": In(1), "r_rdy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=self.width, depth=self.depth)
        m.d.comb += [
            queue.w_data.eq(self.w_data),
            queue.w_en.eq(self.w_en),
            self.w_rdy.eq(queue.w_rdy),
            self.r_data.eq(queue.r_data),
            queue.r_en.eq(self.r_en),
            self.r_rdy.eq(queue.r_rdy),
        ]

        return m
