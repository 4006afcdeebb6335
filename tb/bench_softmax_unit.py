"""Cocotb tests of the softmax units' ports; run by :mod:`tb.test_softmax_unit`."""

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiStreamFrame

from golden.registers import SOFTMAX_ID, softmax_registers
from tb.axi_lite import SLVERR
from tb.axi_unit import UnitPorts, kept_bytes
from tb.bench_softmax import EXACT, P, any_constants, any_row, expected, lengths
from tb.settings import SETTINGS, compared, reset_cycles

#: Registers that the unit with exact exponents has not: MODE, and a constant.
ABSENT = (0x24, 0x104)


class UnitDriver(UnitPorts):
    """Drivers of all ports of ``mixpe_<set>_softmax``."""

    def __init__(self, dut):
        super().__init__(dut, softmax_registers(P), ["x"])
        self.x = self.sources["x"]

    async def begin(self, constants):
        """Reset, and write the constants of all sets."""
        await self.reset()
        await self.set_constants(constants)

    async def set_constants(self, constants):
        """Write the constants of all sets."""
        for chosen, each in enumerate(constants):
            for k, magnitude in enumerate(each.thresholds, 1):
                await self.write(f"THRESHOLD_{chosen}_{k}", magnitude)
            for k, exponent in enumerate(each.exponents):
                await self.write(f"EXPONENT_{chosen}_{k}", exponent)

    async def send(self, x, mask, chosen):
        """Send a row as a packet."""
        size = P.x_format.bits // 8
        user = []
        for start in range(0, len(x), P.width):
            bits = sum(int(bit) << lane for lane, bit in enumerate(mask[start:start + P.width]))
            lanes = len(x[start:start + P.width])
            user += [bits | chosen << P.width] * lanes * size
        data = b"".join(int(code).to_bytes(size, "little") for code in x)
        await self.x.send(AxiStreamFrame(data, tuser=user))

    async def compare(self, row, constants, *, codes: bool):
        """Receive a row's outputs and compare them with golden."""
        x, mask, chosen = row
        frame = await self.y.recv(compact=False)
        size, fmt = P.y_format.bits // 8, P.y_format
        kept = kept_bytes(frame)
        actual = np.frombuffer(kept, f"<u{size}").astype(np.int64)
        compared(actual.size)
        outputs, all_masked, invalid = expected(x, mask, chosen, constants, codes)
        if codes:
            actual = actual & (1 << P.word_bits) - 1
        np.testing.assert_array_equal(actual, outputs, err_msg=f"{fmt.name} {x} {mask}")
        flags = int(all_masked) | int(invalid) << 1
        assert set(frame.tuser) == {flags}
        return flags


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(codes=[False] if EXACT else [False, True])
async def packets(dut, codes):
    """Rows of every kind with constants from the registers; errors and counters tell of them."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench, constants = UnitDriver(dut), any_constants(rng)
    await bench.begin(constants)
    assert await bench.read("ID") == SOFTMAX_ID
    if not EXACT:
        await bench.write("MODE", int(codes))
    rows = [(*any_row(rng, n), int(rng.integers(P.sets)))
            for _ in range(SETTINGS["rounds"]) for n in lengths(rng)]
    for row in rows:
        await bench.send(*row)
    flags = 0
    for row in rows:
        flags |= await bench.compare(row, constants, codes=codes)
    await ClockCycles(dut.aclk, 300)
    assert bench.y.empty()
    assert bench.x.idle()
    words = sum(P.row_cycles(len(x)) for x, _, _ in rows)
    assert await bench.read("ROWS") == len(rows)
    assert await bench.read("WORDS_X") == await bench.read("WORDS_Y") == words
    assert await bench.read("CYCLES") >= words
    assert await bench.read("STATUS") == 0
    assert await bench.read("ERROR") == (flags & 1) << 3 | (flags >> 1) << 2
    await bench.write("CONTROL", bench.mask("CONTROL", "clear_counters"))
    for name in ("ROWS", "WORDS_X", "WORDS_Y", "CYCLES"):
        assert await bench.read(name) == 0, name


async def bad_constants(bench, rng, constants):
    """Expect an error of each kind of constants out of order, and none once they are right."""
    row = (P.x_format.encode(rng.normal(size=3)), np.zeros(3, dtype=bool), 0)
    for name, wrong, right in (
            ("THRESHOLD_0_2", constants[0].thresholds[0], constants[0].thresholds[1]),
            (f"EXPONENT_0_{P.levels - 1}", 1, 1 << P.exp_bits)):
        await bench.write(name, wrong)
        await bench.send(*row)
        await bench.y.recv()
        assert await bench.read("ERROR") == 2, name
        await bench.write("ERROR", 2)
        await bench.write(name, right)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def errors(dut):
    """Constants out of order and rows that are too long are told; so is a register that is none."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench, constants = UnitDriver(dut), any_constants(rng)
    await bench.begin(constants)
    if EXACT:
        for offset in ABSENT:
            assert await bench.axil.write(offset, 0) == SLVERR
    else:
        await bad_constants(bench, rng, constants)
    n = P.words * P.width + 1
    x = P.x_format.encode(rng.normal(size=n))
    await bench.send(x, np.zeros(n, dtype=bool), 0)
    for part in (x[:P.max_length], x[-1:]):
        await bench.compare((part, np.zeros(len(part), dtype=bool), 0), constants, codes=False)
    assert await bench.read("ERROR") == 1


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def soft_reset(dut):
    """A soft reset discards rows and leaves the constants."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    bench, constants = UnitDriver(dut), any_constants(rng)
    await bench.begin(constants)
    for cycles in reset_cycles(rng, 3 * P.words + 40):
        await bench.send(*any_row(rng, P.max_length), 0)
        await ClockCycles(dut.aclk, cycles)
        await bench.restart()
        assert await bench.read("STATUS") == 0
        row = (*any_row(rng, P.max_length), 0)
        await bench.send(*row)
        await bench.compare(row, constants, codes=False)
