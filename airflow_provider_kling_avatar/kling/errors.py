"""
What can go wrong between us and a Kling API, as one tree.

Every class knows two things, so that no catcher has to guess: whether trying again can help
(`permanent`), and, through `accepted`, whether the vendor may have taken (and will bill) the request.

::

    KlingError
    ├── InvalidRequestError           the input is wrong; nothing was paid          permanent
    │   ├── MediaError                an image or audio file is wrong
    │   └── UnsupportedError          this API cannot do what was asked
    ├── ConfigurationError            the connection is wrong                       permanent
    ├── AuthenticationError           1000-1002, HTTP 401                           permanent
    │   └── TokenTimeError            1003, 1004: the clocks disagree
    ├── AccountError                  1100, 1101, 1102, HTTP 402: no money          permanent
    ├── PermissionDeniedError         1103, 1304, HTTP 403                          permanent
    ├── ContentRejectedError          1300, 1301: moderation                        permanent
    ├── RefusedError                  the vendor refused, with a code we do not know permanent
    ├── NotFoundError                 1201 "Task not found by id/external id", 1203: no such task
    │   └── NoSuchTaskError           ... asked three times, for a task of somebody else's making permanent
    ├── WrongRouteError               a redirect or a web page: not this API        permanent
    ├── RateLimitedError              1302, HTTP 429: slow down
    ├── NoFreeSlotError               1303: as many tasks in parallel as were bought
    ├── UnavailableError              5000-5002, HTTP 5xx
    ├── UnreadableAnswerError         an answer that is no answer
    ├── ConnectionFailedError         no connection was made: nothing was sent
    ├── ConnectionLostError           the connection broke after sending
    ├── UnknownSubmissionError        sent, and nobody could say what became of it
    │   └── UnaskableSubmissionError  ... nor will anybody on a later try           permanent
    ├── StateUnavailableError         what earlier tries noted cannot be read or written; nothing new is sent
    ├── CostLimitError                it would cost more than it may; nothing was paid  permanent
    ├── CostUndecidedError            others have asked for the rest of a common budget; no clip was ordered
    ├── ChangedInputError             the inputs differ from those already submitted    permanent
    ├── TaskFailedError               the vendor took the task and failed it; a retry pays for a new one
    │   └── TaskRejectedError         ... for its content or input                  permanent
    ├── TaskTimeoutError              we stopped waiting; the task may live
    ├── TaskLostError                 we could not ask any more; the task may live
    └── LandingError                  the clip is made, but not in your storage; a retry only fetches, and pays nothing
        ├── DownloadError             it could not be fetched
        │   ├── DamagedVideoError     what came is no whole MP4
        │   ├── VideoTooLargeError    it is larger than ``max_bytes``                permanent
        │   └── ForbiddenAddressError its address, or a redirect, leads where it must not   permanent
        ├── NoWatermarkError          the vendor made no watermarked variant         permanent
        ├── StorageError              the storage failed or is full
        ├── OutputPathError           output_path cannot be written to               permanent
        └── OutputExistsError         another file is there already                  permanent
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Self, TypeVar

E = TypeVar("E", bound=BaseException)


def bare(error: E) -> E:
    """
    Take from an error the frames it went through, and what it came from: their locals hold keys and payloads.

    To be raised outside of ``except``, from a function without such locals: tracebacks of rich show them.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class Accepted(Enum):
    """Whether the vendor took the request that ended in this error."""

    NO = "no"
    """Certainly not: it never left, or the vendor's own code refused it. Sending it again cannot pay twice."""
    MAYBE = "maybe"
    """Unknown: ask the vendor before anything is sent again."""


class KlingError(Exception):
    """
    Base of every error this package raises on purpose.

    :param message: what happened and what to do next, for a person.
    :param code: the vendor's own code (``1303``, ``"task_not_exist"``), if it gave one.
    :param http_status: the HTTP status of the answer, if there was an answer.
    :param request_id: the vendor's id of the request, to quote to its support.
    :param retry_after: seconds the vendor asked us to wait.
    :param accepted: overrides the class's own word on whether a paid request may have been taken.
    """

    permanent: ClassVar[bool] = False
    """True if the same call will fail the same way until a person changes something."""

    accepted: Accepted = Accepted.NO

    said: str = ""
    """The vendor's own words, without secrets."""

    def __init__(
        self,
        message: str,
        *,
        code: int | str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        accepted: Accepted | None = None,
    ) -> None:
        self.message = message
        self.code = code
        self.http_status = http_status
        self.request_id = request_id
        self.retry_after = retry_after
        if accepted is not None:
            self.accepted = accepted
        super().__init__(message)

    def __str__(self) -> str:
        facts = [
            f"{name} {value}"
            for name, value in (
                ("code", self.code),
                ("HTTP", self.http_status),
                ("request id", self.request_id),
            )
            if value not in (None, "")
        ]
        return f"{self.message} [{', '.join(facts)}]" if facts else self.message

    def about(self, subject: str) -> Self:
        """Return this error, its message begun with what it is about, such as ``task 1795``."""
        self.message = f"{subject}: {self.message}"
        self.args = (self.message,)
        return self


class InvalidRequestError(KlingError):
    """
    The input is wrong. Found before sending wherever that is possible, so nothing was paid.

    :param field: the field in the Dag author's vocabulary, if one field is to blame.
    :param source: the vendor page that the broken rule comes from.
    """

    permanent = True

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        source: str = "",
        code: int | str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        self.field = field
        self.source = source
        if source:
            message = f"{message} (see {source})"
        super().__init__(message, code=code, http_status=http_status, request_id=request_id)


