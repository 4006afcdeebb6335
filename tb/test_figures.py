"""Figures: drawn from a parameter set, legible, as committed, and true to the hardware's timing."""

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from golden.parameters import RESCALE_LATENCY, SETS
from hdl.array import s_layout, t_layout, w_layout, x_layout
from hdl.output import y_layout
from scripts import claims
from scripts.figures import FIGURES, main, sends

COMMITTED = Path(__file__).parent.parent / "docs" / "figures"

TINY = SETS["tiny"]
PARAMETERS = [
    *SETS.values(),
    TINY.baseline(),
    TINY.replace(name="everything", wide=True, x_zero=True, x_scale="fp16"),
    TINY.replace(name="three_bands", bands=3, w="int4"),
    TINY.replace(name="long_groups", group=4096, lanes=8),
    TINY.replace(name="one", lanes=1, tile_rows=1, tile_columns=1, mesh_rows=1, mesh_columns=1,
                 bands=1, y_lanes=1, mac="shift_add"),
]

by_set = pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda p: p.name)
by_figure = pytest.mark.parametrize("name", FIGURES)


def test_committed_figures_are_current(tmp_path):
    drawn = main(SETS["edge"], tmp_path)
    others = {f"claims_{name}.svg" for name in claims.FIGURES}
    assert {path.name for path in COMMITTED.iterdir()} == {path.name for path in drawn} | others
    for path in drawn:
        assert path.read_text() == (COMMITTED / path.name).read_text(), "run `make figures`"


@by_set
@by_figure
def test_text_lies_inside_and_apart(name, parameters):
    drawing = FIGURES[name](parameters)
    ElementTree.fromstring(drawing.svg())
    for left, right, y, text in drawing.texts:
        assert left >= 0, text
        assert right <= drawing.width, text
        assert 10 <= y <= drawing.height - 4, text
    for (left, right, y, text), (other_left, other_right, other_y, other) in combinations(
            drawing.texts, 2):
        assert abs(y - other_y) >= 10 or right <= other_left or other_right <= left, (text, other)


@by_set
def test_array_shows_the_widths_of_its_streams(parameters):
    p = parameters
    texts = [text for *_, text in FIGURES["array"](p).texts]
    widths = {"x": x_layout(p).size, "w": w_layout(p).size, "s": s_layout(p).size, "sx": 32,
              "y": y_layout(p).size}
    if p.x_groups:
        widths["t"] = t_layout(p).size
    for name, width in widths.items():
        assert texts[texts.index(name) + 1] == f"{width:,} bits"


@by_set
def test_feet_take_a_group_as_the_latency_says(parameters):
    p = parameters
    for group in range(3):
        cycles, rows = zip(*sends(p, p.mesh_rows - 1, group), strict=True)
        assert list(rows) == list(reversed(range(p.band_rows)))
        assert cycles == tuple(range(cycles[0], cycles[0] + p.band_rows))
        # From the last row, the latency is that of the other columns and of two pipelines.
        rest = p.mesh_columns - 1 + p.dequantise_latency + 1 + RESCALE_LATENCY
        assert cycles[-1] + rest == (group + 1) * p.beats - 1 + p.latency


@by_set
def test_rows_pass_from_tile_to_tile_without_a_gap(parameters):
    """What the tile above sends comes out below R cycles later, behind the tile's own rows."""
    p = parameters
    for i in range(1, p.mesh_rows):
        own, below = sends(p, i, 0)[:p.tile_rows], sends(p, i, 0)[p.tile_rows:]
        assert {row // p.tile_rows for _, row in own} == {i}
        assert below == [(cycle + p.tile_rows + 1, row) for cycle, row in sends(p, i - 1, 0)]


def test_groups_meet_exactly_when_a_band_has_as_many_rows_as_beats():
    def spare(p):
        return sends(p, p.mesh_rows - 1, 1)[0][0] - sends(p, p.mesh_rows - 1, 0)[-1][0] - 1

    assert spare(SETS["edge"]) == 0
    assert spare(SETS["edge"].replace(lanes=8)) == 8
