"""Sweeps: their files, the front, what is kept, and engines of real processes."""

import json
import operator
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import click
import pytest
from distributed import Client, get_worker

from golden.parameters import ArrayParameters
from scripts import engine, explore, explore_plot, point, synth
from scripts.mixpe import SWEEP
from scripts.sweep import NAME, Sweep
from tb.command_line import run

#: Tiles that take a second each without their energy.
SMALL = """
[base]
tile_rows = 1
tile_columns = 1
group = 8
w = "int2"

[[axes]]
mac = ["product", "shift_add"]
lanes = [1, 2]
"""

COUNT = 4


def write_sweep(folder: Path, text: str = SMALL) -> Path:
    """Sweep ``small`` in a folder."""
    path = folder / "small.toml"
    path.write_text(text)
    return path


# Sweeps


def small(**changes) -> dict:
    """Sweep of one tile, some of whose keys are others."""
    return {"base": {"lanes": 4, "tile_rows": 1, "tile_columns": 1}, "axes": [{}]} | changes


def test_points_are_the_combinations_of_each_group():
    sweep = Sweep.from_dict("a", small(axes=[
        {"mac": ["product", "pair_sum"], "lanes": [1, 2], "period": ["none", 1]},
        {"mac": ["pair_sum"], "lanes": [2, 4], "period": [1.0]}]))
    found = [(each.parameters.mac, each.parameters.lanes, each.period) for each in sweep.points]
    assert found == [("product", 1, None), ("product", 1, 1.0), ("product", 2, None),
                     ("product", 2, 1.0), ("pair_sum", 2, None), ("pair_sum", 2, 1.0),
                     ("pair_sum", 4, 1.0)]
    assert {each.parameters.name for each in sweep.points} == {NAME}
    assert sweep.refused == {"Parameter lanes must be even for mac pair_sum, not 1": 2}
    assert sweep.varying() == ["mac", "lanes", "period"]


def test_point_has_the_parameters_of_the_base():
    (only,) = Sweep.from_dict("a", small()).points
    assert only.parameters == ArrayParameters(name=NAME, lanes=4, tile_rows=1, tile_columns=1)
    assert only.period is None
    assert Sweep.from_dict("a", small()).varying() == []


@pytest.mark.parametrize(("values", "message"), [
    (small(axis=[]), "Keys must be among axes, base, not axis"),
    (small(base=3), "Key base must be a table, not 3"),
    (small(axes={"lanes": [1]}), "Key axes must be a list of tables, not {'lanes': [1]}"),
    ({"base": {}}, "Key axes must be a list of tables, not None"),
    (small(axes=[{"lane": [1]}]), "Axes must be among adders, bands, "),
    (small(axes=[{"name": ["a"]}]), "Axes must be among adders, bands, "),
    (small(base={"period": 1}), "Parameters of base must be among adders, bands, "),
    (small(axes=[{"lanes": 4}]), "Axis lanes must be a list of values, not 4"),
    (small(axes=[{"lanes": []}]), "Axis lanes must be a list of values, not []"),
    (small(axes=[{"lanes": [[4]]}]),
     "Axis lanes must have numbers, words or truth values, not [[4]]"),
    *((small(axes=[{"period": [value]}]),
       ("Axis period must have periods in ns, above 0 and below 1000, or 'none', "
        f"not {value!r}")) for value in (0, -1, True, "1", 1000, float("nan"))),
    (small(axes=[]), "A combination of axes must be an array, none is"),
    (small(base={"lanes": 4}),
     ("A combination of axes must be an array, none is: "
      "Parameters tile_columns, tile_rows must be given")),
    (small(axes=[{"lanes": [3]}]),
     ("A combination of axes must be an array, none is: "
      "Parameter lanes must divide the group size 128, not 3")),
])
def test_no_sweep(values, message):
    with pytest.raises(ValueError, match="must") as caught:
        Sweep.from_dict("a", values)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("text", "message"), [
    (None, "Sweep {} cannot be read: No such file or directory"),
    ("[base", "Sweep {} is not TOML: "),
    ("axes = " + 9999 * "[", "Sweep {} is not TOML: it is nested too deeply"),
    ("axes = 1", "Sweep {}: Key axes must be a list of tables, not 1"),
])
def test_no_file_of_a_sweep(tmp_path, text, message):
    path = tmp_path / "a.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match="Sweep") as caught:
        Sweep.load(path)
    assert str(caught.value).startswith(message.format(path))


def test_sweep_of_the_examples():
    sweep = Sweep.load(SWEEP)
    assert sweep.name == "cheapest_mac"
    assert sweep.refused == {}
    assert {"mac", "lanes", "tile_rows", "tile_columns", "x_align", "period"} <= set(
        sweep.varying())


