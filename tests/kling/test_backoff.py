"""How often to ask, and when to stop believing a list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_kling_avatar.kling.errors import (
    ConnectionLostError,
    NotFoundError,
    UnavailableError,
    UnreadableAnswerError,
    UnsupportedError,
    WrongRouteError,
)
from airflow_provider_kling_avatar.kling.models import TaskState, VideoTask
from airflow_provider_kling_avatar.kling.polling import backoff
from airflow_provider_kling_avatar.kling.polling.backoff import (
    Listing,
    RenderTimes,
    pause_after,
    pause_until_ready,
)

NOW = 1_795_252_475.5


def clip(seconds, *, created=NOW):
    return VideoTask("t", TaskState.SUCCEEDED, created_at=created, updated_at=created + seconds)


# ------------------------------------------------------------------------ failures


def test_pauses_grow_while_asking_fails_and_stop_growing_at_half_a_minute():
    assert [pause_after(failures, 2.0) for failures in range(1, 7)] == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_ten_failures_at_the_default_interval_outlast_two_minutes():
    assert sum(pause_after(failures, backoff.LIST_SECONDS) for failures in range(1, 10)) >= 120


@given(st.integers(1, 10_000), st.floats(0.01, 3600))
def test_no_pause_is_shorter_than_the_interval_or_longer_than_it_needs_to_be(failures, interval):
    assert interval <= pause_after(failures, interval) <= max(backoff.LONGEST_PAUSE_SECONDS, interval)


# ------------------------------------------------------------------------ times


def test_nothing_is_concluded_from_few_clips():
    times = RenderTimes()
    for _ in range(backoff.FEWEST_CLIPS - 1):
        times.saw(clip(100))
    assert times.shortest() == 0, "any clip may be ready"
    times.saw(clip(100))
    assert times.shortest() == 80


def test_what_is_usual_is_told_once_enough_clips_are_known():
    times = RenderTimes()
    for seconds in (10, 60, 70, 80):
        times.saw(clip(seconds))
    assert times.typical() is None
    times.saw(clip(1000))
    assert times.typical() == 70


def test_the_shortest_of_the_last_clips_counts():
    times = RenderTimes()
    for seconds in (500, 400, 50, 300, 200):
        times.saw(clip(seconds))
    assert times.shortest() == 40
    for _ in range(backoff.MOST_CLIPS):
        times.saw(clip(300))
    assert times.shortest() == 240, "what was long ago is forgotten"


@pytest.mark.parametrize(
    "task",
    [
        VideoTask("t", TaskState.SUCCEEDED),
        VideoTask("t", TaskState.SUCCEEDED, created_at=NOW),
        clip(0),
        clip(-5),
    ],
)
def test_a_vendor_without_a_clock_teaches_nothing(task):
    times = RenderTimes()
    for _ in range(10):
        times.saw(task)
    assert times.shortest() == 0


def test_a_clip_that_cannot_be_ready_is_asked_for_more_rarely_and_never_too_late_for_its_readiness():
    assert pause_until_ready(10.0, 200.0) == 50.0
    assert pause_until_ready(10.0, 30.0) == 30.0, "just when it may be ready"
    assert pause_until_ready(10.0, 5.0) == 10.0
    assert pause_until_ready(10.0, -100.0) == 10.0


# ------------------------------------------------------------------------ the list


@pytest.mark.parametrize("error", [ConnectionLostError, UnavailableError, UnreadableAnswerError])
def test_one_slip_of_the_list_is_passed_over_and_the_second_in_a_row_is_not(error):
    listing = Listing()
    assert listing.failed(error("x"), 0.0) == 0
    assert listing.is_usable(0.0)
    listing.worked(1.0)
    assert listing.failed(error("x"), 2.0) == 0
    assert listing.failed(error("x"), 3.0) == backoff.FALLBACK_SECONDS[0]
    assert not listing.is_usable(12.9)
    assert listing.is_usable(13.0)


@pytest.mark.parametrize("error", [WrongRouteError, NotFoundError, UnsupportedError])
def test_a_list_that_is_not_there_is_left_alone_for_an_hour_at_once(error):
    listing = Listing()
    assert listing.failed(error("x"), 0.0) == 3600
    assert not listing.is_usable(3599.0)


def test_a_list_that_misleads_again_and_again_is_left_alone_for_ever_longer():
    listing, now, spans = Listing(), 0.0, []
    for _ in range(9):
        spans.append(listing.distrust(now))
        now = listing.usable_at
        listing.worked(now)
    assert spans == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_old_trouble_is_forgotten():
    listing = Listing()
    for _ in range(5):
        listing.distrust(0.0)
    listing.worked(listing.usable_at + backoff.FORGOTTEN_SECONDS + 1)
    assert listing.distrust(10_000.0) == backoff.FALLBACK_SECONDS[0]


def test_a_vendor_that_wants_its_list_to_be_left_alone_for_long_gets_that_at_once():
    listing = Listing()
    assert listing.failed(UnavailableError("x", retry_after=600.0), 0.0) == backoff.FALLBACK_SECONDS[0]
