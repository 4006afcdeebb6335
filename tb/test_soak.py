"""Soak: what is drawn, the journal, and that a wrong design fails with a seed that repeats it."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from itertools import count

import pytest

from golden.values_parameters import VALUES_SETS
from scripts import soak, soak_jobs
from scripts.mixpe import main
from scripts.proofs import basis
from scripts.soak_jobs import BLOCKS, Job, draw, job_seeds, perform


@pytest.fixture(scope="module")
def jobs() -> list[Job]:
    """The first jobs of a soak."""
    return [draw(seed) for seed in job_seeds(1, 300)]


def outcome(job: Job, **changes) -> dict:
    """Result of a job that nobody ran."""
    return {"seed": job.seed, "block": job.block, "set": job.parameters.name, "named": job.named,
            "parameters": job.parameters.to_dict(), "settings": job.settings,
            "verilog_sha256": str(job.seed), "tests": 2, "outputs": 10, "failure": None,
            "seconds": 1.0} | changes


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock finds it a second later."""
    seconds = count()
    monkeypatch.setattr(soak.time, "monotonic", lambda: float(next(seconds)))


# What is drawn


def test_a_seed_is_a_job(jobs):
    assert [draw(job.seed) for job in jobs[:20]] == jobs[:20]
    assert job_seeds(1, 5, first=3) == job_seeds(1, 8)[3:]
    assert job_seeds(2, 5) != job_seeds(1, 5)
    assert len({job.seed for job in jobs}) == len(jobs)


def test_every_block_and_choice_is_drawn(jobs):
    blocks = Counter(job.block for job in jobs)
    assert blocks.keys() == BLOCKS.keys()
    assert 10 <= sum(job.named for job in jobs) <= 60
    arrays = [job.parameters for job in jobs if BLOCKS[job.block].named.unit == "array"]
    for field, least in {"mac": 7, "w": 10, "scale": 4, "y": 4, "x": 3, "x_scale": 4, "wide": 2,
                         "x_zero": 2, "adders": 2, "cut": 2}.items():
        assert len({getattr(p, field) for p in arrays}) == least, field


def test_what_is_drawn_is_small(jobs):
    for job in jobs:
        if job.parameters.unit == "array" and not job.named:
            assert job.parameters.peak <= 32
        assert json.loads(json.dumps(job.settings)).keys() == job.settings.keys()


# The journal


def run(monkeypatch, tmp_path, minutes=0.5, ends=None, **changes) -> tuple[dict, list[int]]:
    """Soak of jobs that take no time; the report, and the seeds that ran."""
    ran = []

    def performed(job):
        if len(ran) == ends:
            raise KeyboardInterrupt
        ran.append(job.seed)
        return outcome(job, **changes)

    monkeypatch.setattr(soak, "perform", performed)
    try:
        report = soak.main(minutes, 1, 1, tmp_path, None)
    except KeyboardInterrupt:
        report = {}
    return report, ran


def test_goes_on_where_it_stopped(monkeypatch, tmp_path, clock):
    _, first = run(monkeypatch, tmp_path, ends=3)
    journal = tmp_path / "soak" / "1.jsonl"
    with journal.open("a") as file:
        file.write('{"index": 3, "elap')  # killed while it wrote
    report, second = run(monkeypatch, tmp_path)
    assert len(first) == 3
    assert first + second == job_seeds(1, len(first + second))
    assert report["jobs"] == len(first + second)
    assert report["outputs"] == 10 * report["jobs"]
    assert report["seconds"] >= 30
    assert report == json.loads((tmp_path / "soak.json").read_text())
    again, third = run(monkeypatch, tmp_path)
    assert third == []
    assert again == report


def test_begins_anew_when_the_sources_change(monkeypatch, tmp_path, clock):
    run(monkeypatch, tmp_path)
    monkeypatch.setattr(soak, "basis", lambda: basis() | {"sources_sha256": "0" * 64})
    report, ran = run(monkeypatch, tmp_path)
    assert report["jobs"] == len(ran)
    assert ran == job_seeds(1, len(ran))


