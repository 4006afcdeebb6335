"""Tiles in every micro-architecture and shape against integer products."""

import pytest

from golden.parameters import SETS, ArrayParameters
from hdl.export import verilog
from hdl.tile import Tile
from tb.runner import simulate

SHAPE = {"lanes": 4, "tile_rows": 2, "tile_columns": 3, "group": 16}
SCALAR = {"lanes": 1, "tile_rows": 1, "tile_columns": 1, "group": 8}

TILES = [
    SETS["tiny"], SETS["paper"], SETS["edge"], SETS["edge"].baseline(),
    *(ArrayParameters(name=f"{mac}_{w}", mac=mac, w=w, **SHAPE)
      for mac in ("shift_add", "pair_sum", "product") for w in ("int4", "uint4", "int8")),
    *(ArrayParameters(name=f"scalar_{mac}_{w}", mac=mac, w=w, **SCALAR)
      for mac in ("shift_add", "product") for w in ("int4", "uint4")),
]


@pytest.mark.parametrize("parameters", TILES, ids=lambda parameters: parameters.name)
def test_tile(parameters):
    tile = Tile(parameters)
    simulate(verilog(tile), tile.module, "tb.bench_tile", parameters=parameters.to_dict(),
             groups=1 << 12)


@pytest.mark.full
@pytest.mark.parametrize("parameters", [p for p in TILES if p.w == "int8"],
                         ids=lambda parameters: parameters.name)
def test_every_pair_of_codes(parameters):
    tile = Tile(parameters)
    simulate(verilog(tile), tile.module, "tb.bench_tile", parameters=parameters.to_dict())
