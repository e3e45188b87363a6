"""When waiting goes on and when it ends: the one state machine, with a clock that only moves when it is told to."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_kling_avatar.kling.errors import (
    AuthenticationError,
    KlingError,
    NoFreeSlotError,
    NoSuchTaskError,
    NotFoundError,
    RateLimitedError,
    TaskFailedError,
    TaskLostError,
    TaskRejectedError,
    TaskTimeoutError,
    UnavailableError,
)
from airflow_provider_kling_avatar.kling.models import TaskState, Video, VideoTask
from airflow_provider_kling_avatar.kling.polling.decide import (
    HEARTBEAT_SECONDS,
    Finished,
    PollLimits,
    PollTracker,
    Verdict,
    Wait,
    decide,
    error_for,
)
from airflow_provider_kling_avatar.kling.polling.wait import wait_for_task

LIMITS = PollLimits(deadline=1000.0, poll_interval=10.0, max_failed_polls=3)


def task(state, status="", **more):
    return VideoTask("t-1", state, status or state.value, **more)


QUEUED, RUNNING = task(TaskState.QUEUED, "submitted"), task(TaskState.RUNNING, "processing")
DONE = task(TaskState.SUCCEEDED, "succeed", videos=(Video(url="https://cdn.test/clip.mp4"),))
EMPTY = task(TaskState.SUCCEEDED, "succeed")
FAILED = task(TaskState.FAILED, "failed", reason="render node lost", reason_code=400)
BAD_INPUT = task(TaskState.FAILED, "failed", reason="Image pixel is invalid", reason_code=1201)
REJECTED = task(
    TaskState.FAILED, "failed", reason="Failure to pass the risk control system", reason_code=1301
)
ODD = task(TaskState.UNKNOWN, "reviewing")
DOWN = UnavailableError("the vendor is down", code=5001)


def plain(decision):
    """Leave out how long the vendor took, which `decide` does not know."""
    if isinstance(decision, Wait):
        return decision
    return msgspec.structs.replace(decision, queued=None, rendering=None)


class World:
    """Time, what is seen at each look, and the lines that are logged."""

    def __init__(self, *seen, now=0.0):
        self.seen, self.now, self.looks, self.naps, self.lines = list(seen), now, [], [], []

    def look(self):
        self.looks.append(self.now)
        seen = self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]
        if isinstance(seen, BaseException):
            raise seen
        return seen

    def sleep(self, seconds):
        assert seconds > 0
        self.naps.append(seconds)
        self.now += seconds

    def info(self, event, *args):
        self.lines.append(event % args)


@pytest.fixture
def wait():
    """A worker's loop in a world with a clock of its own."""

    def run(world, limits=LIMITS, **more):
        return wait_for_task(world.look, limits, world, clock=lambda: world.now, sleep=world.sleep, **more)

    return run


def test_a_clip_that_is_done_ends_the_wait_at_the_first_look(wait):
    world = World(DONE)
    assert wait(world) == Finished(Verdict.SUCCEEDED)
    assert (world.looks, world.naps) == ([0.0], [])


def test_waiting_goes_on_at_the_interval_until_the_clip_is_done(wait):
    world = World(QUEUED, RUNNING, RUNNING, ODD, DONE)
    assert wait(world).verdict is Verdict.SUCCEEDED
    assert len(world.naps) == 4
    assert all(9 <= nap <= 11 for nap in world.naps)


@pytest.mark.parametrize(
    ("limits", "first_look"),
    [({}, 2.0), ({"poll_interval": None}, 2.0), ({"poll_interval": 1.0}, 1.0), ({"deadline": 0.5}, 0.5)],
)
def test_a_clip_that_was_sent_just_now_is_first_asked_for_after_a_pause(wait, limits, first_look):
    world = World(DONE)

    assert wait(world, msgspec.structs.replace(LIMITS, **limits), is_new=True) == Finished(Verdict.SUCCEEDED)

    assert world.looks == [first_look]


@pytest.mark.parametrize(
    ("seen", "kind", "permanent"),
    [
        (FAILED, TaskFailedError, False),
        (REJECTED, TaskRejectedError, True),
        (BAD_INPUT, TaskRejectedError, True),
    ],
)
def test_a_failure_ends_the_wait_with_the_vendors_reason(wait, seen, kind, permanent):
    finished = wait(World(RUNNING, seen))
    assert plain(finished) == Finished(Verdict.FAILED, seen.reason, seen.reason_code)
    error = error_for("t-1", finished)
    assert (type(error), error.permanent, error.code) == (kind, permanent, seen.reason_code)
    assert "t-1" in str(error)
    assert seen.reason in str(error)


