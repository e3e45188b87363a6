"""What each error code means, whoever sends it: numbers are Kling's own, words are the gateways'."""

from __future__ import annotations

from typing import NamedTuple

from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling.voices import known_voices


class Meaning(NamedTuple):
    """What a code stands for.

    :param error: the class to raise.
    :param text: what happened and what to do, for a person.
    :param accepted: whether the vendor may have taken a paid request; ``None`` for what the class says.
    """

    error: type[e.KlingError]
    text: str
    accepted: e.Accepted | None = None


# https://kling.ai/document-api/api/get-started/error-codes
KLING_REFUSES_A_VALUE = 1201
"""Also what Kling says of a task that it does not have, in words that name it: see `errors.about_task`."""
KLING_HAS_NO_SUCH_THING = 1203
TOO_MANY_REQUESTS = 1302
NO_FREE_SLOT = 1303
BAD_INPUT = frozenset({1200, KLING_REFUSES_A_VALUE})
MODERATED = frozenset({1300, 1301})

KLING_CODES: dict[int, Meaning] = {
    1000: Meaning(e.AuthenticationError, "authentication failed: check the key in the connection's password"),
    1001: Meaning(e.AuthenticationError, "no key was sent: fill in the connection's password"),
    1002: Meaning(
        e.AuthenticationError,
        "the key is not valid on this host: check the connection's password (and login, for an access key); "
        "a key of another region or of the old console is refused the same way, so check the host too",
    ),
    1003: Meaning(
        e.TokenTimeError,
        "the token is not valid yet: set this machine's clock (NTP) if it is signed from an access key; "
        "an API key in password has to be issued anew",
    ),
    1004: Meaning(
        e.TokenTimeError,
        "the token has expired: set this machine's clock (NTP) if it is signed from an access key; "
        "an API key in password has to be issued anew",
    ),
    1100: Meaning(e.AccountError, "the account is in an abnormal state: look at it in the vendor's console"),
    1101: Meaning(e.AccountError, "the account is in arrears: top it up"),
    1102: Meaning(
        e.AccountError,
        "the resource pack is used up or expired: buy one or enable pay-as-you-go. Packs are sold for each kind of "
        "product: avatars, speech and voices are paid from a video pack",
    ),
    1103: Meaning(
        e.PermissionDeniedError, "the account may not use this API or model: check its permissions"
    ),
    1200: Meaning(e.InvalidRequestError, "the vendor refused the parameters: check the fields"),
    KLING_REFUSES_A_VALUE: Meaning(
        e.InvalidRequestError, "the vendor refused a field or its value: change it"
    ),
    1202: Meaning(e.InvalidRequestError, "the vendor does not take this method here: check the paths"),
    KLING_HAS_NO_SUCH_THING: Meaning(e.NotFoundError, "the vendor has no such thing: check the id"),
    1300: Meaning(e.ContentRejectedError, "the platform's policy refused the request: change the content"),
    1301: Meaning(e.ContentRejectedError, "moderation refused the content: change image, audio or prompt"),
    TOO_MANY_REQUESTS: Meaning(e.RateLimitedError, "too many requests: slow down"),
    NO_FREE_SLOT: Meaning(
        e.NoFreeSlotError,
        "the account already runs as many tasks in parallel as its pack allows",
    ),
    1304: Meaning(
        e.PermissionDeniedError, "this address is not on the account's IP allow-list: contact the vendor"
    ),
    5000: Meaning(e.UnavailableError, "the vendor had an internal error"),
    5001: Meaning(e.UnavailableError, "the vendor is down for the moment"),
    5002: Meaning(e.UnavailableError, "the vendor timed out inside"),
}

NO_SUCH_TASK_SLUGS = ("task_not_exist", "task_not_found")
"""A gateway's words for it, of the ids that it gave itself."""
LOST_ANSWER = "the gateway lost the answer of the vendor behind it"

