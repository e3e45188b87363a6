"""
Everything a client needs to know of one account: which API, where, who pays, how patient to be.

Built from the plain values of a connection. Says clearly what is wrong with them, and never shows a key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec

from airflow_provider_kling_avatar.kling.auth import BearerKey, Credentials, SignedKey
from airflow_provider_kling_avatar.kling.dialects import DIALECTS, Dialect
from airflow_provider_kling_avatar.kling.errors import ConfigurationError, bare
from airflow_provider_kling_avatar.kling.models import loosely
from airflow_provider_kling_avatar.kling.pricing import PriceTable, decimal_of, list_prices, own_prices

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from decimal import Decimal

    from airflow_provider_kling_avatar.kling.download.ssrf import AddressRules

EXTRAS: dict[str, str] = {
    "api": "which API the key is for",
    "path_prefix": "goes before every path, such as /kling",
    "query_path": "template of the status address, with {path} and {id}",
    "list_path": "template of the list address, with {path}; false where listing does not work",
    "limits": 'limits that differ, such as {"avatar.prompt.maxLength": 500}',
    "connect_timeout": "seconds to wait for a connection",
    "read_timeout": "seconds to wait for an answer",
    "task_link": "template of the extra link's address, with {task_id}",
    "prices": 'what this account pays, such as {"avatar.std": "0.05", "currency": "USD"}',
    "max_cost": "what one clip may cost at most, in the currency of the prices",
    "allow_private_addresses": "true if clips, or audio to be measured, lie inside a private network",
}
"""What the connection's extra may hold."""


@dataclass(frozen=True, slots=True)
class KlingConfig:
    """
    One account on one API.

    :param dialect: the API, with this connection's overrides worked in.
    :param base_url: scheme, host and port, nothing behind.
    :param credentials: who pays.
    :param connect_timeout: seconds to wait for a connection.
    :param read_timeout: seconds to wait for an answer; a create call carries up to 20 MB.
    :param task_link: template of a page about a task, with ``{task_id}``.
    :param prices: what the account pays, as far as it is known.
    :param max_cost: what one clip may cost at most, in the currency of the prices.
    :param allow_private_addresses: clips, and audio that has to be measured, may be fetched from addresses inside a
        private network. The connection's own host and port always may.
    """

    dialect: Dialect
    base_url: str
    credentials: Credentials
    connect_timeout: float = 10.0
    read_timeout: float = 120.0
    task_link: str | None = field(default=None)
    prices: PriceTable = field(default_factory=PriceTable)
    max_cost: Decimal | None = None
    allow_private_addresses: bool = False

    @property
    def account_key(self) -> Hashable:
        """What two connections have in common that ask the same account in the same way; of the key only a hash."""
        paths = tuple(
            (name, endpoint.path, endpoint.query_path, endpoint.list_path)
            for name, endpoint in sorted(self.dialect.endpoints.items())
        )
        where = (self.dialect.name, self.base_url, self.dialect.prefix, paths)
        key = hashlib.sha256("\0".join(self.credentials.secrets()).encode()).hexdigest()
        return where, self.connect_timeout, self.read_timeout, key

    @property
    def address_rules(self) -> AddressRules:
        """Where the links may lead that workers follow for this account."""
        from airflow_provider_kling_avatar.kling.download.ssrf import AddressRules

        return AddressRules(self.base_url, private=self.allow_private_addresses)

    @classmethod
    def build(
        cls,
        *,
        host: str | None,
        login: str | None,
        password: str | None,
        extra: Mapping[str, Any] | None = None,
    ) -> KlingConfig:
        """
        Build from the values of a connection.

        :param host: a whole URL without a path, or empty for the API's own address.
        :param login: the access key, if the password is a secret key.
        :param password: the API key or the secret key.
        :param extra: see `EXTRAS`.
        :raises ConfigurationError: names the field and what to put there.
        """
        try:
            return cls._build(host, login, password, extra or {})
        except ConfigurationError as error:
            problem = bare(error)
        del login, password  # an error carries frames, and these show their locals
        raise problem

    @classmethod
    def _build(
        cls, host: str | None, login: str | None, password: str | None, extra: Mapping[str, Any]
    ) -> KlingConfig:
        options = {key: value for key, value in extra.items() if value not in (None, "")}
        unknown = sorted(set(options) - set(EXTRAS))
        if unknown:
            raise ConfigurationError(
                f"the connection's extra has {', '.join(unknown)}, which is not known; it may hold {', '.join(EXTRAS)}"
            )
        dialect = _dialect(str(options.get("api", "kling")))
        base_url = _base_url(host, dialect)
        return cls(
            dialect=dialect.override(
                prefix=_prefix(options.get("path_prefix")),
                query_path=_paths(options, "query_path"),
                list_path=_paths(options, "list_path"),
                limits=_read(options, "limits"),
            ),
            base_url=base_url,
            credentials=_credentials(login, password, dialect),
            connect_timeout=_read(options, "connect_timeout", 10.0),
            read_timeout=_read(options, "read_timeout", 120.0),
            task_link=str(options["task_link"]) if "task_link" in options else None,
            prices=_prices(_read(options, "prices"), dialect, base_url),
            max_cost=_max_cost(options.get("max_cost")),
            allow_private_addresses=_read(options, "allow_private_addresses", False),
        )


