"""What a try does about a clip that may be there already: reuse, submit or stop. It never pays for asking."""

from __future__ import annotations

import dataclasses

import pytest
from desk import WORK, Notebook

from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling.models import TaskState
from airflow_provider_kling_avatar.kling.submission.recovery import Recovery, Reuse, Submit

NAMED = ["kling", "kling-broadcast", "cometapi", "relay"]
ALL = [*NAMED, "generations"]
REGENERATE = {"on_rerun": "regenerate"}


def step(here, **facts):
    """Return what a try has to do; the error, if it has to stop. ``facts``: of the try, its work, its policies."""
    try:
        return Recovery(here.client, here.prepared, here.a_try(**facts)).next_step()
    except e.KlingError as error:
        return error


def submits(step):
    """Return the number and the name under which a try has to submit."""
    assert isinstance(step, Submit)
    return step.record.number, step.record.external_task_id


def name_of(here, number):
    """Return the name under which a submission of these inputs goes out."""
    return WORK.name(here.prepared.fingerprint, number) if here.client.config.dialect.name in NAMED else None


class Unreadable(Notebook):
    """A store that is down."""

    def load(self):
        raise e.StateUnavailableError("the store is down")


# ------------------------------------------------------------------ one function, three answers


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("api", NAMED)
def test_it_reuses_the_clip_while_it_is_made_and_when_it_is_there_and_submits_after_a_failure(
    desk, api, store
):
    here = desk(api, store=store)
    assert submits(step(here)) == (0, name_of(here, 0))
    done = here.try_it(first=True)
    unfinished = step(here)
    assert isinstance(unfinished, Reuse)
    assert (unfinished.task.task_id, unfinished.record.external_task_id) == (
        done.task.task_id,
        done.external_task_id,
    )
    here.sim.advance(60)
    finished = step(here)
    assert isinstance(finished, Reuse)
    assert finished.task.state is TaskState.SUCCEEDED
    assert len(here.paid()) == 1


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("api", NAMED)
def test_after_a_failure_it_submits_the_next_number(desk, api, store):
    here = desk(api, store=store)
    here.sim.fault(kind="fail_task", reason="render node lost")
    here.try_it(first=True)
    here.sim.advance(60)
    assert submits(step(here)) == (1, name_of(here, 1))


@pytest.mark.parametrize("api", ALL)
def test_a_vendor_that_cannot_be_asked_is_a_reason_to_stop(desk, api):
    here = desk(api, store=True)
    here.try_it(first=True)
    here.sim.fault(kind="http_error", method="GET", times=0)
    stop = step(here, policy="resubmit")
    assert isinstance(stop, e.UnavailableError)
    assert len(here.paid()) == 1


@pytest.mark.parametrize("api", ALL)
def test_a_store_that_cannot_be_read_is_a_reason_to_stop_even_at_first(desk, api):
    here = desk(api)
    here.store = Unreadable()
    for first in (False, True):
        stop = step(here, first=first, asked_anew=first)
        assert isinstance(stop, e.StateUnavailableError)
    assert here.methods() == []


def test_a_store_that_cannot_be_written_stops_before_anything_is_paid(desk):
    here = desk(store=True)

    def broken(_record):
        raise e.StateUnavailableError("the store is full")

    here.store.save = broken
    with pytest.raises(e.StateUnavailableError):
        here.try_it(first=True)
    assert here.methods() == []


@pytest.mark.parametrize("api", ALL)
def test_a_clip_that_is_paid_is_not_lost_because_its_id_could_not_be_noted(desk, api, caplog):
    here = desk(api, store=True)
    written = here.store.save

    def fails_after_the_first(record):
        if here.store.load().get("input_fingerprint"):
            raise e.StateUnavailableError("the store went down")
        written(record)

    here.store.save = fails_after_the_first
    done = here.try_it(first=True)
    assert done.task.task_id == here.paid()[0]["task_id"]
    assert done.task.task_id in caplog.text


# ------------------------------------------------------------------ vendors that answer oddly


@pytest.mark.parametrize("api", ALL)
def test_a_proxys_bare_404_for_a_noted_clip_is_asked_again_by_the_next_try(desk, api):
    here = desk(api, store=True)
    done = here.try_it(first=True)
    here.sim.fault(kind="http_error", status=404, method="GET", times=0)
    stop = step(here)
    assert isinstance(stop, e.UnknownSubmissionError)
    assert not stop.permanent
    here.sim.clear_faults()
    assert here.try_it().task.task_id == done.task.task_id
    assert len(here.paid()) == 1


