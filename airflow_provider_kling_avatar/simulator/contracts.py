"""The request contracts: says what is wrong with a body, by its schema, and finds the media in it.

It must not know what a vendor allows; that is in `dialects`. Besides the keywords of JSON Schema there are two of our
own: `x-media` describes a picture or an audio, of which `media` measures what is behind the text, and `x-messages` says
in words what breaking a keyword means. Fields that are not listed are ignored, as the services do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import relevance

from airflow_provider_kling_avatar.simulator.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema import ValidationError

_WORDS: Final = {
    "type": "must be of type {0}",
    "enum": "must be one of {0}",
    "const": "must be {0}",
    "pattern": "does not have the expected form",
    "maxLength": "must not be longer than {0} characters",
    "minLength": "must have at least {0} character(s)",
    "minimum": "must be at least {0}",
    "maximum": "must be at most {0}",
    "exclusiveMinimum": "must be above {0}",
    "minItems": "must have at least {0} item(s)",
    "maxItems": "must have at most {0} item(s)",
    "additionalProperties": "has fields it must not have",
    "oneOf": "must have exactly one of the alternatives",
    "anyOf": "must have one of the alternatives",
    "not": "is a forbidden combination",
}
"""What to say for each keyword. The library's own texts quote the value, which may be megabytes of base64."""


@dataclass(frozen=True)
class MediaField:
    """A picture or an audio somewhere in a body, with the vendor's rules for it."""

    name: str
    """Dotted path, such as `image` or `dynamic_masks.0.mask`."""
    value: str
    rules: dict[str, Any]
    """The `x-media` annotation."""


class Contract:
    """What one endpoint of one dialect accepts."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Take a JSON Schema 2020-12 document."""
        self._schema = schema
        self._validator = Draft202012Validator(schema)

    def check(self, body: dict[str, Any]) -> None:
        """Raise a Refusal with code 1201 that names the first thing wrong, if anything is."""
        errors = list(self._validator.iter_errors(body))
        if errors:
            raise Refusal(1201, _say(max(errors, key=relevance)))

    def known(self, body: dict[str, Any]) -> dict[str, Any]:
        """Drop the fields this endpoint does not have; the services ignore them."""
        return {name: value for name, value in body.items() if name in self._schema["properties"]}

    def media(self, body: dict[str, Any]) -> list[MediaField]:
        """List the pictures and audios of a body that passed `check`."""
        return list(_media(self._schema, body, ""))


def _say(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    keyword = str(error.validator)
    rules: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    messages = rules.get("x-messages", {})
    if keyword == "required" and isinstance(error.instance, dict):
        missing = next(name for name in rules["required"] if name not in error.instance)
        return f"{f'{where}.' if where else ''}{missing} is required"
    if keyword not in messages and error.context:
        return _say(max(error.context, key=relevance))
    known = _WORDS.get(keyword, f"breaks the rule {keyword}").format(error.validator_value)
    words = messages.get(keyword, known)
    return f"{where} {words}" if where else words


def _media(schema: dict[str, Any], value: Any, path: str) -> Iterator[MediaField]:
    if "x-media" in schema and isinstance(value, str):
        yield MediaField(path, value, schema["x-media"])
    elif isinstance(value, dict):
        for name, below in schema.get("properties", {}).items():
            if name in value:
                yield from _media(below, value[name], f"{path}.{name}" if path else name)
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _media(schema["items"], item, f"{path}.{index}")
