"""Settings of hypothesis, for every test."""

import os
from pathlib import Path

from hypothesis import settings

# Examples that failed are kept here and tried first.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY",
                      str(Path(__file__).parent / "build" / "hypothesis"))

# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("full", settings.get_profile("default"), max_examples=5000)
settings.load_profile("default")
