"""What there is to say about a vendor.

Where its API lives, whose keys it takes, what a request may contain, what that asks for and costs, and how answers are
worded. It must not know any vendor, nor how a request is carried out.
"""

from __future__ import annotations

import itertools
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from fastapi.responses import Response

    from airflow_provider_kling_avatar.simulator.contracts import Contract
    from airflow_provider_kling_avatar.simulator.ledger import Ledger
    from airflow_provider_kling_avatar.simulator.lifecycle import TaskView
    from airflow_provider_kling_avatar.simulator.refusals import Refusal

Action = Literal["create", "query", "speech"]
"""What the caller was doing; some gateways word errors differently for each."""

_MANY = 100_000
_numbers = itertools.count(secrets.randbelow(_MANY))


@dataclass(frozen=True)
class Answer:
    """An HTTP answer with a JSON body. What is good is answered with status 200 and needs its body only."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Speech:
    """What is to be said."""

    text: str
    language: str
    """`en` or `zh`."""
    speed: float = 1.0
    """1.0 is ordinary."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a request asks for, whatever the vendor calls its fields."""

    units: Callable[[Decimal], Decimal]
    """Prices a result of so many seconds, in resource-pack units."""
    image: str | None = None
    """Name of the field with the picture; None: nothing is filmed."""
    audio: str | None = None
    """Name of the field with the audio, which the body may have or not."""
    audio_id: str | None = None
    """A task that has made the audio."""
    audio_limits: Mapping[str, int] = field(default_factory=dict)
    """`min_seconds` and `max_seconds` of that audio."""
    speech: Speech | None = None
    """The audio is to be made of this."""
    seconds: Decimal | None = None
    """Length of a film without sound; None: as long as the audio."""
    mode: str = ""
    """`std`, `pro` or `4k`, for the look of the film."""
    aspect_ratio: str | None = None
    """`16:9` and the like; None: that of the picture."""


class Dialect(ABC):
    """One vendor's API as served here. The vendor's module says what is particular to it."""

    name: str
    """As in the client's `api`, and shown in the ledger."""
    desk: str
    """Who keeps its tasks: dialects with the same desk see each other's."""
    paths: Mapping[str, str]
    """Endpoint (`avatar`, `image_to_video`, `speech`) -> full path on this server."""
    contracts: Mapping[str, Contract]
    """Endpoint -> what its requests may contain."""
    pages: Mapping[str, Callable[[str, Ledger, Mapping[str, str]], dict[str, Any]]] = MappingProxyType({})
    """Path -> what a page about an account answers, given its name, the ledger and the query's parameters."""
    signed_tokens = True
    """Whether it takes tokens signed with an access key, besides API keys."""
    prompt_rule = False
    """Whether it refuses an avatar without a prompt before looking any further."""
    queries_by_external_id = True
    """Whether a caller's own id may stand in the query path."""
    lists = True
    """Whether tasks can be listed."""

    @abstractmethod
    def job(self, endpoint: str, body: dict[str, Any]) -> Job:
        """Read what a body asks for that keeps the contract, or raise a Refusal; without fields, the usual."""

    @abstractmethod
    def created(self, view: TaskView) -> dict[str, Any]:
        """Answer an accepted task."""

    @abstractmethod
    def one(self, view: TaskView) -> dict[str, Any]:
        """Answer a query for one task."""

    def many(self, views: Sequence[TaskView]) -> dict[str, Any]:
        """Answer a list, where there are lists."""
        raise NotImplementedError

    def spoken(self, view: TaskView) -> dict[str, Any]:
        """Answer text-to-speech, where there is any; it is done when it is answered."""
        raise NotImplementedError

    @abstractmethod
    def refused(self, refusal: Refusal, action: Action) -> Answer:
        """Answer a refusal."""

    def lost(self, method: str, path: str) -> Response | None:  # noqa: ARG002 - for the vendor that has a way of its own
        """Answer an address that does not exist; None: it is not this vendor's, or gets Kling's error."""
        return None

    def new_task_id(self, moment: float) -> str:
        """Make an id for a task of that moment (Unix seconds): digits only, ordered by time, like Kling's."""
        # Counted, because thousands may be made at once.
        return f"{int(moment * 1000)}{next(_numbers) % _MANY:05d}"


def answer_refusal(refusal: Refusal, body: dict[str, Any], status: int | None = None) -> Answer:
    """Put a worded refusal into an HTTP answer."""
    headers = {} if refusal.retry_after is None else {"Retry-After": f"{refusal.retry_after:g}"}
    return Answer(refusal.status if status is None else status, body, headers)