def test_a_failure_without_a_reason_says_so():
    error = error_for("t-1", decide(task(TaskState.FAILED), now=0, limits=LIMITS))
    assert "without a reason" in str(error)


@pytest.mark.parametrize("seen", [QUEUED, RUNNING, ODD, RateLimitedError("slow down")])
def test_the_last_look_falls_exactly_on_the_deadline(wait, seen):
    world = World(seen)
    finished = wait(world)
    assert finished.verdict is Verdict.TIMEOUT
    assert world.looks[-1] == LIMITS.deadline
    assert world.looks == sorted(set(world.looks))
    error = error_for("t-1", finished)
    assert type(error) is TaskTimeoutError
    assert not error.permanent
    assert "may still finish" in str(error)


def test_a_clip_that_is_done_at_the_last_look_is_done(wait):
    world = World(RUNNING, DONE, now=995.0)
    assert wait(world).verdict is Verdict.SUCCEEDED
    assert world.looks == [995.0, 1000.0]


def test_a_deadline_that_has_passed_still_allows_one_look(wait):
    assert wait(World(DONE, now=5000.0)).verdict is Verdict.SUCCEEDED
    assert wait(World(RUNNING, now=5000.0)).verdict is Verdict.TIMEOUT


@pytest.mark.parametrize(
    "trouble", [DOWN, NotFoundError("gone", code=1203), AuthenticationError("key"), EMPTY]
)
def test_so_many_failed_looks_in_a_row_lose_the_task(wait, trouble):
    world = World(RUNNING, trouble)
    finished = wait(world)
    assert finished.verdict is Verdict.LOST
    assert len(world.looks) == 1 + LIMITS.max_failed_polls
    error = error_for("t-1", finished)
    assert type(error) is TaskLostError
    assert "may still finish" in str(error)
    assert error.code == getattr(trouble, "code", None)


def test_a_good_look_starts_the_count_anew(wait):
    world = World(DOWN, DOWN, RUNNING, DOWN, DOWN, RUNNING, DOWN, DOWN, DONE)
    assert wait(world).verdict is Verdict.SUCCEEDED


def test_being_told_to_slow_down_counts_as_a_look_and_not_as_a_failure(wait):
    slow = RateLimitedError("slow down")
    assert wait(World(*[slow] * 10, DONE)).verdict is Verdict.SUCCEEDED
    assert wait(World(DOWN, DOWN, slow, DOWN, DOWN, DONE)).verdict is Verdict.SUCCEEDED


def test_no_free_slot_is_no_answer_to_a_question_and_counts(wait):
    assert wait(World(NoFreeSlotError("full"))).verdict is Verdict.LOST


def test_a_told_pause_is_honoured_but_not_past_the_deadline(wait):
    world = World(RateLimitedError("slow", retry_after=300.0), DONE)
    wait(world)
    assert world.naps == [300.0]
    world = World(RateLimitedError("slow", retry_after=5000.0), DONE)
    assert wait(world).verdict is Verdict.SUCCEEDED
    assert world.looks == [0.0, 1000.0]
    world = World(RateLimitedError("slow", retry_after=1.0), DONE)
    wait(world)
    assert 9 <= world.naps[0] <= 11


def test_success_without_an_address_is_told_and_ends(wait):
    world = World(EMPTY)
    finished = wait(world)
    assert finished.verdict is Verdict.LOST
    assert "no video URL" in finished.reason
    assert wait(World(EMPTY, EMPTY, DONE)).verdict is Verdict.SUCCEEDED


def test_only_our_own_errors_are_taken_for_looks(wait):
    with pytest.raises(ZeroDivisionError):
        wait(World(ZeroDivisionError()))


# ------------------------------------------------------------------------ no such task

STRANGE = PollLimits(deadline=1e6, poll_interval=600.0, max_failed_polls=2, is_known=False)
NOT_THERE = {
    "Kling's live words": NotFoundError("Task not found by id/external id: t-1", code=1201, http_status=400),
    "Kling's documented code": NotFoundError("no such thing", code=1203, http_status=404),
    "a gateway of its own ids": NotFoundError("no such task", code="task_not_exist", http_status=400),
    "another gateway of its own ids": NotFoundError("no such task", code="task_not_found", http_status=404),
}
GONE = NOT_THERE["Kling's live words"]
BARE_404 = NotFoundError("the vendor has nothing at this address", http_status=404)


