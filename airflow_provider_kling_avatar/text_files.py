"""
Words from files: a prompt or a text may be the name of a file that holds it.

Knows Airflow's templates and storage. Airflow itself would take every templated field that ends with an extension for
a file, also a sentence such as "Please read README.md": here a file is one name without blanks, in a field of words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.kling.errors import InvalidRequestError

if TYPE_CHECKING:
    import jinja2

    from airflow_provider_kling_avatar.kling.media import Opener

EXTENSIONS = (".txt", ".md")
FIELDS = ("prompt", "negative_prompt", "text")
"""Fields whose words may stand in a file."""
LARGEST_BYTES = 64 * 1024
"""The longest field takes 2500 characters."""

_PLACE = re.compile(r"(?!https?://)[A-Za-z][A-Za-z0-9+.-]*://|/")


def names_file(value: Any) -> bool:
    """Tell whether a value is one file name and nothing else."""
    return isinstance(value, str) and value.endswith(EXTENSIONS) and not re.search(r"\s|{[{%]", value)


def source_of(name: str, jinja_env: jinja2.Environment) -> str | None:
    """Return the text of a file beside the Dag or on its ``template_searchpath``; ``None`` if it is not there."""
    from jinja2 import TemplateNotFound

    if jinja_env.loader is None or "://" in name:
        return None
    try:
        text = jinja_env.loader.get_source(jinja_env, name)[0]
    except (TemplateNotFound, OSError):
        return None
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"the file {name} is not UTF-8 text: save it as UTF-8") from error
    return text.removeprefix("\ufeff")


def words_of(field: str, value: str, opener: Opener) -> str:
    """
    Return what the file that a field names holds, or the value itself if it names none.

    :param field: for messages.
    :param value: as it rendered.
    :param opener: opens storage URIs and paths.
    :raises InvalidRequestError: there is no such file: its name would be spoken or filmed.
    """
    if not names_file(value):
        return value
    if not _PLACE.match(value):
        raise InvalidRequestError(
            f"{field} names a file, {value}, that is neither beside the Dag's file nor on its template_searchpath: "
            "correct the name, or give a whole path or a storage URI",
            field=field,
        )
    from airflow_provider_kling_avatar.kling.media import read_source

    try:
        return read_source(value, opener, LARGEST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"{field}: {value} is not UTF-8 text: save it as UTF-8", field=field
        ) from error
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{field}: {error.message}", field=field) from error
