"""
What a task may spend: the estimate before it pays, the limit of a clip, and that of all rows of a mapped task.

Knows operators, connections and XCom. Prices are in `kling.pricing`, how rows share a budget in `kling.run_budget`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.compat import own_xcom, xcoms_of_all_rows
from airflow_provider_kling_avatar.kling.errors import CostLimitError, InvalidRequestError, KlingError
from airflow_provider_kling_avatar.kling.models import AvatarRequest, ImageToVideoRequest
from airflow_provider_kling_avatar.kling.pricing import (
    MODES,
    Cost,
    Estimate,
    Length,
    actual_cost,
    amount_text,
    decimal_of,
    estimate,
    guessed,
    measured,
    plain,
)
from airflow_provider_kling_avatar.kling.run_budget import Share, claim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_kling_avatar.kling.config import KlingConfig
    from airflow_provider_kling_avatar.kling.dialects import Dialect
    from airflow_provider_kling_avatar.kling.models import VideoRequest, VideoTask
    from airflow_provider_kling_avatar.kling.submission.request import Prepared

log = logging.getLogger(__name__)

ESTIMATE_XCOM_KEY = "kling_estimate"
"""``{"amount", "currency", "seconds", "rough"}``: what the clip was thought to cost before it was paid for."""
SHARE_XCOM_KEY = "kling_share_of_run"
"""What this row has claimed of ``max_cost_per_run``; its siblings read it."""
DEFAULT_VIDEO_SECONDS = "5"
"""The vendor's default length of an image-to-video clip."""


def parse_limit(name: str, value: object) -> Decimal | None:
    """
    Read a limit of cost; ``None`` stands for no limit.

    :param name: of the parameter it was given as.
    :raises InvalidRequestError: it is no amount of money. A limit must not vanish because a template gave nothing.
    """
    if value is None:
        return None
    amount = decimal_of(value)
    if amount is None:
        hint = "; its template gave nothing" if str(value).strip() in ("", "None") else ""
        raise InvalidRequestError(
            f"{name} is {value!r}; it must be a number, not negative, with a point and without a currency, such as "
            f'"1.50"{hint}',
            field=name,
        )
    return amount


def declared_length(request: VideoRequest, dialect: Dialect) -> tuple[VideoRequest, float | None]:
    """
    Take ``audio_duration_seconds`` beside ``audio_id`` as a word to us, where the API itself does not want it.

    :return: the request as the API wants it, and the seconds.
    """
    if not isinstance(request, AvatarRequest) or request.audio_duration_seconds is None:
        return request, None
    if request.audio_id and not dialect.takes("avatar", "audio_duration_seconds"):
        return replace(request, audio_duration_seconds=None), request.audio_duration_seconds
    return request, request.audio_duration_seconds


