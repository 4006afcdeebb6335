"""Where the sums of a foot's columns accumulate, group by group."""

from amaranth import *
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.parameters import ACCUMULATE_LOOP, ArrayParameters
from hdl.block import Block
from hdl.float32 import FP32

__all__ = ["Accumulators"]

# Cycles from the address of an accumulator to the write of its successor, both included.
_LOOP = 3


class Accumulators(Block):
    """Binary32 accumulators of several columns, in two banks.

    A row of all columns is visited in each cycle that ``valid`` is high. Its accumulators, +0 with
    ``first``, are in ``acc`` when it has passed ``dequantise_latency - 2`` cycles, and what
    must take their place is expected in ``acc_next`` one cycle later. A row of a bank may return
    ``ACCUMULATE_LOOP`` cycles after its last visit, and can be addressed by ``read_row`` and
    ``read_bank`` from ``parameters.dequantise_latency`` cycles after it, while the visits belong
    to the other bank.

    Parameters
    ----------
    parameters : ArrayParameters
    columns : int
        C, number of columns.

    Members
    -------
    valid : In(1)
        A row is visited.
    first : In(1)
        The group is the first of its output.
    row : In(range(parameters.band_rows))
        Accumulators to add to; one bit wide if there is one row, as ``read_row``.
    bank : In(1)
        Bank of these accumulators.
    acc : Out(ArrayLayout(32, C))
        What to add to.
    acc_next : In(ArrayLayout(32, C))
        Sums.
    read_row : In(range(parameters.band_rows))
        Accumulators to read.
    read_bank : In(1)
        Bank of these accumulators.
    result : Out(ArrayLayout(32, C))
        Accumulators addressed in the cycle before, codes of binary32.
    """

    def __init__(self, parameters: ArrayParameters, columns: int):
        # The memory is not transparent: a read sees the writes of earlier cycles.
        assert ACCUMULATE_LOOP >= _LOOP
        row   = In(range(max(2, parameters.band_rows)))  # Verilog has no port without bits
        words = data.ArrayLayout(FP32.bits, columns)
        super().__init__(parameters, "accumulators", {
            "valid": In(1), "first": In(1), "row": row, "bank": In(1), "acc": Out(words),
            "acc_next": In(words), "read_row": row, "read_bank": In(1), "result": Out(words),
        })

    def elaborate(self, platform):
        m = Module()

        stages = self._stages(m)
        read, adding, write = stages[-_LOOP:]
        outputs = []
        for bank in range(2):
            m.submodules[f"bank{bank}"] = memory = Memory(
                shape=self.acc.shape().size, depth=self.parameters.band_rows, init=[])
            reader, writer = memory.read_port(), memory.write_port()
            m.d.comb += [
                reader.addr.eq(Mux(read["valid"] & (read["bank"] == bank),
                                   read["row"], self.read_row)),
                writer.addr.eq(write["row"]),
                writer.data.eq(self.acc_next),
                writer.en.eq(write["valid"] & (write["bank"] == bank)),
            ]
            outputs.append(reader.data)

        read_bank = Signal(reset_less=True)
        m.d.sync += read_bank.eq(self.read_bank)
        m.d.comb += [
            self.result.eq(Mux(read_bank, outputs[1], outputs[0])),
            self.acc.eq(Mux(adding["first"], 0, Mux(adding["bank"], outputs[1], outputs[0]))),
        ]

        return m

    def _stages(self, m):
        """What accompanies a row, for each stage; ``valid`` alone is reset."""
        stages = [{name: getattr(self, name) for name in ("valid", "row", "bank", "first")}]
        for stage in range(1, self.parameters.dequantise_latency):
            later = {name: Signal.like(value, name=f"{name}{stage}", reset_less=name != "valid")
                     for name, value in stages[-1].items()}
            m.d.sync += [signal.eq(stages[-1][name]) for name, signal in later.items()]
            stages.append(later)
        return stages