_SECONDS = (Annotated[float, msgspec.Meta(gt=0, lt=3600)], "a number of seconds between 0 and 3600")
_OBJECT = (dict, "a JSON object")
_FORMS: dict[str, tuple[Any, str]] = {
    "query_path": _OBJECT,
    "list_path": _OBJECT,
    "limits": _OBJECT,
    "prices": _OBJECT,
    "connect_timeout": _SECONDS,
    "read_timeout": _SECONDS,
    "allow_private_addresses": (bool, "true or false"),
}


def _read(options: Mapping[str, Any], name: str, default: object = None) -> Any:
    """Read a value of the extra as its type, also from text."""
    if name not in options:
        return default
    form, words = _FORMS[name]
    try:
        return loosely(options[name], form)
    except ValueError:
        raise ConfigurationError(f"the connection's {name} must be {words}, not {options[name]!r}") from None


def _dialect(name: str) -> Dialect:
    try:
        return DIALECTS[name]
    except KeyError:
        raise ConfigurationError(
            f"the connection's api is {name!r}; it must be one of {', '.join(DIALECTS)}"
        ) from None


def _base_url(host: str | None, dialect: Dialect) -> str:
    host = (host or "").strip()
    if not host:
        if dialect.base_url is None:
            raise ConfigurationError(
                f"the connection's host is empty: the api {dialect.name!r} has no address of its own, "
                "put your seller's there, such as https://api.example.com"
            )
        return dialect.base_url
    try:
        parts = urlsplit(host if "://" in host else f"https://{host}")
        good = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and not any(c.isspace() for c in host)
        )
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError(
            "the connection's host is not an http(s) URL such as https://api.example.com"
        )
    if parts.username or parts.password:
        raise ConfigurationError(
            "the connection's host holds a user or password: put the key into password instead"
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigurationError(
            f"the connection's host has a path ({parts.path or '?'}): "
            f"leave only {parts.scheme}://{parts.netloc} there; "
            "if all paths of your gateway start with something, put that into the extra path_prefix"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _credentials(login: str | None, password: str | None, dialect: Dialect) -> Credentials:
    login, password = (login or "").strip(), (password or "").strip()
    if not password:
        raise ConfigurationError(
            "the connection has no key: put the API key into password, or the access key into login "
            "and the secret key into password"
        )
    if not login:
        return _bearer(password)
    if not dialect.signed_keys:
        able = ", ".join(name for name, other in DIALECTS.items() if other.signed_keys)
        raise ConfigurationError(
            f"the api {dialect.name!r} takes an API key in password and nothing in login; "
            f"access key and secret key are for {able}"
        )
    return SignedKey(login, password)


def _bearer(key: str) -> BearerKey:
    if key.lower().startswith("bearer "):
        raise ConfigurationError("the connection's password begins with Bearer: paste the key alone")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            "the connection's password holds characters that no API key has: paste the key anew"
        )
    return BearerKey(key)


def _prefix(value: object) -> str | None:
    if value is None:
        return None
    text = str(value).strip().strip("/")
    if any(c in "?#" or c.isspace() for c in text):
        raise ConfigurationError(
            f"the connection's path_prefix is no path: {text!r}; such as /kling, or / for none"
        )
    return f"/{text}" if text else ""


def _paths(options: Mapping[str, Any], name: str) -> str | dict[str, str] | None:
    value = options.get(name)
    if value is None:
        return None
    text = str(value).strip()
    if text.lower() == "false":
        return ""
    if isinstance(value, dict) or (text.startswith("{") and '"' in text):
        return {key: path or "" for key, path in _read(options, name).items()}
    if not text.startswith(("/", "{path}")):
        raise ConfigurationError(f"the connection's {name} must start with / or {{path}}: {text!r}")
    return text


def _prices(own: dict[str, Any] | None, dialect: Dialect, base_url: str) -> PriceTable:
    """Return the connection's own prices, else those that are known of the API in general."""
    if own is not None:
        return own_prices(own)
    if (urlsplit(base_url).hostname or "").endswith("-beijing.klingai.com"):
        return PriceTable()  # the Chinese service has prices and a currency of its own
    return list_prices(dialect.name)


def _max_cost(value: object) -> Decimal | None:
    if value is None:
        return None
    amount = decimal_of(value)
    if amount is None:
        raise ConfigurationError(
            f"the connection's max_cost is {value!r}; it must be a number, not negative, with a point and without a "
            'currency, such as "1.50"'
        )
    return amount
