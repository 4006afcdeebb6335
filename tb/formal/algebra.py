"""Proofs by computer algebra: the netlist of a sum as a polynomial of its input bits.

A function of bits with values modulo 2**n is a polynomial without powers in exactly one way. From
the sum of its weighted outputs a netlist is rewritten gate by gate, outputs by inputs, until only
inputs are left; the sum is right if and only if the polynomial is the wanted one. A full adder is
``s = a + b + c - 2·carry``, so that a tree of them, where each carry counts twice as much as its
sum, vanishes at once, however high it is. After D. Kaufmann, A. Biere and M. Kauers, "Verifying
large multipliers by combining SAT and computer algebra", FMCAD 2019.
"""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from pathlib import Path

from hdl import yosys
from hdl.block import Block

__all__ = ["AlgebraError", "Identity", "Polynomial", "difference", "word"]

#: Coefficients of products of bits; the empty product is 1.
Polynomial = dict[frozenset, int]

#: Modules that stay whole: their equations are known, and proved by the solver.
_WHOLE = ("_full_adder_", "_select_")

_SCRIPT = """
read_rtlil design.il
hierarchy -check -top {top}
setattr -mod -set keep_hierarchy 1 {whole}
proc
flatten
opt_clean
write_rtlil flat.il
write_json design.json
"""


class AlgebraError(RuntimeError):
    """A netlist has what there is no equation for; the message says what."""


@dataclass(frozen=True)
class Identity:
    """A combinational block, and what its port ``total`` is.

    Parameters
    ----------
    block : Block
    wanted : callable
        From a function that gives the bits of an input port to a :data:`Polynomial`; equal to
        ``total`` modulo 2 to its width.
    subject : Block
        The block as it is exported, whose part ``block`` is.
    """

    block: Block
    wanted: Callable[[Callable[[str], list]], Polynomial]
    subject: Block


def word(bits: Iterable, signed: bool = False) -> Polynomial:
    """The number that bits mean, the lowest first.

    Examples
    --------
    >>> word([7, 8, "1"], signed=True)
    {frozenset({7}): 1, frozenset({8}): 2, frozenset(): -4}
    """
    bits, found = list(bits), {}
    for place, bit in enumerate(bits):
        weight = -(1 << place) if signed and place == len(bits) - 1 else 1 << place
        if bit == "1":
            found[frozenset()] = found.get(frozenset(), 0) + weight
        elif bit == "x":
            raise AlgebraError("A bit without a value is used")
        elif bit != "0":
            key = frozenset([bit])
            found[key] = found.get(key, 0) + weight
    return found


def plus(*terms: Polynomial) -> Polynomial:
    """Sum."""
    found = defaultdict(int)
    for term in terms:
        for key, value in term.items():
            found[key] += value
    return {key: value for key, value in found.items() if value}


def times(a: Polynomial, b: "Polynomial | int") -> Polynomial:
    """Product."""
    if isinstance(b, int):
        return {key: value * b for key, value in a.items()}
    found = defaultdict(int)
    for key, value in a.items():
        for other, factor in b.items():
            found[key | other] += value * factor
    return {key: value for key, value in found.items() if value}


def difference(identity: Identity, limit: float) -> Polynomial:
    """What the port ``total`` differs by from what is wanted; empty if nowhere.

    Raises
    ------
    AlgebraError
        If there is no equation for a cell.
    YosysError
        If Yosys fails.
    """
    netlist = _Netlist(identity.block, limit)
    total = netlist.port("total")
    modulus = 1 << len(total)
    rewriting = _Rewriting(word(total), modulus, netlist)
    netlist.check_copies(rewriting.copies, limit)
    wanted = identity.wanted(netlist.port)
    rest = plus(rewriting.terms, times(wanted, -1))
    return {key: value % modulus for key, value in rest.items() if value % modulus}


