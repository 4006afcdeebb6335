"""The command ``mixpe``."""

import sys
from pathlib import Path

import click

from golden.registers import unit_registers
from golden.sets import ALL_SETS, UNITS, Parameters, parameter_set
from synth.fpga import FAMILIES

__all__ = ["main"]

FIXTURE = Path(__file__).parent.parent / "tb" / "data" / "awq_gemm.safetensors"

SWEEP = Path(__file__).parent.parent / "examples" / "cheapest_mac.toml"


class _Set(click.ParamType):
    """Parameter set of one of some units, whose registers must be possible if they are needed."""

    name = "set"

    def __init__(self, *units: str, registers: bool = False):
        self._units, self._registers = units, registers

    def convert(self, value, param, ctx) -> Parameters:
        try:
            parameters = parameter_set(value, self._units)
            if self._registers:
                unit_registers(parameters)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return parameters


class _Assignment(click.ParamType):
    """A name and its value."""

    name = "NAME=VALUE"

    def convert(self, value, param, ctx) -> tuple[str, str]:
        name, equals, text = value.partition("=")
        if not (name.isidentifier() and equals):
            self.fail(f"{value!r} must be {self.name}", param, ctx)
        return name, text


class _Number(_Assignment):
    """A name and its number."""

    name = "NAME=NUMBER"

    def convert(self, value, param, ctx) -> tuple[str, float]:
        name, text = super().convert(value, param, ctx)
        try:
            return name, float(text)
        except ValueError:
            self.fail(f"{value!r} must be NAME=NUMBER", param, ctx)


def set_option(*units: str, registers: bool = False, default: str = "edge"):
    """Option that chooses a parameter set of one of ``units``, keys of ``UNITS``."""
    names = [name for name, each in ALL_SETS.items() if each.unit in units]
    return click.option("--set", "-s", "parameters", type=_Set(*units, registers=registers),
                        default=default, show_default=True, metavar="NAME|FILE.toml",
                        help=f"Parameter set: {', '.join(names)}, or a file.")


def output_option(default: str):
    """Option that chooses the folder of the results."""
    return click.option("--output", "-o", type=click.Path(path_type=Path, file_okay=False),
                        default=default, show_default=True, help="Folder of the results.")


#: Options that several commands have.
seed_option = click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1,
                           show_default=True, help="Seed of everything that is made.")
liberty_option = click.option("--liberty", type=click.Path(path_type=Path, dir_okay=False),
                              help="Cell library; NanGate 45 nm if absent.")
page_option = click.option("--page", type=click.Path(path_type=Path, dir_okay=False),
                           help="Page whose tables are renewed.")
workers_option = click.option("--workers", "-j", type=click.IntRange(1, 1024), default=2,
                              show_default=True, help="Processes.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="mixpe")
def cli():
    """Generate mixed-precision matrix engines as Verilog, and prove and measure each."""


@cli.command()
@click.argument("files", nargs=-1, type=_Set(*UNITS), metavar="[FILE.toml]...")
def sets(files):
    """List the parameter sets with their widths and peak rates."""
    from scripts import sets
    sets.show((*ALL_SETS.values(), *files))


@cli.command()
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False),
              default="docs/formats.md", show_default=True, help="File that receives the page.")
def formats(page):
    """Write the page of formats and of how they may be combined."""
    from scripts import formats
    formats.main(page)


@cli.command()
@set_option(*UNITS, registers=True)
@output_option("build/verilog")
def verilog(parameters, output):
    """Write the Verilog of an array and its engine, or of another unit, and its other files."""
    from scripts import verilog
    click.echo("\n".join(map(str, verilog.main(parameters, output))))


@cli.command()
@set_option("array")
@click.option("--checkpoint", "-c", type=click.Path(path_type=Path),
              default=FIXTURE, show_default="the one of the tests",
              help="Checkpoint in AutoAWQ GEMM layout, a file or a folder.")
@click.option("--layer", "-l", help="Layer of the checkpoint; needed if it has more than four.")
@click.option("--tokens", "-m", type=click.IntRange(1, 65536), default=20, show_default=True,
              help="M, rows of activations.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True,
              help="Seed of the activations and the stalls.")
@click.option("--requantise", is_flag=True,
              help="Round the weights to the formats of the set, if these cannot hold them.")
