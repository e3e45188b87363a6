"""The console command: reads options, says where the simulator is, runs it until Ctrl-C.

It knows the command line and the terminal. It must not know how anything is simulated.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import ipaddress
import logging
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from airflow_provider_kling_avatar.simulator.settings import (
    DEFAULT_ACCOUNT,
    Account,
    DuplicatePolicy,
    NotFoundForm,
    SimulatorSettings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_BANNER = """\
Kling Avatar simulator: nothing it makes is real, and nothing is billed.

  address     {url}
  API key     {account.api_key}
  access key  {account.access_key}
  secret key  {account.secret_key}
  ledger      {url}/simulator/ledger
  state       {state}

Stop it with Ctrl-C.
"""
_PARTS_OF_AN_ACCOUNT = (2, 4)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and answer its exit status."""
    settings = settings_from(argv)
    # Here, because --help should not wait for a web framework and a video encoder to load.
    try:
        from airflow_provider_kling_avatar.simulator.app import create_app
        from airflow_provider_kling_avatar.simulator.server import bind, uvicorn_server
    except ModuleNotFoundError as error:
        return _complain(
            f"{error.name} is not installed: pip install 'airflow-provider-kling-avatar[simulator]'"
        )
    try:
        taken = bind(settings)
    except OSError as error:
        return _complain(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}")
    try:
        app = create_app(settings)
    except (OSError, sqlite3.Error) as error:
        taken.close()
        return _complain(f"cannot use the state directory {settings.state_dir}: {error}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{taken.getsockname()[1]}"
    sys.stdout.write(_BANNER.format(url=url, account=settings.accounts[0], state=settings.state_dir))
    if not _is_loopback(settings.host):
        sys.stdout.write("Anyone who can reach this address can use it: it is not on loopback.\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn shuts down in order, then passes the signal on
        uvicorn_server(app).run(sockets=[taken])
    sys.stdout.write("Stopped.\n")
    return 0


def settings_from(argv: Sequence[str] | None) -> SimulatorSettings:
    """Read the command line; exits with a message if it makes no sense."""
    given = vars(_parser().parse_args(argv))
    accounts = (DEFAULT_ACCOUNT, *(given.pop("account") or ()))
    public_url = given.pop("public_url")
    return SimulatorSettings(
        **given, accounts=accounts, public_url=public_url.rstrip("/") if public_url else None
    )


def _parser() -> argparse.ArgumentParser:
    usual = SimulatorSettings()
    parser = argparse.ArgumentParser(
        prog="kling-avatar-simulator",
        description="A local stand-in for the Kling Avatar APIs: five dialects, real MP4 answers, a billing ledger.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default=usual.host, help="address to listen on")
    add("--port", type=int, default=usual.port, help="TCP port; 0 takes a free one")
    add(
        "--state-dir",
        type=Path,
        default=Path(".kling-avatar-simulator"),
        help="where tasks and media are kept",
    )
    add("--queue-seconds", type=_seconds, default=usual.queue_seconds, help="how long a task is submitted")
    add(
        "--render-seconds", type=_seconds, default=usual.render_seconds, help="how long it is then processing"
    )
    add(
        "--list-lag-seconds", type=_seconds, default=usual.list_lag_seconds, help="how old what lists show is"
    )
    add(
        "--list-page-cap",
        type=_page_size,
        default=usual.list_page_cap,
        help="rows on a page of a list at most, whatever was asked for",
    )
    add("--slots", type=int, default=usual.slots, help="unfinished video tasks an account may have at once")
    add(
        "--duplicate-external-id",
        choices=get_args(DuplicatePolicy),
        default=usual.duplicate_external_id,
        help="what a repeated external_task_id gets. refuse: code 1201, as Kling does; accept: a second task",
    )
    add(
        "--not-found",
        choices=get_args(NotFoundForm),
        default=usual.not_found,
        help="what a query for an unknown task gets. live: code 1201, as seen; documented: code 1203",
    )
    add("--url-ttl-seconds", type=_seconds, default=usual.url_ttl_seconds, help="how long a result URL works")
    add("--fetch-remote", action="store_true", help="contact media and callback URLs on other machines too")
    add("--webhook-secret", type=_secret, help="sign callbacks with this secret (whsec_...)")
    add("--public-url", help="base of the URLs handed out, if not the address each client used")
    add(
        "--account",
        action="append",
        type=_account,
        metavar="NAME:API_KEY[:ACCESS_KEY:SECRET_KEY]",
        help="one more account, with its own ledger and slots; may be repeated",
    )
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 or more seconds")
    return value


def _page_size(text: str) -> int:
    value = int(text)
    if not 1 <= value <= SimulatorSettings.list_page_cap:
        raise argparse.ArgumentTypeError(f"must be from 1 to {SimulatorSettings.list_page_cap}")
    return value


def _secret(text: str) -> str:
    try:
        base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise argparse.ArgumentTypeError("expected whsec_ followed by base64") from error
    return text


def _account(text: str) -> Account:
    parts = text.split(":")
    if len(parts) not in _PARTS_OF_AN_ACCOUNT or not all(parts):
        raise argparse.ArgumentTypeError("expected NAME:API_KEY or NAME:API_KEY:ACCESS_KEY:SECRET_KEY")
    return Account(**dict(zip(("name", "api_key", "access_key", "secret_key"), parts, strict=False)))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _complain(text: str) -> int:
    sys.stderr.write(f"kling-avatar-simulator: {text}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
