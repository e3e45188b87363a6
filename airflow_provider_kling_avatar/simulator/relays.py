"""How gateways reshape Kling's answers: one class per shape that was seen in use, V2 to V8 and Omni.

It knows those shapes and their traps, taken from the gateways' pages and from new-api's source. It must not
know tasks beyond their view. V1, the plain pass-through, is Kling's own envelope.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_kling_avatar.simulator.envelopes import (
    Action,
    Answer,
    KlingEnvelope,
    answer_refusal,
    gateway_error,
    kling_error,
)
from airflow_provider_kling_avatar.simulator.lifecycle import FAILED, PROCESSING, SUBMITTED, SUCCEED
from airflow_provider_kling_avatar.simulator.refusals import NoSuchTask

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.refusals import Refusal
    from airflow_provider_kling_avatar.simulator.views import TaskView

_NEW_API: Final = {SUBMITTED: "QUEUED", PROCESSING: "IN_PROGRESS", SUCCEED: "SUCCESS", FAILED: "FAILURE"}
_OPENAI: Final = {SUBMITTED: "queued", PROCESSING: "in_progress", SUCCEED: "completed", FAILED: "failed"}
_PLAIN: Final = {SUBMITTED: "queued", PROCESSING: "processing", SUCCEED: "completed", FAILED: "failed"}
_QINIU: Final = {SUBMITTED: "initializing", PROCESSING: "in_progress", SUCCEED: "completed", FAILED: "failed"}

_MALFORMED = 1200
_TASK_NOT_FOUND = 1203


def _word(view: TaskView, words: dict[str, str]) -> str:
    # A word that is in no table is one a fault put there: pass it on.
    return words.get(view.state.status, view.state.status)


class NewApiEnvelope(KlingEnvelope):
    """V2: new-api's task record. A *successful* task carries its URL in `fail_reason`.

    Source: github QuantumNous/new-api, relay/relay_task.go and relay/channel/task/kling/adaptor.go
    """

    def created(self, view: TaskView) -> Answer:
        """Answer an accepted task in OpenAI's video shape."""
        return Answer(
            200,
            {
                "id": view.row.task_id,
                "task_id": view.row.task_id,
                "object": "video",
                "model": "kling-avatar",
                "status": "queued",
                "progress": 0,
                "created_at": int(view.row.created_at),
            },
        )

    def one(self, view: TaskView) -> Answer:
        """Answer with the gateway's task record around Kling's whole answer."""
        upstream = KlingEnvelope().one(view).body
        return Answer(200, {"code": "success", "message": "", "data": self.record(view, upstream)})

    def record(self, view: TaskView, upstream: Any) -> dict[str, Any]:
        """Describe a task as the gateway's database has it."""
        is_over = view.state.is_final
        return {
            "task_id": view.row.task_id,
            "platform": "50",
            "action": "generate",
            "status": _word(view, _NEW_API),
            "fail_reason": view.url or "" if view.succeeded else view.state.reason,
            "result_url": view.url or "",
            "progress": f"{view.state.progress}%",
            "submit_time": int(view.row.created_at),
            "start_time": int(view.row.created_at + view.row.queue_seconds),
            "finish_time": int(view.state.since) if is_over else 0,
            "data": upstream,
        }

    def refused(self, refusal: Refusal, action: Action) -> Answer:
        """Flatten a refusal into a slug, as new-api does."""
        if refusal.is_about_credentials:
            error = {"message": refusal.message, "type": "new_api_error", "param": "", "code": ""}
            return answer_refusal(refusal, {"error": error}, 401)
        if refusal.slug or refusal.code == _MALFORMED:
            return answer_refusal(refusal, gateway_error(refusal.slug or "invalid_request", refusal.message))
        # It looks into its own records and asks Kling nothing.
        if isinstance(refusal, NoSuchTask) or (action == "query" and refusal.code == _TASK_NOT_FOUND):
            return answer_refusal(refusal, gateway_error("task_not_exist", "task_not_exist"), 400)
        if refusal.status == 200:  # Kling said no with HTTP 200: only the text survives
            return answer_refusal(refusal, gateway_error("task_failed", refusal.message), 400)
        return answer_refusal(refusal, gateway_error("fail_to_fetch_task", json.dumps(kling_error(refusal))))


class SucceedEnvelope(NewApiEnvelope):
    """V2, as of a version that took `message` for the reason of a failure: it says `SUCCEED`.

    Source: github QuantumNous/new-api, pull request 2532
    """

    def record(self, view: TaskView, upstream: Any) -> dict[str, Any]:
        """Describe a task; why it failed is told by Kling's answer inside only."""
        record = super().record(view, upstream)
        return record | {"fail_reason": "SUCCEED"} if view.state.reason else record


class OmniEnvelope(NewApiEnvelope):
    """The task record of CometAPI's Omni query: as V2, but around Kling's `data` alone."""

    def one(self, view: TaskView) -> Answer:
        """Answer so that the video is at `data.data.task_result.videos[0].url`."""
        record = self.record(view, self.details(view)) | {"fail_reason": view.state.reason}
        return Answer(200, {"code": "success", "message": "", "data": record})


