"""What the real services refuse, and with which code: the official error table, as data.

It knows codes, HTTP statuses and default texts. It must not know how a dialect words a refusal on the
wire; that is in `dialects`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.settings import NotFoundForm

MALFORMED: Final = 1200
"""The code of what is no JSON object; gateways have words of their own for it."""

CODES: Final[dict[int, tuple[int, str]]] = {
    1000: (401, "Authentication failed"),
    1001: (401, "Authorization is empty"),
    1002: (401, "Authorization is invalid"),
    1003: (401, "Authorization is not yet valid"),
    1004: (401, "Authorization has expired"),
    1100: (429, "Account exception"),
    1101: (429, "Account in arrears"),
    1102: (429, "Resource pack depleted or expired"),
    1103: (403, "Unauthorized access to requested resource"),
    1200: (400, "Invalid request parameters"),
    1201: (400, "Invalid parameters"),
    1202: (404, "Invalid request method"),
    1203: (404, "Requested resource does not exist"),
    1300: (400, "Triggered platform strategy"),
    1301: (400, "Triggered content security policy"),
    1302: (429, "API request too frequent"),
    1303: (429, "parallel task over resource pack limit"),
    1304: (429, "Triggered IP allow-list policy"),
    5000: (500, "Server internal error"),
    5001: (503, "Server temporarily unavailable"),
    5002: (504, "Server internal timeout"),
}
"""Code -> (HTTP status, text). Source: https://kling.ai/document-api/api/get-started/error-codes"""

_NO_SUCH_TASK: Final[dict[NotFoundForm, tuple[int, str]]] = {
    "live": (1201, "Task not found by id/external id: {}"),
    "documented": (1203, "Task not found: {}"),
}
"""Form -> (code, text). The live one was seen by six parties, with HTTP 400; the one of the error table by nobody."""


class Refusal(Exception):  # noqa: N818 - a vendor's answer, not an error of the simulator
    """A request that gets an error answer; the envelope of the dialect puts it into words."""

    def __init__(
        self,
        code: int,
        message: str | None = None,
        *,
        status: int | None = None,
        slug: str = "",
        param: str = "",
        retry_after: float | None = None,
    ) -> None:
        """Take the status and text from the table unless told otherwise; `slug` names a gateway's own error."""
        known_status, known_message = CODES.get(code, (500, "Unknown error"))
        self.code = code
        self.message = known_message if message is None else message
        self.status = known_status if status is None else status
        self.slug = slug
        self.param = param
        self.retry_after = retry_after
        super().__init__(self.message)

    @property
    def is_about_credentials(self) -> bool:
        """Whether the caller was not recognised, as opposed to refused."""
        return self.status == 401 or 1000 <= self.code <= 1004


class NoSuchTask(Refusal):
    """What a query for a task gets that is not there, or is somebody else's."""

    def __init__(self, wanted: str, form: NotFoundForm) -> None:
        """Name the id that was asked for, as the vendor does."""
        code, words = _NO_SUCH_TASK[form]
        super().__init__(code, words.format(wanted))