# What a result depends on


def digest(power: bool = False, **changes) -> str:
    """Digest of the tile of a small array."""
    values = {"name": NAME, "lanes": 2, "tile_rows": 1, "tile_columns": 1, "group": 16} | changes
    return point.tile_digest(ArrayParameters(**values).to_dict(), power, point.recipe())


def test_equal_tiles_have_one_digest():
    assert digest() == digest(y="bf16", mesh_rows=2, x_scale="fp16")
    assert len({digest(), digest(lanes=4), digest(group=32), digest(True)}) == 4


def test_other_operands_have_another_digest():
    """Scales for each group give other codes to the same tile."""
    assert digest(True) == digest(True, y="bf16")
    assert digest(True) != digest(True, x_scale="fp16")


def test_other_recipes_are_refused():
    message = ("^A worker must have the client's checkout and versions: "
               f"recipe 0000, not {point.recipe()[:12]}$")
    with pytest.raises(point.RecipeError, match=message):
        point.tile_digest({}, False, "0000")


# A sweep whose engine is made up


@pytest.fixture
def made_up(monkeypatch):
    """Results of ``explore`` by micro-architecture and lanes; told what was measured."""
    results = {("product", 1): (5, 9, 2), ("product", 2): (4, 9, 3),
               ("shift_add", 1): (3, 8, 3), ("shift_add", 2): (3, 8, 3)}
    state = SimpleNamespace(results=results, measured=[])

    def outcomes(client, function, jobs, title):
        for name, (values, *_) in jobs.items():
            if function is explore.tile_digest:
                yield name, f"{values['mac']}{values['lanes']}", None
                continue
            which = values["mac"], values["lanes"]
            state.measured.append(which)
            if which not in results:
                yield name, None, "YosysError: no such cell"
                continue
            measured = dict(zip(explore.OBJECTIVES, results[which], strict=True))
            yield name, measured | {"seconds": time.monotonic(), "worker": "a"}, None

    library = synth.library_of(None)
    monkeypatch.setattr(synth, "library_of", lambda liberty: library)
    monkeypatch.setattr(engine, "outcomes", outcomes)
    return state


def explored(folder: Path, text: str = SMALL) -> dict:
    """Report of a sweep with the made-up engine."""
    client = SimpleNamespace(submit=lambda function, *arguments, pure: function(*arguments))
    explore.main(write_sweep(folder, text), None, True, folder / "out", nullcontext(client))
    return json.loads((folder / "out" / "small.json").read_text())


def test_front_of_made_up_results(tmp_path, made_up, capsys):
    report = explored(tmp_path)
    found = [(each["point"]["mac"], each["point"]["lanes"]) for each in report["points"]]
    assert found == list(made_up.results)
    assert [found[place] for place in report["front"]] == [
        ("shift_add", 1), ("shift_add", 2), ("product", 1)]
    assert report["axes"] == ["mac", "lanes"]
    assert report["failed"] == []
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row for row in rows if row[:1] in (["product"], ["shift_add"])] == [
        ["shift_add", "1", "3.0", "8", "3.00"], ["shift_add", "2", "3.0", "8", "3.00"],
        ["product", "1", "5.0", "9", "2.00"]]


def test_what_was_measured_is_kept(tmp_path, made_up):
    first = explored(tmp_path)
    assert made_up.measured == list(made_up.results)
    made_up.measured.clear()
    assert explored(tmp_path) == first
    assert made_up.measured == []
    (tmp_path / "out" / "points" / f"{first['points'][1]['key']}.json").write_text("{")
    assert explored(tmp_path) == first
    assert made_up.measured == [("product", 2)]


def test_equal_tiles_are_measured_once(tmp_path, made_up):
    report = explored(tmp_path, SMALL.replace("lanes =", 'y = ["fp16", "bf16"]\nlanes ='))
    assert len(report["points"]) == 2 * COUNT
    assert made_up.measured == list(made_up.results)


def test_failed_points_are_told_and_others_go_on(tmp_path, made_up, capsys):
    del made_up.results["product", 2]
    with pytest.raises(click.ClickException, match=r"^1 of 4 points failed$") as caught:
        explored(tmp_path)
    assert caught.value.exit_code == 1
    assert "mac=product lanes=2: YosysError: no such cell\n" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "small.json").read_text())
    assert len(report["points"]) == 3
    (failed,) = report["failed"]
    assert (failed["point"]["lanes"], failed["reason"]) == (2, "YosysError: no such cell")
    made_up.results["product", 2] = (9, 9, 9)
    made_up.measured.clear()
    assert len(explored(tmp_path)["points"]) == COUNT
    assert made_up.measured == [("product", 2)]


