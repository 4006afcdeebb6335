"""Rescaling against numpy's own rounding. Runs in the simulator."""

import cocotb
import ml_dtypes
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hdl.rescale import Rescale
from tb.packed import pack
from tb.settings import SETTINGS, parameters

PARAMETERS = parameters()
FLOATS = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}

#: Zero, least, greatest and neighbours of 1 among the subnormal and normal numbers; specials.
CORNERS = [0x00000000, 0x00000001, 0x00000002, 0x00000003, 0x00400000, 0x007fffff, 0x00800000,
           0x00800001, 0x00ffffff, 0x01000000, 0x33800000, 0x33800001, 0x387fe000, 0x387fefff,
           0x387ff000, 0x3effffff, 0x3f000000, 0x3f000001, 0x3f7fffff, 0x3f800000, 0x3f800001,
           0x3fbfffff, 0x3fc00000, 0x40200000, 0x42fdffff, 0x42fe0000, 0x42ff0000, 0x43000000,
           0x43000001, 0x43008000, 0x477fe000, 0x477fefff, 0x477ff000, 0x5f000000, 0x5f7fffff,
           0x7e800000, 0x7f7f7fff, 0x7f7f8000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000]


def bits(values):
    """Codes of binary32 numbers."""
    return values.astype(np.float32).view(np.uint32)


def expected(acc, scale):
    """Output codes, by numpy.

    Parameters
    ----------
    acc, scale : ndarray of uint32
        Codes of binary32.
    """
    fmt = PARAMETERS.y_format
    with np.errstate(all="ignore"):
        y = acc.view(np.float32) * scale.view(np.float32)
        if fmt.is_integer:
            rounded = np.clip(np.rint(np.where(np.isnan(y), 0, y)), -128, 127)
            return rounded.astype(np.int8).view(np.uint8)
        narrow = y.astype(FLOATS[fmt.name])
    codes = narrow.view(f"u{fmt.bits // 8}")
    return np.where(np.isnan(y), fmt.nan, codes)


def stimuli(rng, count):
    """Codes of accumulators and scales: all pairs of corners, then random ones.

    Of the random ones a quarter each are any bits, realistic values, products near the subnormal
    numbers, and products close to or at the middle of two outputs.
    """
    fmt    = PARAMETERS.y_format
    corner = np.array(CORNERS + [code | 1 << 31 for code in CORNERS], dtype=np.uint32)
    pairs  = np.stack(np.meshgrid(corner, corner)).reshape(2, -1)
    part   = -(-count // 4)

    anything  = rng.integers(2**32, size=(2, part), dtype=np.uint32)
    realistic = bits(rng.normal(size=(2, part)) * np.array([[300], [0.05]]))
    low       = bits(np.ldexp(rng.uniform(-2, 2, (2, part)), rng.integers(-80, -56, (2, part))))
    if fmt.is_integer:
        middle = rng.integers(-300, 300, part) / 2
    else:
        codes = rng.integers(fmt.infinity, size=part)
        middle = (fmt.decode(codes) + fmt.decode(np.minimum(codes + 1, fmt.infinity - 1))) / 2
        middle *= rng.choice([-1, 1], part)
    power = rng.integers(-20, 20, part)
    with np.errstate(all="ignore"):
        near = bits(np.ldexp(middle, -power))
    near  = near + rng.integers(-1, 2, part).astype(np.uint32)  # one unit below, at or above
    ties  = np.stack([near, bits(np.ldexp(1.0, power))])
    return np.concatenate([pairs, anything, realistic, low, ties], axis=1)


async def check(dut, count, density):
    """Send ``count`` random numbers and the corners in a share ``density`` of the cycles."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    acc, scale = stimuli(rng, count)
    idle  = np.zeros(Rescale.LATENCY + 1, dtype=np.uint32)  # pushes the last results out
    words = pack(SETTINGS["inputs"], {"enable": np.zeros(len(acc) + len(idle), dtype=int),
                                      "acc":    np.concatenate([acc, idle]).tolist(),
                                      "scale":  np.concatenate([scale, idle]).tolist()})
    enables = rng.random(len(words)) < density
    Clock(dut.clk, 2, unit="ns").start()

    # Output k of an enabled cycle belongs to the number that entered LATENCY enabled cycles before.
    wanted, moved, cycle = expected(acc, scale).tolist(), 0, 0
    await RisingEdge(dut.clk)
    while moved < len(words):
        enable = int(enables[cycle % len(enables)])
        dut.i.value = words[moved] | enable
        await RisingEdge(dut.clk)
        if (k := moved - Rescale.LATENCY) >= 0 and k < len(wanted):
            y = int(dut.o.value)
            assert y == wanted[k], (f"{PARAMETERS.y}: {acc[k]:08x} * {scale[k]:08x} must be "
                                    f"{wanted[k]:x}, not {y:x}")
        moved += enable
        cycle += 1


@cocotb.test()
async def full_rate(dut):
    """Equals numpy for all pairs of corners and random numbers, one in each cycle."""
    await check(dut, SETTINGS["count"], 1.0)


@cocotb.test()
async def with_pauses(dut):
    """Equals numpy when the pipeline stands still at random, and holds its output meanwhile."""
    await check(dut, 2000, 0.5)
