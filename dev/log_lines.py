"""Airflow 3 writes its logs as one JSON object for each line; here they become text again, stack traces included."""

from __future__ import annotations

import json
from typing import Any


def readable(line: str) -> str:
    """Return a line of a structured log as text; any other line as it is."""
    try:
        record = json.loads(line)
        head = f"{record.get('timestamp', '')} {record.get('level', '').upper():7} {record['event']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return line
    return "\n".join([head, *(part for error in record.get("error_detail") or [] for part in _trace(error))])


def _trace(error: dict[str, Any]) -> list[str]:
    """Return the stack trace of one exception, outermost call first, as Python would print it."""
    frames = [
        f'  File "{frame.get("filename")}", line {frame.get("lineno")}, in {frame.get("name")}'
        for frame in error.get("frames") or []
    ]
    return [*frames, f"{error.get('exc_type')}: {error.get('exc_value')}"]