def test_nothing_to_plot_if_all_points_fail(tmp_path, made_up):
    made_up.results.clear()
    with pytest.raises(click.ClickException, match=r"^4 of 4 points failed$"):
        explored(tmp_path)
    assert not (tmp_path / "out" / "small.svg").exists()


@pytest.mark.parametrize("power", [True, False])
def test_plot(tmp_path, made_up, power):
    report = explored(tmp_path)
    if not power:
        report["objectives"].remove("fj_per_mac")
    text = explore_plot.svg(report)
    assert text == explore_plot.svg(report)
    ElementTree.fromstring(text)
    words = ["product", "shift_add", "front", "dominated", "2.00 ns", "3.00 ns",
             "small: 4 tiles, stdcells.lib", "energy, fJ per MAC" if power else "period, ns"]
    assert [word for word in words if f"<!-- {word} -->" not in text] == []
    if power:
        assert (tmp_path / "out" / "small.svg").read_text() == text


# Real engines

ENGINES = pytest.mark.xdist_group("explore_engines")


def dask(stack: ExitStack, folder: Path, *arguments: str) -> subprocess.Popen:
    """Process of Dask's own command, which ends with the stack."""
    process = subprocess.Popen([sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
                               cwd=folder, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """Address of a scheduler with two workers, all processes of their own."""
    folder = tmp_path_factory.mktemp("dask")
    with ExitStack() as stack:
        file = folder / "scheduler.json"
        dask(stack, folder, "scheduler", "--host", "127.0.0.1", "--port", "0",
             "--scheduler-file", str(file))
        until(file.exists)
        address = json.loads(file.read_text())["address"]
        for _ in range(2):
            dask(stack, folder, "worker", address, "--nthreads", "1", "--no-nanny",
                 "--local-directory", str(folder))
        with Client(address, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
        yield address


def until(condition, seconds: float = 120) -> None:
    """Wait for a condition."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come true"
        time.sleep(0.01)


def results(folder: Path) -> dict[str, tuple]:
    """Files of the points, and what tells each from one of its name that is written anew."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in (folder / "points").glob("*.json")}


@pytest.fixture(scope="module")
def reference(scheduler, tmp_path_factory) -> Path:
    """Folder in which a sweep has run on the scheduler from beginning to end."""
    folder = tmp_path_factory.mktemp("explore")
    write_sweep(folder)
    process = run("explore", "small.toml", "--no-power", "--scheduler", scheduler, "-o", "out",
                  cwd=folder)
    assert (process.stderr, process.returncode) == ("", 0)
    return folder


@ENGINES
def test_sweep_on_a_scheduler(reference):
    output = reference / "out"
    assert {path.name for path in output.iterdir()} == {"points", "small.json", "small.svg"}
    report = json.loads((output / "small.json").read_text())
    assert len(report["points"]) == COUNT
    assert report["front"]
    found = [json.loads((output / "points" / name).read_text()) for name in results(output)]
    assert len(found) == COUNT
    assert {each["result"]["worker"].partition(":")[0] for each in found} == {"tcp"}
    for each in found:
        assert each["result"]["gates_per_mac"] > 0
        assert each["result"]["fj_per_mac"] is None
        assert each["result"]["seconds"] > 0


def meet(folder: Path, name: str) -> str:
    """Worker of a job that ends only beside another one."""
    (folder / name).touch()
    until(lambda: len(list(folder.iterdir())) == 2)
    return get_worker().address


@ENGINES
def test_two_workers_work_at_a_time(scheduler, tmp_path):
    with engine.remote(scheduler) as client:
        found = list(engine.outcomes(client, meet, {name: (tmp_path, name) for name in "ab"},
                                     "meeting"))
    assert {error for *_, error in found} == {None}
    assert len({address for _, address, _ in found}) == 2


@ENGINES
@pytest.mark.full
def test_killed_sweep_goes_on(reference, tmp_path):
    """On processes of this machine it gives what the scheduler's workers gave."""
    write_sweep(tmp_path)
    command = ["explore", "small.toml", "--no-power", "--workers", "1", "-o", "out"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from scripts.mixpe import main\nmain()", *command], cwd=tmp_path,
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: results(tmp_path / "out"))
        process.kill()
        process.wait()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    kept = results(tmp_path / "out")
    assert 0 < len(kept) < COUNT
    assert not (tmp_path / "out" / "small.json").exists()

    second = run(*command, cwd=tmp_path)
    assert (second.stderr, second.returncode) == ("", 0)
    assert f"{len(kept)} tiles kept from before, {COUNT - len(kept)} to measure" in second.stdout
    after = results(tmp_path / "out")
    assert len(after) == COUNT
    assert kept.items() <= after.items()
    for name in ("small.json", "small.svg"):
        assert (tmp_path / "out" / name).read_text() == (reference / "out" / name).read_text()


@ENGINES
def test_what_fails_in_a_worker_is_one_line(scheduler):
    with engine.remote(scheduler) as client:
        found = {name: rest for name, *rest in engine.outcomes(
            client, operator.truediv, {"good": (1, 2), "bad": (1, 0), "none": ("a\nb", None)}, "")}
    assert found["good"] == [0.5, None]
    assert found["bad"] == [None, "ZeroDivisionError: division by zero"]
    assert found["none"][1].startswith("TypeError: unsupported operand type(s)")


@ENGINES
def test_workers_of_another_checkout_are_refused(scheduler, tmp_path):
    write_sweep(tmp_path)
    process = run("explore", "small.toml", "--no-power", "--scheduler", scheduler, cwd=tmp_path,
                  code="from scripts import point\npoint.recipe = lambda: '0000'")
    assert process.returncode == 1
    assert process.stderr == "mixpe: error: 4 of 4 points failed\n"
    assert " ".join(process.stdout.split()).count(
        "RecipeError: A worker must have the client's checkout and versions: recipe 0000, "
        f"not {point.recipe()[:12]}") == 4


#: Stands for a cluster: it runs a job's script at once, and ends it when told to.
SUBMIT = """\
#!/bin/sh
script=$1
[ -n "$script" ] || { script=$(mktemp -p "$PWD"); cat > "$script"; }
cp "$script" "$PWD/job"
setsid sh "$script" > /dev/null 2>&1 &
echo "Submitted batch job $!"
echo "Job <$!> is submitted"
"""

CANCEL = """\
#!/bin/sh
kill -- -"$1"
"""


@pytest.mark.full
@pytest.mark.parametrize(("cluster", "commands", "header"), [
    ("slurm", ("sbatch", "scancel"), "#SBATCH -p short"),
    ("lsf", ("bsub", "bkill"), "#BSUB -q short"),
])
def test_sweep_on_a_cluster(reference, tmp_path, cluster, commands, header):
    write_sweep(tmp_path)
    (tmp_path / "bin").mkdir()
    for name, text in zip(commands, (SUBMIT, CANCEL), strict=True):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    code = f"import os\nos.environ['PATH'] = {str(tmp_path / 'bin')!r} + ':' + os.environ['PATH']"
    process = run("explore", "small.toml", "--no-power", "--cluster", cluster, "--workers", "1",
                  "--cluster-option", "queue=short", "--cluster-option", "interface=lo",
                  "-o", "out", cwd=tmp_path, code=code)
    assert (process.stderr, process.returncode) == ("", 0)
    assert header in (tmp_path / "job").read_text().splitlines()
    for name in ("small.json", "small.svg"):
        assert (tmp_path / "out" / name).read_text() == (reference / "out" / name).read_text()


def test_missing_package_of_clusters_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    message = r"^Option '--cluster slurm' needs the package dask-jobqueue: "
    with pytest.raises(click.UsageError, match=message), engine.queue("slurm", 1, {}):
        pass


def test_missing_command_of_a_cluster_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    message = r"^Option '--cluster lsf' needs the command bsub, which this machine has not$"
    with pytest.raises(click.UsageError, match=message), engine.queue("lsf", 1, {}):
        pass


@pytest.mark.parametrize("options", [{"queues": "short"}, {"memory": "much"}])
def test_bad_options_of_a_cluster_are_refused(options):
    with pytest.raises(click.UsageError, match=r"^Cluster slurm refuses its options: "), \
            engine.queue("slurm", 1, options):
        pass


@pytest.mark.parametrize(("arguments", "message"), [
    (("--scheduler", "tcp://a:1", "--workers", "2"),
     "Option '--scheduler' must be alone: it has its own workers"),
    (("--cluster", "slurm"), "Option '--workers' must be given for --cluster"),
    (("--cluster-option", "queue=short"), "Option '--cluster' must be given for --cluster-option"),
    (("--cluster-option", "queue"),
     "Invalid value for '--cluster-option': 'queue' must be NAME=VALUE"),
])
def test_arguments(tmp_path, arguments, message):
    process = run("explore", *arguments, cwd=tmp_path)
    assert (process.stdout, process.returncode) == ("", 2)
    assert process.stderr == f"mixpe: error: {message}\n"
