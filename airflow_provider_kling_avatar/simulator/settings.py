"""The options of one simulator: who may call, how fast tasks move, what is refused.

It knows defaults and units. It must not know how any of them is carried out, nor read the environment
or the command line (`__main__` does that).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

DuplicatePolicy = Literal["refuse", "return-first", "accept"]
NotFoundForm = Literal["live", "documented"]

DEFAULT_API_KEY = "sk-simulator"
DEFAULT_ACCESS_KEY = "simulator-access-key"
DEFAULT_SECRET_KEY = "simulator-secret-key-0123456789abcdef"  # noqa: S105 - published on purpose: it opens nothing


@dataclass(frozen=True, kw_only=True)
class Account:
    """One customer: what is billed, unique or limited is so per account."""

    name: str
    """Shown in the ledger and in logs, in place of the keys."""
    api_key: str = field(repr=False, default="")
    """Sent as `Authorization: Bearer <key>`. Empty: this account signs tokens only."""
    access_key: str = ""
    """The `iss` of a signed token. Empty: this account uses its API key only."""
    secret_key: str = field(repr=False, default="")
    """What a signed token (HS256) is signed with."""


DEFAULT_ACCOUNT = Account(
    name="default",
    api_key=DEFAULT_API_KEY,
    access_key=DEFAULT_ACCESS_KEY,
    secret_key=DEFAULT_SECRET_KEY,
)


@dataclass(frozen=True, kw_only=True)
class SimulatorSettings:
    """Everything about a simulator that can be chosen; the defaults suit a first run."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback makes the simulator reachable by others."""
    port: int = 8700
    """TCP port; 0 picks a free one."""
    state_dir: Path | None = None
    """Where the SQLite file and the media live. None: a temporary directory that goes with the server."""
    accounts: tuple[Account, ...] = (DEFAULT_ACCOUNT,)
    """Who may call."""
    queue_seconds: float = 1.0
    """How long a task stays `submitted`."""
    render_seconds: float = 4.0
    """How long it then stays `processing`."""
    list_lag_seconds: float = 0.0
    """How old what lists show is; see `lists.ListView`, which may be changed while the simulator runs."""
    list_page_cap: int = 500
    """Rows on a page of a list at most, whatever was asked for; likewise."""
    slots: int = 5
    """Video tasks an account may have unfinished at once; one more is refused with code 1303."""
    duplicate_external_id: DuplicatePolicy = "refuse"
    """What a second create under a known `external_task_id` of the same account gets, whatever its endpoint:
    `refuse` answers HTTP 400 with code 1201, as Kling was seen to; `return-first` answers with the first task and
    bills nothing; `accept` is a vendor for whom ids are not unique: it makes and bills a second task, a query by the
    id answers with the first of its endpoint, the list shows both."""
    not_found: NotFoundForm = "live"
    """What a query for an unknown task gets: `live` is HTTP 400 with code 1201 and the id in the text, as seen by
    whoever asked the real API; `documented` is HTTP 404 with code 1203, as in the official error table."""
    url_ttl_seconds: float = 3600.0
    """How long a result URL works. The next query hands out a fresh one."""
    fetch_remote: bool = False
    """Whether media URLs and callback URLs that do not point at this machine are contacted."""
    webhook_secret: str | None = field(default=None, repr=False)
    """`whsec_...`; callbacks are signed when it is set."""
    public_url: str | None = None
    """Base of the URLs handed out, when clients reach the simulator under another name.
    None: the address each client itself used."""
