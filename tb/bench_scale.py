"""Products of two scales against numpy's binary32. Runs in the simulator."""

import cocotb
import ml_dtypes
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hdl.scale import Scale
from tb.packed import pack
from tb.settings import SETTINGS, parameters

PARAMETERS = parameters()
FORMATS    = PARAMETERS.scale_format, PARAMETERS.x_scale_format
NAN        = 0x7fc00000

DTYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "e4m3": ml_dtypes.float8_e4m3fn,
          "e8m0": ml_dtypes.float8_e8m0fnu}


def values(codes, fmt):
    """Numbers of codes as float32, exact."""
    return codes.astype(f"u{fmt.bits // 8}").view(DTYPES[fmt.name]).astype(np.float32)


def corners(fmt):
    """All codes of eight bits; otherwise every exponent with the fractions at its ends."""
    if fmt.bits == 8:
        return np.arange(256)
    fractions = np.array([0, 1, 1 << fmt.man_bits - 1, (1 << fmt.man_bits) - 1])
    codes = (np.arange(1 << fmt.exp_bits)[:, None] << fmt.man_bits | fractions).ravel()
    return np.concatenate([codes, codes | 1 << fmt.bits - 1])


@cocotb.test()
async def equals_numpy(dut):
    """Every pair of corners and random pairs, in each cycle one, equal numpy's products."""
    rng   = np.random.default_rng(cocotb.RANDOM_SEED)
    pairs = np.stack(np.meshgrid(*map(corners, FORMATS))).reshape(2, -1)
    pairs = pairs[:, rng.permutation(pairs.shape[1])[:SETTINGS["count"]]]
    a, b  = (np.concatenate([pair, rng.integers(0, 1 << fmt.bits, SETTINGS["count"])])
             for pair, fmt in zip(pairs, FORMATS, strict=True))
    with np.errstate(all="ignore"):
        product = values(a, FORMATS[0]) * values(b, FORMATS[1])
    wanted = np.where(np.isnan(product), NAN, product.view(np.uint32)).tolist()

    Clock(dut.clk, 2, unit="ns").start()
    words = pack(SETTINGS["inputs"], {"scale": a, "x_scale": b})
    await RisingEdge(dut.clk)
    for cycle, word in enumerate([*words, *[0] * Scale.LATENCY]):
        dut.i.value = word
        await RisingEdge(dut.clk)
        if (k := cycle - Scale.LATENCY) >= 0:
            result = int(dut.o.value)
            assert result == wanted[k], (f"{a[k]:x} * {b[k]:x} must be {wanted[k]:08x}, "
                                         f"not {result:08x}")
