"""``mixpe figures``: drawings of a parameter set as SVG, with nothing but the standard library."""

from html import escape
from pathlib import Path

from golden.formats import signed_bits
from golden.parameters import ArrayParameters
from scripts.files import write

__all__ = ["Drawing", "sends", "array", "tile", "drain", "FIGURES", "main"]

INK, FAINT, PAPER = "#1f2933", "#7b8794", "#ffffff"
X, W, S, SUM, Y = "#2563a8", "#b4521e", "#7a4aa0", "#2f7d4f", "#a3194b"
TINTS = {X: "#dbe8f6", W: "#f8e4d6", S: "#ebe0f3", SUM: "#dcefe3", Y: "#f7dbe5", INK: "#eef1f4"}
GROUPS = (X, W, SUM)

#: Distance between the streams of the rows' and the columns' scales.
_BELOW_T = 56


class Drawing:
    """SVG on a background of its own, in pixels from the upper left corner.

    Parameters
    ----------
    width, height : int
        Size.
    title : str
        What a reader who cannot see the drawing is told.
    """

    #: Width of an average character, in text heights; a cautious guess for any sans-serif font.
    CHARACTER = 0.56

    def __init__(self, width: int, height: int, title: str):
        self.width, self.height, self.title = width, height, title
        self.texts: list[tuple[float, float, float, str]] = []  # left, right, baseline, text
        self._body: list[str] = []

    def text(self, x: float, y: float, label: str, *, size: int = 13, anchor: str = "middle",
             color: str = INK, bold: bool = False) -> None:
        """Text with its baseline at ``y``."""
        length = len(label) * size * self.CHARACTER
        left = x - length * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        self.texts.append((left, left + length, y, label))
        weight = ' font-weight="600"' if bold else ""
        self._body.append(f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" '
                          f'fill="{color}"{weight}>{escape(label)}</text>')

    def box(self, x: float, y: float, width: float, height: float, *labels: str, color: str = INK,
            fill: str | None = None, size: int = 13, radius: int = 4) -> None:
        """Rectangle with centred lines of text, the first of them bold if there are several."""
        self._body.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
                          f'rx="{radius}" fill="{fill or TINTS[color]}" stroke="{color}"/>')
        leading = size + 4
        top = y + height / 2 - leading * (len(labels) - 1) / 2 + size * 0.36
        for line, label in enumerate(labels):
            self.text(x + width / 2, top + line * leading, label, size=size,
                      bold=line == 0 and len(labels) > 1)

    def line(self, *points: tuple[float, float], color: str = INK, arrow: bool = True,
             width: float = 1.8) -> None:
        """Line through points, with a head at the last."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        head = f' marker-end="url(#head{color[1:]})"' if arrow else ""
        self._body.append(f'<polyline points="{path}" fill="none" stroke="{color}" '
                          f'stroke-width="{width:g}"{head}/>')

    def dot(self, x: float, y: float, color: str) -> None:
        """Where lines join."""
        self._body.append(f'<circle cx="{x:g}" cy="{y:g}" r="3" fill="{color}"/>')

    def svg(self) -> str:
        """The drawing as text."""
        heads = "\n".join(
            f'<marker id="head{color[1:]}" viewBox="0 0 8 8" refX="7.5" refY="4" '
            f'markerUnits="userSpaceOnUse" markerWidth="9" markerHeight="9" orient="auto">'
            f'<path d="M0,0.5 L8,4 L0,7.5 z" fill="{color}"/></marker>' for color in TINTS)
        size = f'width="{self.width}" height="{self.height}"'
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}',
            f'viewBox="0 0 {self.width} {self.height}" role="img"',
            'font-family="Helvetica, Arial, sans-serif">',
            f"<title>{escape(self.title)}</title>", f"<defs>{heads}</defs>",
            f'<rect {size} rx="8" fill="{PAPER}"/>', *self._body, "</svg>", ""])


# The array


def array(p: ArrayParameters) -> Drawing:
    """Bands of tiles with row sums and feet, the output unit, and the streams."""
    size, gap = 104, 34                     # of a tile, and between tiles
    west, north, foot = 372, 74, 84         # left edge of the tiles, height above them, of a foot
    band = north + p.mesh_rows * (size + gap) + foot + 78
    right = west + p.mesh_columns * (size + gap)
    d = Drawing(right + 420, 52 + p.bands * band, f"Block diagram of the array {p.name}")
    d.text(24, 32, f"mixpe_{p.name}", size=17, anchor="start", bold=True)
    d.text(24 + 11 * (len(p.name) + 7), 32, f"{p.rows} x {p.columns} outputs, {p.peak:,} "
           "multiply-accumulates in each cycle", anchor="start", color=FAINT)

    foot_y = 52 + north + p.mesh_rows * (size + gap)
    _array_inputs(d, p, 52 + 30, 52 + north + 22, foot_y + foot + 34)
    for index in range(p.bands):
        top = 52 + index * band
        d.box(236, top, right - 236, band - 18, fill="#fafbfc", color=FAINT, radius=8)
        d.text(right - 10, top + 18, f"band {index}", anchor="end", color=FAINT)
        _mesh(d, p, west, top, size, gap, north)
        _feet(d, p, west, top + north + p.mesh_rows * (size + gap), size, gap, foot, right)
        if index:
            lines = [(224, top + 30, W), (212, top + north + 22, X),
                     (200, top + foot_y + foot - 18, S)]
            if p.x_groups:
                lines.append((188, top + foot_y + foot - 18 - _BELOW_T, S))
            for x, y, color in lines:
                d.line((x, y - band), (x, y), (236, y), color=color, arrow=False)
                d.dot(x, y - band, color)
    _array_outputs(d, p, right, foot_y + foot + 16, band)
    return d


def _array_inputs(d: Drawing, p: ArrayParameters, w: float, x: float, s: float) -> None:
    """Streams that enter in the west, at these heights."""
    scale, zero = p.scale_format.bits, p.zero_bits
    streams = [
        ("w", w, W, p.columns * p.lanes * p.w_format.bits,
         f"{p.columns} columns x {p.lanes} x {p.w}"),
        ("x", x, X, p.rows * p.lanes * p.x_format.bits + 1,
         f"{p.rows} rows x {p.lanes} x {p.x_format.name} + last"),
        ("s", s, S, p.columns * (scale + zero) + p.wide + 1,
         f"{p.columns} columns x {_sum(scale, zero)}{' + wide' * p.wide} + last")]
    if p.x_groups:
        scale = p.x_scale_format.bits if p.x_scale_format else 0
        zero  = p.x_format.bits * p.x_zero
        streams.append(("t", s - _BELOW_T, S, p.rows * (scale + zero),
                        f"{p.rows} rows x {_sum(scale, zero)}"))
    for name, y, color, bits, what in streams:
        d.text(24, y - 8, name, size=16, anchor="start", color=color, bold=True)
        d.text(46, y - 8, f"{bits:,} bits", anchor="start")
        d.text(24, y + 17, what, size=12, anchor="start", color=FAINT)
        d.line((24, y), (236, y), color=color, arrow=False)


def _sum(scale: int, zero: int) -> str:
    """Widths of a scale and a zero point."""
    return f"({scale} + {zero})" if scale and zero else f"{scale or zero}"


def _mesh(d: Drawing, p: ArrayParameters, west: float, top: float, size: int, gap: int,
          north: int) -> None:
    """Tiles, the registers that skew their operands, and the row sums beside them."""
    y0 = top + north
    d.line((236, top + 30), (west + (p.mesh_columns - 1) * (size + gap) + 28, top + 30), color=W,
           arrow=False)
    d.line((236, y0 + 22), (254, y0 + 22), (254, y0 + (p.mesh_rows - 1) * (size + gap) + 22),
           color=X, arrow=False)
    for j in range(p.mesh_columns):
        x = west + j * (size + gap)
        _delayed(d, (x + 28, top + 30), (x + 28, y0), j, W)
    for i in range(p.mesh_rows):
        y = y0 + i * (size + gap)
        _delayed(d, (254, y + 22), (west, y + 22), i, X)
        if _row_sums(p):
            d.box(286, y + 48, 56, 44, "row", "sums", color=SUM, size=12)
            d.line((west, y + 70), (342, y + 70), color=X)
            below = y + size + gap + (48 if i < p.mesh_rows - 1 else 0)
            d.line((314, y + 92), (314, below), color=SUM,
                   arrow=i < p.mesh_rows - 1)
        for j in range(p.mesh_columns):
            x = west + j * (size + gap)
            d.box(x, y, size, size)
            _elements(d, p, x + 16, y + 12, size - 32)
            d.text(x + size / 2, y + size - 9, f"tile {i},{j}", size=12)
            d.line((x + 76, y + size), (x + 76, y + size + gap), color=SUM)
            if i < p.mesh_rows - 1:
                d.line((x + 28, y + size), (x + 28, y + size + gap), color=W)
            if j < p.mesh_columns - 1:
                d.line((x + size, y + 22), (x + size + gap, y + 22), color=X)


def _row_sums(p: ArrayParameters) -> bool:
    """Whether row sums stand beside the tiles: for zero points, or to find what is no number."""
    return p.max_zero > 0 or not p.x_format.is_integer


def _delayed(d: Drawing, start: tuple[float, float], end: tuple[float, float], cycles: int,
             color: str) -> None:
    """Arrow through a delay of some cycles."""
    d.line(start, end, color=color)
    if cycles:
        x, y = (start[0] + 14, start[1] - 10) if start[1] == end[1] else (start[0] - 12,
                                                                          start[1] + 12)
        d.box(x, y, 24, 20, f"+{cycles}", color=color, size=11)


def _elements(d: Drawing, p: ArrayParameters, x: float, y: float, size: float) -> None:
    """Elements of a tile as little squares."""
    step = size / max(p.tile_rows, p.tile_columns)
    left, top = x + (size - step * p.tile_columns) / 2, y + (size - step * p.tile_rows) / 2
    for r in range(p.tile_rows):
        for c in range(p.tile_columns):
            d.box(left + c * step + 1.5, top + r * step + 1.5, step - 3, step - 3, color=FAINT,
                  fill=PAPER, radius=2)


def _feet(d: Drawing, p: ArrayParameters, west: float, y: float, size: int, gap: int, height: int,
          right: float) -> None:
    """Feet of the columns, between the stream of scales and the results."""
    scales, results = y + height + 34, y + height + 16
    for j in range(p.mesh_columns):
        x = west + j * (size + gap)
        d.box(x - 8, y, size + 16, height, "foot", f"{p.tile_columns} dequantisers",
              f"2 banks of {p.tile_columns} x {p.band_rows}", f"queue of {p.scale_queue} groups",
              color=S, size=12)
        d.line((x + 14, scales), (x + 14, y + height), color=S)
        d.line((x + 76, y + height), (x + 76, results), color=Y, arrow=False)
        if j:
            d.dot(x + 76, results, Y)
        if j < p.mesh_columns - 1 and _row_sums(p):
            d.line((x + size + 8, y + 42), (x + size + gap - 8, y + 42), color=SUM)
    if _row_sums(p):
        d.line((314, y), (314, y + 42), (west - 8, y + 42), color=SUM)
    d.line((236, scales), (west + (p.mesh_columns - 1) * (size + gap) + 14, scales), color=S,
           arrow=False)
    d.line((west + 76, results), (right, results), color=Y, arrow=False)


def _array_outputs(d: Drawing, p: ArrayParameters, right: float, results: float,
                   band: int) -> None:
    """Output unit with its two streams, and what the colours mean."""
    x, top, height = right + 66, max(210, results - 190), 96
    bus, middle = right + 26, top + height / 2
    d.line((right, results), (bus, results), (bus, middle), (x, middle), color=Y)
    for index in range(1, p.bands):
        y = results + index * band
        d.line((right, y), (bus, y), (bus, y - band), color=Y, arrow=False)
        d.dot(bus, y - band, Y)
    d.text(bus + 8, results, f"{32 * p.columns} bits of each band", size=12, anchor="start",
           color=Y)
    d.box(x, top, 124, height, "output", "acc x sx", f"rounded to {p.y}",
          f"{p.y_lanes} in a cycle", color=Y)
    edge = d.width - 24
    d.line((edge, top + 24), (x + 124, top + 24), color=S)
    d.line((x + 124, top + 72), (edge, top + 72), color=Y)
    for name, y, color, label, what in (
            ("sx", top + 24, S, "32 bits", "float32 for each row"),
            ("y", top + 72, Y, f"{p.y_lanes * p.y_format.bits + 1} bits",
             f"{p.y_lanes} x {p.y} + last")):
        d.text(x + 142, y - 8, name, size=16, anchor="start", color=color, bold=True)
        d.text(x + 168, y - 8, label, anchor="start")
        d.text(x + 142, y + 17, what, size=12, anchor="start", color=FAINT)
    for index, (color, label) in enumerate((
            (W, "weights"), (X, "activations"), (SUM, "integer sums"), (S, "scales, zero points"),
            (Y, "accumulators, outputs"))):
        y = 72 + 20 * index
        d.line((x, y), (x + 24, y), color=color)
        d.text(x + 34, y + 4, label, size=12, anchor="start")
    d.box(x, 166, 24, 20, "+1", size=11)
    d.text(x + 34, 180, "cycles of delay", size=12, anchor="start")


# The tile


def tile(p: ArrayParameters) -> Drawing:
    """A tile with what its rows and columns share, and one of its elements."""
    pitch, west, north = 76, 258, 202
    right, bottom = west + p.tile_columns * pitch, north + p.tile_rows * pitch
    d = Drawing(right + 360, max(bottom + 110, 560), f"Tile of the array {p.name}")
    row, column, element = _micro_architecture(p)
    d.text(24, 32, f"mixpe_{p.name}_tile", size=17, anchor="start", bold=True)
    d.text(24, 54, f"{p.tile_rows} x {p.tile_columns} elements of {p.lanes} lanes", anchor="start",
           color=FAINT)

    x_bits, w_bits = p.lanes * p.x_format.bits, p.lanes * p.w_format.bits
    d.text(west - 10, 92, f"w: {w_bits} bits a column", anchor="end", size=12, color=W)
    for c in range(p.tile_columns):
        center = west + c * pitch + 28
        d.line((center, 66), (center, 78), color=W)
        d.box(center - 28, 78, 56, 22, "w", color=W, size=12)
        if column:
            d.line((center, 100), (center, 118), color=W)
            d.box(center - 28, 118, 56, 36, *column[0], color=W, size=11)
        d.line((center, 154 if column else 100), (center, bottom - 20), color=W, arrow=False)
        d.line((center + 16, bottom - 20), (center + 16, bottom + 14), color=SUM)
        d.box(center - 28, bottom + 14, 56, 24, "drain", color=SUM, size=12)
        d.line((center, bottom + 38), (center, bottom + 58), color=SUM)
    for r in range(p.tile_rows):
        center = north + r * pitch + 28
        d.line((24, center), (44, center), color=X)
        d.box(44, center - 14, 50, 28, "x", color=X, size=12)
        if row:
            d.line((94, center), (112, center), color=X)
            d.box(112, center - 22, 104, 44, *row[0], color=X, size=11)
        d.line((216 if row else 94, center), (right - 20, center), color=X, arrow=False)
        for c in range(p.tile_columns):
            d.box(west + c * pitch, center - 28, 56, 56, "PE", fill=PAPER)
    if column:
        d.text(west - 10, 140, column[1], anchor="end", size=12, color=W)
    d.text(24, north - 26 if row else north, f"x: {x_bits} bits a row", anchor="start", size=12,
           color=X)
    if row:
        d.text(24, north - 8, row[1], anchor="start", size=12, color=X)
    d.text(west - 10, bottom + 31, f"sums: {p.sum_bits} bits a column", anchor="end", size=12,
           color=SUM)
    d.text(24, bottom + 88, "x, w, enable, last and move also go on to the next tiles.",
           anchor="start", size=12, color=FAINT)
    _element(d, p, right + 36, element)
    return d


def _micro_architecture(p: ArrayParameters):
    """Labels of a row's and a column's share, with their sums, and of an element's steps."""
    low, high = p.w_format.low, p.w_format.high
    pairs, planes = p.lanes // 2, signed_bits(low, high) if low < 0 else high.bit_length()
    return {
        "pair_sum": (
            (("pair sums", "x0 + x1"), f"{pairs} sums of {p.x_format.bits + 1} bits, once a row"),
            (("select", "decode"), f"{3 * pairs * planes} select lines, once a column"),
            (("select", f"{pairs * planes} x one of 0, x0, x1, x0 + x1"),
             ("compressor tree", f"{pairs * planes} addends + accumulator"),
             ("carry-propagate adder", f"{p.sum_bits} bits"))),
        "shift_add": (None, None, (
            ("shift and mask", f"{p.lanes * planes} x 0 or x << b"),
            ("adders", f"{p.lanes * planes} addends + accumulator"))),
        "product": (None, None, (
            ("multipliers", f"{p.lanes} of {p.x_format.bits} x {planes} bits"),
            ("adders", f"{p.lanes} products + accumulator"))),
        "shift": (None, None, (
            ("shift and negate", f"{p.lanes} x ±(x << s)"),
            ("compressor tree", f"{p.lanes} addends + accumulator"),
            ("carry-propagate adder", f"{p.sum_bits} bits"))),
        "float": (
            (("significands,", "shifts"), f"{p.x_format.man_bits + 2} bits, signed, once a row"),
            None,
            (("shift and mask", f"{p.lanes * planes} x 0 or significand << b"),
             ("shift", f"{p.lanes} products by their exponents"),
             ("adders", f"{p.sum_bits} bits, with the accumulator"))),
    }[p.mac]


