"""Tiles in every micro-architecture and shape against integer products."""

import pytest

from golden.parameters import SETS, ArrayParameters
from hdl.export import verilog
from hdl.tile import Tile
from tb.runner import simulate

SHAPE = {"lanes": 4, "tile_rows": 2, "tile_columns": 3, "group": 16}
ELEMENT = SHAPE | {"tile_rows": 1, "tile_columns": 1}
SCALAR = {"lanes": 1, "tile_rows": 1, "tile_columns": 1, "group": 8}

TILES = [
    SETS["tiny"], SETS["paper"],
    *(ArrayParameters(name=f"{mac}_{w}", mac=mac, w=w, **SHAPE) for mac, w in (
        ("shift_add", "int8"), ("pair_sum", "ternary"), ("shift", "shift3"), ("product", "shift4"),
        ("bit_plane", "int4"))),
    ArrayParameters(name="chains", mac="radix4", w="int4", adders="carry_chains", cut="shared",
                    **SHAPE),
    ArrayParameters(name="scalar", mac="shift_add", **SCALAR),
    ArrayParameters(name="aligned", x="bf16", x_align=12, x_scale="e8m0", w="e2m1", **SHAPE),
]

#: Large tiles, and the other micro-architectures and formats.
OTHERS = [SETS["edge"], SETS["edge"].baseline()] + [
    ArrayParameters(name=f"{mac}_{w}", mac=mac, w=w, **SHAPE)
    for mac in ("shift_add", "bit_plane", "radix4", "pair_sum", "product", "shift")
    for w in ("int2", "int3", "int4", "uint4", "int8", "ternary", "shift2", "shift3", "shift4",
              "e2m1")
    if (mac != "shift" or w.startswith("shift"))
    and f"{mac}_{w}" not in [p.name for p in TILES]
] + [ArrayParameters(name=f"scalar_{mac}_{w}", mac=mac, w=w, **SCALAR)
     for mac in ("shift_add", "product") for w in ("int4", "uint4")
] + [ArrayParameters(name=f"aligned_{x_align}_{mac}", x="fp16", x_align=x_align, x_scale="e8m0",
                     mac=mac, **SHAPE)
     for mac in ("shift_add", "radix4", "pair_sum", "product") for x_align in (3, 12, 24)
] + [ArrayParameters(name=f"{mac}_{adders}_{cut}", mac=mac, w=w, adders=adders, cut=cut, **SHAPE)
     for mac, w in (("bit_plane", "int4"), ("radix4", "int4"), ("pair_sum", "int4"),
                    ("shift", "shift3"))
     for adders in ("compressors", "carry_chains") for cut in ("operands", "shared")
     if (adders, cut) != ("compressors", "operands")
] + [ArrayParameters(name=f"float_{x}_{w}", x=x, mac="float", w=w, **SHAPE)
     for x in ("fp16", "bf16") for w in ("int8", "ternary", "shift4", "e2m1")]

#: MixPE's W4A16, one element.
FLOATS = [ArrayParameters(name=f"{x}_{w}", x=x, mac="float", w=w, **ELEMENT)
          for x, w in (("fp16", "uint4"), ("bf16", "int4"))]


def check(parameters, **settings):
    """Run the bench on the exported tile."""
    tile = Tile(parameters)
    simulate(verilog(tile), tile.module, "tb.bench_tile", parameters=parameters.to_dict(),
             **settings)


@pytest.mark.parametrize("parameters", TILES, ids=lambda parameters: parameters.name)
def test_tile(parameters):
    check(parameters, groups=1 << 8)


@pytest.mark.full
@pytest.mark.parametrize("parameters", TILES + OTHERS, ids=lambda parameters: parameters.name)
def test_tile_at_length(parameters):
    check(parameters, groups=1 << 12)


@pytest.mark.parametrize("parameters", FLOATS, ids=lambda parameters: parameters.name)
def test_some_of_the_float_products(parameters):
    check(parameters, groups=1 << 13)


@pytest.mark.full
@pytest.mark.parametrize("parameters", [*FLOATS, *(p for p in TILES + OTHERS if p.w == "int8"
                                                          and p.mac != "float")],
                         ids=lambda parameters: parameters.name)
def test_every_pair_of_codes(parameters):
    check(parameters)
