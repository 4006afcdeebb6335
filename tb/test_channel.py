"""The operands' buffers become block RAM of FPGAs."""

import re

import pytest

from golden.parameters import SETS
from hdl import yosys
from hdl.channel import Channel
from hdl.engine import channel_widths
from hdl.export import verilog

TINY = SETS["tiny"]

#: Cells that hold words elsewhere than in block RAM.
DISTRIBUTED = {"ecp5": "TRELLIS_DPR16X4", "ice40": "SB_DFFE"}


def cells(block, device: str, folder) -> dict[str, int]:
    """Cells of each kind after Yosys' synthesis for a family of FPGAs."""
    (folder / "design.v").write_text(verilog(block))
    yosys.run(f"read_verilog design.v\nsynth_{device} -no-rw-check -top {block.module}\n"
              "tee -o cells.txt stat", directory=folder)
    rows = re.findall(r"^ +(\d+) +(?:\S+ +)?([A-Z]\w+)$", (folder / "cells.txt").read_text(),
                      re.MULTILINE)
    return {kind: int(count) for count, kind in rows}


@pytest.mark.parametrize(("device", "kind", "bits"), [
    ("ecp5", "DP16KD", 16384),      # 1,024 words of 16 bits and two of parity
    ("ice40", "SB_RAM40_4K", 4096),
])
@pytest.mark.parametrize("width", [16, 64])
def test_block_ram(device, kind, bits, width, tmp_path):
    found = cells(Channel(TINY, "channel", width, 1024), device, tmp_path)
    assert found[kind] == width * 1024 // bits
    assert DISTRIBUTED[device] not in found


def test_each_row_has_its_own(tmp_path):
    """They are read side by side."""
    channel = Channel(TINY, "x_channel", channel_widths(TINY)["x"], TINY.x_depth, TINY.rows)
    assert TINY.x_depth == 1024
    found = cells(channel, "ecp5", tmp_path)
    assert found["DP16KD"] == TINY.rows * 2  # 32 bits of 18 each
    assert DISTRIBUTED["ecp5"] not in found
