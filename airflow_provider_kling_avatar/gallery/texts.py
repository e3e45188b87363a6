"""Texts that tasks have left, as a page may get them: whatever lies there, an answer can be written with them."""

from __future__ import annotations

LONGEST = 1000
"""Characters. No text of ours is longer; whoever may write XComs may put megabytes there."""
LONGEST_PATH = 4096


def shown_text(value: object, longest: int = LONGEST) -> str | None:
    """Return a text that can be sent, cut if it is too long; ``None`` for what is no text, and for an empty one."""
    if not isinstance(value, str) or not value:
        return None
    # Half of a pair of surrogates cannot be sent: from JSON, or in the name of a file that is no UTF-8.
    text = value[: longest + 1].encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
