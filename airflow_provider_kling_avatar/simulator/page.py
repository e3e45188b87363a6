"""The page a person sees at `/`: how to connect, what was made, what it would have cost.

It knows a little HTML. It must not know anything but the ledger's report and the accounts.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.simulator.settings import (
    DEFAULT_ACCESS_KEY,
    DEFAULT_ACCOUNT,
    DEFAULT_API_KEY,
)

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.settings import Account

_SHOWN = 30
_COLUMNS = (
    "task_id",
    "account",
    "dialect",
    "endpoint",
    "external_task_id",
    "mode",
    "seconds",
    "amount_usd",
    "status",
)
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;font-size:14px}"
    "td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884}code{background:#8882;padding:0 .3em}"
)


def home_page(
    base_url: str, report: dict[str, Any], accounts: tuple[Account, ...], links: dict[str, str]
) -> str:
    """Write the page."""
    # The published credentials are for everybody; others belong to whoever set them.
    keys = "the keys it was started with"
    if DEFAULT_ACCOUNT in accounts:
        keys = (
            f"the API key <code>{DEFAULT_API_KEY}</code>, or the access key <code>{DEFAULT_ACCESS_KEY}</code>"
        )
    newest = list(reversed(report["entries"]))[:_SHOWN]
    rows = "".join(
        f"<tr>{_cells(entry)}<td>{_link(links.get(entry['task_id']))}</td></tr>" for entry in newest
    )
    head = "".join(f"<th>{column.replace('_', ' ')}</th>" for column in _COLUMNS)
    total = report["total"]
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Kling Avatar simulator</title><style>{_STYLE}</style></head>
<body><h1>Kling Avatar simulator</h1>
<p>A local stand-in for the Kling Avatar APIs. Nothing here is real, and nothing is billed.</p>
<p>Point a client at <code>{escape(base_url)}</code> with {keys}.
More for machines at <a href="/simulator">/simulator</a>, <a href="/simulator/ledger">/simulator/ledger</a> and
<a href="/simulator/requests">/simulator/requests</a>.</p>
<h2>{total["tasks"]} accepted, ${escape(total["amount_usd"])} at list price</h2>
<table><tr>{head}<th></th></tr>{rows}</table></body></html>"""


def _cells(entry: dict[str, Any]) -> str:
    return "".join(f"<td>{escape(str(entry[column] or ''))}</td>" for column in _COLUMNS)


def _link(url: str | None) -> str:
    return f'<a href="{escape(url)}">play</a>' if url else ""
