"""What a softmax unit is sent, row by row, as its ports show it: samples for the crosses."""

from collections import deque

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from golden.softmax_parameters import SoftmaxParameters
from tb.crosses import Collector

__all__ = ["RowSampler", "sample"]

#: Pattern of stalls by whether an input came late and an output was taken late.
_PATTERNS = {(False, False): "none", (True, False): "source", (False, True): "sink",
             (True, True): "both"}


class RowSampler:
    """Watches the streams of a softmax unit and samples the crosses :data:`tb.crosses.SOFTMAX`.

    ``codes`` tells whether the unit's outputs are codes, as its register MODE says.

    Parameters
    ----------
    dut
        Handle of the unit.
    parameters : SoftmaxParameters
    collector : Collector
    """

    def __init__(self, dut, parameters: SoftmaxParameters, collector: Collector):
        self._dut, self._p, self._collector = dut, parameters, collector
        self.codes = False
        self._rows = deque()
        cocotb.start_soon(self._watch())

    async def _watch(self):
        dut, words, outputs = self._dut, [], []
        late, late_y = False, False
        while True:
            await RisingEdge(dut.aclk)
            ready, valid = dut.s_axis_x_tready.value == 1, dut.s_axis_x_tvalid.value == 1
            late |= ready and not valid
            if ready and valid:
                words.append((int(dut.s_axis_x_tdata.value), int(dut.s_axis_x_tkeep.value),
                              int(dut.s_axis_x_tuser.value)))
                if dut.s_axis_x_tlast.value == 1:
                    self._rows.append((words, late))
                    words, late = [], False
            ready, valid = dut.m_axis_y_tready.value == 1, dut.m_axis_y_tvalid.value == 1
            late_y |= valid and not ready
            if ready and valid:
                outputs.append((int(dut.m_axis_y_tdata.value), int(dut.m_axis_y_tkeep.value)))
                if dut.m_axis_y_tlast.value == 1:
                    row, source = self._rows.popleft()
                    sample(self._collector, self._p, row, outputs, _PATTERNS[source, late_y],
                           self.codes)
                    outputs, late_y = [], False


def sample(collector: Collector, p: SoftmaxParameters, words: list[tuple[int, int, int]],
           outputs: list[tuple[int, int]], stalls: str, codes: bool) -> None:
    """Sample a row.

    Parameters
    ----------
    collector : Collector
        What counts its bins.
    p : SoftmaxParameters
        Set of the unit.
    words : list of tuple of int
        TDATA, TKEEP and TUSER of each word.
    outputs : list of tuple of int
        TDATA and TKEEP of each word of its outputs.
    stalls : str
        Value on the axis of this name.
    codes : bool
        Whether the outputs are codes.
    """
    x, masked = [], []
    for data, keep, user in words:
        for lane, code in enumerate(_elements(data, keep, p.x_format.bits)):
            x.append(code)
            masked.append(user >> lane & 1)
    values, masked = p.x_format.decode(x), np.array(masked, dtype=bool)
    length = ("word" if len(x) <= p.width else "longest" if len(x) == p.max_length
              else "words")
    common = {"output": "codes" if codes else "probabilities", "length": length,
              "stalls": stalls}
    seen = values[~masked]
    if np.isnan(seen).any() or (seen == np.inf).any():
        collector.sample("invalid rows", **common,
                         special="nan" if np.isnan(seen).any() else "inf")
        return
    kept = seen[seen != -np.inf]
    maxima = int((kept == kept.max(initial=-np.inf)).sum())
    ties = ("none" if not len(kept) else "one" if maxima == 1
            else "all" if maxima == len(kept) else "several")
    left_out = ("all" if not len(kept) else
                {(False, False): "nothing", (True, False): "mask", (False, True): "-inf",
                 (True, True): "both"}[bool(masked.any()), len(kept) < len(seen)])
    collector.sample("rows", **common, rest="rest" if len(x) % p.width else "whole",
                     ties=ties, left_out=left_out)
    if codes:
        chosen = words[0][2] >> p.width
        for data, keep in outputs:
            for word in _elements(data, keep, p.y_format.bits):
                code = "masked" if word >> p.bits & 1 else word & p.levels - 1
                collector.sample("codes", code=code, set=chosen, stalls=stalls)


def _elements(data: int, keep: int, bits: int) -> list[int]:
    """Elements of a word that TKEEP has."""
    return [data >> index * bits & (1 << bits) - 1
            for index in range(keep.bit_count() * 8 // bits)]
