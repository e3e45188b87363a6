"""
Who we are to the vendor: one bearer key, or an access key and a secret key that sign a token per request.

Knows nothing of HTTP beyond the one header. `jwt` is imported on first use: Dag parsing must not pay for it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

LIFETIME_SECONDS = 1800
"""How long a signed token is good (https://klingai.com/document-api/api/get-started/authentication)."""
BACKDATE_SECONDS = 5
"""How far in the past a signed token starts, for clocks that differ a little (same page)."""


@dataclass(frozen=True, slots=True)
class BearerKey:
    """One key issued by the console, the same for every request."""

    key: str = field(repr=False)

    def header(self) -> str:
        """Return the value of the ``Authorization`` header for a request sent now."""
        return f"Bearer {self.key}"

    def learn_clock(self, date_header: str | None) -> bool:  # noqa: ARG002  # a plain key has no clock
        """Tell whether signing again may help: a plain key does not depend on any clock."""
        return False

    def secrets(self) -> tuple[str, ...]:
        """Return what must never be shown."""
        return (self.key,)


@dataclass(slots=True)
class SignedKey:
    """
    An access key and a secret key: a fresh HS256 token for every request, so that none can expire in flight.

    :param access_key: goes into the token as its issuer.
    :param secret_key: signs the token.
    :param clock: Unix seconds; replaced in tests.
    """

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    clock: Callable[[], float] = field(default=time.time, repr=False)
    skew_seconds: float = 0.0
    """How far the vendor's clock is ahead of ours, as far as we know."""

    def header(self) -> str:
        """
        Return the value of the ``Authorization`` header, signed now by the vendor's clock.

        :raises ConfigurationError: nothing can be signed with this secret key.
        """
        import jwt

        now = int(self.clock() + self.skew_seconds)
        try:
            token = jwt.encode(
                {"iss": self.access_key, "exp": now + LIFETIME_SECONDS, "nbf": now - BACKDATE_SECONDS},
                self.secret_key,
                algorithm="HS256",
            )
        except jwt.PyJWTError as error:
            problem = type(error).__name__
        else:
            return f"Bearer {token}"
        # Not inside of `except`: the error would bring frames along that hold the key.
        raise ConfigurationError(
            f"the connection's secret key cannot sign a token ({problem}): put the vendor's secret key into password, "
            "as the console shows it"
        )

    def learn_clock(self, date_header: str | None) -> bool:
        """Take over the vendor's clock if it says it; one more try with a fresh token is worth it either way."""
        with suppress(TypeError, ValueError, OverflowError):
            self.skew_seconds = parsedate_to_datetime(date_header or "").timestamp() - self.clock()
        return True

    def secrets(self) -> tuple[str, ...]:
        """Return what must never be shown."""
        return (self.secret_key, self.access_key)


Credentials = BearerKey | SignedKey
"""What can put its name to a request."""
