"""Who is calling: turns an Authorization header into an account, or refuses as the official table says.

It knows keys, signed tokens (HS256) and codes 1000 to 1004. It must not know requests or dialects, and
nothing it raises or returns may contain a key.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jwt

from airflow_provider_kling_avatar.simulator.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_kling_avatar.simulator.settings import Account

_JWT_DOTS = 2


class Accounts:
    """The customers this simulator knows."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        """Take the accounts; names, API keys and access keys are expected to be distinct."""
        self._accounts = tuple(accounts)

    def rotate(self, name: str, api_key: str) -> None:
        """Give an account another API key; from now on the old one opens nothing. Raises ValueError."""
        if name not in (account.name for account in self._accounts):
            raise ValueError(f"there is no account {name!r}")
        if not api_key or any(account.api_key == api_key for account in self._accounts):
            raise ValueError("an API key must be some text that no account has")
        self._accounts = tuple(
            replace(account, api_key=api_key) if account.name == name else account
            for account in self._accounts
        )

    def of(self, authorization: str | None, *, signed_tokens: bool = True) -> Account:
        """Recognise the caller by the Authorization header, or raise a Refusal.

        Gateways issue keys of their own and take no tokens signed with Kling's: `signed_tokens=False`.
        """
        if not authorization or not authorization.strip():
            raise Refusal(1001)
        scheme, _, credential = authorization.strip().partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise Refusal(1002, "Authorization is invalid: expected 'Bearer <key or token>'")
        if signed_tokens and credential.count(".") == _JWT_DOTS:
            return self._by_token(credential)
        # Kling takes an unknown key for a broken token; the text was seen live and tells nothing.
        words = "token was expected to have 3 parts, but got 0" if signed_tokens else "api key not found"
        return self._by_api_key(credential, words)

    def _by_api_key(self, key: str, words: str) -> Account:
        for account in self._accounts:
            if account.api_key and hmac.compare_digest(account.api_key.encode(), key.encode()):
                return account
        raise Refusal(1002, f"Authorization is invalid: {words}")

    def _by_token(self, token: str) -> Account:
        try:
            claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError as error:
            raise Refusal(1002, "Authorization is invalid: malformed token") from error
        account = next(
            (a for a in self._accounts if a.access_key and a.access_key == claims.get("iss")), None
        )
        if account is None:
            raise Refusal(1002, "Authorization is invalid: access key not found")
        try:
            jwt.decode(
                token,
                account.secret_key,
                algorithms=["HS256"],
                leeway=0,
                options={"require": ["iss", "exp"], "verify_iat": False, "verify_aud": False},
            )
        except jwt.ImmatureSignatureError as error:
            raise Refusal(1003) from error
        except jwt.ExpiredSignatureError as error:
            raise Refusal(1004) from error
        except jwt.InvalidSignatureError as error:
            raise Refusal(1000, "Authentication failed: signature verification failed") from error
        except jwt.InvalidTokenError as error:
            raise Refusal(1002, "Authorization is invalid: bad token") from error
        return account