def test_report(monkeypatch, tmp_path, clock):
    report, ran = run(monkeypatch, tmp_path, minutes=3)
    jobs = [draw(seed) for seed in ran]
    assert sum(entry["jobs"] for entry in report["entries"]) == len(ran) == report["sets"]
    named = {entry["set"] for entry in report["entries"] if entry["set"]}
    assert named == {job.parameters.name for job in jobs if job.named}
    assert all("verilog_sha256" in entry for entry in report["entries"] if entry["set"])
    macs = Counter(job.parameters.mac for job in jobs if job.parameters.unit == "array")
    assert report["drawn"]["array"]["mac"] == macs
    lanes = [job.parameters.lanes for job in jobs if job.parameters.unit == "array"]
    assert report["drawn"]["array"]["lanes"] == [min(lanes), max(lanes)]


def test_page(monkeypatch, tmp_path, clock):
    page = tmp_path / "page.md"
    page.write_text("# A\n<!-- soak: begin -->\nearlier\n<!-- soak: end -->\nb\n")
    monkeypatch.setattr(soak, "perform", outcome)
    soak.main(0.2, 1, 1, tmp_path, page)
    text = page.read_text()
    assert "earlier" not in text
    assert "### Soak of 0.2 minutes, seed 1" in text


def test_failures_are_told(monkeypatch, tmp_path, clock, capsys):
    monkeypatch.setattr(soak, "perform", lambda job: outcome(job, failure="broken"))
    with pytest.raises(SystemExit) as error:
        main(["soak", "--minutes", "1", "--workers", "1", "-o", str(tmp_path)])
    assert error.value.code == 1
    told = capsys.readouterr()
    report = json.loads((tmp_path / "soak.json").read_text())
    assert report["failures"] == report["jobs"] == len(report["failed"])
    assert told.err == f"mixpe: error: {report['jobs']} jobs failed\n"
    for failed in report["failed"]:
        assert f"mixpe soak --repeat {failed['seed']}" in told.out
        assert draw(failed["seed"]).parameters.to_dict() == failed["parameters"]


#: A worker that tells its number, and has a task that lasts.
POOL = """
import os, time
from scripts.processes import processes
if __name__ == "__main__":
    with processes(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600)
        time.sleep(600)
"""


def test_workers_end_with_a_run_that_is_killed(tmp_path):
    (tmp_path / "pool.py").write_text(POOL)
    with subprocess.Popen([sys.executable, tmp_path / "pool.py"], stdout=subprocess.PIPE,
                          text=True) as process:
        worker = int(process.stdout.readline())
        process.kill()
        try:
            process.communicate(timeout=20)  # the worker has the output open too
        except subprocess.TimeoutExpired:
            os.kill(worker, signal.SIGKILL)
            raise


# A job


def test_a_job_finds_a_wrong_design(monkeypatch):
    """A job passes; with one inverted bit of the outputs it fails, with no output compared."""
    from hdl import export

    settings = {"stalls": {}, "resets": 1, "rounds": 1, "exact": False}
    small = VALUES_SETS["attention_tiny_pv"].replace(name="soaked", max_length=33, exp_bits=4)
    kind = BLOCKS["values"]
    monkeypatch.setitem(soak_jobs.BLOCKS, "values", soak_jobs.Kind(
        kind.build, kind.draw, kind.settings, kind.named, {"tb.bench_values": ("extremes",)}))
    job = Job(5, "values", small, settings)
    result = perform(job)
    assert (result["failure"], result["tests"]) == (None, 1)
    assert result["outputs"] == small.queries * 2 * small.columns

    right = export.verilog

    def wrong(block):
        text, outputs = right(block), "assign y__payload = "
        assert text.count(outputs) == 1
        return text.replace(outputs, f"{outputs}1'h1 ^ ")

    monkeypatch.setattr(export, "verilog", wrong)
    result = perform(job)
    assert result["failure"].startswith("SimulationError: tb.bench_values on ")
    assert result["outputs"] == 0
