"""Mutants of a netlist: single changes that a bench should notice, many of them in one netlist."""

import re
import shlex
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from hdl import yosys

__all__ = ["SELECTOR", "Mutant", "Never", "equivalent", "mutants", "with_mutants"]

#: Argument of a simulation that chooses the mutant: ``+mutant=3`` is the third, 0 none.
SELECTOR = "mutant"

# Full adders become part of what they are used in, so that a mutant is in one of them; all other
# blocks stay as they are, and a mutant is wherever its block is used. Bits that nothing reads go:
# a mutant there would change nothing.
_READ = """
read_verilog design.v
hierarchy -check -top {top}
proc
setattr -mod -set keep_hierarchy 1 *
setattr -mod -unset keep_hierarchy *_full_adder_*
flatten
wreduce
splitcells
opt_clean
"""

#: What a cell's port may do instead of what it should; `mutate -list` chooses among these.
_MODES = ("inv", "const0", "const1", "cnot0", "cnot1")


@dataclass(frozen=True)
class Never:
    """Bits of a register or an input that are never 1, whatever comes from a reset on.

    Parameters
    ----------
    name : str
        Regular expression of its name.
    low, high : int
        Lowest and highest of the bits.
    """

    name: str
    low: int
    high: int


@dataclass(frozen=True)
class Mutant:
    """A change of one bit at one port of one cell.

    Parameters
    ----------
    mode : str
        ``inv`` inverts the bit, ``const0`` and ``const1`` fix it, ``cnot0`` and ``cnot1`` invert it
        while another bit of the port is 0 or 1.
    module : str
        Module of the cell.
    cell : str
        Name of the cell within Yosys, which changes with the line.
    port : str
        Port of the cell.
    bit : int
        Bit of the port, of a part of a cell that Yosys has divided.
    control : int, optional
        The other bit.
    net : str
        The bit's net if it has a name, such as ``held[1]``; otherwise empty.
    line : int
        First line of the cell in the Verilog.
    source : str
        Text of the cell, of one that has several lines the first two.
    """

    mode: str
    module: str
    cell: str
    port: str
    bit: int
    control: int | None
    net: str
    line: int
    source: str

    @property
    def arguments(self) -> str:
        """Arguments of Yosys' `mutate`."""
        control = "" if self.control is None else f" -ctrlbit {self.control}"
        return (f"-mode {self.mode} -module {self.module} -cell {self.cell} -port {self.port} "
                f"-portbit {self.bit}{control}")

    @property
    def key(self) -> str:
        """What the mutant is, in words that stay the same while the lines about it change."""
        part = re.search(r"\[(?:\d+:)?(\d+)\]$", self.cell)
        low = int(part[1]) if part else 0
        control = "" if self.control is None else f" by {low + self.control}"
        net = f" ({self.net})" if self.net else ""
        return (f"{self.module}: {self.source}: {self.port}[{low + self.bit}] {self.mode}{control}"
                f"{net}")


def mutants(text: str, top: str, modules: list[str], count: int, seed: int) -> list[Mutant]:
    """Mutants of some modules, spread evenly over cells, nets and bits as `mutate -list` does.

    Clocks are left alone: no test of logic is about these, and the check for equivalence knows one
    clock only.

    Parameters
    ----------
    text : str
        Verilog.
    top : str
        Its top module.
    modules : list of str
        Modules to change.
    count : int
        How many; fewer if there are not as many.
    seed : int
        Of the choice.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        (path / "design.v").write_text(text)
        # Some more are listed, in place of those of clocks.
        yosys.run(f"{_READ.format(top=top)}\n"
                  f"mutate -list {count + count // 4 + 8} -seed {seed} -o list {' '.join(modules)}",
                  directory=path)
        found = [_mutant(line, text.splitlines())
                 for line in (path / "list").read_text().splitlines()]
    return [each for each in found if each.port != "CLK"][:count]


def _mutant(line: str, text: list[str]) -> Mutant:
    """A mutant from its line of the list."""
    words = shlex.split(line.replace("\\", "\\\\"))[1:]
    options, sources = {}, []
    for name, value in zip(words[::2], words[1::2], strict=True):
        options[name[1:]] = value
        if name == "-src":
            sources.append(value)
    # The cell's own place is the last.
    place = re.search(r"(\d+)\.(\d+)-(\d+)\.(\d+)$", sources[-1].rpartition("|")[2])
    first, begin, last, end = map(int, place.groups())
    lines = [text[first - 1][begin - 1:end - 1]] if first == last else text[first - 1:last][:2]
    net = f"{options['wire']}[{options['wirebit']}]" if "wire" in options else ""
    return Mutant(options["mode"], options["module"], options["cell"], options["port"],
                  int(options["portbit"]),
                  int(options["ctrlbit"]) if "ctrlbit" in options else None, net, first,
                  " ".join(each.strip() for each in lines))


def with_mutants(text: str, top: str, changes: list[Mutant]) -> str:
    """Verilog with all of some mutants, of which the simulation's ``+mutant=N`` chooses one.

    Nothing else is changed, names and ports of the top module included; without the argument, and
    with ``+mutant=0``, it does what ``text`` does.
    """
    width = len(changes).bit_length()
    inner = f"{top}_mutants"
    script = [_READ.format(top=top), *(
        f"mutate -ctrl {SELECTOR} {width} {number} {each.arguments}"
        for number, each in enumerate(changes, 1)),
        f"rename {top} {inner}", "write_verilog -noattr mutants.v"]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        (path / "design.v").write_text(text)
        yosys.run("\n".join(script), directory=path)
        body = (path / "mutants.v").read_text()
    (ports,) = re.findall(rf"^module {top}\(.*?^endmodule", text, re.MULTILINE | re.DOTALL)
    declarations = re.findall(r"^  (?:input|output) (?:\[\d+:\d+\] )?(\w+);$", ports, re.MULTILINE)
    lines = re.findall(r"^  (?:input|output) .*;$", ports, re.MULTILINE)
    connections = ", ".join(f".{name}({name})" for name in declarations)
    return f"""{body}