@pytest.mark.parametrize("gone", NOT_THERE.values(), ids=NOT_THERE)
def test_an_id_that_nobody_knows_is_told_after_three_looks_within_15_s(wait, gone):
    world = World(gone)
    finished = wait(world, STRANGE)
    assert finished.verdict is Verdict.NOT_FOUND
    assert len(world.looks) == 3
    assert world.looks[-1] <= 15
    error = error_for("t-1", finished)
    assert type(error) is NoSuchTaskError
    assert isinstance(error, NotFoundError)
    assert error.permanent
    assert error.code == gone.code
    for words in ("task t-1", "connection", "endpoint", gone.message):
        assert words in str(error)


@pytest.mark.parametrize("interval", [0.5, 600.0])
def test_the_three_looks_follow_each_other_within_five_seconds_whatever_the_interval(wait, interval):
    world = World(GONE)
    wait(world, msgspec.structs.replace(STRANGE, poll_interval=interval))
    assert len(world.naps) == 2
    assert max(world.naps) <= min(5.0, 1.1 * interval)


@pytest.mark.parametrize("trouble", [BARE_404, DOWN, AuthenticationError("key", code=1002)])
def test_what_may_have_another_reason_than_an_unknown_id_is_a_failed_poll(wait, trouble):
    world = World(trouble)
    assert wait(world, STRANGE).verdict is Verdict.LOST
    assert world.naps[0] >= 500


def test_a_task_that_is_known_to_exist_is_lost_by_failed_polls_and_never_unknown(wait):
    assert LIMITS.is_known, "nobody gives up a paid clip because he forgot to say that it is his"
    patient = msgspec.structs.replace(LIMITS, max_failed_polls=10)
    world = World(GONE)
    assert wait(world, patient).verdict is Verdict.LOST
    assert len(world.looks) == 10


def test_what_was_seen_once_is_no_unknown_id(wait):
    world = World(RUNNING, GONE)
    assert wait(world, msgspec.structs.replace(STRANGE, max_failed_polls=5)).verdict is Verdict.LOST
    assert len(world.looks) == 6


def test_a_task_that_shows_itself_at_the_third_look_is_waited_for(wait):
    assert wait(World(GONE, GONE, RUNNING, DONE), STRANGE).verdict is Verdict.SUCCEEDED


def test_not_there_and_failed_polls_are_counted_apart(wait):
    assert wait(World(DOWN, GONE, GONE, DOWN, DONE), STRANGE).verdict is Verdict.SUCCEEDED
    slow = RateLimitedError("slow down")
    assert wait(World(GONE, DOWN, GONE, slow, GONE), STRANGE).verdict is Verdict.NOT_FOUND, (
        "only the task itself says that it is there after all"
    )


def test_looks_for_an_unknown_id_are_counted_in_the_log(wait):
    world = World(GONE)
    wait(world, STRANGE)
    assert [line.split(":")[0] for line in world.lines] == [
        f"the vendor has no such task (look {n} of 3)" for n in range(1, 4)
    ]


def test_looks_for_an_unknown_id_end_at_the_deadline_too(wait):
    world = World(GONE)
    assert wait(world, msgspec.structs.replace(STRANGE, deadline=2.0)).verdict is Verdict.TIMEOUT
    assert world.looks == [0.0, 2.0]


# ------------------------------------------------------------------------ limits


def test_limits_are_handed_on_as_json_scalars_by_names_that_stay():
    limits = PollLimits(1000.0, 10.0, 3, queue_deadline=100.0, render_timeout=60.0, since=1.0, is_known=False)
    handed_on = {
        "deadline": 1000.0,
        "poll_interval": 10.0,
        "max_failed_polls": 3,
        "queue_deadline": 100.0,
        "render_timeout": 60.0,
        "since": 1.0,
        "is_known": False,
    }

    assert limits.as_dict() == json.loads(json.dumps(handed_on))
    assert PollLimits.from_dict(handed_on | {"from_the_future": True}) == limits
    assert PollLimits.from_dict({"deadline": 1}) == PollLimits(1.0)