class CostLimits:
    """
    Approves what a task is about to pay for; see `kling.submission.submit.Approval`.

    :param context: of the running task.
    :param config: the account.
    :param request: what is wanted.
    :param prepared: the same, checked and measured.
    :param declared: seconds of audio, in the user's word.
    :param max_cost: what the clip may cost, in the user's word.
    :param max_cost_per_run: what all rows of this task may cost in this run, in the user's word.
    :raises InvalidRequestError: a limit is no amount of money.
    """

    def __init__(
        self,
        context: Context,
        config: KlingConfig,
        request: VideoRequest,
        prepared: Prepared,
        *,
        declared: float | None,
        max_cost: object,
        max_cost_per_run: object,
    ) -> None:
        self.context = context
        self.config = config
        self.request = request
        self.prepared = prepared
        self.declared = declared
        own, common = parse_limit("max_cost", max_cost), config.max_cost
        self.max_cost = min((limit for limit in (own, common) if limit is not None), default=None)
        self.max_cost_per_run = parse_limit("max_cost_per_run", max_cost_per_run)
        self.not_measured = ""
        self.mode = self._mode()
        map_index = context["ti"].map_index
        self.map_index = -1 if map_index is None else int(map_index)

    def before_speech(self) -> None:
        """
        Let a text be spoken, unless the clip made from it is sure to cost too much.

        :raises CostLimitError: it is, or its price is not known.
        """
        expected = self.estimate(None)
        if expected is None:
            self._check_known(expected, length_follows=True)
        elif self._limit is not None and expected.at_least > self._limit:
            raise self._too_much(expected, expected.at_least)

    def before_clip(self, spoken_seconds: float | None) -> None:
        """
        Let the clip be paid for, with the estimate logged and pushed.

        :raises CostLimitError: it may cost more than it may, or nobody can say.
        :raises CostUndecidedError: other rows do not decide; see `kling.run_budget`.
        """
        expected = self.estimate(spoken_seconds)
        self._check_known(expected)
        self._log_and_push(expected)
        if expected is None:
            return
        if self.max_cost is not None and expected.at_most > self.max_cost:
            raise self._too_much(expected, expected.at_most)
        if self.max_cost_per_run is not None:
            self._claim(expected)

    def note_bought(self, paid_for: Mapping[str, Any], spoken_seconds: float | None) -> None:
        """
        Tell of a clip that an earlier try has paid for: it counts for the others, and is never refused.

        :param paid_for: what is known of it, with the ``estimate`` of that try; the inputs may be others by now. Empty
            if nothing is, and it was made from these inputs.
        :param spoken_seconds: length of the speech, if this try had the text spoken and was told.
        """
        noted = paid_for.get("estimate")
        amount = decimal_of(noted.get("amount")) if noted else None
        if noted and amount is not None:
            log.info(
                "cost: about %s %s, as expected when it was paid for",
                amount_text(amount),
                noted.get("currency"),
            )
            self.context["ti"].xcom_push(key=ESTIMATE_XCOM_KEY, value=dict(noted))
        else:
            expected = self.estimate(spoken_seconds)
            if paid_for:
                log.info("cost: not known: what this clip was made from, or its price then, was not noted")
            else:
                self._log_and_push(expected)
            amount = expected.at_most if expected else None
        if amount is not None and self.max_cost_per_run is not None:
            self._push_share(Share(self.map_index, amount, "granted"))

    def estimate(self, spoken_seconds: float | None) -> Estimate | None:
        """Return what the clip will cost, ``None`` if its price or its length is not known."""
        model = self.request.model_name if isinstance(self.request, ImageToVideoRequest) else None
        price = self.config.prices.price(self.prepared.endpoint, self.mode, model)
        speech = self.config.prices.price("speech", "") if self.prepared.speech else None
        return estimate(price, self._length(spoken_seconds) if price else None, speech)

    # ------------------------------------------------------------- parts of it

    @property
    def _limit(self) -> Decimal | None:
        """The smallest limit there is."""
        limits = (limit for limit in (self.max_cost, self.max_cost_per_run) if limit is not None)
        return min(limits, default=None)

    def _mode(self) -> str:
        """Return the mode that is paid for, in our word: as it was sent, where the vendor has the same words."""
        endpoint = self.config.dialect.endpoint(self.prepared.endpoint)
        sent = self.prepared.body.get(endpoint.fields["mode"].name) if "mode" in endpoint.fields else None
        if sent in MODES[self.prepared.endpoint]:
            return str(sent)
        return str(self.request.mode or endpoint.defaults.get("mode") or "std")

    def _length(self, spoken_seconds: float | None) -> Length | None:
        request = self.request
        if isinstance(request, ImageToVideoRequest):
            return measured(float(request.duration or DEFAULT_VIDEO_SECONDS))
        known = spoken_seconds or self.declared or self.prepared.audio_seconds
        if known:
            return measured(known)
        if request.text:
            return guessed(request.text, request.voice_speed)
        if self._limit is not None and request.audio:
            return self._fetched(str(request.audio))
        return None

    def _fetched(self, url: str) -> Length | None:
        """Measure audio that only the vendor was to fetch: with a limit, its length matters to us too."""
        from airflow_provider_kling_avatar.kling import media
        from airflow_provider_kling_avatar.kling.submission.request import LONGEST_AUDIO_DOWNLOAD_BYTES

        if not url.lower().startswith(("http://", "https://")):
            return None
        try:
            data = media.fetch_url(
                url, max_bytes=LONGEST_AUDIO_DOWNLOAD_BYTES, address_rules=self.config.address_rules
            )
            return measured(media.measure_audio(data).seconds)
        except KlingError as error:
            self.not_measured = f" ({error.message})"
            log.info("the length of the audio could not be measured: %s", error)
            return None

    def _log_and_push(self, expected: Estimate | None) -> None:
        if expected is None:
            log.info("cost: not known, since %s", self._what_is_missing())
            return
        log.info("cost: %s", expected)
        self.context["ti"].xcom_push(key=ESTIMATE_XCOM_KEY, value=expected.as_json())

    def _check_known(self, expected: Estimate | None, *, length_follows: bool = False) -> None:
        """Refuse where there is a limit and nobody can say whether it is kept."""
        if expected is not None or self._limit is None:
            return
        raise CostLimitError(
            f"there is a limit of {plain(self._limit)} on what this may cost, but nobody can say what it will: "
            f"{self._what_is_missing(length_follows=length_follows)}. No clip was ordered"
        )

    def _what_is_missing(self, *, length_follows: bool = False) -> str:
        model = self.request.model_name if isinstance(self.request, ImageToVideoRequest) else None
        endpoint = self.prepared.endpoint
        if length_follows or self.config.prices.price(endpoint, self.mode, model) is None:
            return (
                f"no price is known for {endpoint}.{self.mode} on the api {self.config.dialect.name!r}; put it into "
                f'the extra of the connection, such as "prices": {{"{endpoint}.{self.mode}": "0.05", '
                '"currency": "USD"}'
            )
        return (
            f"the length of the voice is not known{self.not_measured}; give audio or text, or audio_duration_seconds "
            "beside audio_id or a URL"
        )

    def _too_much(self, expected: Estimate, amount: Decimal) -> CostLimitError:
        name = "max_cost" if self._limit == self.max_cost else "max_cost_per_run"
        return CostLimitError(
            f"this clip may cost {amount_text(amount)} {expected.currency}, more than {name} allows, "
            f"{plain(self._limit or Decimal(0))} ({expected}); it was not ordered. "
            f"Shorten it, take a cheaper mode, or raise {name}"
        )

    def _claim(self, expected: Estimate) -> None:
        limit = self.max_cost_per_run
        if limit is None:
            return
        held = _own_share(self.context)
        if held and held.stage == "granted" and held.amount >= expected.at_most:
            return  # this try has claimed it before it began to wait for a slot
        total = claim(
            self.map_index, expected.at_most, limit, push=self._push_share, read_all=self._shares_of_all_rows
        )
        log.info(
            "with this clip %s of max_cost_per_run %s %s are spoken for",
            amount_text(total),
            plain(limit),
            expected.currency,
        )

    def _push_share(self, share: Share) -> None:
        _push_share(self.context, share)

    def _shares_of_all_rows(self) -> list[Share]:
        shares = (Share.from_json(value) for value in xcoms_of_all_rows(self.context, SHARE_XCOM_KEY))
        return [share for share in shares if share]


def pushed_estimate(context: Context) -> dict[str, Any] | None:
    """
    Return what this try has pushed of the clip's cost, also after a deferral.

    :return: ``{"amount", "currency", "seconds", "rough"}``, or ``None`` if it is not known.
    """
    estimate: dict[str, Any] | None = own_xcom(context, ESTIMATE_XCOM_KEY)
    return estimate


def cost_of(task: VideoTask, config: KlingConfig) -> Cost | None:
    """Return what a task did cost (``amount``, ``currency``), as far as the vendor says; see `pricing.actual_cost`."""
    return actual_cost(task, config.prices)


def release_share(context: Context) -> None:
    """Give back what a row has claimed of its run's budget, if it has: the vendor has certainly refused the clip."""
    share = _own_share(context)
    if share and share.stage == "granted":
        _push_share(context, Share(share.map_index, share.amount, "withdrawn"))


def _own_share(context: Context) -> Share | None:
    return Share.from_json(own_xcom(context, SHARE_XCOM_KEY))


def _push_share(context: Context, share: Share) -> None:
    context["ti"].xcom_push(key=SHARE_XCOM_KEY, value=share.as_json())
