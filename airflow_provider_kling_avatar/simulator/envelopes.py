"""How Kling and CometAPI word their answers: the classic envelope, and what the gateway changes in it.

It knows field names and shapes of answers. It must not know where tasks come from. The shapes of other
gateways are in `relays`.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_kling_avatar.simulator.prices import plain
from airflow_provider_kling_avatar.simulator.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_kling_avatar.simulator.views import TaskView

Action = Literal["create", "query", "speech"]
"""What the caller was doing; some gateways word errors differently for each."""

_MALFORMED = 1200


@dataclass(frozen=True)
class Answer:
    """An HTTP answer with a JSON body."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


class KlingEnvelope:
    """The official classic envelope: `{code, message, request_id, data}`."""

    empty_until_final = False
    """Whether `task_info` and `task_result` are `{}` before the end, as some answers have them."""

    def created(self, view: TaskView) -> Answer:
        """Answer an accepted task."""
        return self._wrap(self.summary(view))

    def one(self, view: TaskView) -> Answer:
        """Answer a query for one task."""
        return self._wrap(self.details(view))

    def many(self, views: Sequence[TaskView]) -> Answer:
        """Answer a list: a bare array, without a total."""
        return self._wrap([self.details(view) for view in views])

    def spoken(self, view: TaskView) -> Answer:
        """Answer text-to-speech, which is done when it is answered and has no name or watermark."""
        absent = ("task_info", "watermark_info")
        return self._wrap({name: value for name, value in self.details(view).items() if name not in absent})

    def refused(self, refusal: Refusal, action: Action) -> Answer:  # noqa: ARG002 - other envelopes need it
        """Answer a refusal; a slug is the word of a gateway in between."""
        slug = refusal.slug
        return answer_refusal(refusal, gateway_error(slug, refusal.message) if slug else kling_error(refusal))

    def summary(self, view: TaskView) -> dict[str, Any]:
        """Describe a task as `create` does."""
        row = view.row
        return {
            "task_id": row.task_id,
            "task_info": {"external_task_id": row.external_task_id} if row.external_task_id else {},
            "task_status": view.state.status,
            "created_at": millis(row.created_at),
            "updated_at": millis(view.state.since),
        }

    def details(self, view: TaskView) -> dict[str, Any]:
        """Describe a task as a query does."""
        data = self.summary(view) | {
            "task_status_msg": view.state.reason,
            "watermark_info": {"enabled": bool(view.row.watermark)},
        }
        if not view.state.is_final:
            return data | ({"task_info": {}, "task_result": {}} if self.empty_until_final else {})
        data |= deductions(view)
        return data | {"task_result": result(view)} if view.succeeded else data

    def _wrap(self, data: Any) -> Answer:
        return Answer(200, {"code": 0, "message": "SUCCEED", "request_id": new_id(), "data": data})


class CometEnvelope(KlingEnvelope):
    """Kling's envelope as CometAPI passes it on, with errors of its own.

    Sources: https://apidoc.cometapi.com/api/video/kling/avatar, .../errors/error-codes-handling
    """

    empty_until_final = True

    def created(self, view: TaskView) -> Answer:
        """Answer an accepted task, without a request id."""
        return Answer(200, {"code": 0, "message": "SUCCEED", "data": self.summary(view)})

    def refused(self, refusal: Refusal, action: Action) -> Answer:
        """Word the platform's own errors its way, speech errors nested, Kling's others as they are."""
        if refusal.code == _MALFORMED:
            refusal = Refusal(_MALFORMED, refusal.message, status=500, slug="invalid_request")
        if refusal.slug or refusal.is_about_credentials:
            error = {
                "message": f"{refusal.message} (request id: {new_id()})",
                "type": "comet_api_error",
                "param": refusal.param,
                "code": refusal.slug,
            }
            return answer_refusal(refusal, {"error": error})
        if action == "speech":
            inner = kling_error(refusal)
            nested = {"message": refusal.message, "data": {"message": refusal.message, "data": inner}}
            return answer_refusal(refusal, nested)
        return super().refused(refusal, action)


def callback_body(view: TaskView) -> dict[str, Any]:
    """Describe a task as callbacks do: not wrapped in `code` and `data`.

    Source: https://klingai.com/document-api/api/get-started/callbacks
    """
    row = view.row
    return {
        "task_id": row.task_id,
        "task_status": view.state.status,
        "task_status_msg": view.state.reason,
        "created_at": millis(row.created_at),
        "updated_at": millis(view.state.since),
        **deductions(view),
        "task_info": {"parent_video": {}, "external_task_id": row.external_task_id or ""},
        "task_result": result(view) if view.succeeded else {},
    }


def result(view: TaskView) -> dict[str, Any]:
    """Describe the media of a task that succeeded."""
    name = "audios" if view.row.endpoint == "speech" else "videos"
    if view.url is None:
        return {name: []}
    item: dict[str, Any] = {"id": view.row.task_id, "url": view.url, "duration": view.row.seconds}
    if view.watermark_url is not None:
        item["watermark_url"] = view.watermark_url
    return {name: [item]}


def deductions(view: TaskView) -> dict[str, Any]:
    """Describe what was charged."""
    return {
        "final_unit_deduction": plain(view.units),
        "final_balance_deduction": {"quota": plain(view.units), "list_price": view.usd},
    }


def kling_error(refusal: Refusal) -> dict[str, Any]:
    """Word a refusal as Kling does."""
    return {"code": refusal.code, "message": refusal.message, "request_id": new_id()}


def gateway_error(slug: str, message: str) -> dict[str, Any]:
    """Word an error of a gateway's own, as new-api does."""
    return {"code": slug, "message": message, "data": None}


def answer_refusal(refusal: Refusal, body: dict[str, Any], status: int | None = None) -> Answer:
    """Put a worded refusal into an HTTP answer."""
    headers = {} if refusal.retry_after is None else {"Retry-After": f"{refusal.retry_after:g}"}
    return Answer(refusal.status if status is None else status, body, headers)


def millis(seconds: float) -> int:
    """Turn Unix seconds into the milliseconds of the classic API."""
    return round(seconds * 1000)


def new_id() -> str:
    """Make a request id."""
    return str(uuid.uuid4())
