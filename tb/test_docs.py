"""What the documents say that can be checked: links, commands, examples."""

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

from golden.parameters import SETS
from golden.sets import ALL_SETS, parameter_set
from golden.softmax_parameters import SOFTMAX_SETS, Constants, SoftmaxParameters
from hdl.array import Array, s_layout, w_layout, x_layout
from hdl.export import description
from hdl.gemm import Gemm
from hdl.output import y_layout
from hdl.softmax.unit import SoftmaxUnit
from scripts import formats
from scripts.registers import forms
from scripts.units import unit_module
from scripts.verilog import main as write_verilog
from tb.engines import ENGINES, SMALL
from tb.test_registers import compile_c

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README = (ROOT / "README.md").read_text()
PORTS = (ROOT / "docs" / "ports.md").read_text()
ENGINE = (ROOT / "docs" / "engine.md").read_text()
SOFTMAX = (ROOT / "docs" / "softmax.md").read_text()


def blocks(text: str, language: str = "") -> list[str]:
    """Contents of the fenced blocks in a language."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [content for name, content in fences if name == language]


@cache
def described() -> dict:
    """Description of the array `tiny`."""
    return description(Array(SETS["tiny"]), "")


def run(*command: str) -> str:
    """Output of a command in the checkout."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    dead = [link for link in links
            if not re.match(r"https?://", link) and not (page.parent / link).exists()]
    assert dead == []


def test_index_names_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    linked = set(re.findall(r"\]\((\S+\.md)\)", index))
    assert linked == {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}


def test_directory_map_names_every_folder():
    section = README.partition("## Folders\n")[2].partition("\n## ")[0]
    tracked = {path.partition("/")[0] for path in run("git", "ls-files").splitlines()
               if "/" in path and not path.startswith(".")}
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == tracked


def test_own_set_of_the_readme_is_one(tmp_path):
    (example,) = blocks(README, "toml")
    name = re.match(r"# (\w+\.toml)", example)[1]
    assert f"SET={name}" in README
    (tmp_path / name).write_text(example)
    parameters = parameter_set(str(tmp_path / name))
    assert f"{parameters.peak:,} multiply-accumulates" in example
    assert tomllib.loads(example).items() <= parameters.to_dict().items()


def test_own_softmax_set_of_the_page_is_one(tmp_path):
    (example,) = blocks(SOFTMAX, "toml")
    (told,) = re.findall(r"^# (\w+\.toml): codes of (\d) bits, (\d+) elements in each cycle, "
                         r"rows of up to ([\d,]+)$", example, re.MULTILINE)
    name, bits, width, most = told
    (tmp_path / name).write_text(example)
    parameters = parameter_set(str(tmp_path / name))
    assert type(parameters) is SoftmaxParameters
    assert (parameters.bits, parameters.width) == (int(bits), int(width))
    assert f"{parameters.max_length:,}" == most
    values = tomllib.loads(example)
    assert values.pop("unit") == "softmax"
    assert values.items() <= parameters.to_dict().items()


def test_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) +\?=", makefile, re.MULTILINE))
    for page in PAGES:
        if page.name != "CHANGELOG.md":
            text = page.read_text()
            named = re.findall(r"(?:`|^|\$ )(?:[A-Z]+=\S+ )?make ([a-z-]+)", text, re.MULTILINE)
            assert set(named) <= known, page.name
    assert {"sim", "test", "help", "verilog", "sets"} <= set(
        re.findall(r"make ([a-z-]+)", README))
    assert set(re.findall(r"\b([A-Z]{3,})=", README)) <= variables


def test_page_of_formats_is_current():
    assert (ROOT / "docs" / "formats.md").read_text() == formats.page(), "run `make formats`"


def test_help_is_the_real_one():
    (shown,) = [block for block in blocks(README) if block.startswith("$ make help\n")]
    assert shown == "$ make help\n" + run("make", "--no-print-directory", "help")


def test_sets_of_the_readme_and_the_jobs_exist():
    named = re.findall(r"\bSET=(\w+)(?![.\w])", README + SOFTMAX)
    assert named
    assert set(named) <= set(ALL_SETS)
    jobs = (ROOT / ".github/workflows/ci.yml").read_text()
    (looped,) = re.findall(r"for set in ([\w\s]+);", jobs)
    assert looped.split() == list(ALL_SETS)


