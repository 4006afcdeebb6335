"""Synthesis of Verilog to the cells of a library with Yosys and ABC."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path

from hdl import yosys
from synth.fanout import insert
from synth.liberty import Library
from synth.netlist import Netlist, NetlistError

__all__ = ["Block", "Memory", "Mapping", "synthesise", "simulation_model"]

#: Area first, then the sizes that ``{D}`` needs (docs/synthesis.md).
_ABC = "strash;ifraig;scorr;dc2;strash;dch;amap;topo;upsize,{D};dnsize,{D}"

#: Least flip-flops behind a clock gate; it replaces a multiplexer at each.
_GATED = 3

#: A delay in ps that no path exceeds: sizes stay least.
_NO_HURRY = 10**6

_READ = """
read_liberty -lib -ignore_miss_func -ignore_miss_data_latch "{liberty}"
read_verilog "{verilog}"
hierarchy -check -top {top}
{adders}
synth -top {top} -booth {flatten} -run begin:fine
write_json coarse.json
write_rtlil coarse.il
"""

_MAP = """
read_rtlil coarse.il
{memories}
{outside}
synth -top {top} -booth -run fine:check
{gates}
dfflibmap -liberty "{liberty}"
opt
abc -liberty "{liberty}" -constr abc.constraints -D {delay} -script +{abc}
opt_clean -purge
check -assert
rename -enumerate -pattern gate_%_
write_json hierarchy.json
setattr -mod -unset keep_hierarchy *
flatten
opt_clean -purge
write_json netlist.json
"""

_WRITE = """
read_json netlist.json
write_verilog -noattr -simple-lhs netlist.v
"""

_SELECT = """
module {name} (input [2:0] lines, input [{top}:0] a, b, c, output [{top}:0] y);
  genvar i;
  generate
    for (i = 0; i <= {top}; i = i + 1) begin : bits
      {cell} cell ({pins});
    end
  endgenerate
endmodule
"""

_ADDER = """
module {name} (input [{top}:0] a, b, c, output [{top}:0] s, carry);
  parameter [{top}:0] _TECHMAP_CONSTMSK_a_ = 0;
  parameter [{top}:0] _TECHMAP_CONSTMSK_b_ = 0;
  parameter [{top}:0] _TECHMAP_CONSTMSK_c_ = 0;
  localparam [{top}:0] CONSTANT =
    _TECHMAP_CONSTMSK_a_ | _TECHMAP_CONSTMSK_b_ | _TECHMAP_CONSTMSK_c_;
  genvar i;
  generate
    for (i = 0; i <= {top}; i = i + 1) begin : bits
      if (CONSTANT[i]) begin
        assign s[i] = a[i] ^ b[i] ^ c[i];
        assign carry[i] = a[i] & b[i] | c[i] & (a[i] | b[i]);
      end else
        {cell} cell ({pins});
    end
  endgenerate
endmodule
"""


@dataclass(frozen=True)
class Block:
    """A module of the mapped hierarchy.

    Parameters
    ----------
    module : str
        Name.
    instances : int
        How often the design contains it.
    area : float
        Area in um2 of one instance, without the blocks inside it.
    total : float
        Area in um2 of one instance, with the blocks inside it.
    """

    module: str
    instances: int
    area: float
    total: float


@dataclass(frozen=True)
class Memory:
    """A memory, of flip-flops or outside; an ASIC would use SRAM or latches from some size on.

    Parameters
    ----------
    module : str
        Module of its storage, decoder and read multiplexers in the mapped hierarchy.
    instances : int
        How often the design contains it.
    depth, width : int
        Words, and bits of a word.
    area : float
        Area in um2 of one instance; 0 if it is outside.
    outside : bool
        Whether it stayed outside the netlist.
    """

    module: str
    instances: int
    depth: int
    width: int
    area: float
    outside: bool = False

    @property
    def bits(self) -> int:
        """Bits of one instance."""
        return self.depth * self.width


@dataclass(frozen=True)
class Mapping:
    """A design mapped to a library; gates are gate equivalents, areas over the least NAND2's.

    Parameters
    ----------
    top : str
        Top module.
    library : Library
        Its cells are those of the netlist.
    directory : Path
        Folder with the flat netlist as ``netlist.v`` and ``netlist.json``, and logs.
    netlist : Netlist
        Flat netlist. An instance's name is its path in the hierarchy, joined by dots.
    blocks : tuple of Block
        Modules, the top first. Without ``flatten`` one for each module of the source.
    memories : tuple of Memory
        Memories; their area is part of the blocks'.
    """

    top: str
    library: Library
    directory: Path
    netlist: Netlist
    blocks: tuple[Block, ...]
    memories: tuple[Memory, ...]

    @property
    def verilog(self) -> Path:
        """Flat mapped netlist, Verilog."""
        return self.directory / "netlist.v"

    @cached_property
    def cells(self) -> Counter:
        """Number of instances of each cell."""
        return Counter(instance.cell.name for instance in self.netlist.instances)

    @property
    def area(self) -> float:
        """Area of all cells, um2."""
        return sum(self.library.cells[name].area * count for name, count in self.cells.items())

    @property
    def sequential_area(self) -> float:
        """Area of the flip-flops and clock gates, um2."""
        return sum(self.library.cells[name].area * count for name, count in self.cells.items()
                   if self.library.cells[name].sequential)

    @property
    def memory_area(self) -> float:
        """Area of the memories, um2."""
        return sum(memory.area * memory.instances for memory in self.memories)

    def gates(self, area: float | None = None) -> float:
        """Gate equivalents of an area in um2; of the design's if absent."""
        return (self.area if area is None else area) / self.library.nand2_area