def test_a_proxys_bare_404_for_a_name_passes_where_the_vendors_page_has_that_route(desk):
    here = desk("kling")
    here.try_it(first=True)
    here.sim.fault(kind="http_error", status=404, method="GET", times=0)
    stop = step(here)
    assert not stop.permanent


@pytest.mark.parametrize("api", ["kling-broadcast", "relay"])
def test_a_name_that_is_taken_but_shown_late_is_asked_for_again_by_the_next_try(desk, api):
    here = desk(api)
    done = here.try_it(first=True)
    if api == "relay":
        here.sim.fault(
            kind="error_code", code=1203, status=404, method="GET", path=done.external_task_id, times=0
        )
    here.client._find_in_list = lambda *_, **__: None
    here.client.list_tasks = lambda *_, **__: []
    with pytest.raises(e.UnknownSubmissionError) as caught:
        here.try_it(first=True)
    assert not caught.value.permanent
    del here.client._find_in_list, here.client.list_tasks
    here.sim.clear_faults()
    assert here.try_it().task.task_id == done.task.task_id
    assert len(here.paid()) == 1


@pytest.mark.parametrize("store", [False, True])
def test_a_name_that_is_taken_where_nothing_is_shown_is_never_stepped_over_for_it_was_paid(desk, store):
    here = desk("relay", relay="v3", store=store)
    here.sim.fault(kind="drop_after", method="POST")
    with pytest.raises(e.UnknownSubmissionError):
        here.try_it(first=True)
    with pytest.raises(e.UnaskableSubmissionError):
        here.try_it()
    with pytest.raises(e.UnaskableSubmissionError, match="external_task_id of your own"):
        here.try_it(policy="resubmit")
    assert len(here.paid()) == 1


# ------------------------------------------------------------------ inputs that changed


SUBMIT_NEW = {"on_changed_input": "submit_new"}


def changed(here, desk, **fields):
    """Return a desk for the same work with other inputs."""
    other = desk(here.client.config.dialect.name, **fields)
    other.store = here.store
    return other


@pytest.mark.parametrize("api", ["kling", "generations"])
def test_changed_inputs_make_a_new_clip_in_a_retry_where_the_user_wants_it(desk, api):
    first = desk(api, store=True)
    first.try_it(first=True)
    second = changed(first, desk, mode="pro")
    assert submits(step(second, **SUBMIT_NEW)) == (0, name_of(second, 0))
    assert second.try_it(**SUBMIT_NEW).is_new


@pytest.mark.parametrize("api", ["kling", "generations"])
def test_changed_inputs_stop_the_try_where_the_user_wants_to_know(desk, api):
    first = desk(api, store=True)
    done = first.try_it(first=True)
    second = desk(api, mode="pro")
    second.store = first.store
    stop = step(second, on_changed_input="fail")
    assert isinstance(stop, e.ChangedInputError)
    assert done.task.task_id in str(stop)
    assert stop.permanent
    assert isinstance(step(first, on_changed_input="fail"), Reuse)


def test_changed_inputs_cannot_be_noticed_without_a_store_and_that_is_said_before_anything_is_paid(desk):
    here = desk()
    stop = step(here, first=True, asked_anew=True, on_changed_input="fail")
    assert isinstance(stop, e.ConfigurationError)
    assert "state_path" in str(stop)


def test_inputs_that_are_changed_back_are_not_paid_again_unasked(desk):
    one = desk("generations", store=True)
    one.try_it(first=True)
    other = changed(one, desk, mode="pro")
    other.try_it(**SUBMIT_NEW)
    stop = step(one, **SUBMIT_NEW)
    assert isinstance(stop, e.UnaskableSubmissionError)
    named = desk(store=True)
    first = named.try_it(first=True)
    changed(named, desk, mode="pro").try_it(**SUBMIT_NEW)
    assert named.try_it(**SUBMIT_NEW).task.task_id == first.task.task_id


def test_changed_inputs_under_the_users_own_name_get_the_next_number_and_not_the_old_clip(desk):
    own = {"external_task_id": "evening-news"}
    first, second = desk(store=True, **own), desk(mode="pro", **own)
    second.store = first.store
    assert first.try_it(first=True).external_task_id == "evening-news"
    new = second.try_it(**SUBMIT_NEW)
    assert (new.is_new, new.external_task_id) == (True, "evening-news-again-1")
    assert second.try_it(**SUBMIT_NEW).task.task_id == new.task.task_id
    assert first.try_it(**SUBMIT_NEW).external_task_id == "evening-news"
    assert second.try_it(**SUBMIT_NEW).task.task_id == new.task.task_id
    assert len(first.paid()) == 2


