"""Gateways that reshape Kling's answers: a table of the shapes that were seen in use, V1 to V8 and Omni.

It knows those shapes and their traps, taken from the gateways' pages and from new-api's source. They were only ever
seen on tasks of films: what is said of speech is Kling's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_kling_avatar.simulator.dialects.base import Action, Answer, answer_refusal
from airflow_provider_kling_avatar.simulator.dialects.generations import Generations
from airflow_provider_kling_avatar.simulator.dialects.kling import (
    PATHS,
    Classic,
    Kling,
    gateway_error,
    kling_error,
)
from airflow_provider_kling_avatar.simulator.lifecycle import FAILED, PROCESSING, SUBMITTED, SUCCEED
from airflow_provider_kling_avatar.simulator.refusals import MALFORMED, NoSuchTask, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_kling_avatar.simulator.lifecycle import TaskView

    Worded = Callable[[TaskView], dict[str, Any]]

_KLING: Final = Kling()
_GENERATIONS: Final = Generations()

_NEW_API: Final = {SUBMITTED: "QUEUED", PROCESSING: "IN_PROGRESS", SUCCEED: "SUCCESS", FAILED: "FAILURE"}
_OPENAI: Final = {SUBMITTED: "queued", PROCESSING: "in_progress", SUCCEED: "completed", FAILED: "failed"}
_QINIU: Final = {SUBMITTED: "initializing", PROCESSING: "in_progress", SUCCEED: "completed", FAILED: "failed"}

_TASK_NOT_FOUND = 1203


@dataclass(frozen=True)
class Shape:
    """How a gateway words its answers about tasks of films."""

    created: Worded
    one: Worded
    refused: Callable[[Refusal, Action], Answer]


_PASSED_ON: Final = Shape(_KLING.created, _KLING.one, _KLING.refused)


class Relay(Classic):
    """Kling behind a gateway."""

    name = "relay"
    desk = "gateway"

    def __init__(self, prefix: str, shape: Shape) -> None:
        """Serve it under `prefix`."""
        self.paths = {endpoint: f"{prefix}{path}" for endpoint, path in PATHS.items()}
        self._shape = shape
        # new-api's shared validator refuses an empty prompt before it routes.
        self.prompt_rule = shape.refused is _new_api_refused
        # Who reshapes keeps task records of its own: found by its own id, listed nowhere.
        self.queries_by_external_id = self.lists = shape is _PASSED_ON

    def created(self, view: TaskView) -> dict[str, Any]:
        """Answer an accepted task."""
        return self._shape.created(view)

    def one(self, view: TaskView) -> dict[str, Any]:
        """Answer a query for one task."""
        return self._shape.one(view)

    def refused(self, refusal: Refusal, action: Action) -> Answer:
        """Answer a refusal."""
        return (_PASSED_ON if action == "speech" else self._shape).refused(refusal, action)


def _new_api_created(view: TaskView) -> dict[str, Any]:
    return {
        "id": view.row.task_id,
        "task_id": view.row.task_id,
        "object": "video",
        "model": "kling-avatar",
        "status": "queued",
        "progress": 0,
        "created_at": int(view.row.created_at),
    }


def _new_api_one(view: TaskView) -> dict[str, Any]:
    """Answer with the gateway's task record around Kling's whole answer."""
    return {"code": "success", "message": "", "data": _record(view, _KLING.one(view))}


def _record(view: TaskView, upstream: Any) -> dict[str, Any]:
    """Describe a task as new-api's database has it."""
    return {
        "task_id": view.row.task_id,
        "platform": "50",
        "action": "generate",
        "status": view.state.in_words(_NEW_API),
        "fail_reason": view.url or "" if view.succeeded else view.state.reason,
        "result_url": view.url or "",
        "progress": f"{view.state.progress}%",
        "submit_time": int(view.row.created_at),
        "start_time": int(view.row.created_at + view.row.queue_seconds),
        "finish_time": int(view.state.since) if view.state.is_final else 0,
        "data": upstream,
    }


def _new_api_refused(refusal: Refusal, action: Action) -> Answer:
    """Flatten a refusal into a slug."""
    if refusal.is_about_credentials:
        error = {"message": refusal.message, "type": "new_api_error", "param": "", "code": ""}
        return answer_refusal(refusal, {"error": error}, 401)
    if refusal.slug or refusal.code == MALFORMED:
        return answer_refusal(refusal, gateway_error(refusal.slug or "invalid_request", refusal.message))
    # It looks into its own records and asks Kling nothing.
    if isinstance(refusal, NoSuchTask) or (action == "query" and refusal.code == _TASK_NOT_FOUND):
        return answer_refusal(refusal, gateway_error("task_not_exist", "task_not_exist"), 400)
    if refusal.status == 200:  # Kling said no with HTTP 200: only the text survives
        return answer_refusal(refusal, gateway_error("task_failed", refusal.message), 400)
    return answer_refusal(refusal, gateway_error("fail_to_fetch_task", json.dumps(kling_error(refusal))))