def synthesise(verilog: Path, top: str, library: Library, directory: Path, *,
               flatten: bool = True, delay: float | None = None,
               outside: str | None = None) -> Mapping:
    """Map Verilog to cells; every design and every baseline goes through the same script.

    Multiplications become Booth multipliers. An instance of a module whose name ends in
    ``_full_adder_<width>``, or in ``_full_adder`` for one bit (ports ``a``, ``b``, ``c``, ``s``,
    ``carry``), becomes full-adder cells, if the library has one; they are not optimised further.
    So does one whose name ends in ``_select_<width>`` become and-or-invert cells. Flip-flops with
    an enable get a clock gate, one for those of a module with the same enable, if the library has
    one. Heavy nets get buffers at last, see :mod:`synth.fanout`.

    Parameters
    ----------
    verilog : Path
        Source.
    top : str
        Top module.
    library : Library
        Cells.
    directory : Path
        Folder for the results; made if needed.
    flatten : bool
        Whether to optimise across modules; otherwise each module is mapped once, however often it
        is used.
    delay : float, optional
        Delay in ns that cells between registers are sized for; the smallest cells if absent.
    outside : str, optional
        Regular expression; a memory with such a name, ``module.memory`` as in the Verilog, stays
        outside: it has no cells, paths end and start at its ports, and ``memories.v`` has it for
        simulations.

    Raises
    ------
    NetlistError
        If no memory has a name that is to stay outside.
    YosysError
        If the source does not synthesise; ``read.log`` and ``map.log`` say more.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    source = verilog.read_text()
    adders = _adder_map(source, library) + _select_map(source, library)
    (directory / "adders.v").write_text(adders)
    (directory / "abc.constraints").write_text(_constraints(library))
    settings = {"liberty": library.path, "verilog": verilog.resolve(), "top": top, "abc": _ABC,
                "adders": "techmap -map adders.v" if adders else "",
                "gates": _gate_command(library),
                "flatten": "-flatten" if flatten else "",
                "delay": _NO_HURRY if delay is None else round(1000 * delay)}
    yosys.run(_READ.format(**settings), directory=directory, log=directory / "read.log")
    memories, commands = _memories(json.loads((directory / "coarse.json").read_text())["modules"])
    apart = [module for name, module, *_ in memories if outside and re.fullmatch(outside, name)]
    if outside and not apart:
        raise NetlistError(f"Module {top} must have a memory {outside}")
    yosys.run(_MAP.format(memories=commands, outside=_outside(apart), **settings),
              directory=directory, log=directory / "map.log")
    flat = json.loads((directory / "netlist.json").read_text())
    added = insert(flat["modules"][top], library)
    (directory / "netlist.json").write_text(json.dumps(flat))
    yosys.run(_WRITE.format(**settings), directory=directory, log=directory / "write.log")
    modules = json.loads((directory / "hierarchy.json").read_text())["modules"]
    blocks = _blocks(modules, top, library, added)
    areas = {block.module: block for block in blocks}
    netlist = Netlist.of(flat["modules"][top], top, library, apart)
    return Mapping(
        top, library, directory, netlist,
        tuple(block for block in blocks if block.module not in apart),
        tuple(Memory(module, areas[module].instances, depth, width, areas[module].total,
                     module in apart)
              for _, module, depth, width in memories if module in areas))


def simulation_model(mapping: Mapping) -> str:
    """Verilog of the netlist with each cell written as its Boolean function.

    It has the ports of the design and no cell models, so that it compiles and runs faster; net
    ``17`` of :attr:`Mapping.netlist` is the wire ``n17``. Delays are zero. A register behind a
    clock gate takes its data at the edges of the clock that the gate lets through; the gated clock
    itself is there for its activity. Memories that stayed outside are there as they were before
    the mapping.

    Raises
    ------
    NetlistError
        If a cell is neither combinational nor a flip-flop nor a clock gate.
    """
    netlist = mapping.netlist
    lines = [f"module {netlist.module} ({', '.join(netlist.ports)});"]
    for name, (direction, bits) in netlist.ports.items():
        lines.append(f"  {direction} [{len(bits) - 1}:0] {name};")
        lines.append(f"  assign {_joined(bits)} = {name};" if direction == "input"
                     else f"  assign {name} = {_joined(bits)};")
    wires = {net for instance in netlist.instances for net in instance.nets.values()}
    wires.update(netlist.port_nets("input"), netlist.port_nets("output"))
    lines[1:1] = [f"  wire n{net};" for net in sorted(wires)]
    for number, instance in enumerate(netlist.instances):
        lines += _model(instance, f"q{number}", netlist.gated)
    for number, memory in enumerate(netlist.outside):
        pins = ", ".join(f".{port}({_joined(bits)})" for port, (_, bits) in memory.ports.items())
        lines.append(f"  {memory.module} memory_{number} ({pins});")
    lines += ["endmodule", ""]
    if netlist.outside:
        # Names in there may be like those of nets here, whose activity is wanted.
        lines += ["/* verilator tracing_off */", (mapping.directory / "memories.v").read_text()]
    return "\n".join(lines)


def _joined(bits):
    """Verilog of the nets and constants of a port, the lowest first."""
    nets = [f"n{bit}" if isinstance(bit, int) else f"1'b{bit}" for bit in reversed(bits)]
    return f"{{{', '.join(nets)}}}"


def _model(instance, state, gated):
    """Verilog lines of a cell; ``state`` names its register, ``gated`` has the clock gates."""
    cell, register = instance.cell, instance.cell.register
    names = _names(instance)
    if pins := cell.clock_gate:
        clock, output = names[pins.clock], names[pins.output]
        return [f"  reg {state};", f"  always @* if (~{clock}) {state} = {names[pins.enable]};",
                f"  assign {output} = {clock} & {state};"]
    lines = []
    if register:
        names |= {register.state: state, register.complement: f"~{state}"}
        value, choice = register.next.verilog(names), ""
        for pin in register.clock.names:
            if gate := gated.get(instance.nets.get(pin)):
                # With the gated clock itself the order of events would matter.
                pins, outer = gate.cell.clock_gate, _names(gate)
                names[pin], choice = outer[pins.clock], f"if ({outer[pins.enable]}) "
        edges = f"posedge {register.clock.verilog(names)}"
        for control, constant in ((register.preset, 1), (register.clear, 0)):
            if control:
                control = control.verilog(names)
                edges += f" or posedge {control}"
                choice = f"if ({control}) {state} <= {constant}; else {choice}"
        lines += [f"  reg {state};", f"  always @({edges}) {choice}{state} <= {value};"]
    for pin in cell.outputs:
        if cell.pins[pin].function is None:
            raise NetlistError(f"Cell {cell.name} of instance {instance.name} must be "
                               "combinational, a flip-flop or a clock gate")
        if pin in instance.nets:
            lines.append(f"  assign {names[pin]} = {cell.pins[pin].function.verilog(names)};")
    return lines


def _names(instance):
    """Verilog of the net or the constant at each pin of an instance."""
    return ({pin: f"n{net}" for pin, net in instance.nets.items()}
            | {pin: f"1'b{value}" for pin, value in instance.constants.items()})


def _adder_map(source, library):
    """Verilog that replaces each full adder module of ``source`` by the library's cells.

    An adder with a constant input is left to ABC, which needs less than a cell for it.
    """
    adder = library.full_adder
    if adder is None:
        return ""
    pins = ", ".join(f".{pin}({port}[i])" for pin, port in zip(
        (*adder.inputs, adder.sum, adder.carry), ("a", "b", "c", "s", "carry"), strict=True))
    return "".join(
        _ADDER.format(name=name, top=int(width or 1) - 1, cell=adder.cell, pins=pins)
        for name, width in re.findall(r"^module\s+(\w+_full_adder(?:_(\d+))?)\b", source, re.M))


def _select_map(source, library):
    """Verilog that replaces each select module of ``source`` by the library's cells."""
    select = library.and_or_invert
    if select is None:
        return ""
    wires = ("lines[0]", "a[i]", "lines[1]", "b[i]", "lines[2]", "c[i]", "y[i]")
    pins = ", ".join(f".{pin}({wire})" for pin, wire in zip(
        (*select.inputs, select.output), wires, strict=True))
    return "".join(_SELECT.format(name=name, top=int(width) - 1, cell=select.cell, pins=pins)
                   for name, width in re.findall(r"^module\s+(\w+_select_(\d+))\b", source, re.M))