def test_a_users_own_name_skips_the_numbers_of_other_inputs_after_a_failure(desk):
    own = {"external_task_id": "evening-news"}
    first, second = desk(store=True, **own), desk(mode="pro", **own)
    second.store = first.store
    first.sim.fault(kind="fail_task", reason="render node lost")
    first.try_it(first=True)
    second.try_it(**SUBMIT_NEW)
    first.sim.advance(60)
    third = first.try_it(**SUBMIT_NEW)
    assert (third.is_new, third.external_task_id) == (True, "evening-news-again-2")


@pytest.mark.parametrize("api", ["kling", "generations"])
def test_another_connection_is_a_changed_input(desk, api):
    here = desk(api, store=True)
    here.try_it(first=True)
    other = dataclasses.replace(WORK, conn_id="another_account")
    stop = step(here, work=other, on_changed_input="fail")
    assert isinstance(stop, e.ChangedInputError)


def test_inputs_that_the_vendor_refused_may_be_corrected(desk):
    wrong, right = desk(store=True), desk(mode="pro")
    right.store = wrong.store
    wrong.sim.fault(kind="error_code", code=1201, method="POST", message="no such thing")
    with pytest.raises(e.InvalidRequestError):
        wrong.try_it(first=True)
    assert submits(step(right, on_changed_input="fail")) == (0, name_of(right, 0))


def test_a_clip_is_not_forgotten_because_the_next_one_was_refused(desk):
    own = {"external_task_id": "evening-news"}
    first, second = desk(store=True, **own), desk(mode="pro", **own)
    second.store = first.store
    first.try_it(first=True)
    note_delivery(first)
    first.sim.fault(kind="error_code", code=1102, method="POST")
    with pytest.raises(e.AccountError):
        first.try_it(anew=True, round_number=1, **REGENERATE)
    assert isinstance(step(second, on_changed_input="fail"), e.ChangedInputError)
    assert second.try_it().external_task_id == "evening-news-again-2"


def test_a_clip_found_by_name_is_noted_for_later(desk):
    here = desk()
    done = here.try_it(first=True)
    here.store = Notebook()
    here.try_it()
    assert here.store.load()["task_id"] == done.task.task_id


# ------------------------------------------------------------------ lists that do not tell


@pytest.mark.parametrize("store", [False, True])
def test_a_list_that_is_longer_than_it_is_searched_is_no_proof(desk, store, monkeypatch):
    monkeypatch.setattr("airflow_provider_kling_avatar.kling.client.PAGES_SEARCHED", 2)
    monkeypatch.setattr("airflow_provider_kling_avatar.kling.client.MAX_PAGE_SIZE", 2)
    here = desk("kling-broadcast", store=store)
    here.sim.fault(kind="drop_after", method="POST")
    here.sim.fault(kind="http_error", method="GET", times=0)
    with pytest.raises(e.UnknownSubmissionError):
        here.try_it(first=True)
    here.sim.clear_faults()
    kept, here.store = here.store, None
    for number in range(5):
        here.try_it(first=True, work=dataclasses.replace(WORK, run_id=f"other {number}"))
    here.store = kept
    stop = step(here)
    assert isinstance(stop, e.UnaskableSubmissionError)


def test_a_list_without_any_names_is_no_proof(desk, vendor, client_of):
    here = desk("kling-broadcast")
    here.client = client_of(vendor.url, "kling-broadcast")
    rows = [{"task_id": str(number), "task_status": "succeed"} for number in range(3)]
    vendor.answers(*[{"code": 0, "data": rows}] * 4)
    stop = step(here)
    assert isinstance(stop, e.UnaskableSubmissionError)


# ------------------------------------------------------------------ run again after success


def note_delivery(here, this_round=0):
    if here.store:
        here.store.save({**here.store.load(), "delivered_in": this_round})


def delivered(here, **more):
    """Let a try pay for a clip, wait for it, and note that the task has done its work."""
    done = here.try_it(**more)
    here.sim.advance(60)
    note_delivery(here, more.get("round_number", 0))
    return done


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("api", NAMED)
def test_a_cleared_task_gives_the_same_clip_by_default(desk, api, store):
    here = desk(api, store=store)
    done = delivered(here, first=True)
    again = here.try_it(anew=True, round_number=1)
    assert again.task.task_id == done.task.task_id
    assert len(here.paid()) == 1