class OpenAiVideoEnvelope(NewApiEnvelope):
    """V3: new-api's `/v1/videos/{id}`: flat, with integer progress and the URL in `metadata`."""

    def one(self, view: TaskView) -> Answer:
        """Answer with OpenAI's video object."""
        body: dict[str, Any] = {
            "id": view.row.task_id,
            "object": "video",
            "model": "kling-avatar",
            "status": _word(view, _OPENAI),
            "progress": view.state.progress,
            "created_at": int(view.row.created_at),
            "seconds": view.row.seconds,
            "metadata": {"url": view.url or ""},
        }
        if view.state.reason:
            body["error"] = {"message": view.state.reason, "code": "task_failed"}
        return Answer(200, body)


class NewApiDocumentedEnvelope(NewApiEnvelope):
    """V4: what new-api documents, which is not what its code does.

    Source: https://www.newapi.ai/en/docs/api/ai-model/video-generation/kling/get-kling-image2-video
    """

    def created(self, view: TaskView) -> Answer:
        """Answer with id and status alone."""
        return Answer(200, {"task_id": view.row.task_id, "status": "queued"})

    def one(self, view: TaskView) -> Answer:
        """Answer flat, with an integer error code."""
        body: dict[str, Any] = {
            "task_id": view.row.task_id,
            "status": _word(view, _OPENAI),
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
        return Answer(200, body)


class GenerationsEnvelope(KlingEnvelope):
    """V5, and the whole of the `generations` dialect. The shapes of failures and refusals are undocumented.

    Source: https://docs.uniall.ai/models/avatar/digital-human
    """

    kind = "video.generation.job"

    def created(self, view: TaskView) -> Answer:
        """Answer an accepted task."""
        return Answer(200, self._head(view))

    def one(self, view: TaskView) -> Answer:
        """Answer flat, the URL in two places."""
        body = self._head(view)
        if view.succeeded:
            body["video_url"] = view.url or ""
            body["result"] = {"outputs": [view.url] if view.url else []}
        if view.state.reason:
            body["error"] = {"message": view.state.reason, "code": "task_failed"}
        return Answer(200, body)

    def refused(self, refusal: Refusal, action: Action) -> Answer:  # noqa: ARG002 - one wording for all
        """Answer in OpenAI's error shape, the most common among such gateways."""
        slug = refusal.slug or ("invalid_api_key" if refusal.is_about_credentials else str(refusal.code))
        error = {
            "message": refusal.message,
            "type": "invalid_request_error",
            "param": refusal.param,
            "code": slug,
        }
        return answer_refusal(refusal, {"error": error})

    def _head(self, view: TaskView) -> dict[str, Any]:
        identity = view.row.task_id
        return {"id": identity, "task_id": identity, "object": self.kind, "status": _word(view, _PLAIN)}


class QiniuEnvelope(KlingEnvelope):
    """V6: flat with Kling's `task_result`, and a status `initializing`.

    Source: https://apidocs.qnaigc.com/237751553d0
    """

    def created(self, view: TaskView) -> Answer:
        """Answer an accepted task like a query."""
        return self.one(view)

    def one(self, view: TaskView) -> Answer:
        """Answer flat."""
        body: dict[str, Any] = {
            "id": view.row.task_id,
            "object": "video.generation",
            "model": "kling-avatar",
            "status": _word(view, _QINIU),
            "created_at": int(view.row.created_at),
            "updated_at": int(view.state.since),
        }
        if view.succeeded:
            items = (
                [{"id": view.row.task_id, "url": view.url, "duration": view.row.seconds}] if view.url else []
            )
            body |= {"task_result": {"videos": items}, "expires_at": int(view.url_expires)}
        if view.state.reason:
            body["error"] = {"code": "task_failed", "message": view.state.reason}
        return Answer(200, body)

    def refused(self, refusal: Refusal, action: Action) -> Answer:  # noqa: ARG002 - one wording for all
        """Answer with the error object alone."""
        error = {"code": refusal.slug or str(refusal.code), "message": refusal.message}
        return answer_refusal(refusal, {"error": error})


class OpenRouteEnvelope(OpenAiVideoEnvelope):
    """V7: a Kling path that answers with OpenAI's video object.

    Source: https://open-route-api.fashionlabs.cn/441372936e0
    """

    def created(self, view: TaskView) -> Answer:
        """Answer an accepted task like a query."""
        return self.one(view)


class DuomiEnvelope(KlingEnvelope):
    """V8: `{code: 200, msg, data}`. How it answers queries is undocumented; Kling's `data` is assumed."""

    def created(self, view: TaskView) -> Answer:
        """Answer with the id alone."""
        return Answer(200, {"code": 200, "msg": "success", "data": {"task_id": view.row.task_id}})

    def refused(self, refusal: Refusal, action: Action) -> Answer:  # noqa: ARG002 - one wording for all
        """Answer with the HTTP status as code."""
        return answer_refusal(refusal, {"code": refusal.status, "msg": refusal.message, "data": None})

    def _wrap(self, data: Any) -> Answer:
        return Answer(200, {"code": 200, "msg": "success", "data": data})


RELAYS: Final[dict[str, KlingEnvelope]] = {
    "v1": KlingEnvelope(),
    "v2": NewApiEnvelope(),
    "v3": OpenAiVideoEnvelope(),
    "v4": NewApiDocumentedEnvelope(),
    "v5": GenerationsEnvelope(),
    "v6": QiniuEnvelope(),
    "v7": OpenRouteEnvelope(),
    "v8": DuomiEnvelope(),
    "omni": OmniEnvelope(),
    "succeed": SucceedEnvelope(),
}
"""Path word after `/relay/` -> envelope."""