def test_one_who_names_no_interval_asks_every_ten_seconds():
    assert decide(RUNNING, now=0.0, limits=PollLimits(1000.0)) == Wait(10.0, 0, deadline=1000.0)


# ------------------------------------------------------------------------ log lines


def test_an_unknown_word_is_told_once(wait):
    world = World(ODD, ODD, task(TaskState.UNKNOWN, "paused"), ODD, DONE)
    wait(world)
    told = [line for line in world.lines if "does not know" in line]
    assert len(told) == 2
    assert "'reviewing'" in told[0]
    assert "'paused'" in told[1]


def test_the_log_has_a_line_per_change_and_a_sign_of_life_now_and_then(wait):
    world = World(QUEUED, *[RUNNING] * int(2.5 * HEARTBEAT_SECONDS / LIMITS.poll_interval), DONE)
    wait(world)
    assert len(world.lines) == 5  # submitted, processing, two signs of life, succeed
    for words in ("t-1", "submitted", "1000 s"):
        assert words in world.lines[0]


def test_failed_looks_are_counted_in_the_log(wait):
    world = World(DOWN)
    wait(world)
    assert [line.split(":")[0] for line in world.lines] == [
        f"poll failed ({n}/3 in a row)" for n in range(1, 4)
    ]
    assert "code 5001" in world.lines[0]


def test_the_log_holds_no_address(wait):
    world = World(DONE)
    wait(world)
    assert "cdn.test" not in " ".join(world.lines)


# ------------------------------------------------------------------------ a limit that may hide an empty account

NO_REASON = RateLimitedError("the gateway's own words", code="fail_to_fetch_task", http_status=429)


def hints(world):
    return [line for line in world.lines if "balance" in line]


@pytest.mark.parametrize("code", [None, 429, "fail_to_fetch_task", "rate_limit_exceeded"])
def test_after_ten_minutes_of_refusals_without_a_reason_the_log_says_once_that_the_account_may_be_empty(
    wait, code
):
    world = World(RateLimitedError("busy", code=code))
    limits = PollLimits(deadline=3000.0, poll_interval=10.0, max_failed_polls=3)
    assert wait(world, msgspec.structs.replace(limits, deadline=590.0)).verdict is Verdict.TIMEOUT
    assert hints(world) == []
    world = World(RateLimitedError("busy", code=code))
    assert wait(world, limits).verdict is Verdict.TIMEOUT
    (hint,) = hints(world)
    assert "account" in hint
    assert "console" in hint


def test_kling_itself_says_what_it_means(wait):
    world = World(RateLimitedError("slow down", code=1302, http_status=429))
    wait(world, PollLimits(deadline=3000.0, poll_interval=10.0, max_failed_polls=3))
    assert hints(world) == []


def test_only_refusals_in_a_row_let_an_account_seem_empty(wait):
    for other in (RUNNING, DOWN, RateLimitedError("slow down", code=1302)):
        world = World(*([NO_REASON] * 50 + [other]) * 6, DONE)
        wait(world, PollLimits(deadline=1e5, poll_interval=10.0, max_failed_polls=3))
        assert hints(world) == []


# ------------------------------------------------------------------- whatever comes

TASKS = st.builds(
    VideoTask,
    task_id=st.just("t"),
    state=st.sampled_from(TaskState),
    status=st.text(max_size=10),
    reason=st.none() | st.text(max_size=10),
    reason_code=st.none() | st.integers() | st.text(max_size=10),
    videos=st.sampled_from([(), (Video(url="https://cdn.test/a"),)]),
)
ERRORS = st.builds(
    lambda kind, code, wait: kind("m", code=code, retry_after=wait),
    st.sampled_from([KlingError, RateLimitedError, UnavailableError, AuthenticationError, NotFoundError]),
    st.sampled_from([None, 1201, 1302, "task_not_exist"]),
    st.none() | st.floats(0, 86400),
)
LIMITS_OF_ANY_KIND = st.builds(
    PollLimits,
    deadline=st.floats(0, 2e9),
    poll_interval=st.floats(0.1, 600),
    max_failed_polls=st.integers(1, 100),
    is_known=st.booleans(),
)