def _constraints(library):
    """Surroundings of the logic, for ABC: the least buffer drives it, it drives four NANDs."""
    driver = f"set_driving_cell {library.buffer}\n" if library.buffer else ""
    return f"{driver}set_load {4 * library.nand2_load}\n"


def _gate_command(library):
    """Yosys' command that puts clock gates before flip-flops with an enable."""
    if library.clock_gate is None:
        return ""
    pins = library.clock_gate.clock_gate
    return (f"clockgate -pos {library.clock_gate.name} {pins.enable}:{pins.clock}:{pins.output} "
            f"-min_net_size {_GATED}")


def _memories(modules):
    """Memories of the coarse netlist, and Yosys' commands that give each a module.

    A memory is (``module.memory``, future module, depth, width).
    """
    memories, commands = [], []
    for module, contents in modules.items():
        for name, cell in contents["cells"].items():
            if cell["type"] != "$mem_v2" or not int(cell["parameters"]["WR_PORTS"], 2):
                continue
            label = "".join(c if c.isalnum() else "_" for c in name)
            depth, width = (int(cell["parameters"][key], 2) for key in ("SIZE", "WIDTH"))
            memories.append((f"{module}.{name}", f"{module}_{label}", depth, width))
            commands.append(f'setattr -set submod "{label}" {module}/{name}')
    if memories:
        commands += ["submod", *(f"setattr -mod -set keep_hierarchy 1 {module}"
                                 for _, module, *_ in memories)]
    return memories, "\n".join(commands)


