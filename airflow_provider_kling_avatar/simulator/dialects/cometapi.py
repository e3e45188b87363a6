"""CometAPI: Kling behind a gateway that passes requests on and words its own errors.

Sources: https://apidoc.cometapi.com/api/video/kling/avatar, .../errors/error-codes-handling. Lower limits on its pages
(60 s of audio, prompts of 500 and 200) are stale: Kling takes 300 s through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import HTMLResponse, RedirectResponse

from airflow_provider_kling_avatar.simulator.dialects.base import Action, Answer, answer_refusal
from airflow_provider_kling_avatar.simulator.dialects.kling import PATHS, Classic, kling_error, new_id
from airflow_provider_kling_avatar.simulator.refusals import MALFORMED, Refusal

if TYPE_CHECKING:
    from fastapi.responses import Response

    from airflow_provider_kling_avatar.simulator.lifecycle import TaskView

_PREFIX = "/kling"
_PATHS: Final = {endpoint: f"{_PREFIX}{path}" for endpoint, path in PATHS.items()}


class CometApi(Classic):
    """Kling's envelope as CometAPI passes it on."""

    name = "cometapi"
    desk = "gateway"
    paths = _PATHS
    signed_tokens = False
    prompt_rule = True
    empty_until_final = True

    def created(self, view: TaskView) -> dict[str, Any]:
        """Answer an accepted task, without a request id."""
        return {"code": 0, "message": "SUCCEED", "data": self.summary(view)}

    def refused(self, refusal: Refusal, action: Action) -> Answer:
        """Word the platform's own errors its way, speech errors nested, Kling's others as they are."""
        if refusal.code == MALFORMED:
            refusal = Refusal(MALFORMED, refusal.message, status=500, slug="invalid_request")
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

    def lost(self, method: str, path: str) -> Response | None:
        """Send the lost to the web site: a JSON reader gets HTML either way."""
        if not path.startswith(f"{_PREFIX}/"):
            return None
        if method == "GET":
            return RedirectResponse("/", 301)
        return HTMLResponse("<!DOCTYPE html><title>Not found</title><h1>There is nothing here</h1>", 404)