class _Netlist:
    """Cells of a flat module, from its outputs to its inputs."""

    def __init__(self, block: Block, limit: float):
        blocks = block.closure()
        whole = " ".join(name for name in blocks if any(part in name for part in _WHOLE))
        script = _SCRIPT.format(top=block.module, whole=whole)
        if not whole:
            script = script.replace("setattr -mod -set keep_hierarchy 1 \n", "")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            (path / "design.il").write_text("\n".join(each.rtlil for each in blocks.values()))
            yosys.run(script, directory=path, limit=limit)
            module = json.loads((path / "design.json").read_text())["modules"][block.module]
            self._flat = (path / "flat.il").read_text()
        self._ports, self._top = module["ports"], block.module
        self._names = {bit: (name if name[0] == "$" else f"\\{name}") + f"[{place}]"
                       for name, net in module["netnames"].items()
                       for place, bit in enumerate(net["bits"])}
        self.cells = self._ordered([_Cell(each) for each in module["cells"].values()])

    def port(self, name: str) -> list:
        """Bits of a port, the lowest first."""
        return self._ports[name]["bits"]

    def check_copies(self, copies: list[list], limit: float):
        """Refuse bits that the solver does not find equal for all inputs."""
        if not copies:
            return
        pairs = "".join(f" -prove {self._names[first]} {self._names[other]}"
                        for first, *others in copies for other in others)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "flat.il").write_text(self._flat)
            log = yosys.run(f"read_rtlil flat.il\nsetattr -mod -unset keep_hierarchy *\n"
                            f"hierarchy -top {self._top}\nflatten\nsat{pairs}",
                            directory=Path(folder), limit=limit)
        if "no model found: SUCCESS!" not in log:
            raise AlgebraError("The highest bits of a word are not copies of its sign")

    def _ordered(self, cells):
        """Cells behind all that they drive; arithmetic as late as that allows.

        So select lines that exclude each other do so before what they select is a word.
        """
        driver = {bit: index for index, cell in enumerate(cells) for bit in cell.outputs}
        feeds = [{driver[bit] for bit in cell.inputs if bit in driver} for cell in cells]
        users = Counter(index for each in feeds for index in each)
        ready = [(cells[index].type in _ARITHMETIC, index) for index in range(len(cells))
                 if not users[index]]
        heapify(ready)
        order = []
        while ready:
            _, index = heappop(ready)
            order.append(cells[index])
            for before in feeds[index]:
                users[before] -= 1
                if not users[before]:
                    heappush(ready, (cells[before].type in _ARITHMETIC, before))
        return order


class _Cell:
    """A cell of Yosys' JSON."""

    def __init__(self, cell: dict):
        self.type, self.pins = cell["type"], cell["connections"]
        self._parameters = cell["parameters"]
        directions = cell["port_directions"]
        self.outputs = [bit for pin, bits in self.pins.items() for bit in bits
                        if directions[pin] == "output" and not isinstance(bit, str)]
        self.inputs = [bit for pin, bits in self.pins.items() for bit in bits
                       if directions[pin] == "input" and not isinstance(bit, str)]

    def signed(self, pin: str) -> bool:
        """Whether an operand is signed."""
        return bool(int(self._parameters.get(f"{pin}_SIGNED", "0"), 2))

    def operand(self, pin: str) -> Polynomial:
        """An operand as a number."""
        return word(self.pins[pin], self.signed(pin))

    def range(self, pin: str) -> tuple[int, int]:
        """Bounds of an operand, constant bits and copies of the sign considered."""
        number = self.operand(pin)
        constant = number.pop(frozenset(), 0)
        return (constant + sum(weight for weight in number.values() if weight < 0),
                constant + sum(weight for weight in number.values() if weight > 0))

    def extended(self, pin: str, width: int) -> list:
        """Bits of an operand, extended."""
        bits = self.pins[pin]
        return [*bits, *[bits[-1] if self.signed(pin) else "0"] * width][:width]