@given(
    seen=TASKS | ERRORS,
    now=st.floats(0, 4e9),
    limits=LIMITS_OF_ANY_KIND,
    failed=st.integers(0, 200),
    not_found=st.integers(0, 2),
    jitter=st.floats(0, 1),
)
def test_no_decision_waits_past_the_deadline(seen, now, limits, failed, not_found, jitter):
    decision = decide(seen, now=now, limits=limits, failed_polls=failed, not_found=not_found, jitter=jitter)
    if isinstance(decision, Wait):
        assert decision.seconds > 0
        assert now + decision.seconds <= limits.deadline
        assert now < limits.deadline
        assert 0 <= decision.failed_polls < limits.max_failed_polls
    elif decision.verdict is Verdict.SUCCEEDED:
        assert seen.video is not None
    else:
        assert isinstance(error_for("t", decision), KlingError)


@given(
    looks=st.lists(TASKS | ERRORS, min_size=1, max_size=20),
    start=st.floats(0, 1.8e9),
    length=st.floats(0, 5000),
    interval=st.floats(1, 600),
    failures=st.integers(1, 5),
)
def test_waiting_always_ends_and_never_late(looks, start, length, interval, failures):
    world = World(*looks, now=start)
    limits = PollLimits(start + length, interval, failures)
    finished = wait_for_task(world.look, limits, world, clock=lambda: world.now, sleep=world.sleep)
    assert isinstance(finished, Finished)
    assert world.looks[-1] <= limits.deadline
    if finished.verdict is Verdict.TIMEOUT:
        assert world.looks[-1] == limits.deadline


@given(st.lists(TASKS | ERRORS, max_size=30), LIMITS_OF_ANY_KIND)
def test_a_tracker_counts_as_decide_does(looks, limits):
    tracker, failed, not_found, now = PollTracker(limits), 0, 0, 0.0
    for seen in looks:
        decision = decide(seen, now=now, limits=limits, failed_polls=failed, not_found=not_found)
        if isinstance(seen, VideoTask):
            limits = msgspec.structs.replace(limits, is_known=True)
        assert plain(tracker.look(seen, now=now)) == decision
        tracker.log_lines(seen, now=now)
        if isinstance(decision, Finished):
            return
        failed, not_found = decision.failed_polls, decision.not_found
        assert (tracker.failed_polls, tracker.not_found) == (failed, not_found)
        now += decision.seconds


# ------------------------------------------------------------------ two kinds of waiting


SPLIT = PollLimits(deadline=1000.0, poll_interval=10.0, max_failed_polls=3, queue_deadline=100.0, since=0.0)


def test_a_task_that_the_vendor_does_not_begin_in_time_is_given_up_earlier():
    assert decide(QUEUED, now=99.0, limits=SPLIT) == Wait(1.0, 0, deadline=100.0), (
        "the last look falls on the queue's deadline"
    )
    assert decide(QUEUED, now=100.0, limits=SPLIT) == Finished(Verdict.TIMEOUT)
    assert decide(RUNNING, now=100.0, limits=SPLIT) == Wait(10.0, 0, deadline=1000.0)
    assert decide(RUNNING, now=1000.0, limits=SPLIT) == Finished(Verdict.TIMEOUT)
    assert decide(DOWN, now=500.0, limits=SPLIT) == Wait(10.0, 1, deadline=1000.0), (
        "nobody knows that it is still queued"
    )


def test_a_task_that_is_rendered_too_long_is_given_up_however_long_it_was_queued():
    tracker = PollTracker(PollLimits(1e9, 10.0, 3, render_timeout=60.0, since=0.0))
    tracker.look(QUEUED, now=5000.0)
    assert tracker.look(RUNNING, now=6000.0) == Wait(10.0, 0, deadline=6060.0)
    assert tracker.look(DOWN, now=6055.0) == Wait(5.0, 1, deadline=6060.0)
    finished = tracker.look(RUNNING, now=6060.0)
    assert (finished.verdict, finished.reason) == (
        Verdict.TIMEOUT,
        "6000 s in the vendor's queue, 60 s rendering",
    )


def test_without_a_limit_of_its_own_the_queue_has_the_whole_time():
    assert isinstance(decide(QUEUED, now=999.0, limits=LIMITS), Wait)


def test_a_timeout_tells_how_long_the_task_was_queued_and_how_long_rendered():
    tracker = PollTracker(SPLIT)
    for now in (0.0, 20.0, 40.0):
        tracker.look(QUEUED, now=now)
    for now in (60.0, 500.0):
        tracker.look(RUNNING, now=now)
    finished = tracker.look(RUNNING, now=1000.0)
    assert finished == Finished(
        Verdict.TIMEOUT, "60 s in the vendor's queue, 940 s rendering", queued=60.0, rendering=940.0
    )
    assert "60 s in the vendor's queue" in str(error_for("t-1", finished))


