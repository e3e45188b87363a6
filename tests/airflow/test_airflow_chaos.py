"""Seeded chaos around the real operator and its trigger, on each Airflow: no fault of faults makes them pay twice."""

from dataclasses import replace

import pytest
from chaos_clip import Clip, prepared_of
from chaos_fates import APIS, FORGETFUL, NAMED, Schedule, schedule_of
from chaos_strategies import ClipOperator, Operator
from chaos_vendor import vendor_of

from airflow_provider_kling_avatar.compat import BaseOperator
from airflow_provider_kling_avatar.operators import base

SEEDS = range(60)
MANY_CLIPS = range(20)
STORES = pytest.mark.parametrize("has_store", [True, False], ids=["store", "no store"])

pytestmark = pytest.mark.usefixtures("quiet")


@STORES
@pytest.mark.parametrize("api", APIS)
def test_no_schedule_makes_us_pay_twice_or_lose_a_clip(api, has_store):
    operator = Operator(has_store=has_store)
    outcomes = {seed: Clip(schedule_of(api, seed), operator).live() for seed in SEEDS}
    assert {seed: outcome for seed, outcome in outcomes.items() if outcome.is_bad} == {}


@STORES
def test_a_relay_that_forgets_names_may_need_a_person_but_is_never_paid_twice(has_store):
    operator = Operator(has_store=has_store)
    outcomes = [Clip(schedule_of(FORGETFUL, seed), operator).live() for seed in SEEDS]
    assert not any(outcome.paid_twice or outcome.in_vain for outcome in outcomes)
    assert any(outcome.stops for outcome in outcomes)


@STORES
@pytest.mark.parametrize("api", APIS)
def test_being_told_to_slow_down_while_asking_for_the_clip_pays_nothing(api, has_store):
    slow_down = Schedule(api, gets=("arrives",) * 3 + ("code 1302",) * 3)
    outcome = Clip(slow_down, Operator(has_store=has_store)).live()
    assert not outcome.is_bad


@STORES
@pytest.mark.parametrize("api", NAMED)
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_clip_that_the_vendor_failed_for_want_of_a_slot_is_made_without_a_retry(api, has_store, deferrable):
    story = []
    full = Schedule(api, posts=("task fails for want of a slot",), deferrable=deferrable)
    outcome = Clip(full, Operator(has_store=has_store), story.append).live()
    assert (outcome.is_bad, outcome.stops) == (False, 0)
    assert sum("TRY" in line for line in story) == 1


def cleared_twice(api, seed, **changes):
    """A schedule whose clip is wanted three times, with a clear and ``on_rerun="regenerate"`` in between."""
    return replace(schedule_of(api, seed), wanted=3, **changes)


@pytest.mark.parametrize("api", APIS)
def test_with_a_store_a_clear_for_a_new_clip_makes_exactly_one_more(api):
    operator = Operator(has_store=True)
    lives = {seed: Clip(cleared_twice(api, seed, retries=20), operator).live() for seed in MANY_CLIPS}
    # Not where somebody cleared it further: a task may be cleared after its clip was noted as delivered, but before
    # Airflow has heard of it, and that is one more clear for a new clip.
    outcomes = {seed: outcome for seed, outcome in lives.items() if outcome.clears == 2}
    assert len(outcomes) > 3
    assert {seed: outcome for seed, outcome in outcomes.items() if outcome.is_bad} == {}


@STORES
@pytest.mark.parametrize("api", APIS)
def test_no_retry_makes_a_new_clip_where_every_clear_may(api, has_store):
    operator = Operator(has_store=has_store)
    outcomes = [Clip(cleared_twice(api, seed), operator).live() for seed in MANY_CLIPS]
    assert all(outcome.clips <= 1 + outcome.clears for outcome in outcomes)


@STORES
def test_a_retry_that_passed_for_a_clear_would_be_caught(monkeypatch, has_store):
    monkeypatch.setattr(base, "round_of", lambda context, _retries: context["ti"].try_number)
    monkeypatch.setattr(base, "is_asked_anew", lambda _context, _retries: True)
    operator = Operator(has_store=has_store)
    again = Schedule("kling", kills=(("collected", 0),), runs_again=True, wanted=2)
    outcome = Clip(again, operator).live()
    assert outcome.clips > 1 + outcome.clears


class ChangesInputs(Operator):
    """The operator in a Dag whose picture is another one from the second try on."""

    def __call__(self, clip, attempt):
        if attempt.number > 1:
            clip.prepared = prepared_of(clip.schedule.api, "https://pictures.test/another.png")
        return super().__call__(clip, attempt)


@STORES
@pytest.mark.parametrize("api", NAMED)
def test_no_inputs_are_paid_for_twice_where_they_change_between_tries(api, has_store):
    operator, both = ChangesInputs(has_store=has_store), 0
    for seed in SEEDS:
        schedule = schedule_of(api, seed)
        Clip(schedule, operator).live()
        billed = vendor_of(api, schedule.duplicates).ledger.entries()
        names = [entry["external_task_id"] for entry in billed if entry["status"] != "failed"]
        inputs = [name.rpartition("-")[0] for name in names]  # a name ends in the submission's number
        assert len(inputs) == len(set(inputs)), seed
        both += len(inputs) == 2
    assert both > 5


FULL_THEN_KILLED = Schedule("generations", posts=("code 1303", "killed before the answer"), keeps_event=True)
"""The try that is killed was resumed with the word that there is a free slot, and its clip was taken."""
FAILED_ONCE = Schedule("kling", posts=("task fails",), keeps_event=True)
ENDED_BY_AIRFLOW = Schedule("kling", kills=(("Airflow ends the waiting", 0),), keeps_event=True)


@STORES
@pytest.mark.parametrize("schedule", [FULL_THEN_KILLED, FAILED_ONCE, ENDED_BY_AIRFLOW])
def test_a_retry_does_not_believe_the_event_of_the_try_before(schedule, has_store):
    story = []
    outcome = Clip(schedule, Operator(has_store=has_store), story.append).live()
    assert not outcome.is_bad
    assert sum("TRY" in line for line in story) == 2


def test_a_retry_that_believed_the_event_of_the_try_before_would_be_caught(monkeypatch):
    monkeypatch.setattr(ClipOperator, "resume_execution", BaseOperator.resume_execution)
    forgetful = Operator(has_store=False)
    assert Clip(FULL_THEN_KILLED, forgetful).live().paid_twice
    assert not Clip(replace(FULL_THEN_KILLED, keeps_event=False), forgetful).live().is_bad
