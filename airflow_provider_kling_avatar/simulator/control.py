"""The simulator's own pages under `/simulator`: what it is, its ledger, its request log, faults and clock.

It knows the operator's wishes. It must not know dialects. No key is asked for: the simulator listens on
loopback, and holds nothing worth stealing. But a web page open in a browser on the same machine reaches loopback too,
so what changes the simulator is refused to it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args
from urllib.parse import urlsplit

from fastapi import APIRouter, Body, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse

from airflow_provider_kling_avatar import __version__
from airflow_provider_kling_avatar.simulator.dialects import DIALECTS, CallName
from airflow_provider_kling_avatar.simulator.page import home_page
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_ACCOUNT, Account

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.state import SimulatorState

_JSON: Final = "application/json"

OWN_ENDPOINTS: Final = {
    "GET /": "this simulator for people",
    "GET /simulator": "this page",
    "GET /simulator/health": "200 once it can answer",
    "GET /simulator/ledger": "what it would have billed",
    "GET /simulator/requests": "the latest API requests, without secrets and media",
    "GET, POST, DELETE /simulator/faults": "list, add or clear faults",
    "GET /simulator/calls": "how many of these were to create, to list or to query",
    "GET, POST /simulator/lists": 'tell or change what lists show: {"lag_seconds": seconds} and so on',
    "POST /simulator/tasks": 'make tasks in bulk: {"count": number} and so on',
    "POST /simulator/key": 'give an account another key: {"account": name, "api_key": key}',
    "GET, POST /simulator/clock": 'read its clock, or move it: {"advance": seconds}',
    "POST /simulator/reset": "forget all tasks, faults and requests, and list as at the start",
}


def inspection_routes(state: SimulatorState) -> APIRouter:
    """Make the routes that look at the simulator."""
    router = APIRouter(redirect_slashes=False)

    @router.get("/", response_model=None)
    def home(request: Request) -> HTMLResponse:
        """Show a page for people."""
        base_url = state.settings.public_url or str(request.base_url).rstrip("/")
        links = state.links_from(base_url)
        return HTMLResponse(home_page(base_url, state.ledger.report(), state.settings.accounts, links))

    @router.get("/simulator")
    def about(request: Request) -> dict[str, Any]:
        """Tell what this is and how to connect."""
        return {
            "name": "kling-avatar-simulator",
            "version": __version__,
            "what": "A local stand-in for the Kling Avatar APIs. Nothing it makes is real or billed.",
            "base_url": str(request.base_url).rstrip("/"),
            "accounts": [_introduce(account) for account in state.settings.accounts],
            "dialects": [{"dialect": d.name, "paths": sorted(d.paths.values())} for d in DIALECTS],
            "endpoints": OWN_ENDPOINTS,
        }

    @router.get("/simulator/health")
    def health() -> dict[str, str]:
        """Tell that it is up."""
        return {"status": "ok", "version": __version__}

    @router.get("/simulator/ledger")
    def ledger() -> dict[str, Any]:
        """Tell what it would have billed."""
        return state.ledger.report()

    @router.get("/simulator/requests")
    def requests() -> list[dict[str, Any]]:
        """Tell what was asked, oldest first."""
        return [asdict(record) for record in list(state.records)]

    @router.get("/simulator/calls")
    def calls() -> dict[str, int]:
        """Tell how many requests there were of each call."""
        return {name: state.calls[name] for name in get_args(CallName)}

    @router.get("/simulator/lists")
    def lists() -> dict[str, Any]:
        """Tell what lists show."""
        return asdict(state.desk.lists.view)

    @router.get("/simulator/clock")
    def clock() -> dict[str, float]:
        """Tell the simulated time."""
        return {"now": state.clock.now()}

    return router


def refuse_other_pages(request: Request) -> None:
    """Refuse a change that another web page, or a form on it, has made a browser send."""
    if request.method == "GET":
        return
    headers = request.headers
    origin = headers.get("origin")  # browsers name it on every POST, programs on none
    is_foreign = origin is not None and urlsplit(origin).netloc != headers.get("host")
    if is_foreign or headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise HTTPException(403, "refused: another web page sent this; send it without an Origin header")
    kind = headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if kind != _JSON:
        raise HTTPException(415, f"refused: the body is {kind}; send content-type: {_JSON}")


def steering_routes(state: SimulatorState) -> APIRouter:
    """Make the routes that change the simulator."""
    router = APIRouter(redirect_slashes=False, dependencies=[Depends(refuse_other_pages)])

    @router.get("/simulator/faults")
    def list_faults() -> list[dict[str, Any]]:
        """Tell which faults are waiting."""
        return state.faults.listing()

    @router.post("/simulator/faults", status_code=201)
    def add_fault(rule: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Lay down a fault."""
        try:
            return asdict(state.faults.add(**rule))
        except (TypeError, ValueError) as error:
            raise HTTPException(422, str(error)) from error

    @router.delete("/simulator/faults")
    def clear_faults() -> dict[str, int]:
        """Forget all faults."""
        return {"cleared": state.faults.clear()}

    @router.post("/simulator/clock")
    def advance(order: Annotated[dict[str, float], Body()]) -> dict[str, float]:
        """Move the clock ahead."""
        try:
            return {"now": state.advance(order["advance"])}
        except (KeyError, ValueError) as error:
            raise HTTPException(422, 'expected {"advance": seconds}, not below 0') from error

    @router.post("/simulator/reset")
    def reset() -> dict[str, str]:
        """Start afresh."""
        state.reset()
        return {"status": "reset"}

    return router


def staging_routes(state: SimulatorState) -> APIRouter:
    """Make the routes that set the stage: what lists show, tasks that nobody ordered, other keys."""
    router = APIRouter(redirect_slashes=False, dependencies=[Depends(refuse_other_pages)])

    @router.post("/simulator/lists")
    def change_lists(changes: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Change what lists show."""
        try:
            return asdict(state.desk.lists.change(**changes))
        except (TypeError, ValueError) as error:
            raise HTTPException(422, str(error)) from error

    @router.post("/simulator/tasks", status_code=201)
    def seed(order: Annotated[dict[str, Any], Body()]) -> dict[str, list[str]]:
        """Make tasks in bulk."""
        try:
            return {"task_ids": state.seed(**order)}
        except (TypeError, ValueError) as error:
            raise HTTPException(422, str(error)) from error

    @router.post("/simulator/key")
    def rotate(order: Annotated[dict[str, str], Body()]) -> dict[str, str]:
        """Give an account another key; the answer does not repeat it."""
        name = order.get("account", DEFAULT_ACCOUNT.name)
        try:
            state.accounts.rotate(name, order["api_key"])
        except (KeyError, ValueError) as error:
            raise HTTPException(422, 'expected {"account": a known name, "api_key": a new key}') from error
        return {"account": name}

    return router


def _introduce(account: Account) -> dict[str, str]:
    """Show the published credentials, which a newcomer needs and which open nothing; keep others to their owners."""
    return asdict(account) if account == DEFAULT_ACCOUNT else {"name": account.name}