def sim(parameters, checkpoint, layer, tokens, seed, requantise):
    """Run layers of a checkpoint through the exported Verilog and compare with golden."""
    from scripts import sim
    sim.main(parameters, checkpoint, layer, tokens, seed, requantise)


@cli.command()
@click.option("--tokens", "-n", type=click.IntRange(1, 4096), default=64, show_default=True,
              help="Queries and tokens.")
@click.option("--columns", "-d", type=click.IntRange(1, 1024), default=16, show_default=True,
              help="Columns of V, the head's dimension.")
@click.option("--sigma", type=click.FloatRange(0.1, 5), default=2.0, show_default=True,
              help="Standard deviation of the scores' differences from their row's maximum.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True,
              help="Seed of scores and V.")
def attention(tokens, columns, sigma, seed):
    """Run a causal attention head through both of its units and compare with float attention."""
    from scripts import attention
    attention.main(tokens, columns, sigma, seed)


@cli.command()
@set_option("array", "softmax", "values")
@liberty_option
@click.option("--power/--no-power", default=True, show_default=True,
              help="Simulate the netlists for their switching activity.")
@output_option("build/synth")
def synth(parameters, liberty, power, output):
    """Area, timing and power of a tile or a softmax unit, beside its rivals of the same shape.

    Of a unit for codes times V area and timing only, beside the tiles of engines.
    """
    from scripts import softmax_synth, synth, values_synth
    if parameters.unit == "values":
        values_synth.main(parameters, liberty, output)
    else:
        command = synth if parameters.unit == "array" else softmax_synth
        command.main(parameters, liberty, power, output)


@cli.command()
@click.argument("sweep", type=click.Path(path_type=Path, dir_okay=False), default=SWEEP,
                metavar="[SWEEP.toml]")
@click.option("--workers", "-n", type=click.IntRange(1, 4096),
              help="Processes; as many as this machine has cores if absent.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers are to run it.")
@click.option("--cluster", type=click.Choice(["slurm", "lsf"]),
              help="Cluster whose queue is to run the workers.")
@click.option("--cluster-option", "options", type=_Assignment(), multiple=True,
              help="Option of the cluster's jobs, such as queue, walltime, cores; repeatable.")
@liberty_option
@click.option("--power/--no-power", default=True, show_default=True,
              help="Simulate the netlists for their switching activity.")
@output_option("build/explore")
def explore(sweep, workers, scheduler, cluster, options, liberty, power, output):
    """Measure the tiles of a sweep over parameters and show the Pareto front.

    What an earlier run has measured is kept. Without SWEEP.toml examples/cheapest_mac.toml.
    """
    if scheduler and (cluster or workers):
        raise click.UsageError("Option '--scheduler' must be alone: it has its own workers")
    if cluster and not workers:
        raise click.UsageError("Option '--workers' must be given for --cluster")
    if options and not cluster:
        raise click.UsageError("Option '--cluster' must be given for --cluster-option")
    from scripts import engine, explore
    if scheduler:
        client = engine.remote(scheduler)
    elif cluster:
        client = engine.queue(cluster, workers, dict(options))
    else:
        client = engine.local(workers, output / "scratch")
    explore.main(sweep, liberty, power, output, client)


@cli.command()
@set_option("array", default="fpga")
@click.option("--family", "-f", type=click.Choice([*FAMILIES]), default="ecp5", show_default=True,
              help="Family of the FPGA.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=5, show_default=True,
              help="How many seeds to place each tile with.")
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True,
              help="How many tools run at a time.")
@output_option("build/fpga")
def fpga(parameters, family, seeds, workers, output):
    """Place and route a tile and INT8 tiles of the same shape on an FPGA."""
    from scripts import fpga
    fpga.main(parameters, family, seeds, workers, output)


@cli.command()
@liberty_option
@click.option("--delay-driven/--no-delay-driven", default=True, show_default=True,
              help="Check the order with cells sized for one delay too.")
@workers_option
@output_option("build")
def bench(liberty, delay_driven, workers, output):
    """Measure all designs and rivals in one run and hold their ratios against targets."""
    from scripts import bench
    report = bench.main(liberty, delay_driven, workers, output)
    if wrong := [claim["name"] for claim in report["ratios"]
                 if claim["name"].startswith("order ") and not claim["met"]]:
        raise click.ClickException(f"The order is not as it must be: {'; '.join(wrong)}")


