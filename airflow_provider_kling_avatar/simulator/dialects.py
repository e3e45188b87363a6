"""The APIs this server speaks: where each lives, whose keys it takes, how it words answers. Data only.

It knows paths, schemas' names and differences that are facts about a vendor. It must not know how a
request is carried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from airflow_provider_kling_avatar.simulator.envelopes import CometEnvelope, KlingEnvelope
from airflow_provider_kling_avatar.simulator.relays import RELAYS, GenerationsEnvelope

CallName = Literal["create", "list", "query"]
"""What a request wants of a vendor."""

_KLING_PATHS: Final = {
    "avatar": "/v1/videos/avatar/image2video",
    "image_to_video": "/v1/videos/image2video",
    "speech": "/v1/audio/tts",
}


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One vendor's API as served here."""

    name: str
    """The name of its schemas."""
    desk: str
    """Who keeps its tasks: dialects with the same desk see each other's."""
    paths: dict[str, str]
    """Endpoint -> full path on this server."""
    envelope: KlingEnvelope
    signed_tokens: bool = True
    """Whether it takes tokens signed with an access key, besides API keys."""
    prompt_rule: bool = False
    """Whether it refuses an avatar without a prompt before looking any further."""
    queries_by_external_id: bool = True
    """Whether a caller's own id may stand in the query path."""
    lists: bool = True
    """Whether tasks can be listed."""
    speech_envelope: KlingEnvelope | None = None
    """How text-to-speech is worded, if not by `envelope`."""


def _relay(word: str, prefix: str) -> Dialect:
    envelope = RELAYS[word]
    return Dialect(
        name="relay",
        desk="gateway",
        paths={endpoint: f"{prefix}{path}" for endpoint, path in _KLING_PATHS.items()},
        envelope=envelope,
        # new-api's shared validator refuses an empty prompt before it routes.
        prompt_rule=word in ("v2", "v3", "v4", "v7", "omni", "succeed"),
        # A gateway with task records of its own finds them by its own id, and lists them nowhere.
        queries_by_external_id=word == "v1",
        lists=word == "v1",
        # The gateways' shapes were only ever seen on tasks.
        speech_envelope=RELAYS["v1"],
    )


# More specific paths come first: `/v1/videos/avatar/{id}` would swallow `/v1/videos/avatar/image2video`.
DIALECTS: Final = (
    Dialect(name="kling", desk="kling", paths=_KLING_PATHS, envelope=KlingEnvelope()),
    Dialect(
        name="kling-broadcast",
        desk="kling-broadcast",
        paths={"avatar": "/v1/videos/avatar"},
        envelope=KlingEnvelope(),
        queries_by_external_id=False,
    ),
    Dialect(
        name="cometapi",
        desk="gateway",
        paths={endpoint: f"/kling{path}" for endpoint, path in _KLING_PATHS.items()},
        envelope=CometEnvelope(),
        signed_tokens=False,
        prompt_rule=True,
    ),
    Dialect(
        name="generations",
        desk="generations",
        paths={"avatar": "/v1/video/generations"},
        envelope=GenerationsEnvelope(),
        signed_tokens=False,
        queries_by_external_id=False,
        lists=False,
    ),
    _relay("v1", "/relay/kling"),
    *(_relay(word, f"/relay/{word}/kling") for word in RELAYS),
)
"""All of them, in the order in which their routes are to be tried."""

_PATHS: Final = frozenset(path for dialect in DIALECTS for path in dialect.paths.values())


def call_of(method: str, path: str) -> CallName | None:
    """Tell what a request wants, whether or not that vendor can do it; None for what is no business with tasks."""
    if method == "POST":
        return "create" if path in _PATHS else None
    if method != "GET":
        return None
    if path in _PATHS:
        return "list"
    return "query" if path.rpartition("/")[0] in _PATHS else None
