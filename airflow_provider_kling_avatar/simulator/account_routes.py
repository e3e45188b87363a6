"""The account pages of the official API: the packs a customer bought and what is left of them.

It knows one made-up pack per account. It must not know how tasks come about. What is left moves when a task
succeeds, at once and exactly, as it was seen to; the vendor allows itself a lag of twelve hours.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from airflow_provider_kling_avatar.simulator.envelopes import kling_error, millis, new_id
from airflow_provider_kling_avatar.simulator.refusals import Refusal
from airflow_provider_kling_avatar.simulator.routes import fault_of, note_account, raise_if_refusing

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.accounts import Accounts
    from airflow_provider_kling_avatar.simulator.ledger import Ledger

_PACK_UNITS: Final = Decimal(10_000)
_PACK_SECONDS = 90 * 24 * 3600
_PACK_NAME = "Simulated video pack"


def account_routes(accounts: Accounts, ledger: Ledger) -> APIRouter:
    """Make `GET /account/costs`.

    Source: https://klingai.com/document-api/api/assets/account-usage
    """
    router = APIRouter(redirect_slashes=False)

    @router.get("/account/costs", response_model=None)
    def costs(request: Request) -> JSONResponse:
        """Tell what is left of the packs."""
        try:
            account = _asked_by(request, accounts)
        except Refusal as refusal:
            return JSONResponse(kling_error(refusal), refusal.status)
        wanted = request.query_params.get("resource_pack_name", _PACK_NAME)
        packs = [_pack(account, ledger)] if wanted == _PACK_NAME else []
        data = {"code": 0, "msg": "success", "resource_pack_subscribe_infos": packs}
        return JSONResponse({"code": 0, "message": "SUCCEED", "request_id": new_id(), "data": data})

    return router


def _asked_by(request: Request, accounts: Accounts) -> str:
    raise_if_refusing(fault_of(request))
    account = accounts.of(request.headers.get("authorization")).name
    note_account(request, account)
    for name in ("start_time", "end_time"):
        if not request.query_params.get(name, "").isdecimal():
            raise Refusal(1201, f"{name} must be a time in milliseconds")
    return account


def _pack(account: str, ledger: Ledger) -> dict[str, Any]:
    used = ledger.units_charged(account)
    bought = ledger.opened_at
    return {
        "resource_pack_name": _PACK_NAME,
        "resource_pack_id": f"pack-{account}",
        "resource_pack_type": "decreasing_total",
        "total_quantity": float(_PACK_UNITS),
        "remaining_quantity": float(max(Decimal(0), _PACK_UNITS - used)),
        "purchase_time": millis(bought),
        "effective_time": millis(bought),
        "invalid_time": millis(bought + _PACK_SECONDS),
        "status": "online" if used < _PACK_UNITS else "runOut",
    }
