"""
For tests of one's own Dags: a picture and a voice that any of them can send. The fixtures are in `plugin`.

Importing this costs nothing; pytest loads it at its start.
"""

from __future__ import annotations

from pathlib import Path

_ASSETS = Path(__file__).parents[1] / "simulator" / "assets"

FACE = str(_ASSETS / "presenter.jpg")
"""A picture of a presenter, 512 pixels square: the path of a file that is part of this package."""
VOICE = str(_ASSETS / "greeting.mp3")
"""A greeting of 6 seconds: likewise."""

__all__ = ["FACE", "VOICE"]