SLUGS: dict[str, Meaning] = {
    # https://github.com/QuantumNous/new-api: relay/relay_task.go, dto/task.go; CometAPI's error page
    **dict.fromkeys(
        ("invalid_request", "invalid_request_error"),
        Meaning(e.InvalidRequestError, "the gateway refused a field: check the fields"),
    ),
    **dict.fromkeys(
        NO_SUCH_TASK_SLUGS, Meaning(e.NotFoundError, "the gateway has no such task: check the id")
    ),
    "model_price_error": Meaning(
        e.RefusedError, "the gateway has no price for this model: ask its seller to enable it"
    ),
    "model_not_found": Meaning(e.RefusedError, "the gateway does not sell this model to this key"),
    "task_failed": Meaning(e.RefusedError, "the vendor behind the gateway refused the request"),
    **dict.fromkeys(
        ("build_request_failed", "convert_request_failed"),
        Meaning(
            e.RefusedError,
            "the gateway could not turn the request into the vendor's: check the fields, or ask the gateway's seller "
            "whether it sells this model",
            e.Accepted.MAYBE,  # it may have tried other channels before, and tells of the last one only
        ),
    ),
    **dict.fromkeys(
        (
            "do_request_failed",
            "read_response_body_failed",
            "close_response_body_failed",
            "unmarshal_response_failed",
            "unmarshal_response_body_failed",
            "copy_response_body_failed",
            "invalid_response",
            "bad_response_body",
            "empty_response",
        ),
        Meaning(e.UnavailableError, LOST_ANSWER),
    ),
    "get_task_failed": Meaning(e.UnavailableError, "the gateway could not look the task up"),
    "fail_to_fetch_task": Meaning(e.UnavailableError, "the gateway could not reach the vendor behind it"),
    "invalid_api_key": Meaning(
        e.AuthenticationError, "the key is not valid: check the connection's password"
    ),
    "insufficient_user_quota": Meaning(e.AccountError, "the gateway account has no quota left: top it up"),
    "insufficient_quota": Meaning(e.AccountError, "the gateway account has no quota left: top it up"),
    "pre_consume_token_quota_failed": Meaning(e.AccountError, "the key has no quota left: top it up"),
    "quota_not_enough": Meaning(e.AccountError, "the gateway account has no quota left: top it up"),
    "rate_limit_exceeded": Meaning(e.RateLimitedError, "too many requests: slow down"),
}

HTTP_STATUSES: dict[int, Meaning] = {
    # Only where no code says it better: four of Kling's six codes under HTTP 429 are permanent.
    400: Meaning(e.RefusedError, "the vendor refused the request"),
    401: Meaning(e.AuthenticationError, KLING_CODES[1002].text),
    402: Meaning(e.AccountError, "the account has no money left: top it up"),
    403: Meaning(e.PermissionDeniedError, "the vendor denies this key the request: check its permissions"),
    404: Meaning(e.NotFoundError, "the vendor has nothing at this address: check the id and the paths"),
    405: Meaning(
        e.WrongRouteError, "this address does not take the method: check the connection's host and paths"
    ),
    408: Meaning(e.UnavailableError, "the vendor waited too long for the request"),
    413: Meaning(e.RefusedError, "the request is too large for the vendor: pass media as URLs, or smaller"),
    429: Meaning(e.RateLimitedError, KLING_CODES[TOO_MANY_REQUESTS].text),
    499: Meaning(e.UnavailableError, "a gateway gave up while the vendor behind it was at work"),
}

TEXTS: tuple[tuple[str, int], ...] = (
    # Gateways that lose the code keep the words (O-CONC, C-TTS, and failures seen in the field).
    ("parallel task over resource pack limit", NO_FREE_SLOT),
    ("voice id not found", KLING_REFUSES_A_VALUE),
    ("risk control", 1301),
    ("content security", 1301),
    ("account balance not enough", 1102),
)
"""Words in a message that stand for a code."""


UNKNOWN_VOICE = Meaning(
    e.InvalidRequestError,
    "voice_id: the vendor has no such voice in this voice_language: "
    f"choose another voice, or the language that this one speaks; {known_voices()}",
)


def code_in_text(text: str) -> int | None:
    """Return the code that a message stands for, if its words are known."""
    lowered = text.lower()
    return next((code for words, code in TEXTS if words in lowered), None)


def code_of_reason(text: str) -> int | None:
    """Return the code that the reason of a failed task stands for: "Image pixel is invalid" is bad input."""
    return code_in_text(text) or (KLING_REFUSES_A_VALUE if "is invalid" in text.lower() else None)


def _slug_in(message: str) -> str:
    """Return the word of a gateway that lost an answer, where it stands in a message alone."""
    lowered = message.lower()
    return next((slug for slug, means in SLUGS.items() if means.text == LOST_ANSWER and slug in lowered), "")


def meaning_of(code: int | str | None, http_status: int, message: str) -> Meaning:
    """
    Decide what an error answer means: by code, by known words, by HTTP status, in this order.

    :param code: the vendor's code, if one was found.
    :param http_status: of the answer.
    :param message: the vendor's words.
    """
    if "voice id not found" in message.lower():
        return UNKNOWN_VOICE
    if isinstance(code, int) and code in KLING_CODES:
        return KLING_CODES[code]
    if isinstance(code, int) and 400 <= code <= 599 and http_status < 400:
        http_status = code  # gateways that always answer HTTP 200 put the status here
    known = code_in_text(message)
    if known is not None:
        return KLING_CODES[known]
    slug = str(code).lower() if code else _slug_in(message)
    if slug in SLUGS and not (slug == "fail_to_fetch_task" and http_status < 500):  # HTTP's server errors
        return SLUGS[slug]
    return HTTP_STATUSES.get(http_status, KLING_CODES[5000] if http_status >= 500 else HTTP_STATUSES[400])