def _outside(modules):
    """Yosys' commands that write modules to a file and forget what is inside."""
    if not modules:
        return ""
    names = " ".join(modules)
    return (f"select {names}\nwrite_verilog -noattr -selected memories.v\nselect -clear\n"
            f"blackbox {names}")


def _blocks(modules, top, library, added):
    """Blocks of the mapped hierarchy, each before what it uses.

    ``added`` is the area of the buffers by the path of the block that drives them, which counts
    them as its own, in the mean of its instances.
    """
    counts = {name: Counter(cell["type"] for cell in contents["cells"].values())
              for name, contents in modules.items()}
    uses = {name: [used for used in counts[name] if used not in library.cells] for name in counts}
    order = list(TopologicalSorter({name: uses[name] for name in _below(top, uses)}).static_order())
    instances, own, total = Counter({top: 1}), {}, {}
    for name in reversed(order):
        for used in uses[name]:
            instances[used] += instances[name] * counts[name][used]
    drivers = Counter()
    for path, area in added.items():
        drivers[_module(modules, top, path)] += area
    for name in order:
        own[name] = sum(library.cells[cell].area * count for cell, count in counts[name].items()
                        if cell in library.cells) + drivers[name] / instances[name]
        total[name] = own[name] + sum(counts[name][used] * total[used] for used in uses[name])
    return tuple(Block(name, instances[name], own[name], total[name]) for name in reversed(order))


def _module(modules, top, path):
    """Module of the block at a path, whose instances' names may have dots themselves."""
    name, rest = top, path
    while rest:
        instance = next((key for key, cell in modules[name]["cells"].items()
                         if cell["type"] in modules
                         and (rest == key or rest.startswith(f"{key}."))), None)
        if instance is None:
            break
        name, rest = modules[name]["cells"][instance]["type"], rest[len(instance) + 1:]
    return name


def _below(top, uses):
    """``top`` and every module under it."""
    return {top}.union(*(_below(used, uses) for used in uses[top]))
