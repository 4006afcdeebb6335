"""Settings that reach a bench inside the simulator."""

import json
import os

from golden.parameters import ArrayParameters

__all__ = ["SETTINGS", "parameters"]

#: Keyword arguments of :func:`tb.runner.run`.
SETTINGS = json.loads(os.environ.get("MIXPE_SETTINGS", "{}"))


def parameters() -> ArrayParameters:
    """Parameter set of the design being simulated."""
    return ArrayParameters.from_dict(SETTINGS["parameters"])