module {top}({", ".join(declarations)});
{chr(10).join(lines)}
  reg [{width - 1}:0] {SELECTOR};
  initial if (!$value$plusargs("{SELECTOR}=%d", {SELECTOR})) {SELECTOR} = 0;
  {inner} inner (.{SELECTOR}({SELECTOR}), {connections});
endmodule
"""


def equivalent(text: str, top: str, mutant: Mutant, seconds: float,
               never: Collection[Never] = ()) -> bool:
    """Whether a mutant is proved to change nothing outside of its module.

    Registers and memories of both modules are taken to hold the same, whatever that is, and blocks
    that it uses to answer the same; all outputs, what registers take next and what goes to the
    blocks must then be the same. That is more than need be: a mutant which shows in states that
    never come, but for those that ``never`` tells, or where nobody looks, is not found equivalent.

    Parameters
    ----------
    text, top : str
        Verilog, and its top module.
    mutant : Mutant
        One of :func:`mutants` of that text.
    seconds : float
        Time for the proof; without one the mutant counts as different.
    never : collection of Never
        What is known of the module's registers and inputs. The original keeps to it from the first
        reset on, so that a mutant is equivalent if it holds such a bit at 0 and does the same in a
        reset, with port ``rst`` if there is one, whatever the contents.
    """
    module = mutant.module
    # Registers and blocks become ports in the netlist with the mutant, so that both sides name
    # them alike; contents of registers alone are no outputs.
    script = f"""{_READ.format(top=top)}
mutate -ctrl {SELECTOR} 1 1 {mutant.arguments}
memory {module}
opt_clean {module}
splitnets {module}
rename -enumerate -pattern unnamed_% {module}/w:*
setattr -set own 1 {module}/o:*
expose -evert -dff -evert-dff -sep _everted_ {module}
delete -output {module}/o:* {module}/a:own %d {module}/w:*_everted_* %d
opt_clean {module}
copy {module} gold
copy {module} gate
delete -port gold/w:{SELECTOR} gate/w:{SELECTOR}
setattr -mod -unset keep_hierarchy gold gate
cd gold
connect -set {SELECTOR} 1'0
cd gate
connect -set {SELECTOR} 1'1
cd ..
miter -equiv -flatten -make_outputs gold gate miter
hierarchy -top miter
opt_expr
opt_merge
opt_clean
select -write ports miter/i:in_* miter/o:gold_*_everted_d
write_rtlil miter.il
"""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        (path / "design.v").write_text(text)
        try:
            yosys.run(script, directory=path, limit=10 * seconds)
            ports = (path / "ports").read_text().split()
            known = _zeros(ports, never)
            cases = [known, *["-set in_rst 1"] * (known != "" and "miter/in_rst" in ports)]
            logs = [yosys.run(f"read_rtlil miter.il\nsat -seq 1 -prove trigger 0 {case} "
                              f"-timeout {max(1, round(seconds))} miter", directory=path,
                              limit=10 * seconds) for case in cases]
        except yosys.YosysTimeout:
            return False
    return all("SAT proof finished - no model found: SUCCESS!" in log for log in logs)


def _zeros(ports: list[str], never: Collection[Never]) -> str:
    """Options of `sat` for ports of the miter, of which a register's are named bit by bit.

    They are the inputs of both modules, what registers hold, and what the original's hold next.
    """
    options = []
    for name in ports:
        wire = name.removeprefix("miter/")
        signal, bit = re.fullmatch(r"(?:in|gold)_(.*?)(?:\[(\d+)\])?(?:_everted_[qd])?",
                                   wire).groups()
        for each in never:
            if not re.fullmatch(each.name, signal):
                continue
            if bit is None:
                options.append(f"-set {wire}[{each.high}:{each.low}] 0")
            elif each.low <= int(bit) <= each.high:
                options.append(f"-set {wire} 0")
    return " ".join(options)
