"""
What a user of `HttpEventTrigger` writes to tell it when to fire.

In a module of its own: the trigger loads it anew at each poll.
"""

from __future__ import annotations

from typing import Any


async def has_succeeded(response: Any) -> bool:
    """Look into an answer about a Kling task."""
    return bool(response.json()["data"]["task_status"] == "succeed")
