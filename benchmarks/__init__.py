"""
What waiting costs, side by side with the official providers and a bare loop; and what landing a clip does.

Run by `make bench`; no part of the package. Uses the tools in `dev/` to make environments and to start processes.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if str(ROOT / "dev") not in sys.path:
    sys.path.append(
        str(ROOT / "dev")
    )  # scripts in a folder, not a package; at the end, so as to hide no library
