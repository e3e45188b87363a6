"""
The console command `kling-avatar`: takes a connection of Airflow's, prints what `kling.vendor_check` finds.

It knows the command line, Airflow's connections and the terminal. It must not know what is asked, nor read an answer.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
import traceback
import warnings
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar import __version__
from airflow_provider_kling_avatar.kling.errors import KlingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_kling_avatar.kling.config import KlingConfig
    from airflow_provider_kling_avatar.kling.vendor_check import Finding

AS_EXPECTED, DIFFERS, NOT_ASKED = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 as expected, 1 a difference matters, 2 not asked or answered."""
    options = _parser().parse_args(argv)
    try:
        with _airflow_silent():
            findings = check(options.conn_id, options.task_id)
    except KlingError as error:
        from airflow_provider_kling_avatar.kling.vendor_check import words_of

        sys.stderr.write(f"kling-avatar: {words_of(error)}\n")
        return NOT_ASKED
    except Exception as error:  # noqa: BLE001 - a traceback ends with 1, which means something else here
        sys.stderr.write(f"kling-avatar: {_fault(error)}\n")
        return NOT_ASKED
    sys.stdout.write(_as_json(findings) if options.json else _as_table(findings))
    differences, unanswered = _weighed(findings)
    if differences:
        return DIFFERS
    return NOT_ASKED if unanswered else AS_EXPECTED


def _fault(error: Exception) -> str:
    """Name a fault of this package's own and its place. Its text is left out: it may hold what nobody should see."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"the check itself failed ({type(error).__name__} in {Path(where.filename).name}, line {where.lineno}): "
        "please report this line; nothing was made or paid"
    )


@contextmanager
def _airflow_silent() -> Iterator[None]:
    """Keep out of the output what Airflow logs there: before 3.1 by `logging`, since then past it."""
    level = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kling-avatar", description="Tools for the Kling Avatar provider.")
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "check",
        help="compare what your API answers with what this package expects; costs nothing",
        description="Asks the API behind a connection with calls that cost nothing, and prints what it answers beside "
        "what this package expects, without keys, links and ids. The vendor's own words and names are in it: read it "
        "once before you paste it. Exit status: 0 as expected, 1 something differs that matters, 2 it could not be "
        "asked, or not all was answered.",
    )
    command.add_argument("--conn-id", default="kling_avatar_default", help="the connection (%(default)s)")
    command.add_argument(
        "--task-id", help="also look at this task of yours; its id, or your name for it, is not printed"
    )
    command.add_argument("--json", action="store_true", help="print JSON in place of a table")
    return parser


def check(conn_id: str, task_id: str | None) -> list[Finding]:
    """
    Check the API behind a connection.

    :raises KlingError: it could not be asked.
    """
    from airflow_provider_kling_avatar.kling.vendor_check import VendorCheck

    return VendorCheck(_config_of(conn_id), _print_progress).run(task_id)


def _print_progress(probe: str) -> None:
    """Say what is being asked to a person who waits: not into a log, and not between the lines of the report."""
    if sys.stderr.isatty():
        sys.stderr.write(f"kling-avatar: asking for {probe}\n")


def _config_of(conn_id: str) -> KlingConfig:
    """
    Return the account behind a connection.

    :raises KlingError: there is no such connection, or it is wrong.
    """
    from airflow_provider_kling_avatar.hooks.kling_avatar import ConnectionUnreadableError, KlingAvatarHook

    try:
        return KlingAvatarHook(conn_id).config
    except KlingError:
        raise
    except Exception as error:  # noqa: BLE001 - each Airflow has its own class, and so has each place to look in
        raise ConnectionUnreadableError.of(conn_id, error) from None


def _weighed(findings: list[Finding]) -> tuple[int, int]:
    """Count what differs and matters, and what was not answered."""
    from airflow_provider_kling_avatar.kling.vendor_check import MATTERS, UNANSWERED

    verdicts = [finding.verdict for finding in findings]
    return verdicts.count(MATTERS), verdicts.count(UNANSWERED)


def _as_json(findings: list[Finding]) -> str:
    return json.dumps({"version": __version__, "findings": [asdict(f) for f in findings]}, indent=1) + "\n"


def _as_table(findings: list[Finding]) -> str:
    """Write a table of Markdown, which is one where it is pasted and can be read where it is not."""
    rows = [("probe", "expected", "seen", "verdict"), ("---",) * 4]
    for finding in findings:
        verdict = f"{finding.verdict}: {finding.means}" if finding.means else finding.verdict
        rows.append((finding.probe, finding.expected, finding.seen, verdict))
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    differences, unanswered = _weighed(findings)
    ending = f"Differences that matter: {differences or 'none'}"
    if unanswered:
        ending += f"; not answered: {unanswered}"
    return "\n".join([f"airflow-provider-kling-avatar {__version__}", "", *lines, "", ending, ""])


if __name__ == "__main__":
    sys.exit(main())
