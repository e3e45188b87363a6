"""
Print what each API can do, as the Markdown table that docs/dialects.md holds between its markers.

    python dev/dialect_table.py

Made from the dialects' own data and schemas, so that a test can tell when that page has fallen behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_kling_avatar.kling.dialects import Dialect

BEGIN = "<!-- dialect table: made by dev/dialect_table.py -->"
END = "<!-- end of dialect table -->"


def _tick(able: bool) -> str:
    return "yes" if able else "no"


def _host(dialect: Dialect) -> str:
    return f"`{dialect.base_url}`" if dialect.base_url else "your seller's"


def _text(dialect: Dialect) -> str:
    if dialect.takes("avatar", "text"):
        return "spoken by the API"
    return "spoken first" if "speech" in dialect.endpoints else "no"


def _files(dialect: Dialect) -> str:
    able = [name for name in ("image", "audio") if dialect.accepts_files("avatar", name)]
    return " and ".join(able) or "no, URLs only"


def _audio_length(dialect: Dialect) -> str:
    rules = dialect.media_annotation("avatar", "audio")
    shortest, longest = rules.get("min_seconds"), rules.get("max_seconds")
    limit = f"{shortest:g} to {longest:g} s" if longest else f"{shortest:g} s at least"
    warning = rules.get("warn_above_seconds")
    return f"{limit}, warns above {warning:g} s" if warning else limit


def _audio_size(dialect: Dialect) -> str:
    limit = dialect.media_annotation("avatar", "audio").get("max_bytes")
    return f"{limit / 2**20:g} MiB" if limit else "not documented"


ROWS: dict[str, Callable[[Dialect], str]] = {
    "host": _host,
    "create path": lambda dialect: f"`{dialect.create_path('avatar')}`",
    "access key and secret key": lambda dialect: _tick(dialect.signed_keys),
    "`text` and `voice_id`": _text,
    "`audio_id`": lambda dialect: _tick(dialect.takes("avatar", "audio_id")),
    "local files, storage URIs, base64": _files,
    "`prompt`": lambda dialect: _tick(dialect.takes("avatar", "prompt")),
    "`mode` std and pro": lambda dialect: _tick(dialect.takes("avatar", "mode")),
    "`aspect_ratio`": lambda dialect: _tick(dialect.takes("avatar", "aspect_ratio")),
    "`watermark`": lambda dialect: _tick(dialect.takes("avatar", "watermark")),
    "`callback_url`": lambda dialect: _tick(dialect.takes("avatar", "callback_url")),
    "`external_task_id`": lambda dialect: _tick(dialect.takes("avatar", "external_task_id")),
    "asked by external id": lambda dialect: _tick(dialect.external_id_query),
    "list of tasks": lambda dialect: _tick(bool(dialect.endpoints["avatar"].list_path)),
    "text-to-speech": lambda dialect: _tick("speech" in dialect.endpoints),
    "image to video": lambda dialect: _tick("image_to_video" in dialect.endpoints),
    "audio length": _audio_length,
    "audio file": _audio_size,
}


def table() -> str:
    """Return the table: one column for each API, one row for each thing it may be able to do."""
    lines = [["`api`", *(f"`{name}`" for name in DIALECTS)], ["---"] * (len(DIALECTS) + 1)]
    lines += [[title, *(cell(dialect) for dialect in DIALECTS.values())] for title, cell in ROWS.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(table())