def test_a_task_that_never_began_was_queued_all_the_time():
    tracker = PollTracker(SPLIT)
    assert tracker.look(QUEUED, now=100.0).reason == "100 s in the vendor's queue, 0 s rendering"


def test_a_triggerer_that_takes_over_in_the_middle_believes_the_vendors_own_times():
    running = task(TaskState.RUNNING, "processing", created_at=5000.0, updated_at=5030.0)
    tracker = PollTracker(SPLIT)
    tracker.look(running, now=400.0)
    assert tracker.look(running, now=1000.0).reason == "30 s in the vendor's queue, 970 s rendering"
    odd = task(TaskState.RUNNING, "processing", created_at=5000.0, updated_at=9000.0)
    tracker = PollTracker(SPLIT)
    tracker.look(odd, now=400.0)
    assert tracker.times(400.0) == "400 s in the vendor's queue, 0 s rendering", "never more than has passed"


def test_the_log_ends_with_both_times_if_it_was_seen_to_wait():
    tracker = PollTracker(SPLIT)
    lines = []
    for now, seen in ((0.0, QUEUED), (20.0, RUNNING), (80.0, DONE)):
        tracker.look(seen, now=now)
        lines += tracker.log_lines(seen, now=now)
    assert lines[0].endswith("submitted, waiting for up to 100 s more")
    assert lines[1].endswith("processing after 20 s, waiting for up to 980 s more")
    assert lines[2].endswith("succeed, 20 s in the vendor's queue, 60 s rendering")
    already = PollTracker(SPLIT)
    already.look(DONE, now=5.0)
    assert [*already.log_lines(DONE, now=5.0)] == ["task t-1: succeed"]


def test_the_log_says_what_is_expected_where_the_accounts_clips_are_known():
    tracker = PollTracker(SPLIT)
    tracker.look(RUNNING, now=20.0)

    tracker.typical = lambda: 61.7
    assert [*tracker.log_lines(RUNNING, now=20.0)] == [
        "task t-1: processing after 20 s, about 62 s expected, waiting for up to 980 s more"
    ]


def test_the_verdict_carries_both_times():
    tracker = PollTracker(SPLIT)
    tracker.look(QUEUED, now=0.0)
    tracker.look(RUNNING, now=20.0)

    finished = tracker.look(DONE, now=80.0)

    assert (finished.queued, finished.rendering) == (20.0, 60.0)


# ------------------------------------------------------------------ in the triggerer


def test_between_two_workers_the_log_is_of_what_happens_in_between():
    tracker = PollTracker(SPLIT, logged_at=0.0)
    lines = []
    for now, seen in ((0.0, QUEUED), (20.0, RUNNING), (30.0, RUNNING), (50.0, DONE)):
        tracker.look(seen, now=now)
        lines += tracker.log_lines(seen, now=now)

    assert lines == ["task t-1: processing after 20 s, waiting for up to 980 s more"]
    assert tracker.durations(50.0) == (20.0, 30.0)


def test_a_bad_end_is_told_in_the_triggerer_too():
    tracker = PollTracker(SPLIT, logged_at=0.0)
    tracker.look(RUNNING, now=0.0)
    failed = task(TaskState.FAILED, "failed")

    assert [*tracker.log_lines(RUNNING, now=0.0)] == []
    assert [*tracker.log_lines(failed, now=20.0)] == [
        "task t-1: failed, 0 s in the vendor's queue, 20 s rendering"
    ]


def test_who_hears_nothing_wakes_for_a_sign_of_life_and_for_the_deadline():
    tracker = PollTracker(SPLIT, logged_at=100.0)

    assert tracker.wake_at(130.0) == 100.0 + HEARTBEAT_SECONDS
    assert [*tracker.log_lines(None, now=100.0 + HEARTBEAT_SECONDS)] == [], "nobody knows anything yet"
    assert tracker.wake_at(170.0) == 100.0 + 2 * HEARTBEAT_SECONDS
    tracker.look(QUEUED, now=99.0)
    assert tracker.wake_at(99.0) == SPLIT.queue_deadline
