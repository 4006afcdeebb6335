"""Settings that reach a bench inside the simulator, and what it tells of its work."""

import json
import os

from golden.parameters import ArrayParameters

__all__ = ["SETTINGS", "STALLS", "compared", "parameters", "reset_cycles"]

#: Keyword arguments of :func:`tb.runner.run`.
SETTINGS = json.loads(os.environ.get("MIXPE_SETTINGS", "{}"))

#: Arguments of :func:`tb.stream.random_pauses`.
STALLS = SETTINGS.get("stalls", {})


def parameters() -> ArrayParameters:
    """Parameter set of the design being simulated."""
    return ArrayParameters.from_dict(SETTINGS["parameters"])


def compared(outputs: int) -> None:
    """Tell the file of setting ``tally``, if there is one, of outputs that a test compares."""
    if "tally" in SETTINGS:
        with open(SETTINGS["tally"], "a") as file:
            file.write(f"{outputs}\n")


def reset_cycles(rng, limit: int) -> list[int]:
    """Cycles of a transfer, below ``limit``, in which a test resets, one in each round.

    As many as setting ``resets`` says, at random; with setting ``every`` those that are so far
    apart, from a random one on: with 1 every cycle.
    """
    if "every" in SETTINGS:
        step = SETTINGS["every"]
        return list(range(1 + int(rng.integers(step)), limit, step))
    return rng.integers(1, limit, SETTINGS.get("resets", 12)).tolist()
