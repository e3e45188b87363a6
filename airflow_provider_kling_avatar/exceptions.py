"""
How our errors look to Airflow: a permanent one is also an `AirflowFailException`, so that it burns no retry.

The class stays the same to whoever catches it: ``except AccountError`` works either way.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.clip_summary import tell_failed
from airflow_provider_kling_avatar.compat import AirflowFailException
from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.metrics import failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import Context


_FINAL: dict[type[KlingError], type[KlingError]] = {}


def _final_class(kind: type[KlingError]) -> type[KlingError]:
    """Return the subclass of an error that Airflow does not retry, made once."""
    if kind not in _FINAL:
        names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": _reduce}
        _FINAL[kind] = type(kind.__name__, (kind, AirflowFailException), names)
    return _FINAL[kind]


def as_final(error: KlingError) -> KlingError:
    """
    Make an error one after which Airflow does not retry, and return it.

    It stays the same object: another one raised in its place would be told with two tracebacks, and itself twice.
    """
    if not isinstance(error, AirflowFailException):
        error.__class__ = _final_class(type(error))
    return error


def _made_final(kind: type[KlingError], args: tuple[Any, ...], facts: dict[str, Any]) -> KlingError:
    """Make a final error from its parts, past its `__init__`, which would word it anew."""
    final_class = _final_class(kind)
    final = final_class.__new__(final_class, *args)
    final.args = args
    vars(final).update(facts)
    return final


def _reduce(final: KlingError) -> tuple[Any, ...]:
    """Pickle by the class that can be imported: the final one goes by the same name but is not found there."""
    return _made_final, (type(final).__bases__[0], final.args, vars(final))


@contextmanager
def airflow_errors(context: Context | None = None) -> Iterator[None]:
    """
    Let permanent errors end the task at once, and the others be retried as the Dag says.

    A permanent one is for the user to mend, and its sentence tells all: it leaves with one traceback, without those of
    what it came from.

    :param context: of a task that has a clip: its summary says what happened.
    """
    try:
        yield
    except KlingError as error:
        failed(error)
        if context is not None:
            tell_failed(context, error)
        if error.permanent:
            as_final(error)
            error.__cause__ = error.__context__ = None
        raise
