"""
``@task.kling_avatar``: a function says what to film, the operator does the rest.

The function is asked once, as far as that can be kept: one that asks a model for a script says something else each
time, and other inputs are another clip, which is paid for again.
"""

from __future__ import annotations

import hashlib
import json
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeAlias, overload

import msgspec
from airflow.providers.common.compat.sdk import DecoratedOperator, determine_kwargs, task_decorator_factory
from msgspec.structs import replace

from airflow_provider_kling_avatar.base_task import check_names
from airflow_provider_kling_avatar.compat import own_xcom, round_of
from airflow_provider_kling_avatar.completion import push
from airflow_provider_kling_avatar.kling.errors import InvalidRequestError
from airflow_provider_kling_avatar.kling.submission.state import Versioned, load, save
from airflow_provider_kling_avatar.masking import mask, unmask
from airflow_provider_kling_avatar.operators.kling_avatar import AVATAR_FIELDS, KlingAvatarOperator
from airflow_provider_kling_avatar.state_store import state_store_of
from airflow_provider_kling_avatar.waiting import is_about_clip

if TYPE_CHECKING:
    from typing import Unpack

    from airflow.providers.common.compat.sdk import Context, XComArg

    from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
    from airflow_provider_kling_avatar.kling.submission.state import StateStore
    from airflow_provider_kling_avatar.manifest import VideoManifest
    from airflow_provider_kling_avatar.parameters import AvatarArguments

ANSWER_XCOM_KEY = "kling_answer"
"""Where a try leaves what the function answered, for itself after a deferral."""
SHOWN_XCOM_KEY = "kling_answer_shown"
"""Where it leaves what may be shown of an answer that may not be kept: enough to deliver the clip."""
ANSWER_STATE_KEY = "kling_answer"
"""Under which the answer is kept for later tries."""
MOST_CHARACTERS = 16_000
"""Of an answer, as JSON, that is kept."""


class AnswerRecord(Versioned, frozen=True, omit_defaults=True, kw_only=True):
    """
    What a function has answered, for later tries.

    :param arguments: a hash of the function's arguments: others are another question.
    :param answer: the request's fields.
    :param delivered_in: the round of tries in which their clip was delivered.
    """

    arguments: str = ""
    answer: dict[str, Any] = msgspec.field(default_factory=dict)
    delivered_in: int | None = None


Answer: TypeAlias = Mapping[str, Any] | str
"""What a function returns: the request's fields, or a text to be spoken."""

P = ParamSpec("P")


class AvatarTask(Protocol[P]):
    """A decorated function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Add the task to the Dag; return what stands for its result, see `base_task.KlingTask.output`."""
        ...

    def expand(self, **mapped: Any) -> XComArg:
        """Add one task for each value."""
        ...

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> XComArg:
        """Add one task for each set of arguments."""
        ...

    def partial(self, **kwargs: Any) -> AvatarTask[...]:
        """Give the arguments that all mapped tasks have in common."""
        ...

    def override(self, **kwargs: Unpack[AvatarArguments]) -> AvatarTask[P]:
        """Use the function with other arguments of the decorator."""
        ...


class KlingAvatarDecoratedOperator(KlingAvatarOperator, DecoratedOperator):
    """
    Asks a function what to film, then does what `KlingAvatarOperator` does.

    :param python_callable: returns the request's fields, or a text to be spoken.
    :param op_args: its arguments.
    :param op_kwargs: its named arguments.
    """

    template_fields: Sequence[str] = (*KlingAvatarOperator.template_fields, "op_args", "op_kwargs")
    template_fields_renderers = {  # noqa: RUF012 - as in Airflow's own
        **KlingAvatarOperator.template_fields_renderers,
        "op_args": "py",
        "op_kwargs": "py",
    }
    shallow_copy_attrs: Sequence[str] = ("python_callable",)
    custom_operator_name = "@task.kling_avatar"

    op_args: Collection[Any]
    op_kwargs: Mapping[str, Any]
    python_callable: Callable[..., Any]

    def carry_out(
        self, context: Context, hook: KlingAvatarHook, event: dict[str, Any] | None
    ) -> VideoManifest:
        """Put the function's answer in place, then go on as usual; for a clip that is there it is not asked again."""
        if is_about_clip(event):
            answer = own_xcom(context, ANSWER_XCOM_KEY) or own_xcom(context, SHOWN_XCOM_KEY) or {}
        else:
            answer = self._answer(context)
        self._apply(answer)
        return super().carry_out(context, hook, event)

    def note_delivery(self, context: Context) -> None:
        """Note it beside the answer too: a clear with ``on_rerun="regenerate"`` asks the function again."""
        super().note_delivery(context)
        try:
            store = self._answers(context)
            record = load(store, AnswerRecord)
            if record.version:
                save(store, replace(record, delivered_in=round_of(context, self.retries or 0)))
        except Exception as error:  # noqa: BLE001  # the clip is there: nothing may fail the task now
            self.log.warning("could not note down that the answer was used: %s", type(error).__name__)

    def _apply(self, answer: Mapping[str, Any]) -> None:
        for name, value in answer.items():
            setattr(self, name, value)

    def _answer(self, context: Context) -> dict[str, Any]:
        """Return what the function answered in this try or an earlier one; ask it if nothing was kept."""
        kept: dict[str, Any] | None = own_xcom(context, ANSWER_XCOM_KEY)
        if kept is not None:
            return kept
        store, arguments = self._answers(context), self._fingerprint()
        record = load(store, AnswerRecord)
        if record.arguments == arguments and self._is_wanted(context, record):
            self.log.info("the function was asked by an earlier try: going on with its answer")
            answer = record.answer
            push(context, **{ANSWER_XCOM_KEY: answer})
            return answer
        answer = self._ask(context)
        if not _may_be_kept(answer):
            self.log.warning(
                "the function's answer is not kept (a payload, a signed URL or more than %s characters): "
                "it is asked again if this task waits for a slot or is tried again",
                MOST_CHARACTERS,
            )
            shown = {name: value for name, value in answer.items() if _may_be_kept({name: value})}
            push(context, **{SHOWN_XCOM_KEY: shown})
            return answer
        push(context, **{ANSWER_XCOM_KEY: answer})
        save(store, AnswerRecord(arguments=arguments, answer=answer))
        return answer

    def _is_wanted(self, context: Context, record: AnswerRecord) -> bool:
        now = round_of(context, self.retries or 0)
        return self.on_rerun != "regenerate" or record.delivered_in in (None, now)

    def _ask(self, context: Context) -> dict[str, Any]:
        """
        Call the function.

        :raises InvalidRequestError: its answer is no request. Nothing was sent.
        """
        arguments = unmask(list(self.op_args))
        named: Mapping[str, Any] = ChainMap(unmask(dict(self.op_kwargs)), context)  # type: ignore[arg-type]
        named = determine_kwargs(self.python_callable, arguments, named)
        return fields_of(self.python_callable(*arguments, **named), self.python_callable)

    def _answers(self, context: Context) -> StateStore | None:
        return state_store_of(context, self.state_path, self._this_try(context).work, ANSWER_STATE_KEY)

    def _fingerprint(self) -> str:
        """Return what stands for the function's arguments: others are another question."""
        given = [unmask(list(self.op_args)), unmask(dict(self.op_kwargs))]
        return hashlib.sha256(_stable(given).encode("utf-8", "surrogatepass")).hexdigest()


