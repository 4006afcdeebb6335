"""What a worker of a sweep does: the measurement of one tile, and what its result depends on."""

import tempfile
import time
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from golden.parameters import ArrayParameters
from scripts import synth
from scripts.operands import operands
from synth.liberty import Library

__all__ = ["OPERANDS", "RecipeError", "recipe", "tile_digest", "measure"]

#: Kind of operands that energies are measured with, of :data:`scripts.operands.KINDS`.
OPERANDS = "fixture"

_ROOT = Path(__file__).parent.parent

#: Files that decide how a tile is measured. Its Verilog and its operands are digested themselves.
_SOURCES = ("hdl/yosys.py", "synth/*.py", "scripts/point.py", "scripts/synth.py",
            "scripts/activity.py", "scripts/operands.py")


class RecipeError(RuntimeError):
    """A worker would measure otherwise than the client that asks it."""


@cache
def recipe() -> str:
    """Digest of how tiles are measured: versions of the tools, and the sources that use them."""
    digest = sha256(repr(sorted(synth.tools().items())).encode())
    for pattern in _SOURCES:
        for path in sorted(_ROOT.glob(pattern)):
            digest.update(path.relative_to(_ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def tile_digest(values: dict[str, Any], power: bool, expected: str) -> str:
    """Digest of a tile's Verilog and, if its energy is wanted, of what the bench does with it.

    Parameters
    ----------
    values : dict
        Parameter set of the tile.
    power : bool
        Whether its energy is wanted.
    expected : str
        The client's :func:`recipe`.

    Raises
    ------
    RecipeError
        If the worker's recipe is another one.
    """
    from hdl.export import verilog
    from hdl.tile import Tile

    _check_recipe(expected)
    parameters = ArrayParameters.from_dict(values)
    # Comments tell parameters, of which many do not matter to a tile.
    lines = [line for line in verilog(Tile(parameters)).splitlines() if not line.startswith("//")]
    digest = sha256("\n".join(lines).encode())
    if power:
        digest.update(repr((OPERANDS, parameters.beats)).encode())
        for codes in operands(parameters, OPERANDS):
            digest.update(repr(codes.shape).encode() + codes.astype("<i8").tobytes())
    return digest.hexdigest()


def measure(values: dict[str, Any], period: float | None, power: bool, liberty: bytes,
            expected: str) -> dict[str, Any]:
    """Export, map and time a tile on a Dask worker; simulate it if its energy is wanted.

    Parameters
    ----------
    values : dict
        Parameter set of the tile.
    period : float or None
        Clock period in ns that its cells are sized for.
    power : bool
        Whether its energy is wanted.
    liberty : bytes
        Content of the cell library.
    expected : str
        The client's :func:`recipe`.

    Returns
    -------
    dict
        JSON-ready. ``um2``, area; ``macs``, multiply-accumulates of a cycle; ``gates_per_mac``
        and ``pe_gates_per_mac``, gate equivalents; ``sequential``, share of the flip-flops in the
        area; ``period_ns``, least clock period; ``fj_per_mac``, energy at that period, None
        without ``power``; ``seconds``, what the measurement took; ``worker``, address of the
        worker that did it.

    Raises
    ------
    RecipeError
        If the worker's recipe is another one.
    YosysError, NetlistError, SimulationError
        If the tile does not map, or its netlist fails its bench.
    """
    from distributed import get_worker

    _check_recipe(expected)
    began = time.monotonic()
    worker = get_worker()
    scratch = Path(worker.local_directory).resolve()
    library = _library(liberty, scratch)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="point-") as folder:
        tile = synth.measured_tile(ArrayParameters.from_dict(values), library, Path(folder),
                                   (OPERANDS,) if power else (), delay=period)
    least = tile.timing.period
    return {"um2": tile.mapping.area, "macs": tile.macs, "gates_per_mac": tile.gates,
            "pe_gates_per_mac": tile.element_gates,
            "sequential": tile.mapping.sequential_area / tile.mapping.area, "period_ns": least,
            "fj_per_mac": tile.energy(OPERANDS, least) if power else None,
            "seconds": round(time.monotonic() - began, 3), "worker": worker.address}


def _check_recipe(expected: str) -> None:
    if recipe() != expected:
        raise RecipeError("A worker must have the client's checkout and versions: recipe "
                          f"{expected[:12]}, not {recipe()[:12]}")


@lru_cache(maxsize=1)
def _library(content: bytes, scratch: Path) -> Library:
    """Library of a content; its file stays in the worker's own folder, where Yosys reads it."""
    path = scratch / "cells.lib"
    path.write_bytes(content)
    return Library.load(path)
