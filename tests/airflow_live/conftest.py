"""Makes the developer tools importable: they are scripts in a folder, not a package."""

import sys
from pathlib import Path

DEV = str(Path(__file__).parents[2] / "dev")
if DEV not in sys.path:
    sys.path.append(DEV)  # at the end: a tool must never hide a library
