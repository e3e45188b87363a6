"""The Airflow versions this provider is tested on, and which Python each runs on. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

MINIMUM_PYTHON = (3, 11)


@dataclass(frozen=True)
class Supported:
    """
    One tested version.

    :param airflow: the last patch release of its minor version.
    :param newest_python: last Python minor version it supports.
    :param as_of: its libraries are those of this day, as in Airflow's own constraints; ``None`` for today's. Airflow
        does not bound its libraries from above, and an old one breaks with new libraries: 3.2.2 with pydantic 2.14,
        3.0.6 with PyJWT 2.13. The provider packages we depend on are always today's.
    :param pins: further bounds, where no day suits both an old Airflow and today's provider packages.
    """

    airflow: str
    newest_python: tuple[int, int]
    as_of: str | None = None
    pins: tuple[str, ...] = ()


SUPPORTED = (
    Supported("2.11.2", (3, 12), "2026-04-01"),
    # fastapi 0.118 commits only after it has answered, 0.132 wants a content type that this task SDK omits.
    # Its storage paths open nothing on universal-pathlib 0.3.
    Supported("3.0.6", (3, 12), "2026-03-01", ("fastapi<0.118", "universal-pathlib<0.3")),
    Supported("3.1.8", (3, 13), "2026-04-01"),
    Supported("3.2.2", (3, 14), "2026-06-01"),
    Supported("3.3.2", (3, 14)),
)
NEWEST = SUPPORTED[-1]
WITH_PAGES = SUPPORTED[2:]
"""Those whose UI takes pages of a plugin: 3.1 and newer."""


def supported(airflow: str) -> Supported:
    """
    Return the entry of a version.

    :raises SystemExit: it is not among the tested ones.
    """
    for entry in SUPPORTED:
        if entry.airflow == airflow:
            return entry
    raise SystemExit(
        f"Airflow {airflow} is not tested; choose from {', '.join(e.airflow for e in SUPPORTED)}"
    )
