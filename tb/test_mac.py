"""Each micro-architecture as a mapped netlist, and a compressor that drops a carry."""

import re

import pytest

from golden.parameters import MACS, ArrayParameters
from hdl.export import export, verilog
from hdl.tile import Tile
from synth.liberty import Library
from synth.mapping import simulation_model, synthesise
from tb import runner
from tb.marks import first_by_default

SHAPE = {"lanes": 4, "tile_rows": 2, "tile_columns": 2, "group": 16}
FORMATS = {"shift": {"w": "shift3"}, "float": {"x": "fp16", "lanes": 2, "group": 8}}


def tile_of(mac, **changes):
    return Tile(ArrayParameters(name=mac, mac=mac, **(SHAPE | FORMATS.get(mac, {}) | changes)))


def bench(source, tile):
    return runner.simulate(source, tile.module, "tb.bench_tile",
                           parameters=tile.parameters.to_dict(), groups=1 << 8)


@pytest.mark.parametrize("mac", first_by_default(["radix4", *sorted(MACS.keys() - {"radix4"})]))
def test_netlist(mac, tmp_path):
    tile = tile_of(mac)
    mapping = synthesise(export(tile, tmp_path), tile.module, Library.load(), tmp_path,
                         flatten=False)
    assert bench(simulation_model(mapping), tile) > 0


@pytest.mark.parametrize("mac", first_by_default(["pair_sum", "radix4", "bit_plane", "shift"]))
def test_a_dropped_carry_is_caught(mac):
    tile = tile_of(mac)
    source = verilog(tile)
    adder = re.search(r"^module \w+_full_adder_(\d+).*?^endmodule", source, re.M | re.S)
    carry = "assign carry = _1_ | _3_;"
    assert carry in adder[0]
    top = int(adder[1]) - 1  # the highest adder of the block loses its carry
    dropped = f"assign carry = (_1_ | _3_) & ~({top + 1}'d1 << {top});"
    wrong = source.replace(adder[0], adder[0].replace(carry, dropped))
    assert wrong != source
    with pytest.raises(runner.SimulationError, match="failed"):
        bench(wrong, tile)
