"""Attempts at proofs, in any process."""

import gc
import time
import warnings
from dataclasses import asdict, dataclass

from amaranth.hdl import UnusedElaboratable

from golden.sets import ALL_SETS
from hdl.export import digest
from hdl.yosys import YosysError
from tb.formal import solver
from tb.formal.algebra import AlgebraError, difference
from tb.formal.properties import PROPERTIES
from tb.formal.property import Property, copy
from tb.formal.solver import PROVED, REFUTED

__all__ = ["LIMIT", "Attempt", "Outcome", "attempt", "attempts"]

#: Seconds that one attempt may take.
LIMIT = 240


@dataclass(frozen=True)
class Attempt:
    """A property by its name, a case, and the place of a broken copy, or -1 for the block."""

    name: str
    case: str
    broken: int = -1


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt.

    Parameters
    ----------
    verdict : str
        One of :mod:`tb.formal.solver`, or what went wrong.
    cycles : int
        Cycles of the proof.
    seconds : float
        Elapsed.
    block, verilog_sha256 : str or None
        Module of the block, and the hash of its Verilog if it is one of a set that is exported.
    """

    verdict: str
    cycles: int
    seconds: float
    block: str | None
    verilog_sha256: str | None

    def to_dict(self) -> dict:
        """JSON-ready form."""
        return asdict(self)


def attempts(each: Property, cases: "list[str] | None" = None) -> list[Attempt]:
    """All attempts that a property needs: its cases, or some of them, and its broken copies."""
    wanted = list(each.cases) if cases is None else cases
    return [*(Attempt(each.name, case) for case in wanted),
            *(Attempt(each.name, each.case_of(broken), place)
              for place, broken in enumerate(each.broken))]


def attempt(wanted: Attempt, limit: float = LIMIT) -> Outcome:
    """Prove a case of a property, or refute it of a broken copy."""
    with warnings.catch_warnings():
        # A harness may make blocks of which it takes only a part.
        warnings.simplefilter("ignore", UnusedElaboratable)
        outcome = _attempt(wanted, limit)
        gc.collect()
    return outcome


def _attempt(wanted: Attempt, limit: float) -> Outcome:
    start = time.monotonic()
    each = next(each for each in PROPERTIES if each.name == wanted.name)
    broken = each.broken[wanted.broken] if wanted.broken >= 0 else None
    parameters = each.cases[wanted.case]
    what, cycles = None, 1
    try:
        what = each.build(copy(each.module, broken), parameters)
        if each.method == "algebra":
            verdict = REFUTED if difference(what, limit) else PROVED
        elif broken:
            verdict, cycles = solver.refute(what, each.method, broken.depth or each.depth, limit)
        else:
            verdict, cycles = solver.prove(what, each.method, each.depth, limit)
    except (AlgebraError, YosysError) as error:
        verdict = str(error)
    block = hashed = None
    if what and what.subject:
        block = what.subject.module
        if not broken and ALL_SETS.get(wanted.case) is parameters:
            hashed = digest(what.subject)
    return Outcome(verdict, cycles, round(time.monotonic() - start, 2), block, hashed)
