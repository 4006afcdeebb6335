"""Registers behind AXI4-Lite against their table. Runs in the simulator."""

import random
from itertools import product, repeat

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, Timer

from golden.registers import ADDRESS_BITS, unit_registers
from golden.sets import UNITS
from tb.axi_lite import OKAY, SLVERR, AxiLiteMaster
from tb.registers import TABLES, RegisterModel
from tb.settings import SETTINGS
from tb.stream import cycle, reset, start_clock

#: A table of these, or that of a unit with a parameter set.
TABLE = TABLES[SETTINGS["table"]] if "table" in SETTINGS else unit_registers(
    UNITS[SETTINGS["unit"]].from_dict(SETTINGS["parameters"]))
OFFSETS = [register.offset for register in TABLE.registers]

#: Every word of the address space, and every byte of those around registers.
ADDRESSES = sorted({*range(0, 1 << ADDRESS_BITS, 4),
                    *(offset + byte for offset in OFFSETS for byte in range(-3, 8)
                      if 0 <= offset + byte < 1 << ADDRESS_BITS)})


def stalls(rng, share: float):
    """Stalls in a ``share`` of the cycles, without end."""
    while True:
        yield rng.random() < share


class Bench:
    """The design, a master and the model; counts the cycles in which each pulse is high."""

    def __init__(self, dut):
        self.dut = dut
        self.rng = random.Random(cocotb.RANDOM_SEED)
        self.model = RegisterModel(TABLE)
        self.pulses = dict.fromkeys(self.model.of("pulse"), 0)
        start_clock(dut)
        self.axi = AxiLiteMaster(dut)
        cocotb.start_soon(self._count())

    async def start(self):
        """Reset while hardware sets no field and drives its own at random; return the bench."""
        for port in self.model.of("w1c"):
            getattr(self.dut, f"{port}_set").value = 0
        self.drive()
        await reset(self.dut, 2)
        self.pulses = dict.fromkeys(self.pulses, 0)
        return self

    def drive(self):
        """Drive other values from the hardware's side."""
        for port in self.model.of("ro"):
            value = self.rng.getrandbits(self.model.ports[port].width)
            self.model.values[port] = value
            getattr(self.dut, port).value = value

    async def set(self, ports):
        """Set fields from the hardware's side, for one cycle."""
        for level in (1, 0):
            for port in ports:
                getattr(self.dut, f"{port}_set").value = level
            await RisingEdge(self.dut.clk)
        self.model.values |= dict.fromkeys(ports, 1)

    async def write(self, address, word, strobes=0xf):
        """Write, and compare the response."""
        response = await self.axi.write(address, word, strobes)
        wanted = self.model.write(address, word, strobes)
        assert response == wanted, f"write to 0x{address:03x}: {response}, not {wanted}"

    async def read(self, address):
        """Read, and compare."""
        actual, wanted = await self.axi.read(address), self.model.read(address)
        assert actual == wanted, f"read of 0x{address:03x}: {actual}, not {wanted}"

    async def check(self):
        """Compare every output at the hardware's side, pulses included, and every register."""
        await ClockCycles(self.dut.clk, 2)
        ports = self.model.of("rw", "w1c")
        assert ({port: int(getattr(self.dut, port).value) for port in ports}
                == {port: self.model.values[port] for port in ports})
        assert self.pulses == self.model.pulses
        actual = await self.axi.reads(OFFSETS)
        assert actual == [self.model.read(address) for address in OFFSETS]
        assert self.axi.idle()

    async def _count(self):
        while True:
            await RisingEdge(self.dut.clk)
            for port in self.pulses:
                self.pulses[port] += int(getattr(self.dut, port).value)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_address(dut):
    """After a reset each register reads as its table says, all else is refused and reads 0."""
    bench = await Bench(dut).start()
    assert await bench.axi.reads(ADDRESSES) == [bench.model.read(each) for each in ADDRESSES]
    await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def refused_writes(dut):
    """A write to no register, a part of one or a read-only one is refused and changes nothing."""
    bench = await Bench(dut).start()
    await bench.set(bench.model.of("w1c"))
    bad = [address for address in ADDRESSES
           if bench.model.registers.get(address) not in TABLE.registers
           or not bench.model.registers[address].writable]
    responses = await bench.axi.writes([(address, 0xffffffff, 0xf) for address in bad])
    assert set(responses) == {SLVERR}
    assert len(bad) > 1000
    await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_bit(dut):
    """Ones and zeros in each bit reach that bit alone."""
    bench = await Bench(dut).start()
    for register in TABLE.registers:
        for bit in range(32):
            await bench.set(bench.model.of("w1c"))
            bench.drive()
            for word in (1 << bit, 0xffffffff ^ 1 << bit):
                await bench.write(register.offset, word)
                await bench.read(register.offset)
    await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def strobes(dut):
    """Each combination of bytes is written, and no other byte."""
    bench = await Bench(dut).start()
    for register in TABLE.registers:
        for strobe in range(16):
            await bench.set(bench.model.of("w1c"))
            await bench.write(register.offset, bench.rng.getrandbits(32), strobe)
            await bench.read(register.offset)
            await bench.write(register.offset, 0xffffffff, strobe)
            await bench.read(register.offset)
    await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def address_and_data_in_any_order(dut):
    """A write takes effect once, when it has both, whichever is first and by how much."""
    bench = await Bench(dut).start()
    for lead in range(-5, 6):
        for register in TABLE.registers:
            word = bench.rng.getrandbits(32)
            halves = [lambda at=register.offset: bench.axi.address(at),
                      lambda word=word: bench.axi.data(word)]
            first, second = halves if lead >= 0 else reversed(halves)
            await first()
            await ClockCycles(dut.clk, 1 + abs(lead))
            assert bench.axi.b.empty()
            assert dut.s_axil_bvalid.value == 0
            await second()
            assert await bench.axi.response() == bench.model.write(register.offset, word)
        await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def back_to_back(dut):
    """Reads and writes go on at once, one of each every two cycles."""
    bench = await Bench(dut).start()
    requests = [(bench.rng.choice(OFFSETS), bench.rng.getrandbits(32), 0xf) for _ in range(200)]
    begin = cycle()
    reading = cocotb.start_soon(bench.axi.reads([request[0] for request in requests]))
    responses = await bench.axi.writes(requests)
    await reading
    # The master drives one cycle later, each response is valid two cycles after its request and
    # seen at the end of that cycle.
    assert cycle() - begin == 1 + 2 * (len(requests) - 1) + 2 + 1
    assert responses == [bench.model.write(*request) for request in requests]
    await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def random_stalls(dut):
    """Batches of reads and writes while each channel stalls at random."""
    bench = await Bench(dut).start()
    rng, model = bench.rng, bench.model
    for _ in range(12):
        shares = [rng.choice((0, 0.2, 0.5, 0.9)) for _ in range(5)]
        bench.axi.pause(stalls(rng, share) for share in shares)
        bench.drive()
        await bench.set(rng.sample(model.of("w1c"), len(model.of("w1c")) // 2))
        # What is read must not change meanwhile.
        written = rng.sample(OFFSETS, len(OFFSETS) // 2)
        refused = [address for address in ADDRESSES if address not in OFFSETS]
        requests = [(rng.choice(rng.choice((written, written, refused))), rng.getrandbits(32),
                     rng.choice((rng.getrandbits(4), 0xf))) for _ in range(40)]
        kept = [address for address in OFFSETS if address not in written]
        addresses = [rng.choice(rng.choice((kept, refused))) for _ in range(40)]
        reading = cocotb.start_soon(bench.axi.reads(addresses))
        responses = await bench.axi.writes(requests)
        assert await reading == [model.read(address) for address in addresses]
        assert responses == [model.write(*request) for request in requests]
        bench.axi.clear()
        await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def responses_come_before_they_are_taken(dut):
    """A response is offered though nobody is ready for it, and requests behind it wait."""
    bench = await Bench(dut).start()
    for register in TABLE.registers:
        bench.axi.pause(map(repeat, (False, False, True, False, True)))
        word = bench.rng.getrandbits(32)
        writing = cocotb.start_soon(bench.axi.write(register.offset, word))
        await ClockCycles(dut.clk, 6)
        assert dut.s_axil_bvalid.value == 1
        wanted = bench.model.write(register.offset, word)
        reading = cocotb.start_soon(bench.axi.read(register.offset))
        await ClockCycles(dut.clk, 6)
        assert dut.s_axil_rvalid.value == 1
        assert not writing.done()
        assert not reading.done()
        bench.axi.pause(repeat(None, len(bench.axi.channels)))
        assert await writing == wanted
        assert await reading == bench.model.read(register.offset)
    await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def pulses(dut):
    """Writing 1 makes a pulse of one cycle; 0, or a byte without its strobe, makes none."""
    bench = await Bench(dut).start()
    for register in TABLE.registers:
        for field in register.fields:
            if field.access == "pulse":
                await bench.write(register.offset, field.mask)
                await bench.write(register.offset, 0xffffffff ^ field.mask)
                await bench.write(register.offset, 0xffffffff, 0xf ^ 1 << field.low // 8)
                await bench.check()
                # No read shows the pulse, whenever it comes.
                for lag in range(1, 6):
                    writing = cocotb.start_soon(bench.write(register.offset, field.mask))
                    await ClockCycles(dut.clk, lag)
                    _, word = await bench.axi.read(register.offset)
                    assert word & field.mask == 0
                    await writing
                await bench.check()
    assert min(bench.model.pulses.values()) > 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def set_and_clear(dut):
    """A sticky field keeps an event of the very cycle in which a write clears it."""
    bench = await Bench(dut).start()
    for register in TABLE.registers:
        for field in register.fields:
            if field.access != "w1c":
                continue
            port = f"{register.name.lower()}_{field.name}"
            value, set_ = getattr(dut, port), getattr(dut, f"{port}_set")

            async def clear(at, *, value=value, set_=set_, register=register, field=field):
                """Clear, with an event in cycle ``at`` from now; return the value of each cycle."""
                writing = cocotb.start_soon(bench.axi.write(register.offset, field.mask))
                seen = []
                for k in range(10):
                    set_.value = int(k == at)
                    await RisingEdge(dut.clk)
                    seen.append(int(value.value))
                assert await writing == bench.model.write(register.offset, field.mask) == OKAY
                return seen

            await bench.set([port])
            plain = await clear(None)
            edge  = plain.index(0)  # the write takes effect at the end of the cycle before
            assert plain == [1] * edge + [0] * (10 - edge)
            await bench.set([port])
            assert await clear(edge - 2) == plain, "an event before the write is cleared"
            await bench.set([port])
            assert await clear(edge - 1) == [1] * 10, "an event at the write is kept"
            assert await clear(edge) == [1] * edge + [0] + [1] * (9 - edge), "an event after it"
            bench.model.values[port] = 1
    await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_in_the_middle(dut):
    """A reset at any time restores the table's values and discards what is under way."""
    bench = await Bench(dut).start()
    requests = [(offset, 0xffffffff, 0xf) for offset in OFFSETS]
    handshakes = [getattr(dut, f"s_axil_{name}")
                  for name in ("awready", "wready", "bvalid", "arready", "rvalid")]
    for wait, stalled in product(range(1, 9), (False, True)):
        bench.axi.pause(map(repeat, (False, False, stalled, False, stalled)))
        await bench.set(bench.model.of("w1c"))
        tasks = [cocotb.start_soon(bench.axi.writes(requests)),
                 cocotb.start_soon(bench.axi.reads(OFFSETS))]
        await ClockCycles(dut.clk, wait)
        for task in tasks:
            task.cancel()
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        assert [int(signal.value) for signal in handshakes] == [0] * len(handshakes)
        dut.rst.value = 0
        bench.axi.clear()
        bench.model.reset()
        await RisingEdge(dut.clk)
        bench.pulses = dict.fromkeys(bench.pulses, 0)
        await bench.check()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def outputs_come_from_registers(dut):
    """Whatever the inputs do within a cycle, no output moves."""
    bench = await Bench(dut).start()
    outputs = ["awready", "wready", "bresp", "bvalid", "arready", "rdata", "rresp", "rvalid"]
    signals = [getattr(dut, f"s_axil_{name}") for name in outputs]
    signals += [getattr(dut, port) for port in bench.model.of("rw", "w1c", "pulse")]
    inputs  = ["awaddr", "awvalid", "wdata", "wstrb", "wvalid", "bready", "araddr", "arvalid",
               "rready"]
    driven  = [getattr(dut, f"s_axil_{name}") for name in inputs]
    driven += [getattr(dut, port) for port in bench.model.of("ro")]
    driven += [getattr(dut, f"{port}_set") for port in bench.model.of("w1c")]
    moved = False
    for _ in range(200):
        await FallingEdge(dut.clk)
        before = [int(signal.value) for signal in signals]
        for signal in driven:
            signal.value = bench.rng.getrandbits(len(signal))
        await Timer(1, unit="ns")
        assert [int(signal.value) for signal in signals] == before
        await FallingEdge(dut.clk)
        moved = moved or [int(signal.value) for signal in signals] != before
    assert moved