def _succeed_one(view: TaskView) -> dict[str, Any]:
    """Answer with a task record in which only Kling's answer tells why the task failed."""
    body = _new_api_one(view)
    if view.state.reason:
        body["data"]["fail_reason"] = "SUCCEED"
    return body


def _omni_one(view: TaskView) -> dict[str, Any]:
    """Answer with a task record around Kling's `data` alone: `data.data.task_result.videos[0].url`."""
    record = _record(view, _KLING.details(view)) | {"fail_reason": view.state.reason}
    return {"code": "success", "message": "", "data": record}


def _video(view: TaskView) -> dict[str, Any]:
    """Answer with OpenAI's video object: flat, with integer progress and the URL in `metadata`."""
    body: dict[str, Any] = {
        "id": view.row.task_id,
        "object": "video",
        "model": "kling-avatar",
        "status": view.state.in_words(_OPENAI),
        "progress": view.state.progress,
        "created_at": int(view.row.created_at),
        "seconds": view.row.seconds,
        "metadata": {"url": view.url or ""},
    }
    if view.state.reason:
        body["error"] = {"message": view.state.reason, "code": "task_failed"}
    return body


def _documented_one(view: TaskView) -> dict[str, Any]:
    """Answer flat, with an integer error code."""
    body: dict[str, Any] = {
        "task_id": view.row.task_id,
        "status": view.state.in_words(_OPENAI),
        "format": "mp4",
        "metadata": {
            "duration": float(view.row.seconds),
            "fps": 24,
            "width": 1280,
            "height": 720,
            "seed": 0,
        },
    }
    if view.succeeded:
        body["url"] = view.url or ""
    if view.state.reason:
        body["error"] = {"code": 400, "message": view.state.reason}
    return body


def _qiniu(view: TaskView) -> dict[str, Any]:
    """Answer flat with Kling's `task_result`."""
    body: dict[str, Any] = {
        "id": view.row.task_id,
        "object": "video.generation",
        "model": "kling-avatar",
        "status": view.state.in_words(_QINIU),
        "created_at": int(view.row.created_at),
        "updated_at": int(view.state.since),
    }
    if view.succeeded:
        item = {"id": view.row.task_id, "url": view.url, "duration": view.row.seconds}
        body |= {"task_result": {"videos": [item] if view.url else []}, "expires_at": int(view.url_expires)}
    if view.state.reason:
        body["error"] = {"code": "task_failed", "message": view.state.reason}
    return body


def _qiniu_refused(refusal: Refusal, action: Action) -> Answer:  # noqa: ARG001 - one wording for all
    error = {"code": refusal.slug or str(refusal.code), "message": refusal.message}
    return answer_refusal(refusal, {"error": error})


def _duomi(data: Any) -> dict[str, Any]:
    return {"code": 200, "msg": "success", "data": data}


def _duomi_refused(refusal: Refusal, action: Action) -> Answer:  # noqa: ARG001 - one wording for all
    return answer_refusal(refusal, {"code": refusal.status, "msg": refusal.message, "data": None})


_SHAPES: Final = {
    "v1": _PASSED_ON,
    # new-api's task record. A *successful* task carries its URL in `fail_reason`.
    # Source: github QuantumNous/new-api, relay/relay_task.go and relay/channel/task/kling/adaptor.go
    "v2": Shape(_new_api_created, _new_api_one, _new_api_refused),
    # new-api's `/v1/videos/{id}`.
    "v3": Shape(_new_api_created, _video, _new_api_refused),
    # What new-api documents, which is not what its code does.
    # Source: https://www.newapi.ai/en/docs/api/ai-model/video-generation/kling/get-kling-image2-video
    "v4": Shape(
        lambda view: {"task_id": view.row.task_id, "status": "queued"}, _documented_one, _new_api_refused
    ),
    # The words of `generations` on Kling's paths.
    "v5": Shape(_GENERATIONS.created, _GENERATIONS.one, _GENERATIONS.refused),
    # Starts as `initializing`. Source: https://apidocs.qnaigc.com/237751553d0
    "v6": Shape(_qiniu, _qiniu, _qiniu_refused),
    # Answers at once with OpenAI's video object. Source: https://open-route-api.fashionlabs.cn/441372936e0
    "v7": Shape(_video, _video, _new_api_refused),
    # How Duomi answers queries is undocumented; Kling's `data` is assumed.
    "v8": Shape(
        lambda view: _duomi({"task_id": view.row.task_id}),
        lambda view: _duomi(_KLING.details(view)),
        _duomi_refused,
    ),
    # The task record of CometAPI's Omni query.
    "omni": Shape(_new_api_created, _omni_one, _new_api_refused),
    # V2, as of a version that took Kling's `message` for the reason of a failure: it says `SUCCEED`.
    # Source: github QuantumNous/new-api, pull request 2532
    "succeed": Shape(_new_api_created, _succeed_one, _new_api_refused),
}
"""Path word after `/relay/` -> shape."""

RELAYS: Final = (
    Relay("/relay/kling", _PASSED_ON),
    *(Relay(f"/relay/{word}/kling", shape) for word, shape in _SHAPES.items()),
)