class MediaError(InvalidRequestError):
    """An image or audio file is missing, unreadable, or outside the vendor's limits."""


class UnsupportedError(InvalidRequestError):
    """The connection's API cannot do what was asked; the message names those that can."""


class ConfigurationError(KlingError):
    """The connection is incomplete or contradicts itself."""

    permanent = True


class AuthenticationError(KlingError):
    """The key is wrong, missing, or belongs to another region's host."""

    permanent = True


class TokenTimeError(AuthenticationError):
    """The signed token is not yet valid or no longer valid: the clocks of both sides disagree."""


class AccountError(KlingError):
    """The account is suspended, in arrears, or its resource pack is used up."""

    permanent = True


class PermissionDeniedError(KlingError):
    """The account may not use this API or model, or may not call from this address."""

    permanent = True


class ContentRejectedError(KlingError):
    """The vendor's moderation refused the content."""

    permanent = True


class RefusedError(KlingError):
    """The vendor refused the request with a code of its own that this package does not know."""

    permanent = True


class NotFoundError(KlingError):
    """The vendor has no such task."""


class NoSuchTaskError(NotFoundError):
    """The vendor says again and again that it has no task of this id, which nobody here has made or ever seen."""

    permanent = True


class WrongRouteError(KlingError):
    """A redirect or a web page came back: the address does not lead to this API."""

    permanent = True


class RateLimitedError(KlingError):
    """Too many requests in a short time; the same call works later."""


class NoFreeSlotError(KlingError):
    """The account already runs as many tasks in parallel as its pack allows; a slot frees when one ends."""


class UnavailableError(KlingError):
    """The vendor is down, overloaded or timed out inside. A paid request may have been taken."""

    accepted = Accepted.MAYBE


class UnreadableAnswerError(KlingError):
    """The answer could not be read. A paid request may have been taken."""

    accepted = Accepted.MAYBE


class ConnectionFailedError(KlingError):
    """No connection could be made (name, network, TLS): nothing was sent."""


class ConnectionLostError(KlingError):
    """The connection broke, or the answer did not come in time, after the request was sent."""

    accepted = Accepted.MAYBE


class UnknownSubmissionError(KlingError):
    """A paid request was sent and it could not be found out whether the vendor took it."""

    accepted = Accepted.MAYBE


class UnaskableSubmissionError(UnknownSubmissionError):
    """As above, and no later try can find out either: a person has to look into the vendor's console."""

    permanent = True


class StateUnavailableError(KlingError):
    """What earlier tries noted down cannot be read or written. Nothing new is sent without it."""


class ChangedInputError(KlingError):
    """The inputs differ from those that an earlier try submitted, and ``on_changed_input`` says to stop."""

    permanent = True


class CostLimitError(KlingError):
    """The clip would cost more than it may, or nobody can say that it would not. Nothing was paid for it."""

    permanent = True


class CostUndecidedError(KlingError):
    """Others have asked for the rest of a common budget and have not decided. No clip was ordered."""


class TaskFailedError(KlingError):
    """The vendor accepted the task and later failed it, for reasons of its own. A retry pays for a new task."""


class TaskRejectedError(TaskFailedError):
    """The vendor accepted the task and later rejected its content or input: the same again would fail again."""

    permanent = True


class TaskTimeoutError(KlingError):
    """We stopped waiting at the deadline. The task may still finish, and stays findable by its id."""


class TaskLostError(KlingError):
    """Too many status questions in a row failed. The task may still live, and stays findable by its id."""


class LandingError(KlingError):
    """
    The clip is made and paid for, but not in your storage; nothing half-written is left there.

    A retry fetches it again and pays nothing.

    :param message: what happened and what to do next; what it means for the clip is added.
    :param is_sent: False if this try knows that it has sent nothing. Who only fetches never knows.
    """

    def __init__(self, message: str, *, http_status: int | None = None, is_sent: bool = True) -> None:
        self.finding = message
        super().__init__(f"{message}. {CLIP_IS_SAFE if is_sent else NOTHING_SENT}", http_status=http_status)

    def before_sending(self) -> Self:
        """Return the same error as it is told by a try that has sent nothing yet."""
        return type(self)(self.finding, http_status=self.http_status, is_sent=False)


_KEPT = "at Kling for 30 days from its making, at some gateways for 24 hours"
CLIP_IS_SAFE = (
    f"A clip that was paid for is safe at the vendor, {_KEPT}: another try only fetches it, and pays nothing"
)
NOTHING_SENT = (
    f"Nothing was sent or paid by this try; one that an earlier try paid for stays at the vendor, {_KEPT}"
)


class DownloadError(LandingError):
    """The clip could not be fetched: cut off, too slow, refused, or its link has expired."""


class DamagedVideoError(DownloadError):
    """What came is no whole MP4, or not the clip that the vendor described."""


class VideoTooLargeError(DownloadError):
    """The clip is larger than the caller allows."""

    permanent = True


class ForbiddenAddressError(DownloadError):
    """The clip's address, or one it redirects to, is not http(s) or leads into a private network."""

    permanent = True


class NoWatermarkError(LandingError):
    """The watermarked variant was asked for, and the vendor made none."""

    permanent = True


class StorageError(LandingError):
    """The storage failed, is full, or could not be reached."""


class OutputPathError(LandingError):
    """``output_path`` names no place that can be written to: no such bucket, no right, a folder, an unknown scheme."""

    permanent = True


class OutputExistsError(LandingError):
    """Another file is at ``output_path`` already, and ``on_existing`` says to leave it."""

    permanent = True
