"""Puts the simulator together as an ASGI application.

It knows which routes there are and what a wrong address gets, which differs by vendor. It must not know
sockets: dropping a connection is `server`'s part.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from airflow_provider_kling_avatar.simulator.control import (
    inspection_routes,
    staging_routes,
    steering_routes,
)
from airflow_provider_kling_avatar.simulator.dialects import DIALECTS, call_of
from airflow_provider_kling_avatar.simulator.dialects.kling import kling_error
from airflow_provider_kling_avatar.simulator.gate import Gate
from airflow_provider_kling_avatar.simulator.media_routes import media_routes
from airflow_provider_kling_avatar.simulator.refusals import Refusal
from airflow_provider_kling_avatar.simulator.routes import vendor_routes
from airflow_provider_kling_avatar.simulator.state import SimulatorState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings

_WRONG_METHOD = 405
_WRONG_PLACES = (404, _WRONG_METHOD)


def create_app(settings: SimulatorSettings) -> FastAPI:
    """Make a simulator. Its parts are at `app.state.simulator`; they open at once and close with the app's lifespan."""
    state = SimulatorState(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001 - the framework's signature
        state.callbacks.start()
        yield
        state.close()

    app = FastAPI(
        title="Kling Avatar simulator",
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _wrong_place},
    )
    app.state.simulator = state
    app.add_middleware(Gate, faults=state.faults, records=state.records, calls=state.calls, call_of=call_of)
    app.include_router(inspection_routes(state))
    app.include_router(steering_routes(state))
    app.include_router(staging_routes(state))
    app.include_router(media_routes(state.cinema, state.links, state.clock))
    app.include_router(
        vendor_routes(state.accounts, state.desk, state.ledger, settings.public_url, state.callbacks.nudge)
    )
    return app


async def _wrong_place(request: Request, error: Exception) -> Response:
    """Answer an address that does not exist as the vendor there would."""
    if not isinstance(error, HTTPException) or error.status_code not in _WRONG_PLACES:
        detail = getattr(error, "detail", "internal error")
        return JSONResponse({"detail": detail}, getattr(error, "status_code", 500))
    if request.url.path.startswith("/simulator"):
        return JSONResponse({"detail": error.detail}, error.status_code)
    for dialect in DIALECTS:
        answer = dialect.lost(request.method, request.url.path)
        if answer is not None:
            return answer
    refusal = Refusal(1202 if error.status_code == _WRONG_METHOD else 1203)
    return JSONResponse(kling_error(refusal), refusal.status)
