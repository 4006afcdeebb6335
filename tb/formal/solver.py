"""Proofs by the solver of Yosys, ``sat`` with MiniSat."""

import re
import tempfile
from pathlib import Path

from hdl import yosys
from tb.formal.harness import Harness, free

__all__ = ["PROVED", "REFUTED", "UNKNOWN", "prove", "refute"]

#: What comes of an attempt.
PROVED, REFUTED, UNKNOWN = "proved", "refuted", "unknown"

# Registers lose their initial values, as in the export, but for the one that tells the reset;
# memories become registers.
_SCRIPT = """
read_rtlil design.il
hierarchy -check -top {top}
proc
flatten
delete t:$meminit*
memory_collect
memory_map
{probes}
setattr -unset init w:*
setattr -set init 1'0 w:begun
chformal -lower
opt_expr
opt_merge
opt_clean
{command}
"""

_PROVED = re.compile(r"SAT proof finished - no model found: SUCCESS!"
                     r"|Induction step proven: SUCCESS!")
_REFUTED = re.compile(r"SAT proof finished - model found: FAIL!"
                      r"|model found for base case: FAIL!")
_UNKNOWN = re.compile(r"Reached maximum number of time steps")


def prove(harness: Harness, method: str, depth: int, limit: float) -> tuple[str, int]:
    """Try to prove what a harness claims.

    Parameters
    ----------
    harness : Harness
        The block and the claim.
    method : str
        A method of :data:`tb.formal.property.METHODS` but algebra.
    depth : int
        Cycles.
    limit : float
        Seconds.

    Returns
    -------
    str
        One of :data:`PROVED`, :data:`REFUTED`, and :data:`UNKNOWN` for an induction that does not
        close.
    int
        Cycles that were needed.

    Raises
    ------
    YosysError
        If Yosys fails or the time is up.
    """
    command = {"induction": f"sat -tempinduct -maxsteps {depth}",
               "combinational": "sat -seq 2", "bounded": f"sat -seq {depth}"}[method]
    log = _run(harness, f"{command} -prove-asserts -set-assumes", limit)
    steps = re.findall(r"\[induction step (\d+)\]|Trying induction with length (\d+)", log)
    reached = int(max(steps[-1])) if steps else depth
    for pattern, verdict in ((_PROVED, PROVED), (_REFUTED, REFUTED), (_UNKNOWN, UNKNOWN)):
        if pattern.search(log):
            return verdict, reached
    raise yosys.YosysError(f"No verdict about {harness.module}: {log.strip().splitlines()[-1]}")


def refute(harness: Harness, method: str, depth: int, limit: float) -> tuple[str, int]:
    """Look for what breaks the claim, from a reset on; arguments and results are the same."""
    return prove(harness, "bounded" if method == "induction" else method, depth, limit)


def _run(harness: Harness, command: str, limit: float) -> str:
    """Log of Yosys."""
    texts = {name: block.rtlil for name, block in harness.closure().items()}
    texts |= {block.module: free(block) for block in harness.frees}
    # Without -nounset other names of the input would be taken for its drivers, and cut off.
    probes = "\n".join(f"delete -input w:{name}\nconnect -nounset -set {name} dut.{path}"
                       for name, (path, _) in harness.probes.items())
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "design.il").write_text("\n".join(texts.values()))
        script = _SCRIPT.format(top=harness.module, probes=probes, command=command)
        return yosys.run(script, directory=Path(folder), limit=limit)