def _element(d: Drawing, p: ArrayParameters, left: float, steps) -> None:
    """An element, from its operands above to its shadow."""
    width, top = 300, 20
    middle, pitch, height = left + width / 2, 82, 48
    shadow = top + 54 + (len(steps) + 1) * pitch
    d.box(left, top, width, shadow + height + 20 - top, color=FAINT, fill="#fafbfc", radius=8)
    d.text(left + 12, top + 22, "PE", anchor="start", bold=True)
    for x, color in ((middle - 24, X), (middle + 24, W)):
        d.line((x, top + 12), (x, top + 54), color=color)
    for index, labels in enumerate(steps):
        y = top + 54 + index * pitch
        d.box(left + 28, y, width - 76, height, *labels, size=12)
        d.line((left + 28 + (width - 76) / 2, y + height),
               (left + 28 + (width - 76) / 2, y + pitch), color=SUM)
    acc = top + 54 + len(steps) * pitch
    center = left + 28 + (width - 76) / 2
    d.box(left + 28, acc, width - 76, height, "accumulator", f"{p.sum_bits} bits, 0 after last",
          color=SUM, size=12)
    tree = top + 54 + (len(steps) - (2 if len(steps) > 2 else 1)) * pitch + height / 2
    d.line((left + width - 48, acc + height / 2), (left + width - 22, acc + height / 2),
           (left + width - 22, tree), (left + width - 48, tree), color=SUM)
    d.box(left + 28, shadow, width - 76, height, "shadow", f"{p.sum_bits} bits", color=SUM,
          size=12)
    total = acc - (pitch - height) / 2
    d.line((center, total), (left + 14, total), (left + 14, shadow + 14), (left + 28, shadow + 14),
           color=SUM)
    d.dot(center, total, SUM)
    d.text(left + 34, shadow - 12, "the sum, with last", size=11, anchor="start", color=FAINT)
    d.line((left + width - 34, shadow - 22), (left + width - 34, shadow + 24),
           (left + width - 48, shadow + 24), color=SUM)
    d.text(left + width - 40, shadow - 12, "else from above", size=11, anchor="end", color=FAINT)
    d.line((center, shadow + height), (center, shadow + height + 34), color=SUM)
    d.text(center + 10, shadow + height + 34, "to the element below", size=11, anchor="start",
           color=FAINT)


