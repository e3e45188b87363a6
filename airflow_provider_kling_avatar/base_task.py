"""
What our operators and sensors are to Airflow: how they take their parameters, and how they give a worker back.

A name that is no parameter is an error where the Dag is read, which says what was probably meant.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from airflow_provider_kling_avatar.compat import BaseOperator, is_left_over, note_deferral
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.errors import InvalidRequestError
from airflow_provider_kling_avatar.lineage import LineageMixin
from airflow_provider_kling_avatar.waiting import clip_trigger

T = TypeVar("T")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from airflow.providers.common.compat.sdk import Context, RetryPolicy

    from airflow_provider_kling_avatar.kling.models import EndpointName
    from airflow_provider_kling_avatar.kling.polling.decide import PollLimits
    from airflow_provider_kling_avatar.parameters import Templated
    from airflow_provider_kling_avatar.waiting import Deferral


@cache
def parameters_of(task_class: type) -> frozenset[str]:
    """Return the names of all parameters that a class takes, and those that it is made of."""
    signatures = [
        inspect.signature(init) for base in task_class.__mro__[:-1] if (init := vars(base).get("__init__"))
    ]
    return frozenset(name for signature in signatures for name in signature.parameters) - {
        "self",
        "args",
        "kwargs",
    }


def check_names(task_class: type, arguments: Iterable[str], taker: str) -> None:
    """
    Look for parameters that there are not.

    :param taker: who was given them, for the message.
    :raises TypeError: there is one; the message names the nearest that there is.
    """
    known = parameters_of(task_class)
    for name in arguments:
        if name not in known and not name.startswith("_"):  # Airflow's own notes to itself
            from difflib import get_close_matches

            near = get_close_matches(name, known, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise TypeError(f"{taker} got an unknown parameter {name!r}{hint}")


def whole_signature(task_class: type[T]) -> type[T]:
    """
    Show in the signature of a class, which names its own parameters only, those that it hands on as well.

    Only show: Airflow has read what it needs, for each class its own, when it made the class.
    """
    beneath: Any = task_class.__mro__[1]
    init, handed_on = vars(task_class)["__init__"], inspect.signature(beneath.__init__).parameters
    *own, rest = inspect.signature(init).parameters.values()
    names = {parameter.name for parameter in own}
    more = [one for one in handed_on.values() if one.kind is one.KEYWORD_ONLY and one.name not in names]
    init.__signature__ = inspect.Signature([*own, *more, rest])
    return task_class


class _CheckedPartial:
    """Airflow's ``partial``, which names the nearest parameter for one that there is not."""

    def __get__(self, task: object, task_class: type) -> Callable[..., Any]:
        partial: Callable[..., Any] = inspect.getattr_static(BaseOperator, "partial").__get__(
            task, task_class
        )

        def checked(**arguments: Any) -> Any:
            check_names(task_class, arguments, f"{task_class.__name__}.partial()")
            return partial(**arguments)

        return checked


class KlingTask(LineageMixin, BaseOperator):
    """
    What all our tasks have in common.

    :param task_id: Airflow's name of the task; not the vendor's id of a clip.
    :param kling_conn_id: the connection.
    :param retry_policy: such as `retry_policies.kling_retry_policy`; for Airflow 3.3 and newer, elsewhere ``None``.
    """

    ui_color = "#d7f0e5"
    partial = _CheckedPartial()

    def __init__(
        self,
        *,
        task_id: str,
        kling_conn_id: Templated[str] = KlingAvatarHook.default_conn_name,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Any,
    ) -> None:
        check_names(type(self), kwargs, f"{type(self).__name__} (task_id: {task_id})")
        if retry_policy is not None:  # Airflow before 3.3 does not know it
            kwargs["retry_policy"] = retry_policy
        super().__init__(task_id=task_id, **kwargs)
        self.kling_conn_id = cast("str", kling_conn_id)  # as all templated fields are, once they are rendered

    if TYPE_CHECKING:

        @property
        def output(self) -> Any:
            """What the task returns. To Airflow an `XComArg`, which a type checker lets no TaskFlow function take."""

    def begin(self, context: Context) -> Any:
        """Do what `execute` does, which Airflow wants to be called by itself alone."""
        raise NotImplementedError

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral of this try; what is left over from an earlier one is thrown away."""
        if is_left_over(context):
            self.log.info("resumed with what an earlier try was waiting for: beginning anew")
            return self.begin(context)
        return super().resume_execution(next_method, next_kwargs, context)

    def wait_for_clip(
        self, context: Context, task_id: str, endpoint: EndpointName, limits: PollLimits
    ) -> NoReturn:
        """Give the worker back until a clip ends."""
        self.log.info("waiting for task %s in the triggerer, no worker is held", task_id)
        self.give_way(context, clip_trigger(task_id, endpoint, self.kling_conn_id, limits))

    def give_way(self, context: Context, deferral: Deferral) -> NoReturn:
        """Give the worker back until a trigger has reported: then `execute_complete` goes on with its event."""
        trigger, backstop = deferral
        note_deferral(context)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=backstop)


def given_task_id(value: object, *, from_manifest: bool = False) -> str:
    """
    Return a task's id as text. Rendered to native objects, the digits of an id are a number.

    :param from_manifest: take it out of a manifest too.
    :raises InvalidRequestError: there is none.
    """
    task_id = value.get("task_id") if from_manifest and isinstance(value, dict) else value
    if isinstance(task_id, int) and not isinstance(task_id, bool):
        task_id = str(task_id)
    if isinstance(task_id, str) and task_id.strip() not in ("", "None"):
        return task_id.strip()
    shape = "empty" if value is None or isinstance(value, str) else f"as {type(value).__name__}"
    source = "a submit operator, or the sensor," if from_manifest else "a submit operator"
    raise InvalidRequestError(
        f"kling_task_id came {shape}: it is the id that {source} returns; if it comes from an upstream task, that task "
        "returned nothing or something else",
        field="kling_task_id",
    )
