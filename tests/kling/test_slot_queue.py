"""Who may go when an account is full: exactly as many as there are slots free, the longest waiting first."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.kling.models import TaskState, VideoTask
from airflow_provider_kling_avatar.kling.polling.slot_queue import (
    BLIND_PAUSES,
    GRACE_SECONDS,
    PAGE_SIZE,
    SIGHTED_PAUSES,
    SlotQueue,
    count_in_flight,
    tasks_in_flight,
)
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_API_KEY

NOW = 1_795_252_475.5


def tasks(running, *, ended=0, first=0):
    """So many running and ended tasks, with ids that count from `first`."""
    states = [TaskState.RUNNING] * running + [TaskState.SUCCEEDED] * ended
    return [VideoTask(str(first + number), state) for number, state in enumerate(states)]


class Queue:
    """A queue with a clock of its own, and the names of those who were admitted, in order."""

    def __init__(self):
        self.slot_queue = SlotQueue(spread=lambda: 1.0)
        self.now = NOW
        self.gone: list[float] = []
        self.tickets = {}

    def enter(self, since, *, busy=5, **more):
        self.tickets[since] = self.slot_queue.enter(
            since=since, now=self.now, busy=busy, wake=lambda: self.gone.append(since), **more
        )
        return self.tickets[since]

    def look(self, seen):
        if isinstance(seen, KlingError):
            self.slot_queue.saw_nothing(str(seen))
        else:
            self.slot_queue.saw(tasks_in_flight(seen), [task.task_id for task in seen], now=self.now)
        self.slot_queue.admit(self.now)
        return self.gone

    def later(self, seconds):
        self.now += seconds
        self.slot_queue.admit(self.now)
        return self.gone


@pytest.fixture
def queue():
    return Queue()


# ---------------------------------------------------------------------------------------------- counting


def test_what_has_not_ended_holds_a_slot_whatever_its_word():
    states = list(TaskState)

    assert tasks_in_flight([VideoTask(state.value, state) for state in states]) == 3


def test_the_worker_counts_on_the_same_page_as_the_trigger(sim, client_of, face, voice):
    client = client_of(sim.url, password=DEFAULT_API_KEY)
    for _ in range(2):
        client.submit("avatar", {"image": face, "sound_file": voice})

    assert count_in_flight(client, "avatar") == 2
    assert count_in_flight(client, "image_to_video") == 0
    sim.advance(60)
    assert count_in_flight(client, "avatar") == 0
    assert f"pageSize={PAGE_SIZE}" in sim.requests[-1].query


def test_an_api_without_a_list_cannot_be_counted(sim, client_of):
    assert count_in_flight(client_of(sim.url, "generations", password=DEFAULT_API_KEY), "avatar") is None


def test_a_list_that_fails_is_no_count_of_none(sim, client_of):
    sim.fault(kind="http_error", method="GET", times=0)

    assert count_in_flight(client_of(sim.url, password=DEFAULT_API_KEY), "avatar") is None
    sim.clear_faults()


# ---------------------------------------------------------------------------------------------- with a list


def test_nobody_goes_while_the_list_shows_as_many_as_when_the_vendor_refused(queue):
    for since in range(3):
        queue.enter(since)

    assert queue.look(tasks(5)) == []
    assert queue.later(30) == []


def test_exactly_as_many_go_as_there_is_room_for_the_longest_waiting_first(queue):
    for since in (3, 1, 4, 2, 5):
        queue.enter(since)

    assert queue.look(tasks(2, ended=3)) == [1, 2, 3]
    assert queue.look(tasks(2, ended=3)) == [1, 2, 3], "they are on their way"


def test_who_was_admitted_counts_until_its_task_is_seen(queue):
    for since in range(1, 4):
        queue.enter(since)
    queue.look(tasks(4, ended=1))
    assert queue.gone == [1]

    queue.look([*tasks(4, ended=1), *tasks(1, first=10)])
    assert queue.gone == [1], "its task is there now and takes the slot itself"

    queue.look([*tasks(3, ended=2), *tasks(1, first=10)])
    assert queue.gone == [1, 2]


def test_a_task_that_ended_between_two_looks_was_seen_too(queue):
    for since in range(1, 4):
        queue.enter(since)
    queue.look(tasks(4, ended=1))

    queue.look(tasks(4, ended=2))

    assert queue.gone == [1, 2]


def test_somebody_else_taking_the_slot_does_not_let_another_go(queue):
    for since in range(1, 4):
        queue.enter(since)
    queue.look(tasks(4))

    queue.look([*tasks(4), *tasks(1, first=10)])  # not ours, but nobody can tell

    assert queue.gone == [1]


def test_who_does_not_come_in_time_loses_its_reservation(queue):
    for since in range(1, 4):
        queue.enter(since)
    queue.look(tasks(4))
    queue.now += GRACE_SECONDS - 1
    assert queue.look(tasks(4)) == [1]

    queue.now += 1
    assert queue.look(tasks(4)) == [1, 2]


def test_the_largest_number_that_ran_at_a_refusal_is_the_capacity(queue):
    queue.enter(1, busy=4)  # counted just after a task had ended
    queue.enter(2, busy=5)
    queue.enter(3, busy=4)
    queue.enter(4, busy=None)

    assert queue.look(tasks(4)) == [1]
    assert queue.slot_queue.capacity == 5


def test_more_running_than_ever_means_that_the_account_has_grown_so_one_tries_at_once(queue):
    for since in range(1, 5):
        queue.enter(since)
    assert queue.look(tasks(5)) == []

    assert queue.look(tasks(6)) == [1]
    assert queue.slot_queue.capacity == 6
    assert queue.look(tasks(7)) == [1, 2], "and again, as long as it grows"
    assert queue.look(tasks(7)) == [1, 2]


def test_an_account_that_shrank_is_believed_after_one_refusal(queue):
    for since in range(1, 10):
        queue.enter(since)
    assert queue.look(tasks(3)) == [1, 2]

    queue.enter(1, busy=3)
    queue.enter(2, busy=3)

    assert queue.look(tasks(3)) == [1, 2]
    assert queue.slot_queue.capacity == 3
    assert queue.look(tasks(2)) == [1, 2, 1], "who comes back is still the one that waits longest"


def test_a_refusal_that_was_counted_too_late_does_not_shrink_the_account(queue):
    queue.enter(1)
    queue.look(tasks(5))
    queue.later(SIGHTED_PAUSES[0])
    assert queue.gone == [1]

    queue.enter(1, busy=4)  # five ran at the last look; one ended between the refusal and the count

    assert queue.slot_queue.capacity == 5


def test_a_refusal_that_nobody_understands_ends_believing_the_list(queue):
    queue.enter(1)
    queue.enter(2)
    assert queue.look(tasks(4)) == [1]

    queue.enter(1, busy=None)

    assert queue.look(tasks(4)) == [1]
    assert queue.later(BLIND_PAUSES[0]) == [1, 1], "but for a try now and then"


def test_a_vendor_that_says_slow_down_says_nothing_of_slots(queue):
    queue.enter(1)
    queue.enter(2)
    assert queue.look(tasks(4)) == [1]

    queue.enter(1, busy=None, not_before=queue.now + 30, slowed_down=True)

    assert queue.slot_queue.capacity == 5


def test_nobody_goes_before_the_vendor_allows_and_lets_others_go_first(queue):
    queue.enter(1, not_before=NOW + 30)
    queue.enter(2)
    assert queue.look(tasks(3)) == [2]

    queue.now += 29
    assert queue.look(tasks(3)) == [2]
    queue.now += 1
    assert queue.look(tasks(3)) == [2, 1]


def test_an_account_that_seems_full_is_tried_slowly_and_slower_while_it_refuses(queue):
    queue.enter(1)
    tried = []
    for second in range(1, 2000):
        queue.now = NOW + second
        if len(queue.look(tasks(5))) > len(tried):
            tried.append(second)
            queue.enter(1)

    assert tried[:4] == [60, 180, 420, 720]
    assert {later - earlier for earlier, later in pairwise(tried[2:])} == {300}


# ---------------------------------------------------------------------------------------------- without one


def test_without_a_list_one_goes_at_a_time_and_ever_slower_while_refused(queue):
    for since in range(1, 4):
        queue.enter(since, busy=None)
    tried = []
    for second in range(1, 300):
        before = len(queue.gone)
        if len(queue.look(KlingError("this API cannot list"))) > before:
            tried.append(second)
            queue.now = NOW + second
            queue.enter(queue.gone[-1], busy=None)
        queue.now = NOW + second

    assert tried == [11, 31, 71, 131, 191, 251]
    assert set(queue.gone) == {1}, "the longest waiting one is still the first"


def test_without_a_list_one_that_does_not_come_back_makes_the_next_go_sooner(queue):
    for since in range(1, 9):
        queue.enter(since, busy=None)
    for _ in range(3):  # refused three times: the pause is as long as it gets
        queue.later(BLIND_PAUSES[1])
        queue.enter(1, busy=None)
    assert queue.gone == [1, 1, 1]

    assert queue.later(BLIND_PAUSES[1]) == [1, 1, 1, 1]
    assert queue.later(BLIND_PAUSES[1])[3:] == [1, 2], "it has not come back: there was a slot"
    assert queue.later(BLIND_PAUSES[0])[3:] == [1, 2, 3]
    assert queue.later(BLIND_PAUSES[0])[3:] == [1, 2, 3, 4]


def test_a_list_that_fails_opens_nothing_and_one_tries_now_and_then(queue):
    for since in range(1, 4):
        queue.enter(since)
    queue.look(tasks(5))

    assert queue.look(KlingError("down", http_status=502)) == []
    assert queue.slot_queue.trouble == "down [HTTP 502]"
    assert queue.later(BLIND_PAUSES[0]) == [1]
    assert queue.look(tasks(2)) == [1, 2, 3], "seen again"
    assert queue.slot_queue.trouble is None


def test_where_no_list_tells_each_end_of_a_clip_lets_one_go(queue):
    for since in range(1, 6):
        queue.enter(since, busy=None)
    assert queue.later(1) == []

    queue.slot_queue.ended()
    queue.slot_queue.ended()

    assert queue.later(1) == [1, 2], "at once, and not the same slots again"
    assert queue.later(1) == [1, 2]


def test_where_a_list_tells_the_end_of_a_clip_is_not_counted_twice(queue):
    for since in range(1, 4):
        queue.enter(since)
    queue.look(tasks(5))

    queue.slot_queue.ended()

    assert queue.later(1) == [], "the next look shows whether the slot is free"
    assert queue.look(tasks(4, ended=1)) == [1]


def test_two_processes_do_not_try_at_the_same_moment():
    tried = []
    for spread in (0.9, 1.1):
        queue = Queue()
        queue.slot_queue = SlotQueue(spread=lambda spread=spread: spread)
        queue.enter(1)
        queue.look(tasks(5))
        tried.append(next(second for second in range(100) if queue.later(1)))

    assert tried == [53, 65]


# ---------------------------------------------------------------------------------------------- leaving


def test_who_leaves_does_not_count_and_the_next_one_goes(queue):
    for since in range(1, 4):
        queue.enter(since)
    queue.slot_queue.leave(queue.tickets[1])

    assert queue.look(tasks(4)) == [2]
    assert queue.slot_queue.ahead_of(queue.tickets[3]) == 0


def test_who_was_admitted_and_cannot_use_it_gives_it_back(queue):
    for since in range(1, 4):
        queue.enter(since)
    queue.look(tasks(4))

    queue.slot_queue.leave(queue.tickets[1])

    assert queue.later(0) == [1, 2]


def test_a_queue_that_was_empty_does_not_believe_what_it_saw_before(queue):
    queue.enter(1)
    assert queue.look(tasks(4)) == [1]
    queue.now += 3600
    queue.enter(2)
    queue.enter(3)

    assert queue.later(0) == [1]
    assert queue.look(tasks(5)) == [1]


# ---------------------------------------------------------------------------------------------- whatever happens

HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(1, 6) | st.none()),
        st.tuples(st.just("leave"), st.integers(0, 20)),
        st.tuples(st.just("look"), st.integers(0, 8)),
        st.tuples(st.just("fail"), st.none()),
        st.tuples(st.just("later"), st.integers(0, 90)),
        st.tuples(st.just("back"), st.integers(1, 6) | st.none()),
    ),
    max_size=60,
)


@given(HAPPENINGS)
def test_never_are_more_admitted_than_slots_are_free_and_always_the_longest_waiting(happenings):
    queue, entered, looked = Queue(), 0, 0
    for what, value in happenings:
        before, waiting = len(queue.gone), {ticket.since for ticket in queue.slot_queue._waiting}
        if what == "enter":
            entered += 1
            waiting.add(entered)
            queue.enter(entered, busy=value)
        elif what == "leave" and value in queue.tickets:
            waiting.discard(value)
            queue.slot_queue.leave(queue.tickets[value])
        elif what == "back" and queue.gone and queue.tickets[queue.gone[-1]] not in queue.slot_queue._waiting:
            waiting.add(queue.gone[-1])
            queue.enter(queue.gone[-1], busy=value)
        elif what == "look":
            looked += 10
            queue.look(tasks(value, first=looked))
        elif what == "fail":
            queue.look(KlingError("down"))
        queue.later(value if what == "later" else 0)

        slots, gone = queue.slot_queue, queue.gone[before:]
        sighted = [since for since in gone if not queue.tickets[since].blind]
        assert len(gone) - len(sighted) <= 1, "one at most is admitted without a free slot being seen"
        if sighted:
            assert slots.in_flight + len(slots._on_the_way) <= slots.capacity + len(gone) - len(sighted)
        assert gone == sorted(waiting)[: len(gone)]


# ---------------------------------------------------------------------------------------------- a whole crowd


class World:
    """A vendor with slots, and workers that need seconds to submit; the queue sees what it would really see."""

    def __init__(self, *, slots, render, resume, waiting):
        self.queue = Queue()
        self.slots, self.render, self.resume = slots, render, resume
        self.ends: list[float] = [self.queue.now + (n + 1) * render / slots for n in range(slots)]
        self.on_the_way: list[tuple[float, float]] = []
        self.delivered: list[float] = []
        self.refusals = self.busy_seconds = 0
        for since in range(waiting):
            self.queue.enter(since, busy=slots)

    def run(self, seconds, *, interval=10):
        for second in range(seconds):
            self.queue.now += 1
            now = self.queue.now
            for at, since in [trip for trip in self.on_the_way if trip[0] <= now]:
                self.on_the_way.remove((at, since))
                self.submit(since)
            self.busy_seconds += self.running()
            assert self.running() <= self.slots
            before = len(self.queue.gone)
            if second % interval == 0:
                listed = [TaskState.RUNNING if end > now else TaskState.SUCCEEDED for end in self.ends]
                self.queue.look([VideoTask(str(n), state) for n, state in enumerate(listed)])
            else:
                self.queue.later(0)
            self.on_the_way += [(now + self.resume, since) for since in self.queue.gone[before:]]
        return self

    def running(self):
        return sum(end > self.queue.now for end in self.ends)

    def submit(self, since):
        if self.running() < self.slots:
            self.ends.append(self.queue.now + self.render)
            self.delivered.append(since)
        else:
            self.refusals += 1
            self.queue.enter(since, busy=self.running())


def test_forty_five_waiters_are_no_herd_and_keep_the_slots_busy():
    world = World(slots=5, render=300, resume=5, waiting=45).run(2700)

    assert world.delivered == sorted(world.delivered)
    assert len(world.delivered) >= 43
    assert world.refusals <= 2700 / SIGHTED_PAUSES[1] + 3, "only the tries that look for growth"
    assert world.busy_seconds / (5 * 2700) > 0.95


def test_a_bigger_pack_is_soon_in_full_use():
    world = World(slots=5, render=300, resume=5, waiting=45).run(60)
    world.slots = 10

    world.run(120)

    assert world.queue.slot_queue.capacity == 10
    assert world.running() >= 9


def test_a_smaller_pack_costs_few_refusals():
    world = World(slots=5, render=300, resume=5, waiting=45).run(60)
    world.slots = 3
    world.ends = sorted(world.ends)[-3:]  # the vendor ended the others

    world.run(1200)

    assert world.refusals <= 8
    assert len(world.delivered) >= 9
