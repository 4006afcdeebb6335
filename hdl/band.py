"""A band: the mesh of tiles that shares one row of dequantisers."""

from amaranth import *
from amaranth.lib import data, fifo
from amaranth.lib.wiring import In, Out

from golden.parameters import ArrayParameters
from hdl.block import Block, Use
from hdl.foot import Foot, column_layout, step_layout
from hdl.row_sum import RowSum, row_layout, row_sum_layout, x_group_layout
from hdl.tile import Tile

__all__ = ["Band", "group_layout"]


def group_layout(parameters: ArrayParameters) -> data.StructLayout:
    """Layout of what ends a group: its place in the tile, its scales and zero points."""
    return data.StructLayout({
        "first": 1, "final": 1, "bank": 1, "wide": 1,
        "columns": data.ArrayLayout(column_layout(parameters), parameters.columns),
        "rows": data.ArrayLayout(x_group_layout(parameters), parameters.band_rows),
    })


class Band(Block):
    """Mesh of tiles with operands registered between them, row sums in the west, feet in the south.

    Activations travel east and weights south, each row and column of tiles one cycle later than
    the one before, and with them whether there are any. Operands are never refused. A group may
    follow another at once, but no sooner than after ``least_beats`` cycles.

    Parameters
    ----------
    parameters : ArrayParameters

    Members
    -------
    x : In(ArrayLayout(ArrayLayout(x_bits, L), band_rows))
        Activations.
    w : In(ArrayLayout(ArrayLayout(w_bits, L), columns))
        Weights.
    enable : In(1)
        This cycle has operands.
    last : In(1)
        They end a group; only with ``enable``.
    group : In(group_layout(parameters))
        The group that ends; taken with ``last``.
    freed : Out(1)
        An entry of every scale queue is free again.
    finished : Out(1)
        Another output tile can be read, by addresses from this cycle on.
    read_row, read_bank : In
        Accumulators to read, from a bank whose output tile has finished.
    result : Out(ArrayLayout(32, columns))
        These accumulators, one cycle later.
    """

    def __init__(self, parameters: ArrayParameters):
        p = parameters
        self.tile, self.foot = Tile(p), Foot(p)
        self.row_sum = RowSum(p) if row_sum_layout(p).size else None
        super().__init__(p, "band", {
            "x":         In(data.ArrayLayout(self.tile.pe.mac.x, p.band_rows)),
            "w":         In(data.ArrayLayout(self.tile.pe.mac.w, p.columns)),
            "enable":    In(1),
            "last":      In(1),
            "group":     In(group_layout(p)),
            "freed":     Out(1),
            "finished":  Out(1),
            "read_row":  In(range(max(2, p.band_rows))),
            "read_bank": In(1),
            "result":    Out(data.ArrayLayout(32, p.columns)),
        }, uses=(self.tile, self.foot) + ((self.row_sum,) if self.row_sum else ()))

    def elaborate(self, platform):
        m = Module()
        p = self.parameters

        def delayed(signal, cycles: int, name: str, **options):
            """``signal``, ``cycles`` later."""
            for cycle in range(cycles):
                register = Signal.like(signal, name=f"{name}_{cycle + 1}", **options)
                m.d.sync += register.eq(signal)
                signal = register
            return signal

        def skewed(signal, name: str, **options):
            """``signal`` as each row and column of tiles takes it, one cycle later each."""
            found = [signal]
            for _ in range(1, max(p.mesh_rows, p.mesh_columns)):
                found.append(delayed(found[-1], 1, f"{name}_{len(found)}", **options))
            return found

        def operands(values, place: int, name: str):
            """What the row or the column of tiles at ``place`` takes of ``values``."""
            for cycle in range(place):
                register = Signal.like(values, name=f"{name}_{cycle + 1}", reset_less=True)
                with m.If(enable[cycle]):
                    m.d.sync += register.eq(values)
                values = register
            return values

        def part(values, index: int, size: int):
            """Bits of the ``index``th ``size`` elements of an array."""
            width = len(Value.cast(values)) // len(values) * size
            return Value.cast(values).word_select(index, width)

        tiles = [[Use(self.tile) for _ in range(p.mesh_columns)] for _ in range(p.mesh_rows)]
        feet = [Use(self.foot) for _ in range(p.mesh_columns)]
        row_sums = [Use(self.row_sum) for _ in range(p.mesh_rows)] if self.row_sum else []

        # The shadows move from the cycle after `last` until all rows have left.
        left = Signal(range(p.band_rows + 1))
        with m.If(self.last):
            m.d.sync += left.eq(p.band_rows)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        enable = skewed(self.enable, "enable", init=1)
        last   = skewed(self.last, "last", init=1)
        move   = skewed(self.last | (left != 0), "move")
        for i, row in enumerate(tiles):
            west_x = operands(part(self.x, i, p.tile_rows), i, f"x_{i}")
            for j, tile in enumerate(row):
                m.submodules[f"tile_{i}_{j}"] = tile
                west = row[j - 1] if j else None
                m.d.comb += [
                    tile.x_i.eq(west.x_o if west else west_x),
                    tile.enable_i.eq(west.enable_o if west else enable[i]),
                    tile.last_i.eq(west.last_o if west else last[i]),
                    tile.move_i.eq(west.move_o if west else move[i]),
                ]
                if i:
                    m.d.comb += [
                        tile.w_i.eq(tiles[i - 1][j].w_o),
                        tile.drain_i.eq(tiles[i - 1][j].drain_o),
                    ]
                else:
                    m.d.comb += tile.w_i.eq(operands(part(self.w, j, p.tile_columns), j,
                                                     f"w_{j}"))
        for i, row_sum in enumerate(row_sums):
            m.submodules[f"row_sum_{i}"] = row_sum
            m.d.comb += [
                row_sum.x.eq(tiles[i][0].x_o),
                row_sum.enable.eq(tiles[i][0].enable_o),
                row_sum.last.eq(tiles[i][0].last_o),
                row_sum.move.eq(tiles[i][0].move_o),
            ]
            if i:
                m.d.comb += row_sum.drain_i.eq(row_sums[i - 1].drain_o)

        # The bottom row of the first tile column leaves mesh_rows + 2 cycles after the operands.
        begin = delayed(self.last, p.mesh_rows + 1, "begin")
        tags = [delayed(tag, p.mesh_rows + 1, name, reset_less=True)
                for tag, name in ((self.group.first, "first"), (self.group.final, "final"),
                                  (self.group.bank, "bank"), (self.group.wide, "wide"))]
        step = Signal(step_layout(p))
        with m.If(begin):
            m.d.sync += [
                step.valid.eq(1),
                step.end.eq(p.band_rows == 1),
                step.row.eq(p.band_rows - 1),
                Cat(step.first, step.final, step.bank, step.wide).eq(Cat(*tags)),
            ]
        with m.Else():
            m.d.sync += [
                step.valid.eq(step.valid & ~step.end),
                step.end.eq(step.row == 1),
                step.row.eq(step.row - 1),
            ]

        # What the rows have in a group waits like what the columns have, which is at the feet.
        row = Signal(row_layout(p))
        if row_sums:
            m.d.comb += row.sums.eq(row_sums[-1].drain_o)
        if (rows := self.group.rows.shape()).size:
            m.submodules.queue = queue = fifo.SyncFIFO(width=rows.size, depth=p.scale_queue)
            m.d.comb += [
                queue.w_data.eq(self.group.rows),
                queue.w_en.eq(self.last),
                queue.r_en.eq(step.valid & step.end),
                row.group.eq(data.View(rows, queue.r_data)[step.row]),
            ]

        for j, foot in enumerate(feet):
            m.submodules[f"foot_{j}"] = foot
            m.d.comb += [
                foot.sums.eq(tiles[-1][j].drain_o),
                foot.step_i.eq(feet[j - 1].step_o if j else step),
                foot.columns.eq(part(self.group.columns, j, p.tile_columns)),
                foot.columns_valid.eq(self.last),
                foot.read_row.eq(self.read_row),
                foot.read_bank.eq(self.read_bank),
                part(self.result, j, p.tile_columns).eq(foot.result),
            ]
            if row.shape().size:
                m.d.comb += foot.row_i.eq(feet[j - 1].row_o if j else row)

        # `step_o` of the last foot is one cycle behind the sums that its dequantisers took.
        end = feet[-1].step_o
        m.d.comb += [
            self.freed.eq(end.valid & end.end),
            self.finished.eq(delayed(end.valid & end.end & end.final,
                                     p.dequantise_latency - 1, "finished_in")),
        ]

        return m