# The drain


def sends(p: ArrayParameters, tile_row: int, group: int) -> list[tuple[int, int]]:
    """When a tile of the first column sends down which rows of a group, as (cycle, row).

    Operands of beat ``b`` of group ``g`` enter the band in cycle ``g * beats + b``. A tile row
    works on them ``tile_row + 1`` cycles later; its shadow has the sums after one more, and its
    lowest row is in the drain register after another. The rows of the tiles above follow.
    """
    last = (group + 1) * p.beats - 1
    rows = (tile_row + 1) * p.tile_rows
    return [(last + tile_row + 3 + k, rows - 1 - k) for k in range(rows)]


def drain(p: ArrayParameters) -> Drawing:
    """Timing of three groups: what each row of tiles works on, captures and sends."""
    groups, left, top, pitch = 3, 176, 88, 40
    cycles = sends(p, p.mesh_rows - 1, groups - 1)[-1][0] + 1
    cell = max(4.0, min(25.0, 1000 // cycles))
    lanes = 1 + 2 * p.mesh_rows
    d = Drawing(int(left + max(480, cycles * cell) + 24), top + lanes * pitch + 72,
                f"Timing of the drain of the array {p.name}")
    d.text(24, 32, f"mixpe_{p.name}: {groups} groups of {p.beats} beats, "
           f"{p.band_rows} rows of a band", size=17, anchor="start", bold=True)
    d.text(24, 54, "first column of tiles; each further column runs one cycle later",
           anchor="start", color=FAINT)
    for cycle in range(0, cycles, 1 if cell > 20 else int(40 // cell)):
        d.text(left + (cycle + 0.5) * cell, top - 8, str(cycle), size=11, color=FAINT)
    d.text(left - 12, top - 8, "cycle", size=11, anchor="end", color=FAINT)

    def cells(lane: int, what: str, entries) -> None:
        y = top + lane * pitch
        d.text(left - 12, y + 19, what, anchor="end")
        for cycle, number, group, last in entries:
            color = GROUPS[group]
            d.box(left + cycle * cell + 0.5, y, cell - 1, 28, fill=color if last else None,
                  color=color, radius=2)
            if cell >= 12:
                d.text(left + (cycle + 0.5) * cell, y + 18, str(number), size=11,
                       color=PAPER if last else INK)

    beats = [(group * p.beats + beat, beat, group, beat == p.beats - 1)
             for group in range(groups) for beat in range(p.beats)]
    cells(0, "x, w: beat", beats)
    for i in range(p.mesh_rows):
        cells(2 * i + 1, f"tile row {i} adds beat",
              [(cycle + i + 1, *rest) for cycle, *rest in beats])
        cells(2 * i + 2, f"tile row {i} sends row" if i < p.mesh_rows - 1 else "feet take row",
              [(cycle, row, group, False) for group in range(groups)
               for cycle, row in sends(p, i, group)])
    y = top + lanes * pitch + 22
    d.box(left, y - 14, 20, 20, fill=INK, radius=2)
    d.text(left + 28, y + 1, "last beat of a group; its sums leave from two cycles later on",
           anchor="start", size=12)
    for group in range(groups):
        d.box(left + group * 100, y + 16, 20, 20, color=GROUPS[group], radius=2)
        d.text(left + 28 + group * 100, y + 31, f"group {group}", anchor="start", size=12)
    return d


#: Figures by the name of their file.
# The engine


def engine(p: ArrayParameters) -> Drawing:
    """Registers and queue above; streams, their buffers, array and results below."""
    streams = {
        "x":  (X, p.x_input_format.bits * p.lanes * p.x_rows,
               f"{p.x_rows} row{'s' * (p.x_rows > 1)} x {p.lanes} x {p.x}"),
        "t":  (S, None, "row x group"),
        "w":  (W, p.columns * p.lanes * p.w_format.bits,
               f"{p.columns} columns x {p.lanes} x {p.w}"),
        "s":  (S, p.columns * (p.scale_format.bits + p.zero_bits), f"{p.columns} columns"),
        "sx": (S, 32, "1 row x fp32"),
    }
    depths = {"x": (p.x_depth, p.rows), "t": (p.t_depth, p.rows), "w": (p.w_depth, 1),
              "s": (p.s_depth, 1), "sx": (p.sx_depth, 1)}
    if not p.x_groups:
        del streams["t"]
    top, pitch = 190, 78
    bottom = top + len(streams) * pitch
    d = Drawing(1200, bottom + 10, f"Engine {p.name}: queue of commands, buffers of the operands, "
                                   f"array of {p.rows} x {p.columns} outputs, results")
    d.text(24, 30, "AXI4-Lite", size=16, anchor="start", bold=True)
    d.text(24, 48, "registers, interrupt", anchor="start", color=FAINT)
    d.line((24, 66), (190, 66))
    d.box(190, 36, 150, 60, "registers", "errors, counters")
    d.line((340, 66), (390, 66))
    d.box(390, 36, 150, 60, "admission", "checks and divides")
    d.line((540, 66), (590, 66))
    d.box(590, 36, 220, 60, "commands", "each part has its own place")
    for x, y in ((430, top - 24), (680, 150), (1030, 150)):
        d.line((700, 96), (700, 122), (x, 122), (x, y))

    d.box(600, 150, 160, bottom - 170, "sequence", "passes, blocks,", "groups, edges")
    d.box(800, 150, 140, bottom - 170, "array", f"{p.rows} x {p.columns} outputs",
          f"{p.peak:,} MAC per cycle", color=SUM)
    for index, (name, (color, bits, what)) in enumerate(streams.items()):
        _channel(d, p, name, top + index * pitch, color, bits, what, depths[name])
    y = (150 + bottom - 20) / 2
    d.line((760, y), (800, y), color=SUM)
    d.box(980, 150, 100, bottom - 170, "results", "M x N", color=Y)
    d.line((940, y), (980, y), color=Y)
    d.line((1080, y), (1176, y), color=Y)
    d.text(1176, y - 28, "y", size=16, anchor="end", color=Y, bold=True)
    d.text(1176, y - 10, f"{p.y_lanes} x {p.y}", anchor="end", color=FAINT)
    return d


def _channel(d: Drawing, p: ArrayParameters, name: str, y: float, color: str, bits: int | None,
             what: str, depth: tuple[int, int]) -> None:
    """A stream, the aligner if it passes that, and its buffer."""
    items, rows = depth
    if name != "t" or not p.x_align:
        d.text(24, y - 8, name, size=16, anchor="start", color=color, bold=True)
        d.text(24, y + 16, what, size=12, anchor="start", color=FAINT)
        if bits:
            d.text(52, y - 8, f"{bits:,} bits", anchor="start")
    if name == "x" and p.x_align:
        d.line((24, y), (190, y), color=color)
        d.box(190, y - 24, 110, 48, "aligner", f"{p.x_align} bits", color=color)
        d.line((300, y), (350, y), color=color)
        d.line((245, y + 24), (245, y + 78), (350, y + 78), color=S)
    elif name != "t" or not p.x_align:
        d.line((24, y), (350, y), color=color)
    d.box(350, y - 24, 180, 48, f"channel {name}",
          f"{rows} x {items:,} items" if rows > 1 else f"{items:,} items", color=color)
    d.line((530, y), (600, y), color=color)


FIGURES = {"array": array, "engine": engine, "tile": tile, "drain": drain}


def main(parameters: ArrayParameters, output: Path) -> list[Path]:
    """Draw every figure of a set; return the files."""
    files = [output / f"{name}.svg" for name in FIGURES]
    for file, draw in zip(files, FIGURES.values(), strict=True):
        write(file, draw(parameters).svg())
    return files