@cli.command()
@click.option("--checkpoint", "-c", type=click.Path(path_type=Path),
              help="Checkpoint whose weights are measured too: a safetensors file with matrices of "
              "fp16, bf16 or fp32, or what `mixpe sim` takes.")
@click.option("--layer", "-l", help="Layer of the checkpoint; needed if it has more than four.")
@seed_option
@workers_option
@page_option
@output_option("build")
def fidelity(checkpoint, layer, seed, workers, page, output):
    """Noise of every scheme, errors of softmax, MixLLM's selection against a random one."""
    if layer is not None and checkpoint is None:
        raise click.UsageError("Option '--checkpoint' must be given for --layer")
    if page is not None and checkpoint is not None:
        raise click.UsageError("Option '--page' must be given without --checkpoint")
    from scripts import fidelity
    fidelity.main(checkpoint, layer, seed, workers, output, page)


@cli.command()
@click.option("--only", metavar="PATTERN",
              help="Properties or families, such as counter or 'axi-*'; all if absent.")
@workers_option
@page_option
@output_option("build")
def formal(only, workers, page, output):
    """Prove every property of the hardware, and refute each of its broken copies."""
    if page is not None and only is not None:
        raise click.UsageError("Option '--page' must be given without --only")
    from scripts import formal
    formal.main(only, workers, output, page)


@cli.command()
@liberty_option
@click.option("--constant", "changes", type=_Number(), multiple=True,
              help="Another value of what is not measured, such as bandwidth=128; repeatable.")
@click.option("--checkpoint", "-c", type=click.Path(path_type=Path),
              help="Checkpoint whose weights' noise is measured too, as `mixpe fidelity` does.")
@click.option("--layer", "-l", help="Layer of the checkpoint; needed if it has more than four.")
@seed_option
@workers_option
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False),
              help="Page whose tables and figures are renewed.")
@output_option("build")
def claims(liberty, changes, checkpoint, layer, seed, workers, page, output):
    """Compare layers of models on machines of equal area, beside what the papers claim.

    What bench, synth and fidelity have left below the folder is taken, and made if need be.
    """
    if layer is not None and checkpoint is None:
        raise click.UsageError("Option '--checkpoint' must be given for --layer")
    from scripts import claims
    claims.main(liberty, dict(changes), checkpoint, layer, workers, seed, page, output)


@cli.command()
@click.option("--block", "-b", "blocks", multiple=True,
              type=click.Choice(["dequantiser", "tile", "array-control", "softmax",
                                 "softmax-threshold", "softmax-division", "axi-front",
                                 "counter", "register-bank"]),
              help="Block to change; repeatable, all if absent.")
@click.option("--count", "-n", type=click.IntRange(1, 10000), default=60, show_default=True,
              help="Mutants of each block.")
@seed_option
@workers_option
@page_option
@output_option("build")
def mutate(blocks, count, seed, workers, page, output):
    """Change the Verilog of blocks in single places and see whether their benches notice."""
    from scripts import mutate
    report = mutate.main(blocks, count, seed, workers, output, page)
    if left := {each["block"]: count for each in report["blocks"]
                if (count := mutate.unexplained(each))}:
        raise click.ClickException("Survivors must have a reason, unlike " + ", ".join(
            f"{count} of {block}" for block, count in left.items()))


@cli.command()
@click.option("--set", "-s", "chosen", type=_Set(*UNITS, registers=True), multiple=True,
              metavar="NAME|FILE.toml",
              help="Parameter set to measure, repeatable; small ones with every feature if absent.")
@seed_option
@workers_option
@page_option
@output_option("build")
def coverage(chosen, seed, workers, page, output):
    """Lines, branches, toggles and crosses of stimuli that the benches reach in the Verilog.

    Exit status 1 if a listed bin is missing or too little is reached.
    """
    if page is not None and chosen:
        raise click.UsageError("Option '--page' must be given without --set")
    from scripts import coverage
    coverage.main(chosen, seed, workers, output, page)


@cli.command("netlist-sim")
@set_option("array", "softmax", "exact_softmax")
@liberty_option
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True,
              help="Seed of the benches.")
def netlist_sim(parameters, liberty, seed):
    """Run the benches of the tile and the array, or of a softmax unit, on their netlists."""
    from scripts import netlist_sim
    netlist_sim.main(parameters, liberty, seed)


@cli.command()
@click.option("--minutes", type=click.IntRange(1, 10080), default=10, show_default=True,
              help="How long it lasts, earlier runs with the seed included.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True,
              help="Seed of all jobs; a soak that was interrupted goes on.")