class _Rewriting:
    """A polynomial that is rewritten from the outputs of a netlist to its inputs."""

    def __init__(self, start: Polynomial, modulus: int, netlist: _Netlist):
        self.modulus = modulus
        self.terms: Polynomial = {}
        self._where = defaultdict(set)  # monomials by the bits in them
        self.copies: list[list] = []    # bits that must be equal
        for key, value in start.items():
            self._add(key, value)
        for cell in netlist.cells:
            if any(self._where.get(bit) for bit in cell.outputs):
                self._rewrite(cell)

    def _add(self, key, value):
        old = self.terms.get(key, 0)
        new = (old + value) % self.modulus
        if new:
            self.terms[key] = new
            if not old:
                for bit in key:
                    self._where[bit].add(key)
        elif old:
            del self.terms[key]
            for bit in key:
                self._where[bit].discard(key)

    def _take(self, bit):
        """Remove the terms with a bit; return what it is multiplied by in them."""
        found = {}
        for key in list(self._where.pop(bit, ())):
            found[key - {bit}] = self.terms[key]
            self._add(key, -self.terms[key])
        return found

    def _substitute(self, bit, value: Polynomial):
        for rest, factor in self._take(bit).items():
            for key, coefficient in value.items():
                self._add(rest | key, factor * coefficient)

    def _rewrite(self, cell):
        if "_full_adder_" in cell.type:
            self._full_adders(cell)
        elif "_select_" in cell.type:
            self._selects(cell)
        elif cell.type in _BITWISE:
            output = cell.pins["Y"]
            pins = [[*(word([bit]) for bit in cell.extended(pin, len(output)))]
                    for pin in ("A", "B") if pin in cell.pins]
            for bit, *operands in zip(output, *pins, strict=True):
                self._substitute(bit, _BITWISE[cell.type](*operands))
        elif cell.type == "$mux":
            select = word(cell.pins["S"])
            for bit, a, b in zip(*(cell.pins[pin] for pin in "YAB"), strict=True):
                a, b = word([a]), word([b])
                self._substitute(bit, plus(a, times(select, plus(b, times(a, -1)))))
        elif cell.type in _ARITHMETIC:
            self._arithmetic(cell)
        else:
            raise AlgebraError(f"There is no equation for a cell {cell.type}")

    def _full_adders(self, cell):
        for total, carry, *operands in zip(*(cell.pins[pin] for pin in ("s", "carry", "a", "b",
                                                                        "c")), strict=True):
            a, b, c = (word([bit]) for bit in operands)
            self._substitute(total, plus(a, b, c, times(word([carry]), -2)))
            ab, ac, bc = times(a, b), times(a, c), times(b, c)
            self._substitute(carry, plus(ab, ac, bc, times(times(ab, c), -2)))

    def _selects(self, cell):
        lines = [word([bit]) for bit in cell.pins["lines"]]
        for output, *values in zip(*(cell.pins[pin] for pin in "yabc"), strict=True):
            product = {frozenset(): 1}
            for value, line in zip(values, lines, strict=True):
                product = times(product, plus({frozenset(): 1},
                                              times(times(word([value]), line), -1)))
            self._substitute(output, product)

    def _arithmetic(self, cell):
        """Replace a word, wherever its bits stand with the weights of a number.

        Where the highest are not used, they must be copies of the highest that is.
        """
        output = cell.pins["Y"]
        value, low, high = _ARITHMETIC[cell.type](cell)
        by_rest = defaultdict(dict)
        for place, bit in enumerate(output):
            for rest, factor in self._take(bit).items():
                by_rest[rest][place] = factor
        for rest, factors in by_rest.items():
            unit = factors.get(0, 0)
            self._check_word(cell, output, unit, factors, (low, high))
            for key, coefficient in value.items():
                self._add(rest | key, unit * coefficient)

    def _check_word(self, cell, output, unit, factors, ends):
        """Refuse weights that are not a number's, or one that does not fit."""
        low, high = ends
        width = len(output)
        used  = max(factors) + 1
        if self._weighted(factors, unit, width, 1) and (
                (unit << width) % self.modulus == 0 or 0 <= low <= high < 1 << width):
            return
        if not self._weighted(factors, unit, used, -1):
            raise AlgebraError(f"A word of a cell {cell.type} is not used as a number")
        if not -(1 << used - 1) <= low <= high < 1 << used - 1:
            if not -(1 << width - 1) <= low <= high < 1 << width - 1:
                raise AlgebraError(f"A word of a cell {cell.type} does not hold its number")
            self.copies.append(output[used - 1:])

    def _weighted(self, factors, unit, width, top):
        """Whether bits have the weights of a number of some width."""
        return all((factors.get(place, 0) - (unit << place) * (top if place == width - 1 else 1))
                   % self.modulus == 0 for place in range(width))


_BITWISE = {
    "$not": lambda a: plus({frozenset(): 1}, times(a, -1)),
    "$and": times,
    "$or":  lambda a, b: plus(a, b, times(times(a, b), -1)),
    "$xor": lambda a, b: plus(a, b, times(times(a, b), -2)),
    "$pos": lambda a: a,
}


def _ends(function, a, b):
    """Lowest and highest value of a function that is monotonic in each operand."""
    values = [function(x, y) for x in a for y in b]
    return min(values), max(values)


def _sum(cell):
    return (plus(cell.operand("A"), cell.operand("B")),
            *_ends(lambda a, b: a + b, cell.range("A"), cell.range("B")))


def _subtraction(cell):
    return (plus(cell.operand("A"), times(cell.operand("B"), -1)),
            *_ends(lambda a, b: a - b, cell.range("A"), cell.range("B")))


def _negation(cell):
    low, high = cell.range("A")
    return times(cell.operand("A"), -1), -high, -low


def _product(cell):
    return (times(cell.operand("A"), cell.operand("B")),
            *_ends(lambda a, b: a * b, cell.range("A"), cell.range("B")))


def _shift(cell):
    value = cell.operand("A")
    for place, bit in enumerate(cell.pins["B"]):
        factor = (1 << (1 << place)) - 1
        value = times(value, plus({frozenset(): 1}, times(word([bit]), factor)))
    return value, *_ends(lambda a, b: a << b, cell.range("A"), (0, (1 << len(cell.pins["B"])) - 1))


#: From a cell to the number that it computes, and the range of that.
_ARITHMETIC = {"$add": _sum, "$sub": _subtraction, "$neg": _negation, "$mul": _product,
               "$shl": _shift, "$sshl": _shift}