def test_table_of_ports_is_the_arrays():
    rows = re.findall(r"^\| `(\w+)` \| (in|out) \| .* \| ([\d,]+) \| ([\d,]+) \|", PORTS,
                      re.MULTILINE)
    ports = described()["ports"]
    assert [f"{row[0]}__payload" for row in rows] == [name for name in ports if "payload" in name]
    for stream, direction, tiny, _ in rows:
        payload = ports[f"{stream}__payload"]
        assert payload["direction"].startswith(direction)
        assert f"{payload['width']:,}" == tiny
    p = SETS["edge"]
    widths = [x_layout(p).size, w_layout(p).size, s_layout(p).size, 32, y_layout(p).size]
    assert [row[3] for row in rows] == [f"{width:,}" for width in widths]


def test_length_at_full_rate_is_the_sets():
    (length,) = re.findall(r"peak needs K of at least (\d+) for this set", README)
    assert int(length) == SETS["edge"].full_rate_length


def test_examples_of_the_engine(tmp_path):
    """The Python runs, the C compiles with the header that is written."""
    (python,) = blocks(ENGINE, "python")
    names = {}
    exec(python, names)
    assert len(names["layer"].payloads["x"]) == 3 * 200 // SETS["fpga"].lanes
    (code,) = blocks(ENGINE, "c")
    for name, text in forms(SETS["fpga"]).items():
        (tmp_path / name).write_text(text)
    process = compile_c(code, tmp_path)
    assert process.returncode == 0, process.stderr


def test_examples_of_the_softmax_unit(tmp_path):
    """The Python gives constants, the C compiles with the header that is written."""
    (python,) = blocks(SOFTMAX, "python")
    names = {}
    exec(python, names)
    assert type(names["found"]) is Constants
    names["found"].check(SOFTMAX_SETS["attention"])
    (code,) = blocks(SOFTMAX, "c")
    for name, text in forms(SOFTMAX_SETS["attention"]).items():
        (tmp_path / name).write_text(text)
    process = compile_c(code, tmp_path)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(("page", "unit", "others"), [
    (ENGINE, Gemm(ENGINES[1]), ["interrupt"]),
    (SOFTMAX, SoftmaxUnit(SOFTMAX_SETS["attention"]), []),
], ids=["engine", "softmax"])
def test_ports_of_the_units_are_listed(page, unit, others):
    listed = re.findall(r"`(\w+?)(?:_\*)?`", "".join(re.findall(
        r"^\| (`.*?) \|", page.partition("## Ports")[2].partition("\n## ")[0], re.MULTILINE)))
    told = description(unit, "")
    assert sorted(listed) == sorted([*told["interfaces"], told["clock"], told["reset"]["port"],
                                     *others])


@pytest.mark.parametrize(("page", "module", "parameters"), [
    (ENGINE, "mixpe_fpga_gemm", SMALL),
    (SOFTMAX, "mixpe_attention_softmax", SOFTMAX_SETS["attention_tiny"]),
], ids=["engine", "softmax"])
def test_files_of_the_units_are_listed(tmp_path, page, module, parameters):
    section = page.partition("## Files")[2].partition("\n## ")[0]
    suffixes = re.findall(rf"`(?:{module})?([._]\w+(?:\.\w+)?)`",
                          "".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)))
    written = [path.name for path in write_verilog(parameters, tmp_path)]
    own = unit_module(parameters)
    assert sorted(f"{own}{suffix}" for suffix in suffixes) == sorted(
        name for name in written if name.startswith(own))


def test_keys_of_the_description_are_listed():
    section = PORTS.partition("## The JSON file\n")[2]
    listed = [key for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
              for key in re.findall(r"`(\w+)`", row)]
    assert listed == list(described())


def test_names_of_the_pages_exist():
    """Parameters and derived values that the architecture speaks of."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    for name in ("full_rate_length", "latency", "scale_queue", "sum_bits", "row_sum_bits",
                 "corrected_bits"):
        assert name in text
        assert hasattr(SETS["edge"], name)
    for name in ("sum_bits", "row_sum_bits", "corrected_bits"):
        (width,) = re.findall(rf"^\| `{name}` \|.*\| (\d+) \|$", text, re.MULTILINE)
        assert int(width) == getattr(SETS["edge"], name)
