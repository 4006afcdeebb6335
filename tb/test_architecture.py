"""Who may import whom, and no multiplier where MixPE has none."""

import ast
import sys
from itertools import product
from pathlib import Path

import pytest

from golden.parameters import MACS, SETS, ArrayParameters
from hdl import yosys
from hdl.export import verilog
from hdl.tile import Tile

ROOT = Path(__file__).parent.parent
PACKAGES = ["golden", "hdl", "synth", "scripts", "tb"]

#: What the modules of a package may import besides the standard library. Hardware shares the
#: declarations with golden and none of its arithmetic: a mistake there must not hide itself.
ALLOWED = {
    "golden":  ["golden", "numpy"],
    "hdl":     ["hdl", "amaranth", "golden.base_parameters", "golden.formats",
                "golden.parameters", "golden.registers", "golden.rival_parameters",
                "golden.softmax_parameters", "golden.values_parameters"],
    "synth":   ["synth", "hdl.yosys", "numpy"],
    "scripts": None,
    "tb":      None,
}

#: Modules that others rely on to be leaves.
LEAVES = {"golden/formats.py": ["numpy"], "golden/base_parameters.py": [],
          "golden/parameters.py": ["golden.base_parameters", "golden.formats"],
          "golden/rival_parameters.py": ["golden.base_parameters", "golden.formats",
                                         "golden.parameters"],
          "golden/softmax_parameters.py": ["golden.base_parameters", "golden.formats"],
          "golden/values_parameters.py": ["golden.base_parameters", "golden.formats",
                                          "golden.parameters"],
          "golden/registers.py": ["golden.base_parameters", "golden.parameters",
                                 "golden.softmax_parameters", "golden.values_parameters"],
          "hdl/yosys.py": []}

FILES = [path for package in PACKAGES for path in sorted((ROOT / package).glob("**/*.py"))]


def imports(source: str) -> list[str]:
    """Dotted names of the modules that a source imports, wherever it does."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                is_file = (ROOT / submodule.replace(".", "/")).with_suffix(".py").exists()
                found.append(submodule if is_file else module)
    return found


def among(module: str, names: list[str]) -> bool:
    """Whether a module is one of ``names`` or inside it."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def forbidden(source: str, package: str, allowed: list[str] | None) -> list[str]:
    """Imports that break a rule."""
    standard = sys.stdlib_module_names
    return [module for module in imports(source)
            if module.startswith(".")
            or (among(module, ["tb"]) and package not in ("scripts", "tb"))
            or (allowed is not None and module.partition(".")[0] not in standard
                and not among(module, allowed))]


def test_rules_bite():
    assert forbidden("from golden.gemm import gemm", "hdl", ALLOWED["hdl"]) == ["golden.gemm"]
    assert forbidden("from golden import gemm", "hdl", ALLOWED["hdl"]) == ["golden.gemm"]
    assert forbidden("def f():\n    import pyosys", "hdl", ALLOWED["hdl"]) == ["pyosys"]
    assert forbidden("from hdl import tile, yosys", "synth", ALLOWED["synth"]) == ["hdl.tile"]
    assert forbidden("from .formats import Format", "golden", ALLOWED["golden"]) == [".formats"]
    assert forbidden("from . import formats", "scripts", None) == ["."]
    assert forbidden("import tb.runner", "synth", ["tb"]) == ["tb.runner"]
    assert forbidden("import json, numpy as np\nfrom golden.gemm import gemm", "golden",
                     ALLOWED["golden"]) == []


def test_every_package_has_modules():
    found = {path.relative_to(ROOT).parts[0] for path in FILES if path.name != "__init__.py"}
    assert found == set(PACKAGES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports(path):
    name = path.relative_to(ROOT)
    package, source = name.parts[0], path.read_text()
    assert forbidden(source, package, ALLOWED[package]) == []
    if str(name) in LEAVES:
        assert forbidden(source, package, LEAVES[str(name)]) == []
    # The language's own idiom belongs to hardware and the wrapper that benches put around it.
    if package not in ("hdl", "tb"):
        assert "import *" not in source


def test_yosys_is_started_in_one_place():
    users = [str(path.relative_to(ROOT)) for path in FILES if "import libyosys" in path.read_text()]
    assert users == ["hdl/yosys.py", "tb/test_architecture.py"]


def multipliers(parameters, folder) -> int:
    """Multiplier cells in the modules of a tile; its elements are one module."""
    tile = Tile(parameters)
    (folder / "tile.v").write_text(verilog(tile))
    log = yosys.run(f"read_verilog tile.v\nhierarchy -check -top {tile.module}\nproc\n"
                    "select -count t:$mul t:$macc t:$macc_v2 t:$div t:$mod", directory=folder)
    return int(log.rsplit(" objects.", 1)[0].split()[-1])


def without_multipliers() -> list[ArrayParameters]:
    """Each micro-architecture that has no multiplier, with each kind of weights."""
    sets = []
    for mac, w in product(MACS, ("int4", "uint4", "int8", "shift3", "e2m1")):
        if mac != "product" and (mac == "shift") <= w.startswith("shift"):
            x = "fp16" if mac == "float" else "int8"
            sets.append(SETS["tiny"].replace(name=f"{mac}_{w}", x=x, mac=mac, w=w))
    return sets


@pytest.mark.parametrize("parameters", [*SETS.values(), *without_multipliers()],
                         ids=lambda parameters: parameters.name)
def test_no_weight_is_multiplied(parameters, tmp_path):
    assert multipliers(parameters, tmp_path) == 0


@pytest.mark.parametrize("name", SETS)
def test_baseline_multiplies_in_each_lane(name, tmp_path):
    baseline = SETS[name].baseline()
    assert multipliers(baseline, tmp_path) == baseline.lanes
