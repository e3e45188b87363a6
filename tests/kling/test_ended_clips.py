"""Which clips of a list are news: each once, in the order in which they ended, over restarts, by the vendor's clock."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_kling_avatar.kling.errors import NotFoundError, RateLimitedError, WrongRouteError
from airflow_provider_kling_avatar.kling.models import TaskState, Video, VideoTask
from airflow_provider_kling_avatar.kling.polling import ended_clips
from airflow_provider_kling_avatar.kling.polling.ended_clips import EndedClips, Questions, latest, read_list

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
VIDEOS = (Video(url="https://cdn.example/clip.mp4"),)


def clip(name, state="succeeded", *, ended=NOW, created=None):
    return VideoTask(
        task_id=name,
        state=TaskState(state),
        videos=VIDEOS if state == "succeeded" else (),
        reason="nobody's face" if state == "failed" else None,
        created_at=ended - 60 if created is None else created,
        updated_at=ended,
    )


def start(record=None, *, now=NOW, lookback=DAY, first_lookback=0.0):
    return EndedClips(record, now=now, lookback=lookback, first_lookback=first_lookback)


def restart(clips, **options):
    return start(json.loads(json.dumps(clips.record())), **options)


def news(clips, *rows, now=NOW):
    """Look once, tell all there is, and return what that was."""
    tasks = clips.news(rows, now=now)
    for task in tasks:
        clips.settle(task)
    return [task.task_id for task in tasks]


def test_what_has_ended_before_the_very_first_look_is_no_news():
    clips = start()

    assert news(clips, clip("b", ended=NOW - 10), clip("a", ended=NOW - DAY)) == []
    assert news(clips, clip("b", ended=NOW - 10), clip("a", ended=NOW - DAY)) == []


def test_thousands_of_old_clips_are_no_news_and_leave_a_small_record():
    clips = start()
    old = [clip(f"17959430{number:010}", ended=NOW - number) for number in range(5000)]

    assert news(clips, *old) == []
    assert len(json.dumps(clips.record())) < 40_000


def test_the_very_first_start_tells_of_older_clips_if_it_is_asked_to():
    clips = start(first_lookback=HOUR)

    assert news(clips, clip("b", ended=NOW - 10), clip("a", ended=NOW - 2 * HOUR)) == ["b"]


def test_a_clip_is_news_once_and_the_first_to_end_comes_first():
    clips = start()
    news(clips, clip("old"))
    rows = clip("c", ended=NOW + 3), clip("b", "failed", ended=NOW + 2), clip("a", ended=NOW + 1), clip("old")

    assert news(clips, *rows) == ["a", "b", "c"]
    assert news(clips, *rows) == []


def test_what_is_not_settled_is_news_again():
    clips = start()
    news(clips, clip("old"))

    first = clips.news([clip("a", ended=NOW + 1)], now=NOW)
    second = clips.news([clip("a", ended=NOW + 1)], now=NOW)

    assert first == second != []


def test_a_clip_that_was_seen_unfinished_is_news_however_late_the_list_shows_its_end():
    clips = start()
    news(clips, clip("new", ended=NOW), clip("slow", "running", created=NOW - 5 * HOUR))
    news(clips, clip("newer", ended=NOW + 2 * DAY), clip("slow", "running", created=NOW - 5 * HOUR))

    assert news(clips, clip("slow", ended=NOW - 100, created=NOW - 5 * HOUR)) == ["slow"]


def test_a_list_that_shows_a_clip_late_loses_none():
    clips = start()
    news(clips, clip("old"))
    news(clips, clip("b", ended=NOW + 1000))

    assert news(clips, clip("b", ended=NOW + 1000), clip("a", ended=NOW + 900)) == ["a"]


def test_a_list_that_is_empty_at_first_does_not_flood_when_it_is_back():
    clips = start()

    assert news(clips) == []
    assert news(clips, *[clip(str(number), ended=NOW - DAY - number) for number in range(500)]) == []
    assert news(clips, clip("new", ended=NOW + 5)) == ["new"]


def test_a_list_that_is_empty_at_first_hides_no_clip_that_ends_from_then_on():
    clips = start()
    hour = [clip(str(number), ended=NOW - 60 * number) for number in range(10, 60)]

    assert news(clips) == []
    assert news(clips, clip("slow", ended=NOW + 5, created=NOW - HOUR), *hour) == ["slow"]


def test_a_list_that_is_empty_for_a_while_neither_loses_nor_doubles():
    clips = start()
    news(clips, clip("old"), clip("a", "running"))
    news(clips)

    assert news(clips, clip("a", ended=NOW + 20), clip("old")) == ["a"]
    assert news(clips, clip("a", ended=NOW + 20), clip("old")) == []


def test_the_vendors_clock_may_be_wrong():
    clips, wrong = start(), NOW - 5 * DAY
    news(clips, clip("old", ended=wrong))

    assert news(clips, clip("new", ended=wrong + 10), clip("old", ended=wrong)) == ["new"]


def test_an_end_in_the_far_future_does_not_hide_what_ends_before_it():
    far = NOW + 3650 * DAY
    for first in ((clip("old"), clip("odd", ended=far)), (clip("old"),)):
        before = start()
        news(before, *first)
        news(before, clip("odd", ended=far), clip("old"))
        after = restart(before, now=NOW + HOUR)

        rows = [clip(str(number), ended=NOW + number) for number in range(1, 21)]
        told = news(after, clip("odd", ended=far), *rows, now=NOW + HOUR)
        assert told == [str(number) for number in range(1, 21)]


def test_our_own_clock_may_be_wrong():
    """A machine that was just switched on may be in 1970."""
    clips = start(now=0.0)
    news(clips, *[clip(str(number), ended=NOW - number) for number in range(500)], now=0.0)

    assert clips.read_back_to(1.0) >= NOW - HOUR
    assert news(clips, clip("new", ended=NOW + 10), clip("older", ended=NOW - 600), now=11.0) == ["new"]


def test_a_row_that_the_vendor_touches_long_after_its_end_is_no_news():
    clips = start()
    news(clips, clip("old"), clip("touched", ended=NOW - 30 * DAY))

    assert news(clips, clip("touched", ended=NOW + 60, created=NOW - 30 * DAY)) == []


def test_a_row_that_the_vendor_touches_hours_after_it_was_told_is_no_news():
    clips = start()
    news(clips, clip("old"))
    assert news(clips, clip("a", ended=NOW + 60, created=NOW)) == ["a"]
    assert news(clips, clip("b", ended=NOW + 20 * HOUR)) == ["b"]

    after = restart(clips, now=NOW + 21 * HOUR)
    for watch in (clips, after):
        assert news(watch, clip("a", ended=NOW + 20 * HOUR, created=NOW), now=NOW + 21 * HOUR) == []


def test_clips_of_before_the_very_first_start_that_the_vendor_touches_later_are_no_news():
    clips = start()
    news(clips, *[clip(str(number), ended=NOW - 10 * number) for number in range(500)])
    after = restart(clips)

    touched = [clip(str(number), ended=NOW + 30, created=NOW - 10 * number - 60) for number in range(500)]
    assert news(after, *touched) == []


def test_rows_without_times_are_news_if_they_were_seen_unfinished():
    clips = start()
    bare = VideoTask(task_id="a", state=TaskState.RUNNING)
    news(clips, clip("old"), bare)

    assert news(clips, VideoTask(task_id="a", state=TaskState.SUCCEEDED, videos=VIDEOS)) == ["a"]


# ---------------------------------------------------------------------------------------------- restarts


def test_a_restart_tells_what_ended_meanwhile_and_nothing_twice():
    before = start()
    news(before, clip("old"))
    news(before, clip("a", ended=NOW + 1), clip("b", "running"), clip("old"))

    after = restart(before, now=NOW + HOUR)

    rows = clip("c", ended=NOW + 30), clip("b", ended=NOW + 20), clip("a", ended=NOW + 1), clip("old")
    assert news(after, *rows) == ["b", "c"]


def test_a_restart_in_the_middle_of_telling_goes_on_with_the_next():
    before = start()
    news(before, clip("old"))
    rows = [clip(str(number), ended=NOW + 1000 * number) for number in range(1, 20)]
    for task in before.news(rows, now=NOW)[:7]:
        before.settle(task)

    assert news(restart(before, now=NOW + 20_000), *rows) == [str(number) for number in range(8, 20)]


def test_what_ended_longer_ago_than_the_lookback_is_not_caught_up():
    before = start()
    news(before, clip("old"))

    after = restart(before, now=NOW + 3 * DAY, lookback=DAY)

    assert news(after, clip("b", ended=NOW + 2.5 * DAY), clip("a", ended=NOW + DAY), clip("old")) == ["b"]
    assert after.too_old == 1


def test_clips_that_were_told_are_not_too_old_however_long_ago():
    before = start()
    news(before, clip("old"))
    rows = clip("a", ended=NOW + 1800), clip("old")
    news(before, *rows)
    after = restart(before, now=NOW + 3 * DAY, lookback=600)

    assert news(after, *rows) == []
    assert after.too_old == 0


@pytest.mark.parametrize(
    "record",
    [
        "",
        [],
        {},
        {"floor": 1.0},
        {"floor": None, "settled": {}, "open": {}},
        {"floor": float("nan"), "settled": {}, "open": {}},
        {"floor": 1.0, "settled": {"a": None}, "open": {}},
        {"floor": 1.0, "settled": {}, "open": {"a": "yesterday"}},
        {"floor": 1.0, "settled": ["a"], "open": {}},
    ],
)
def test_a_record_that_is_none_is_refused_before_anything_is_told_by_it(record):
    with pytest.raises(ValueError, match="not a record of what was told"):
        start(record)


def test_the_record_has_the_shape_that_is_in_databases():
    """It outlives upgrades of this package: only ever add to it, and read it without what was added."""
    golden = {"floor": 1799999400.0, "settled": {"b": 1800003000.0}, "open": {"c": 1800002000.0}}

    clips = start(golden, now=1_800_003_010.0)
    assert news(clips, clip("b", ended=1_800_003_000.0), clip("c", "running", created=1_800_002_000.0)) == []
    assert clips.record() == golden
    assert json.loads(json.dumps(golden)) == golden


def test_of_several_records_the_one_that_has_told_most_counts():
    early = {"floor": 1.0, "settled": {"a": 2.0}, "open": {}}
    late = {"floor": 3.0, "settled": {}, "open": {}}
    later = {"floor": 3.0, "settled": {"a": 4.0}, "open": {}}

    assert latest([]) is None
    assert latest([early]) == early
    assert latest([late, early]) == latest([early, late]) == late
    assert latest([late, later]) == latest([later, late]) == later
    assert latest([early, "spoilt"]) == early
    with pytest.raises(ValueError, match="not a record of what was told"):
        latest(["spoilt", {}])


def test_a_record_of_a_later_version_may_hold_more():
    before = start()
    news(before, clip("old"))

    assert start(before.record() | {"more": 1}).floor == before.floor


def test_the_record_keeps_a_day_of_clips_and_of_many_the_newest_thousand():
    few, many = start(), start()
    for number in range(3000):
        news(few, clip(str(number), ended=NOW + 300 * number))
        news(many, clip(f"17959430{number:010}", ended=NOW + 30 * number))

    assert len(few.record()["settled"]) == pytest.approx(25 * 12, abs=2)
    assert list(many.record()["settled"])[-1] == "179594300000002999"
    assert len(many.record()["settled"]) == 1000
    assert len(json.dumps(many.record())) < 40_000


def test_more_than_a_thousand_clips_within_an_hour_are_all_kept():
    clips = start()
    rows = [clip(str(number), ended=NOW + number) for number in range(1500)]
    news(clips, *rows)

    assert news(restart(clips), *rows) == []


def test_a_list_without_times_tells_each_clip_that_was_seen_unfinished_once_and_leaves_a_small_record():
    def bare(number, state="succeeded"):
        return VideoTask(task_id=str(number), state=TaskState(state), videos=VIDEOS)

    clips = start()
    news(clips, bare("old"), bare(0, "running"))
    for number in range(3000):
        rows = [bare(each) for each in range(max(number - 10, 0), number + 1)]
        assert news(clips, bare(number + 1, "running"), *rows, bare("older")) == [str(number)]
        clips = restart(clips)

    assert clips.record()["settled"] == {}
    assert clips.read_back_to(NOW) > 0, "one page is read"


@given(
    clips=st.lists(
        st.tuples(
            st.floats(1, 5 * HOUR), st.floats(1, 2 * HOUR), st.booleans(), st.none() | st.floats(1, 8 * HOUR)
        ),
        max_size=30,
    ),
    looks=st.lists(st.tuples(st.floats(1, HOUR), st.floats(0, 600), st.booleans()), max_size=30),
)
def test_whatever_lists_and_restarts_do_each_clip_is_told_once(clips, looks):
    """
    Clips: created, seconds to the end, whether they fail, and to when the vendor touches the row.

    Looks: seconds to it, how old the list is, a restart.
    """
    told, now, watch = [], NOW, start()
    news(watch, clip("old", ended=NOW - 10))
    for pause, lag, is_restart in [*looks, (8 * HOUR, 0.0, False)]:
        now += pause
        if is_restart:
            watch = restart(watch, now=now)
        seen_at, rows = now - lag, [clip("old", ended=NOW - 10)]
        for number, (begin, length, fails, touch) in enumerate(clips):
            created, ended = NOW + begin, NOW + begin + length
            if created <= seen_at:
                state = "running" if ended > seen_at else "failed" if fails else "succeeded"
                touched = ended + touch if touch and ended + touch <= seen_at else ended
                rows.append(clip(str(number), state, ended=min(touched, seen_at), created=created))
        back_to = watch.read_back_to(now)
        told += news(watch, *[row for row in rows if row.created_at >= back_to], now=now)

    assert sorted(told, key=int) == [str(number) for number in range(len(clips))]


# ---------------------------------------------------------------------------------------------- single questions


def thin(name="a", state="failed"):
    return VideoTask(task_id=name, state=TaskState(state), created_at=NOW - 60, updated_at=NOW)


def ask(questions, task, answer, *, until):
    """Ask whenever it is time, with the same answer; return when that was, and what is to be told."""
    asked, told, now = [], None, 0.0
    while now < until and told is None:
        if questions.is_due(task, now):
            asked.append(now)
            told = questions.answered(task, answer, now=now, interval=30.0)
        now += 30.0
    return asked, told


def test_what_a_question_brings_is_told_if_it_is_whole():
    whole = clip("a")

    assert ask(Questions(), thin(state="succeeded"), whole, until=HOUR) == ([0.0], whole)


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        ("succeeded", NotFoundError("none")),
        ("succeeded", thin(state="succeeded")),
        ("failed", thin(state="running")),
    ],
)
def test_a_clip_that_cannot_be_completed_is_asked_for_more_and_more_rarely_to_once_an_hour(state, answer):
    asked, told = ask(Questions(), thin(state=state), answer, until=10 * HOUR)

    pauses = [later - sooner for sooner, later in pairwise(asked)]
    assert pauses[:4] == [30.0, 60.0, 120.0, 240.0]
    assert set(pauses[7:]) == {HOUR}
    assert told is None


def test_a_failed_clip_is_told_without_its_reason_if_nobody_knows_it():
    task = thin()

    assert ask(Questions(), task, NotFoundError("none"), until=HOUR) == ([0.0], task)
    asked, told = ask(Questions(), task, WrongRouteError("a web page"), until=10 * HOUR)
    assert (len(asked), told) == (5, task)


def test_a_vendor_that_is_asked_too_often_is_left_alone_for_as_long_as_it_says():
    questions = Questions()
    questions.answered(thin("a"), RateLimitedError("slow down", retry_after=100.0), now=0.0, interval=30.0)

    assert [questions.is_due(thin(name), 99.0) for name in "ab"] == [False, False]
    assert [questions.is_due(thin(name), 100.0) for name in "ab"] == [True, True]
    questions.answered(thin("a"), RateLimitedError("slow down"), now=100.0, interval=30.0)
    assert [questions.is_due(thin("b"), now) for now in (129.0, 130.0)] == [False, True]


def test_questions_for_clips_that_are_told_or_gone_are_forgotten():
    questions = Questions()
    for name in "ab":
        questions.answered(thin(name), thin(name, "running"), now=0.0, interval=30.0)
    questions.keep(["b"])

    assert [questions.is_due(thin(name), 1.0) for name in "ab"] == [True, False]


# ---------------------------------------------------------------------------------------------- how far is read


class Lister:
    """Lists what it is given, the newest first; notes the pages."""

    def __init__(self, rows, cap=500):
        self.rows, self.cap, self.pages = rows, cap, []

    async def list_tasks(self, endpoint, *, page, page_size):
        self.pages.append(page)
        size = min(page_size, self.cap)
        return self.rows[(page - 1) * size : page * size]


async def test_the_very_first_look_reads_one_page():
    vendor = Lister([clip(str(number), ended=NOW - number) for number in range(5000)])

    await read_list(vendor, "avatar", start().read_back_to(NOW))

    assert vendor.pages == [1]


async def test_a_restart_reads_back_to_where_the_last_one_ended():
    before = start()
    news(before, clip("old", ended=NOW - 2000))
    vendor = Lister([clip(str(number), ended=NOW - number) for number in range(5000)])

    rows = await read_list(vendor, "avatar", restart(before).read_back_to(NOW))

    assert vendor.pages == [1, 2, 3, 4]
    assert len(news(restart(before), *rows)) == 2000


async def test_pages_are_read_as_far_as_the_oldest_unfinished_clip_unless_that_may_never_end():
    clips = start()
    news(
        clips,
        clip("new"),
        clip("young", "running", created=NOW - HOUR),
        clip("stuck", "running", created=1.0),
    )

    assert clips.read_back_to(NOW) == NOW - HOUR


async def test_a_list_that_repeats_its_only_page_is_read_twice():
    class OnePage(Lister):
        async def list_tasks(self, endpoint, *, page, page_size):
            self.pages.append(page)
            return self.rows

    vendor = OnePage([clip("a")])

    assert [task.task_id for task in await read_list(vendor, "avatar", 0.0)] == ["a"]
    assert vendor.pages == [1, 2]


async def test_an_endless_list_is_read_as_far_as_its_newest_twenty_thousand():
    class Endless(Lister):
        async def list_tasks(self, endpoint, *, page, page_size):
            self.pages.append(page)
            return [clip(f"{page}-{number}") for number in range(3)]

    vendor = Endless([])

    await read_list(vendor, "avatar", 0.0)

    assert len(vendor.pages) == ended_clips.MOST_PAGES
