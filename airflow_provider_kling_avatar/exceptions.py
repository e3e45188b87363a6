"""
How our errors look to Airflow: a permanent one is also an `AirflowFailException`, so that it burns no retry.

The class stays the same to whoever catches it: ``except AccountError`` works either way.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.compat import AirflowFailException
from airflow_provider_kling_avatar.kling.errors import KlingError

if TYPE_CHECKING:
    from collections.abc import Iterator


_FINAL: dict[type[KlingError], type[KlingError]] = {}


def _final_class(kind: type[KlingError]) -> type[KlingError]:
    """Return the subclass of an error that Airflow does not retry, made once."""
    if kind not in _FINAL:
        names = {"__module__": kind.__module__, "__doc__": kind.__doc__}
        _FINAL[kind] = type(kind.__name__, (kind, AirflowFailException), names)
    return _FINAL[kind]


def as_final(error: KlingError) -> KlingError:
    """Return the same error as one after which Airflow does not retry."""
    if isinstance(error, AirflowFailException):
        return error
    kind = _final_class(type(error))
    final = kind.__new__(kind, *error.args)
    final.__dict__.update(error.__dict__)
    final.args = error.args
    return final


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Let permanent errors end the task at once, and the others be retried as the Dag says."""
    try:
        yield
    except KlingError as error:
        if not error.permanent:
            raise
        raise as_final(error) from error