@workers_option
@click.option("--repeat", "job", type=click.IntRange(0, 2**31 - 1), metavar="SEED",
              help="Run one job again, by its own seed, and nothing else.")
@page_option
@output_option("build")
def soak(minutes, seed, workers, job, page, output):
    """Run blocks of random sets on their benches, with stalls and resets, for as long as told."""
    from scripts import soak
    if job is not None:
        if not soak.repeat(job):
            raise click.ClickException(f"Job {job} failed")
        return
    if failures := soak.main(minutes, seed, workers, output, page)["failures"]:
        raise click.ClickException(f"{failures} jobs failed")


@cli.command()
@click.option("--count", "-n", type=click.IntRange(1, 1 << 27),
              help="Vectors of each operation, corners not counted; as many as TestFloat has at "
              "level 1 if absent.")
@seed_option
@workers_option
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False),
              help="Page whose table is renewed.")
@output_option("build")
def vectors(count, seed, workers, page, output):
    """Hold the float arithmetic of every block against numpy and IEEE 754 in exact integers."""
    from scripts import vectors
    vectors.main(count, seed, workers, page, output)


@cli.command("second-sim")
@click.option("--set", "-s", "sets", multiple=True, type=click.Choice([*ALL_SETS]), metavar="NAME",
              help="Set whose fixtures are run, repeatable; all if absent.")
@seed_option
@workers_option
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False),
              help="Page whose table is renewed.")
@output_option("build")
def second_sim(sets, seed, workers, page, output):
    """Run the fixtures of every set in Verilator and, with the same inputs, in Yosys' CXXRTL."""
    from scripts import second_sim
    second_sim.main(sets, seed, workers, page, output)


@cli.command()
@liberty_option
@workers_option
@page_option
@output_option("build")
def evidence(liberty, workers, page, output):
    """Collect what is proved, tested and measured of each parameter set that comes with mixpe.

    The reports of formal, vectors, mutate, coverage, second-sim and soak are taken from the
    folder; area and frequency are measured. Exit status 1 if a report is missing or of other
    sources, or tells of a failure.
    """
    from scripts import evidence
    evidence.main(liberty, workers, output, page)


@cli.command()
@click.option("--readme", type=click.Path(path_type=Path, dir_okay=False), default="README.md",
              show_default=True, help="File with the tables of sizes.")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False),
              default="docs/bench.md", show_default=True, help="File with the table of ratios.")
@output_option("build")
def sizes(readme, page, output):
    """Renew the tables of sizes and ratios from the reports of bench and synth."""
    from scripts import sizes
    sizes.main(readme, page, output)


@cli.command()
@set_option("array")
@output_option("docs/figures")
def figures(parameters, output):
    """Draw an array, its tile and the timing of its drain as SVG."""
    from scripts import figures
    click.echo("\n".join(map(str, figures.main(parameters, output))))


@cli.command()
@set_option(*UNITS, registers=True)
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False),
              help="Another file that receives the page.")
@output_option("build/registers")
def registers(parameters, page, output):
    """Write the registers of an engine or another unit as a page, a C header and SystemRDL."""
    from scripts import registers
    click.echo("\n".join(map(str, registers.main(parameters, output, page))))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a bad argument or file is one line and exit status 2."""
    from hdl.yosys import YosysError
    from scripts.checkpoint import CheckpointError
    from synth.fpga import FpgaError
    from synth.liberty import LibraryError
    from synth.netlist import NetlistError
    from tb.runner import SimulationError
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a terminal may lack the lines of the tables
    try:
        status = cli.main(arguments, prog_name="mixpe", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        status = _fail(error.format_message(), error.exit_code)
    except (CheckpointError, FpgaError, LibraryError, NetlistError, YosysError) as error:
        status = _fail(str(error), 2)
    except SimulationError as error:
        status = _fail(str(error), 1)
    except OSError as error:
        parts = (error.filename2 or error.filename, error.strerror or error)
        status = _fail(": ".join(str(part) for part in parts if part), 2)
    except (click.Abort, KeyboardInterrupt):
        status = _fail("interrupted", 130)
    sys.exit(status)


def _fail(message: str, status: int) -> int:
    click.echo(f"mixpe: error: {' '.join(message.split())}", err=True)
    return status


if __name__ == "__main__":
    main()
