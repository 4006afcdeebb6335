"""Settings of hypothesis and of Amaranth, for every test."""

import gc
import os
from pathlib import Path

from amaranth.hdl._nir import Netlist
from hypothesis import settings

# Examples that failed are kept here and tried first.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY",
                      str(Path(__file__).parent / "build" / "hypothesis"))

# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("full", settings.get_profile("default"), max_examples=5000)
settings.load_profile("default")

# Together a third of the time that a unit takes to become Verilog. Commands run as a user's, in
# processes of their own, still look for loops, and tb.test_export does in all that is exported.
Netlist.check_comb_cycles = lambda self: None
gc.set_threshold(100_000, 50, 50)