def _stable(value: object) -> str:
    """Write a value so that it reads the same in every process: no order of a set, no address of an object."""
    if value is None or isinstance(value, str | int | float | bool):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(sorted(f'{_stable(key)}: {_stable(entry)}' for key, entry in value.items()))}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_stable, value)))}}}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return f"[{', '.join(map(_stable, value))}]"
    if is_dataclass(value) and not isinstance(value, type):
        entries = {field.name: getattr(value, field.name) for field in dataclass_fields(value)}
        return f"{type(value).__name__}{_stable(entries)}"
    has_words = type(value).__str__ is not object.__str__ or type(value).__repr__ is not object.__repr__
    return f"{type(value).__name__} {value}" if has_words else type(value).__name__


def _may_be_kept(answer: dict[str, Any]) -> bool:
    """Tell whether an answer is small JSON without a payload or a permission in it."""
    try:
        text = json.dumps(answer)
    except (TypeError, ValueError):
        return False
    return len(text) <= MOST_CHARACTERS and bool(mask(answer) == answer)


def fields_of(answer: object, function: Callable[..., Any]) -> dict[str, Any]:
    """
    Return a function's answer as the request's fields.

    :raises InvalidRequestError: it is none.
    """
    name = getattr(function, "__name__", "the function")
    if isinstance(answer, str):
        if not answer.strip():
            raise InvalidRequestError(f"{name} returned an empty text: no clip was ordered", field="text")
        return {"text": answer}
    if not isinstance(answer, Mapping):
        raise InvalidRequestError(
            f"{name} returned {'nothing' if answer is None else type(answer).__name__}: it has to return a dict of the "
            "request's fields, or a text to be spoken; no clip was ordered"
        )
    if unknown := sorted(str(key) for key in answer if key not in AVATAR_FIELDS):
        raise InvalidRequestError(
            f"{name} returned {', '.join(unknown)}, which no request has; there are {', '.join(AVATAR_FIELDS)}; "
            "no clip was ordered"
        )
    return dict(answer)


@overload
def kling_avatar_task(python_callable: Callable[P, Answer], /) -> AvatarTask[P]: ...


@overload
def kling_avatar_task(
    python_callable: None = None, /, **kwargs: Unpack[AvatarArguments]
) -> Callable[[Callable[P, Answer]], AvatarTask[P]]: ...


def kling_avatar_task(
    python_callable: Callable[..., Answer] | None = None, /, **kwargs: Any
) -> AvatarTask[...] | Callable[[Callable[..., Answer]], AvatarTask[...]]:
    """
    Make a function a task that films what the function returns: a dict of fields, or a text to be spoken.

    :param python_callable: the function.
    :param kwargs: whatever `KlingAvatarOperator` takes. Fields that the function returns go first.
    :raises TypeError: there is no such parameter, or ``multiple_outputs`` was asked for: a manifest has values that are
        ``None``.
    """
    check_names(KlingAvatarDecoratedOperator, kwargs, "@task.kling_avatar")
    if kwargs.pop("multiple_outputs", None):
        raise TypeError("@task.kling_avatar returns one manifest: leave multiple_outputs out")
    decorated: Any = task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=False,
        decorated_operator_class=KlingAvatarDecoratedOperator,
        **kwargs,
    )
    return decorated  # type: ignore[no-any-return]


__all__ = ["Answer", "AvatarTask", "KlingAvatarDecoratedOperator", "kling_avatar_task"]
