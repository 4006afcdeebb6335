"""Boolean expressions of Liberty: parsed, evaluated on truth tables, written as Verilog."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Expression", "states"]

_TOKEN = re.compile(r"\s*([A-Za-z_][\w\[\].]*|[01]|[!'^&*|+()])")


@dataclass(frozen=True)
class Expression:
    """A node: an operator, or the name of a pin, ``0`` or ``1`` if there are no operands.

    Parameters
    ----------
    symbol : str
        ``~``, ``^``, ``&``, ``|``, a name or a constant.
    operands : tuple of Expression
        One for ``~``, two for the others, none for a leaf.
    """

    symbol: str
    operands: "tuple[Expression, ...]" = ()

    @classmethod
    def parse(cls, text: str) -> "Expression":
        """Expression of a ``function`` or ``when`` attribute.

        An apostrophe inverts what it follows, two neighbours are a conjunction, and exclusive or
        binds tighter than and, as Liberty defines.

        Raises
        ------
        ValueError
            If the text is no expression.

        Examples
        --------
        >>> Expression.parse("A B' + !(C ^ D)").verilog({})
        '((A & ~B) | ~(C ^ D))'
        """
        tokens = _TOKEN.findall(text)
        if "".join(tokens) != re.sub(r"\s", "", text):
            raise ValueError(f"Expression must be made of names and operators, not {text!r}")
        tokens = [*tokens, ""]
        result = _binary(tokens, 0)
        if tokens[0]:
            raise ValueError(f"Expression must be well formed, not {text!r}")
        return result

    @property
    def names(self) -> set[str]:
        """Names of the pins."""
        if self.operands:
            return set().union(*(operand.names for operand in self.operands))
        return {self.symbol} - {"0", "1"}

    def table(self, values: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Value for each state, given that of each name; a scalar if there is no name."""
        if not self.operands:
            return values[self.symbol] if self.names else np.bool_(self.symbol == "1")
        operands = [operand.table(values) for operand in self.operands]
        match self.symbol:
            case "~":
                return np.logical_not(*operands)
            case "^":
                return np.logical_xor(*operands)
            case "&":
                return np.logical_and(*operands)
            case _:
                return np.logical_or(*operands)

    def verilog(self, names: Mapping[str, str]) -> str:
        """Verilog with each name replaced by its entry in ``names``, if it has one."""
        if not self.operands:
            return names.get(self.symbol, self.symbol) if self.names else f"1'b{self.symbol}"
        operands = [operand.verilog(names) for operand in self.operands]
        if self.symbol == "~":
            return f"~{operands[0]}"
        return f"({operands[0]} {self.symbol} {operands[1]})"


def states(names: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Value of each name in each of ``2**len(names)`` states; the first changes fastest."""
    numbers = np.arange(1 << len(names))
    return {name: (numbers >> bit & 1).astype(bool) for bit, name in enumerate(names)}


#: From the loosest to the tightest: operator and its spellings.
_LEVELS = (("|", ("|", "+")), ("&", ("&", "*")), ("^", ("^",)))


def _binary(tokens: list[str], level: int) -> Expression:
    """Consume an expression of operators not looser than ``level``."""
    if level == len(_LEVELS):
        return _unary(tokens)
    symbol, spellings = _LEVELS[level]
    result = _binary(tokens, level + 1)
    while tokens[0] in spellings or (symbol == "&" and re.match(r"[\w!(]", tokens[0])):
        if tokens[0] in spellings:
            tokens.pop(0)
        result = Expression(symbol, (result, _binary(tokens, level + 1)))
    return result


def _unary(tokens: list[str]) -> Expression:
    """Consume a leaf, or an expression in parentheses, with its inversions."""
    token = tokens.pop(0)
    if token == "!":
        return Expression("~", (_unary(tokens),))
    if token == "(":
        result = _binary(tokens, 0)
        token = tokens.pop(0) if tokens[0] == ")" else ""
    else:
        result = Expression(token)
    if not re.match(r"[\w)]", token):
        raise ValueError("Expression must not end before an operand or a parenthesis")
    while tokens[0] == "'":
        tokens.pop(0)
        result = Expression("~", (result,))
    return result
