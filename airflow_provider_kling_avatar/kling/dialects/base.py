"""
What a dialect is: one Kling API as data. Paths, field names, defaults, limits, and what it can do.

A dialect turns a request into the body its vendor wants and checks it against that endpoint's JSON Schema.
It knows nothing of HTTP and opens no file. `jsonschema` is imported on first use: Dag parsing must not pay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_kling_avatar.kling.errors import (
    ConfigurationError,
    InvalidRequestError,
    UnsupportedError,
)
from airflow_provider_kling_avatar.kling.models import (
    AnyRequest,
    AvatarRequest,
    EndpointName,
    ImageToVideoRequest,
    SpeechRequest,
    is_absent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema.exceptions import ValidationError

ENDPOINT_OF: dict[type[AnyRequest], EndpointName] = {
    AvatarRequest: "avatar",
    ImageToVideoRequest: "image_to_video",
    SpeechRequest: "speech",
}

HINTS = frozenset({"voice_language", "audio_duration_seconds"})
"""Fields that only help some APIs; the others do without them, so they are left out there in silence."""
SAME_AS_ABSENT: dict[str, object] = {"mode": "std", "watermark": False}
"""Values that ask for nothing, so that an API without the field already does it."""


def _as_is(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Field:
    """
    How one of our fields is called and written in a vendor's body.

    :param name: the vendor's name.
    :param write: turns our value into the vendor's.
    """

    name: str
    write: Callable[[Any], Any] = _as_is


def same(*names: str) -> dict[str, Field]:
    """Return fields that the vendor calls and writes as we do."""
    return {name: Field(name) for name in names}


def watermark_info(value: bool) -> dict[str, bool]:
    """Write a watermark wish as the official API wants it."""
    return {"enabled": value}


def on_off(value: bool) -> str:
    """Write a switch as the official API wants it."""
    return "on" if value else "off"


def words(**names: str) -> Callable[[Any], Any]:
    """Write our word as the vendor's; a word that is not in the table stays, for the schema to refuse."""
    return lambda value: names.get(value, value)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    One thing an API can make.

    :param path: where tasks are created, behind the dialect's prefix.
    :param fields: our field name -> the vendor's.
    :param defaults: our fields that are always sent, because this API wants them.
    :param query_path: template of the status address; ``{path}`` is the create path, ``{id}`` the task.
    :param list_path: template of the list address, or ``None`` where there is none.
    """

    path: str
    fields: Mapping[str, Field]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    query_path: str | None = "{path}/{id}"
    list_path: str | None = "{path}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    One API in which Kling avatars are sold.

    :param name: the word for the connection's ``api`` field.
    :param title: for people.
    :param source: the page it was built from.
    :param base_url: used when the connection names no host; ``None`` where every seller has its own.
    :param endpoints: what it can make.
    :param prefix: goes before every path.
    :param regions: hosts of the same vendor on which another account may live.
    :param signed_keys: takes an access key with a secret key, besides a bearer key.
    :param external_id_query: a task can be asked for by our own id.
    :param unique_external_id: the vendor's page says that it takes one of our ids only once in an account.
    :param limits: limits that differ from the schema's: ``"avatar.prompt.maxLength" -> 500``.
    """

    name: str
    title: str
    source: str
    base_url: str | None
    endpoints: Mapping[EndpointName, Endpoint]
    prefix: str = ""
    regions: tuple[str, ...] = ()
    signed_keys: bool = False
    external_id_query: bool = False
    unique_external_id: bool = False
    limits: Mapping[str, Any] = field(default_factory=dict)

    # ------------------------------------------------------------------ paths

    def endpoint(self, name: EndpointName) -> Endpoint:
        """
        Return one endpoint.

        :raises UnsupportedError: this API does not have it.
        """
        try:
            return self.endpoints[name]
        except KeyError:
            raise self.unsupported(
                name.replace("_", "-"), lambda other: name in other.endpoints, field=None
            ) from None

    def create_path(self, name: EndpointName) -> str:
        """Return where tasks are created."""
        return self.prefix + self.endpoint(name).path

    def query_path(self, name: EndpointName, task_id: str) -> str:
        """
        Return where one task is asked for.

        :raises UnsupportedError: this API cannot be asked.
        """
        template = self.endpoint(name).query_path
        if not template:
            raise self.unsupported(
                f"status query for {name} tasks",
                lambda o: name in o.endpoints and bool(o.endpoints[name].query_path),
            )
        return template.replace("{path}", self.create_path(name)).replace("{id}", quote(task_id, safe=""))

    def list_path(self, name: EndpointName) -> str:
        """
        Return where tasks are listed.

        :raises UnsupportedError: this API cannot list.
        """
        template = self.endpoint(name).list_path
        if not template:
            raise self.unsupported(
                f"list of {name} tasks", lambda o: name in o.endpoints and bool(o.endpoints[name].list_path)
            )
        return template.replace("{path}", self.create_path(name))

    # ------------------------------------------------------------ abilities

    def takes(self, name: EndpointName, field_name: str) -> bool:
        """Tell whether an endpoint has one of our fields."""
        return name in self.endpoints and field_name in self.endpoints[name].fields

    def can(self, name: EndpointName, field_name: str) -> bool:
        """Tell whether one of our fields can be had, be it by having the text spoken first."""
        return self.takes(name, field_name) or (
            self.takes(name, "audio_id") and self.takes("speech", field_name)
        )

    def accepts_files(self, name: EndpointName, field_name: str) -> bool:
        """Tell whether a media field takes the file itself (base64) and not only a URL."""
        return self.takes(name, field_name) and "base64" in self.media_annotation(name, field_name)["accepts"]

    def unsupported(
        self, what: str, able: Callable[[Dialect], bool], *, field: str | None = None
    ) -> UnsupportedError:
        """
        Build the error for something this API cannot do.

        :param what: the thing asked for.
        :param able: tells which other dialects can do it.
        """
        others = [name for name, other in DIALECTS.items() if name != self.name and able(other)]
        can = f"these can: {', '.join(others)}" if others else "no API this package knows can"
        return UnsupportedError(
            f"the connection's api {self.name!r} ({self.title}) has no {what}; {can}",
            field=field,
            source=self.source,
        )

    # --------------------------------------------------------------- schemas

    def schema(self, name: EndpointName) -> dict[str, Any]:
        """
        Return the request contract of an endpoint, the connection's limits worked in.

        :raises ConfigurationError: a limit names something that is not there.
        """
        schema = deepcopy(_load_schema(self.name, name))
        for key, value in self.limits.items():
            endpoint_name, _, rest = key.partition(".")
            if endpoint_name == name:
                _set_limit(schema, key, rest, value)
        return schema

    def media_annotation(self, name: EndpointName, field_name: str) -> dict[str, Any]:
        """Return the rules for a media field: formats, sizes, what it accepts, and where that is written."""
        vendor_name = self.endpoint(name).fields[field_name].name
        annotation: dict[str, Any] = self.schema(name)["properties"][vendor_name]["x-media"]
        return annotation

    # ------------------------------------------------------------------ body

    def body(
        self, name: EndpointName, given: Mapping[str, Any], extra: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """
        Write the vendor's body from our fields.

        :param given: our fields, media already in the form that goes on the wire.
        :param extra: the vendor's fields, passed on as they are; they win.
        :raises UnsupportedError: a field this API does not have.
        """
        endpoint = self.endpoint(name)
        body: dict[str, Any] = {}
        for our_name, value in {**endpoint.defaults, **given}.items():
            known = endpoint.fields.get(our_name)
            if known is not None:
                body[known.name] = known.write(value)
            elif our_name not in HINTS and SAME_AS_ABSENT.get(our_name, _NOTHING) != value:
                raise self.unsupported(
                    f"{our_name} for {name}",
                    lambda other, our_name=our_name: other.can(name, our_name),  # type: ignore[misc]
                    field=our_name,
                )
        return {**body, **_extra(extra or {})}

    def check(self, name: EndpointName, body: Mapping[str, Any]) -> list[str]:
        """
        Check a body against the endpoint's contract.

        :return: warnings, where a vendor's documents disagree on a limit.
        :raises InvalidRequestError: names the field, the rule, the value's size and the vendor's page,
            never the value.
        """
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match

        schema = self.schema(name)
        error = best_match(Draft202012Validator(schema).iter_errors(body))
        if error is None:
            return self._doubts(name, body, schema)
        for parent in _ancestors(error):
            if _message(parent):  # said in one sentence where the schema needs several alternatives
                error = parent
        path = [str(part) for part in error.absolute_path]
        missing = error.validator == "required" and _missing(error.validator_value, error.instance)
        if missing:
            path.append(missing)
        our = self._our_name(name, path[0]) if path else None
        where = ".".join([our, *path[1:]]) if our else "the request"
        rule = _message(error) or _rule(str(error.validator), error.validator_value)
        raise InvalidRequestError(
            f"{where}: {rule}; it is {'missing' if missing else _size(error.instance)}",
            field=our,
            source=error.schema.get("x-source", schema["x-source"]),
        )

    def _doubts(self, name: EndpointName, body: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
        # Not at the top: who only asks for a clip does not load what makes one.
        from airflow_provider_kling_avatar.kling.media.rules import doubtful

        return [
            doubtful(
                f"{self._our_name(name, field_name)} is {len(body[field_name])} characters long",
                limit,
                schema["x-source"],
            )
            for field_name, rules in schema["properties"].items()
            if (limit := rules.get("warn_above_characters")) is not None
            and len(body.get(field_name, "")) > limit
        ]

    def _our_name(self, name: EndpointName, vendor_name: str) -> str:
        for our_name, known in self.endpoint(name).fields.items():
            if known.name == vendor_name:
                return our_name
        return vendor_name

    # ------------------------------------------------------------- overrides

    def override(
        self,
        *,
        prefix: str | None = None,
        query_path: str | Mapping[str, str] | None = None,
        list_path: str | Mapping[str, str] | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> Dialect:
        """
        Return the dialect as one connection wants it.

        :param prefix: instead of the dialect's own.
        :param query_path: template for all endpoints, or one per endpoint; ``{path}`` and ``{id}`` are filled in.
        :param list_path: likewise, without ``{id}``; empty where listing does not work.
        :param limits: ``"<endpoint>.<vendor field>.<rule>" -> value``.
        :raises ConfigurationError: an override that names something that is not there.
        """
        for key in limits or {}:
            if key.partition(".")[0] not in self.endpoints:
                raise ConfigurationError(
                    f"limits: {key!r} must start with one of {', '.join(self.endpoints)}, as in avatar.prompt.maxLength"
                )
        endpoints = {
            name: replace(
                endpoint,
                query_path=_pick(query_path, name, endpoint.query_path),
                list_path=_pick(list_path, name, endpoint.list_path),
            )
            for name, endpoint in self.endpoints.items()
        }
        for kind, override in (("query_path", query_path), ("list_path", list_path)):
            unknown = sorted(set(override) - set(endpoints)) if isinstance(override, Mapping) else []
            if unknown:
                raise ConfigurationError(
                    f"{kind} names {', '.join(unknown)}; there is only {', '.join(endpoints)}"
                )
        for name, endpoint in endpoints.items():
            _check_template(f"query_path for {name}", endpoint.query_path, {"path", "id"})
            _check_template(f"list_path for {name}", endpoint.list_path, {"path"})
            if endpoint.query_path and "{id}" not in endpoint.query_path:
                raise ConfigurationError(f"query_path for {name} needs {{id}} in it: {endpoint.query_path!r}")
        overridden = replace(
            self,
            prefix=self.prefix if prefix is None else prefix,
            endpoints=endpoints,
            limits={**self.limits, **(limits or {})},
        )
        for name in overridden.endpoints if limits else ():
            overridden.schema(name)  # finds out now whether every limit names something and fits
        return overridden


DIALECTS: dict[str, Dialect] = {}
"""Every API by its name; filled by the package, so that a dialect can tell which others could do what it cannot."""

_NOTHING = object()


@cache
def _load_schema(dialect: str, name: EndpointName) -> dict[str, Any]:
    text = files(__package__).joinpath("schemas", f"{dialect}.{name}.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _set_limit(schema: dict[str, Any], key: str, path: str, value: Any) -> None:
    field_name, _, rule = path.partition(".")
    known = schema["properties"].get(field_name)
    if known is None or not rule:
        raise ConfigurationError(
            f"limits: {key!r} is not of the form <endpoint>.<field>.<rule> with one of these fields: "
            f"{', '.join(schema['properties'])}"
        )
    holder = known["x-media"] if rule in known.get("x-media", {}) else known
    if rule not in holder or rule.startswith("x-"):
        rules = [r for r in (*known, *known.get("x-media", {})) if not r.startswith("x-")]
        raise ConfigurationError(f"limits: {key!r}: {field_name} has only these rules: {', '.join(rules)}")
    if not _is_like(value, holder[rule]):
        raise ConfigurationError(
            f"limits: {key!r} must be given like the limit it replaces: {holder[rule]!r}"
        )
    holder[rule] = value


def _is_like(value: Any, old: Any) -> bool:
    if isinstance(old, int | float):
        return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    return isinstance(value, type(old))


def _check_template(what: str, template: object, known: set[str]) -> None:
    if not template:
        return
    if not isinstance(template, str) or not template.startswith(("/", "{path}")):
        raise ConfigurationError(f"{what} must be text that starts with / or {{path}}: {template!r}")
    unknown = sorted(set(re.findall(r"\{(.*?)\}", template)) - known)
    if unknown:
        raise ConfigurationError(f"{what} has {{{unknown[0]}}} in it, which nothing fills in: {template!r}")


def _pick(override: str | Mapping[str, str] | None, name: str, default: str | None) -> str | None:
    if isinstance(override, Mapping):
        override = override.get(name)
    return default if override is None else override


def _extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in extra.items() if not is_absent(value)}
    try:
        json.dumps(given, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"extra holds something that JSON cannot: {type(error).__name__}", field="extra"
        ) from None
    return given


def _ancestors(error: ValidationError) -> Iterator[ValidationError]:
    while isinstance(parent := error.parent, type(error)):
        yield (error := parent)


def _message(error: ValidationError) -> str | None:
    messages = error.schema.get("x-messages", {}) if isinstance(error.schema, Mapping) else {}
    message: str | None = messages.get(error.validator)
    return message


def _missing(required: list[str], instance: Mapping[str, Any]) -> str:
    return next((name for name in required if name not in instance), "")


_RULES: dict[str, str] = {
    "maxLength": "must be at most {} characters",
    "minLength": "must be at least {} characters",
    "maximum": "must be at most {}",
    "minimum": "must be at least {}",
    "exclusiveMinimum": "must be more than {}",
    "maxItems": "must have at most {} entries",
    "minItems": "must have at least {} entries",
    "type": "must be of type {}",
    "const": "must be {}",
    "pattern": "must match {}",
    "additionalProperties": "has an entry that is not known",
}


def _rule(validator: str, value: Any) -> str:
    if validator == "enum":
        return f"must be one of {', '.join(map(str, value))}"
    if validator == "required":
        return "is required"
    return _RULES.get(validator, f"breaks the rule {validator}").format(value)


def _size(value: Any) -> str:
    """Describe a value without showing it: it may be long, or secret."""
    if isinstance(value, str):
        return f"{len(value)} characters"
    if isinstance(value, bool) or value is None or isinstance(value, int | float):
        return json.dumps(value)
    if isinstance(value, list):
        return f"{len(value)} entries"
    if isinstance(value, Mapping):
        return f"given with {', '.join(sorted(map(str, value))) or 'nothing in it'}"
    return f"a {type(value).__name__}"