@pytest.mark.parametrize(("api", "store"), [*((api, False) for api in NAMED), *((api, True) for api in ALL)])
def test_where_wanted_each_clear_makes_one_new_clip_and_its_retries_none(desk, api, store):
    here = desk(api, store=store)
    ids = [delivered(here, first=True, **REGENERATE).task.task_id]
    for clear in (1, 2):
        ids.append(here.try_it(anew=True, round_number=clear, **REGENERATE).task.task_id)
        retry = here.try_it(round_number=clear, **REGENERATE)
        assert (retry.task.task_id, retry.is_new) == (ids[-1], False)
        here.sim.advance(60)
        assert here.try_it(round_number=clear, **REGENERATE).task.task_id == ids[-1]
        note_delivery(here, clear)
    assert len(set(ids)) == len(here.paid()) == 3


@pytest.mark.parametrize("api", ALL)
def test_a_clear_whose_first_try_died_before_paying_is_made_good_by_its_retry(desk, api):
    here = desk(api, store=True)
    delivered(here, first=True, **REGENERATE)
    retry_of_the_clear = here.try_it(round_number=1, **REGENERATE)
    assert retry_of_the_clear.is_new
    assert len(here.paid()) == 2


@pytest.mark.parametrize("store", [False, True])
def test_a_clear_while_the_clip_is_made_or_before_it_was_delivered_goes_on_with_it(desk, store):
    here = desk(store=store)
    done = here.try_it(first=True, **REGENERATE)
    assert here.try_it(anew=True, round_number=1, **REGENERATE).task.task_id == done.task.task_id
    if store:
        here.sim.advance(60)
        assert here.try_it(anew=True, round_number=1, **REGENERATE).task.task_id == done.task.task_id
    assert len(here.paid()) == 1


def test_a_try_that_airflow_adds_by_itself_after_success_is_no_wish_for_a_new_clip(desk):
    for store in (False, True):
        here = desk(store=store, prompt=f"store {store}")
        done = delivered(here, first=True, **REGENERATE)
        assert here.try_it(**REGENERATE).task.task_id == done.task.task_id


def test_a_clip_that_a_clear_delivered_is_not_made_again_by_the_retries_of_that_clear(desk):
    here = desk(store=True)
    done = here.try_it(first=True, **REGENERATE)  # this round's tries all time out
    here.sim.advance(60)
    assert here.try_it(anew=True, round_number=3, **REGENERATE).task.task_id == done.task.task_id
    note_delivery(here, 3)
    assert here.try_it(round_number=3, **REGENERATE).task.task_id == done.task.task_id
    assert len(here.paid()) == 1


@pytest.mark.parametrize("api", ALL)
def test_what_was_delivered_and_is_gone_at_the_vendor_is_not_bought_again_unasked(desk, api):
    here = desk(api, store=True)
    delivered(here, first=True)
    here.sim.state.store.forget_tasks()
    stop = step(here, asked_anew=True, round=1)
    assert "regenerate" in str(stop)
    if api != "generations":
        assert submits(step(here, asked_anew=True, round=1, **REGENERATE)) == (0, name_of(here, 0))


def test_the_same_clip_is_given_after_a_regenerated_one_too(desk):
    here = desk(store=True)
    delivered(here, first=True, **REGENERATE)
    second = delivered(here, anew=True, round_number=1, **REGENERATE)
    assert here.try_it(anew=True, round_number=5).task.task_id == second.task.task_id


# ------------------------------------------------------------------ after "no free slot"


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("api", ALL)
def test_what_was_just_refused_for_want_of_a_slot_may_be_sent_again(desk, api, store):
    here = desk(api, store=store)
    here.sim.fault(kind="error_code", code=1303, status=429, method="POST")
    with pytest.raises(e.NoFreeSlotError):
        here.try_it(first=True)
    assert here.try_it(refused=True).is_new
    assert len(here.paid()) == 1


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("api", NAMED)
def test_a_clip_that_was_taken_and_then_failed_for_want_of_a_slot_is_made_anew(desk, api, store):
    here = desk(api, store=store)
    here.sim.fault(kind="fail_task", reason="parallel task over resource pack limit")
    here.try_it(first=True)
    here.sim.advance(60)
    assert here.try_it(refused=True).is_new
