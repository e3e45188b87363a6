"""What changes between the tries of one clip: inputs, accounts, stores, runs. Nothing of it is paid twice unasked."""

from __future__ import annotations

import dataclasses

import pytest
import requests
from desk import WORK, Notebook
from fake_vendor import Reply

from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling.models import TaskState
from airflow_provider_kling_avatar.kling.submission.state import VERSION, Record, load, note_delivery, save
from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import Account, SimulatorSettings

NAMED = ["kling", "kling-broadcast", "cometapi", "relay"]
UNIQUE = ["kling", "cometapi"]
ALL = [*NAMED, "generations"]
TAKE_PROMPTS = ["kling", "cometapi", "relay", "generations"]
OTHER_FACE = "https://pictures.test/other.png"

LINKS = {  # of one file, signed now and signed later, in ways that are no unmistakable signature
    "nginx secure_link": "https://pictures.test/face.png?md5={}&expires={}",
    "Cloudflare": "https://pictures.test/face.png?verify=17{}-{}",
    "imgix": "https://pictures.test/face.png?w=640&s={}{}",
    "a token": "https://pictures.test/face.png?token={}&expires={}",
    "Akamai": "https://pictures.test/face.png?hdnts=exp={}~hmac={}",
    "Discord": "https://pictures.test/face.png?ex={}&is=1&hm={}",
    "ByteDance": "https://pictures.test/face.png?x-expires={}&x-signature={}",
    "SharePoint": "https://pictures.test/face.png?tempauth={}.{}",
    "Backblaze": "https://pictures.test/face.png?Authorization={}_{}",
}


@pytest.fixture
def again(desk):
    """Return a desk for the same work as another one's, with its store and other fields."""

    def build(here, **fields):
        other = desk(here.client.config.dialect.name, **fields)
        other.store = here.store
        return other

    return build


# ------------------------------------------------------------------ inputs, in a retry


@pytest.mark.parametrize("state", ["running", "ready"])
@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("api", ALL)
def test_a_link_that_is_signed_anew_is_never_paid_again_by_a_retry(desk, again, api, link, state):
    first = desk(api, store=True, image=link.format("a1", "b1"))
    done = first.try_it(first=True)
    first.sim.advance(60 if state == "ready" else 0)
    assert again(first, image=link.format("a2", "b2")).try_it().task.task_id == done.task.task_id
    assert len(first.paid()) == 1


@pytest.mark.parametrize("api", TAKE_PROMPTS)
def test_a_prompt_that_differs_from_try_to_try_is_never_paid_again_by_a_retry(desk, again, api, caplog):
    caplog.set_level("INFO")
    first = desk(api, store=True, prompt="It is 10:00.")
    done = first.try_it(first=True, paid_for=lambda: {"mode": "std"})
    kept = again(first, prompt="It is 10:05.").try_it(paid_for=lambda: {"mode": "other"})
    assert (kept.task.task_id, kept.is_new) == (done.task.task_id, False)
    assert kept.paid_for == {"mode": "std"}, "the result tells of what was paid for"
    assert "changed since" in caplog.text
    assert len(first.paid()) == 1


@pytest.mark.parametrize("api", UNIQUE)
def test_a_text_of_a_language_model_is_spoken_and_filmed_once(desk, again, api):
    text = {"audio": None, "voice_id": "reader_en_m-v1"}
    first = desk(api, store=True, text="Good evening and welcome to the news of today.", **text)
    done = first.try_it(first=True)
    other = again(first, text="Hello, and welcome to tonight's edition of the news.", **text)
    assert other.try_it().task.task_id == done.task.task_id
    assert (len(first.paid("speech")), len(first.paid())) == (1, 1)


@pytest.mark.parametrize("api", ALL)
def test_other_media_stop_a_retry_while_the_clip_of_the_old_ones_is_there(desk, again, api):
    first = desk(api, store=True)
    done = first.try_it(first=True)
    with pytest.raises(e.ChangedInputError, match=done.task.task_id) as caught:
        again(first, image=OTHER_FACE).try_it()
    assert caught.value.permanent
    assert len(first.paid()) == 1


@pytest.mark.parametrize("fields", [{"prompt": "nod"}, {"image": OTHER_FACE}])
@pytest.mark.parametrize("api", TAKE_PROMPTS)
def test_a_clip_that_failed_is_made_anew_from_the_new_inputs(desk, again, api, fields):
    first = desk(api, store=True)
    first.sim.fault(kind="fail_task", reason="Failure to pass the risk control system")
    first.try_it(first=True)
    first.sim.advance(60)
    other = again(first, **fields)
    assert other.try_it().is_new
    assert other.try_it().is_new is False
    assert len(first.paid()) == 2


@pytest.mark.parametrize("fields", [{"prompt": "nod"}, {"image": OTHER_FACE}])
@pytest.mark.parametrize("api", TAKE_PROMPTS)
def test_a_clear_takes_the_new_inputs_and_its_retries_keep_to_them(desk, again, api, fields):
    first = desk(api, store=True)
    old = first.try_it(first=True)
    cleared = again(first, **fields)
    new = cleared.try_it(anew=True, round_number=1)
    assert new.is_new
    assert cleared.try_it(round_number=1).task.task_id == new.task.task_id != old.task.task_id
    third = again(first, **fields | {"prompt": "smile"})
    assert third.try_it(round_number=1).task.task_id == new.task.task_id
    assert len(first.paid()) == 2


def test_a_clip_that_a_clear_went_on_with_is_kept_by_the_retries_of_that_clear(desk, again):
    first = desk(store=True)
    done = first.try_it(first=True)
    assert first.try_it(anew=True, round_number=1).task.task_id == done.task.task_id
    assert again(first, prompt="nod").try_it(round_number=1).task.task_id == done.task.task_id
    assert len(first.paid()) == 1


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
@pytest.mark.parametrize("api", UNIQUE)
def test_where_a_name_is_taken_once_new_inputs_go_out_under_the_noted_name(desk, again, api, fault):
    first = desk(api, store=True)
    first.sim.fault(kind=fault, method="POST", times=2)
    first.sim.fault(kind="http_error", method="GET", times=0)
    with pytest.raises(e.UnknownSubmissionError):
        first.try_it(first=True)
    first.sim.clear_faults()
    noted = load(first.store).external_task_id
    kept = again(first, prompt="nod").try_it()
    assert kept.external_task_id == noted
    assert kept.is_new is (fault == "drop_before")
    assert [entry["external_task_id"] for entry in first.paid()] == [noted]


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("api", UNIQUE)
def test_what_went_out_under_the_noted_name_is_asked_for_by_that_name(desk, again, monkeypatch, api, taken):
    first = desk(api, store=True)
    first.sim.fault(kind="drop_before", method="POST", times=2)
    first.sim.fault(kind="http_error", method="GET", times=0)
    with pytest.raises(e.UnknownSubmissionError):
        first.try_it(first=True)
    first.sim.clear_faults()
    noted = load(first.store).external_task_id
    second, submit = again(first, prompt="nod"), first.client.submit

    def die(*arguments):
        if taken:
            submit(*arguments)
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(second.client, "submit", die)
        with pytest.raises(SystemExit):
            second.try_it()
    assert second.try_it().is_new is not taken
    assert [entry["external_task_id"] for entry in first.paid()] == [noted]


@pytest.mark.parametrize("own", [None, "evening-news"])
def test_what_went_out_under_the_noted_name_is_not_handed_to_whoever_restores_the_old_inputs(
    desk, again, own
):
    first = desk(store=True, prompt="smile", external_task_id=own)
    first.sim.fault(kind="drop_before", method="POST", times=2)
    first.sim.fault(kind="http_error", method="GET", times=0)
    with pytest.raises(e.UnknownSubmissionError):
        first.try_it(first=True)
    first.sim.clear_faults()
    nodding = again(first, prompt="nod", external_task_id=own).try_it()
    smiling = first.try_it(anew=True, round_number=1)
    assert smiling.is_new
    assert first.try_it(round_number=1).task.task_id == smiling.task.task_id != nodding.task.task_id


def test_where_a_name_may_be_taken_twice_a_submission_of_unknown_end_is_not_replaced_unasked(desk, again):
    first = desk("relay", store=True)
    first.sim.fault(kind="drop_before", method="POST")
    with pytest.raises(e.UnknownSubmissionError):
        first.try_it(first=True)
    other = again(first, prompt="nod")
    with pytest.raises(e.UnknownSubmissionError, match=r"shows none.*on its way"):
        other.try_it()
    assert other.try_it(policy="resubmit").is_new
    assert len(first.paid()) == 1


def test_a_speech_of_the_old_text_is_never_put_into_a_clip_of_the_new_one(desk, again):
    text = {"audio": None, "voice_id": "reader_en_m-v1"}
    first = desk(store=True, text="Good evening and welcome to the news of today.", **text)
    first.sim.fault(kind="drop_before", method="POST", path="/v1/videos", times=2)
    first.sim.fault(kind="http_error", method="GET", times=0)
    with pytest.raises(e.UnknownSubmissionError):
        first.try_it(first=True)
    first.sim.clear_faults()
    assert again(first, text="Hello, and welcome to tonight's edition of the news.", **text).try_it().is_new
    sent = [
        r.body["audio_id"] for r in first.sim.requests if r.method == "POST" and "image" in (r.body or {})
    ]
    assert sent[-1] == first.paid("speech")[-1]["task_id"]


# ------------------------------------------------------------------ the user's own name, in a retry

OTHER_NAMES = [("evening-1", "evening-2"), (None, "evening-2"), ("evening-1", None)]


@pytest.mark.parametrize("names", OTHER_NAMES, ids=str)
@pytest.mark.parametrize("api", NAMED)
def test_a_clip_of_unknown_end_is_found_though_the_users_name_for_it_differs_by_now(desk, again, api, names):
    first = desk(api, store=True, external_task_id=names[0])
    first.sim.fault(kind="drop_after", method="POST")
    first.sim.fault(kind="http_error", method="GET", times=0)
    with pytest.raises(e.UnknownSubmissionError):
        first.try_it(first=True)
    first.sim.clear_faults()
    first.sim.advance(60)  # some answers leave the name out until the task has ended
    noted = load(first.store).external_task_id
    found = again(first, external_task_id=names[1]).try_it()
    assert (found.external_task_id, found.is_new) == (noted, False)
    assert len(first.paid()) == 1


def test_a_name_that_is_taken_and_shows_nothing_is_left_for_one_of_the_users(vendor, client_of, desk, again):
    first = desk(store=True)
    first.client = client_of(vendor.url)
    gone = Reply({"code": 1203, "message": "task not found"}, 404)
    taken = Reply({"code": 1201, "message": "External_task_id already exists"}, 400)
    vendor.answers(taken, gone)
    with pytest.raises(e.UnknownSubmissionError, match="external_task_id of your own"):
        first.try_it(first=True)
    other = again(first, external_task_id="evening-2")
    other.client = first.client
    vendor.answers(gone, gone, {"code": 0, "data": {"task_id": "t-1", "task_status": "submitted"}})
    assert other.try_it().external_task_id == "evening-2"
    assert vendor.seen[-1].body["external_task_id"] == "evening-2"


@pytest.mark.parametrize(("policy", "clear"), [("keep", True), ("fail", False)])
def test_the_error_names_only_what_helps(desk, again, policy, clear):
    first = desk(store=True)
    first.try_it(first=True)
    with pytest.raises(e.ChangedInputError, match="submit_new") as caught:
        again(first, image=OTHER_FACE).try_it(on_changed_input=policy)
    assert ("clear the task" in str(caught.value)) is clear


# ------------------------------------------------------------------ without a state store


@pytest.mark.parametrize("api", ["kling", "cometapi", "relay"])
def test_without_a_store_the_vendors_list_tells_of_a_clip_of_other_words(desk, again, api):
    first = desk(api, prompt="It is 10:00.")
    done = first.try_it(first=True)
    first.sim.advance(60)  # some answers leave the name out until the task has ended
    assert again(first, prompt="It is 10:05.").try_it().task.task_id == done.task.task_id
    with pytest.raises(e.ChangedInputError):
        again(first, image=OTHER_FACE).try_it()
    assert again(first, prompt="It is 10:10.").try_it(on_changed_input="submit_new").is_new
    assert again(first, prompt="It is 10:15.").try_it(anew=True, round_number=1).is_new
    assert len(first.paid()) == 3


def test_a_name_that_begins_like_ours_is_not_ours(desk, again):
    first = desk("kling")
    first.try_it(first=True, work=dataclasses.replace(WORK, run_id="another"))
    assert again(first, prompt="nod").try_it().is_new


# ------------------------------------------------------------------ the mark


@pytest.mark.parametrize("policy", ["fail", "resubmit"])
def test_a_store_that_holds_no_mark_is_no_proof_that_nothing_was_paid(desk, policy):
    here = desk("generations")
    here.try_it(first=True)
    here.store = Notebook()  # a state_path was added, or points elsewhere now, or Airflow is newer
    if policy == "fail":
        with pytest.raises(e.UnaskableSubmissionError, match=r"no mark.*resubmit"):
            here.try_it()
        assert len(here.paid()) == 1
    else:
        assert here.try_it(policy=policy).is_new


def test_a_first_try_leaves_its_mark_and_keeps_what_is_there(desk):
    here = desk("generations", store=True)
    done = here.try_it(first=True)
    assert load(here.store).task_id == done.task.task_id
    assert here.try_it(first=True).task.task_id == done.task.task_id, "handed out twice by a broker"
    assert len(here.paid()) == 1


def test_a_mark_cannot_be_left_in_a_store_that_is_down(desk):
    here = desk("generations", store=True)

    def down(_record):
        raise e.StateUnavailableError("the store is down")

    here.store.save = down
    with pytest.raises(e.StateUnavailableError):
        here.try_it(first=True)
    assert here.methods() == []


@pytest.mark.parametrize(
    "record", [{"version": 2}, {"input_fingerprint": "x"}, {"version": 1, "number": "one"}]
)
def test_a_record_that_cannot_be_understood_stops_the_try(desk, record):
    here = desk(store=True)
    here.store.save(record)
    with pytest.raises(e.StateUnavailableError):
        here.try_it()
    assert here.methods() == []


# ------------------------------------------------------------------ the account behind the connection

OTHERS = Account(name="others", api_key="sk-others-0123456789")


@pytest.fixture
def two_accounts():
    settings = SimulatorSettings(
        queue_seconds=10, render_seconds=40, accounts=(*SimulatorSettings().accounts, OTHERS)
    )
    with SimulatorServer(settings) as server:
        yield server


def on(here, client_of, url, password="sk-simulator"):
    """Turn a desk to another account of the same dialect."""
    dialect = here.client.config.dialect
    prefix = {"path_prefix": dialect.prefix} if dialect.prefix else {}
    here.client = client_of(url, dialect.name, password=password, **prefix)
    return here


@pytest.mark.parametrize("policy", ["keep", "fail"])
@pytest.mark.parametrize("api", ALL)
def test_a_retry_never_pays_on_another_host(desk, two_accounts, client_of, api, policy):
    here = desk(api, store=True)
    done = here.try_it(first=True)
    on(here, client_of, two_accounts.url)
    with pytest.raises(e.ChangedInputError, match=done.task.task_id):
        here.try_it(on_changed_input=policy)
    assert two_accounts.ledger()["entries"] == []


@pytest.mark.parametrize("api", ALL)
def test_a_clear_or_the_users_word_takes_the_other_host(desk, two_accounts, client_of, api):
    here = desk(api, store=True)
    here.try_it(first=True)
    on(here, client_of, two_accounts.url)
    assert here.try_it(anew=True, round_number=1).is_new
    assert here.try_it(round_number=1).is_new is False
    assert len(two_accounts.ledger()["entries"]) == 1


@pytest.mark.parametrize("api", ALL)
def test_a_key_that_was_rotated_is_the_same_account_where_the_clip_is_still_shown(
    desk, two_accounts, client_of, api
):
    here = on(desk(api, store=True), client_of, two_accounts.url)
    done = here.try_it(first=True)
    rotated = "sk-rotated-0123456789"
    requests.post(f"{two_accounts.url}/simulator/key", json={"api_key": rotated}, timeout=10)
    on(here, client_of, two_accounts.url, rotated)
    assert here.try_it().task.task_id == done.task.task_id
    assert len(two_accounts.ledger()["entries"]) == 1


@pytest.mark.parametrize("policy", ["keep", "fail", "submit_new"])
@pytest.mark.parametrize("api", ALL)
def test_another_key_that_does_not_know_the_clip_is_a_doubt(desk, two_accounts, client_of, api, policy):
    here = on(desk(api, store=True), client_of, two_accounts.url)
    here.try_it(first=True)
    on(here, client_of, two_accounts.url, OTHERS.api_key)
    with pytest.raises(e.KlingError) as caught:
        here.try_it(on_changed_input=policy)
    assert isinstance(caught.value, e.UnknownSubmissionError | e.ChangedInputError)
    assert "key has changed" in str(caught.value)
    assert len(two_accounts.ledger()["entries"]) == 1


@pytest.mark.parametrize("api", ALL)
def test_a_submission_of_unknown_end_is_not_repeated_with_another_key(desk, two_accounts, client_of, api):
    here = on(desk(api, store=True), client_of, two_accounts.url)
    two_accounts.fault(kind="drop_after", method="POST")
    two_accounts.fault(kind="http_error", method="GET", times=0)
    with pytest.raises(e.UnknownSubmissionError):
        here.try_it(first=True)
    two_accounts.clear_faults()
    on(here, client_of, two_accounts.url, OTHERS.api_key)
    with pytest.raises(e.UnknownSubmissionError):
        here.try_it()
    assert len(two_accounts.ledger()["entries"]) == 1


@pytest.mark.parametrize("api", ALL)
def test_a_living_clip_that_the_account_does_not_know_is_a_doubt_in_a_mere_retry(desk, api):
    here = desk(api, store=True)
    done = here.try_it(first=True)
    here.sim.state.store.forget_tasks()
    with pytest.raises(e.UnknownSubmissionError, match=done.task.task_id):
        here.try_it()
    assert here.paid() == []
    assert here.try_it(policy="resubmit").is_new


@pytest.mark.parametrize("api", NAMED)
def test_a_clear_makes_a_clip_anew_that_the_vendor_no_longer_has(desk, api):
    here = desk(api, store=True)
    here.try_it(first=True)
    here.sim.state.store.forget_tasks()
    assert here.try_it(anew=True, round_number=1).is_new


def test_a_speech_is_not_handed_to_another_account(desk, two_accounts, client_of):
    text = {"audio": None, "voice_id": "reader_en_m-v1", "text": "Good evening and welcome to the news."}
    here = on(desk(store=True, **text), client_of, two_accounts.url)
    two_accounts.fault(kind="error_code", method="POST", path="/v1/videos", code=1102, status=429)
    with pytest.raises(e.AccountError):
        here.try_it(first=True)
    on(here, client_of, two_accounts.url, OTHERS.api_key)
    assert here.try_it(anew=True, round_number=1).is_new
    assert [entry["endpoint"] for entry in two_accounts.ledger()["entries"]] == ["speech", "speech", "avatar"]


def test_no_key_is_in_the_record(desk):
    here = desk(store=True)
    here.try_it(first=True)
    assert "sk-simulator" not in str(here.store.pages)
    assert len(load(here.store).account.key) == 12


# ------------------------------------------------------------------ a run that is made again under its id


@pytest.mark.parametrize(
    ("api", "duplicates"),
    [*((api, "refuse") for api in NAMED), ("kling-broadcast", "accept"), ("relay", "accept")],
)
def test_a_run_that_was_deleted_and_made_again_gets_its_old_clip(desk, client_of, api, duplicates):
    with SimulatorServer(
        SimulatorSettings(queue_seconds=10, render_seconds=40, duplicate_external_id=duplicates)
    ) as server:
        here = on(desk(api), client_of, server.url)
        first = here.try_it(first=True)
        for ready in (False, True):
            server.advance(60 if ready else 0)
            again = here.try_it(first=True)
            assert (again.task.task_id, again.is_new) == (first.task.task_id, False)
            assert (again.task.state is TaskState.SUCCEEDED) is ready
        assert len(server.ledger()["entries"]) == 1


@pytest.mark.parametrize("fields", [{"mode": "pro"}, {"image": OTHER_FACE}])
def test_such_a_run_takes_the_new_inputs_where_a_folder_keeps_what_the_old_one_delivered(desk, again, fields):
    first = desk(store=True)
    first.try_it(first=True)
    note_delivery(first.a_try())
    new = again(first, **fields)
    assert new.try_it(first=True).is_new
    assert new.try_it().is_new is False


@pytest.mark.parametrize("api", ["kling-broadcast", "relay"])
def test_after_a_clip_that_failed_such_a_run_takes_the_next_name(desk, client_of, api):
    with SimulatorServer(
        SimulatorSettings(queue_seconds=10, render_seconds=40, duplicate_external_id="accept")
    ) as server:
        here = on(desk(api), client_of, server.url)
        server.fault(kind="fail_task", reason="render node lost")
        here.try_it(first=True)
        server.advance(60)
        new = here.try_it(first=True)
        assert new.is_new
        assert here.try_it().task.task_id == new.task.task_id


@pytest.mark.parametrize(
    "trouble",
    [
        {"kind": "http_error", "status": 500},
        {"kind": "http_error", "status": 404},
        {"kind": "error_code", "code": 1302},
        {"kind": "error_code", "code": 1002},
        {"kind": "drop_before"},
        {"kind": "html"},
    ],
)
@pytest.mark.parametrize("api", ["kling-broadcast", "relay"])
def test_a_first_try_is_never_stopped_by_that_question(desk, api, trouble, pauses):
    here = desk(api)
    here.sim.fault(method="GET", times=0, **trouble)
    assert here.try_it(first=True).is_new
    assert pauses == []


def test_a_gateway_that_calls_every_name_a_failed_task_does_not_hold_a_first_try(vendor, client_of, desk):
    here = desk("relay")
    here.client = client_of(vendor.url, "relay")
    vendor.answers(
        {"code": "success", "data": {"task_id": "t-0", "status": "FAILURE", "fail_reason": "none"}}
    )
    here.try_it(first=True)
    assert vendor.methods().count("POST") == 1
    assert vendor.seen[-1].body["external_task_id"].endswith("-0")


# ------------------------------------------------------------------ names are the account's


def test_a_name_that_another_endpoint_has_taken_is_told_as_such(vendor, client_of, desk):
    here = desk("kling", external_task_id="evening-news")
    here.client = client_of(vendor.url)
    taken = Reply({"code": 1201, "message": "External_task_id evening-news already exists"}, 400)
    gone = Reply({"code": 1201, "message": "Task not found by id/external id: evening-news"}, 400)
    film = {"code": 0, "data": {"task_id": "t-1", "task_status": "succeed"}}
    vendor.answers(taken, gone, gone, gone, gone, film)
    with pytest.raises(e.UnknownSubmissionError, match="endpoint image_to_video"):
        here.try_it(first=True)
    assert vendor.methods().count("POST") == 1


# ------------------------------------------------------------------ what is stored, frozen

RECORD = {
    "version": 1,
    "input_fingerprint": "0a1b2c",
    "external_task_id": "news-clip-25e98a6d4b0cc5-0a1b2c3d-0",
    "task_id": "t-1",
    "account": {
        "conn_id": "kling_default",
        "api": "kling",
        "address": "https://api-singapore.klingai.com",
        "key": "0a1b2c",
    },
    "paid_for": {"mode": "std"},
}
"""As a later version finds it in Airflow's state store or in a file: entries are only ever added."""


def test_the_record_of_this_version_is_read_by_every_later_one():
    store = Notebook()
    store.save(RECORD | {"an entry of a later version": 1})
    record = load(store)
    assert (record.task_id, record.external_task_id, record.account.api) == (
        "t-1",
        RECORD["external_task_id"],
        "kling",
    )
    save(store, record)
    assert store.load() == RECORD


@pytest.mark.parametrize("entries", [{}, {"before": ["entries", "of another", "shape"]}, {"task_id": 7}])
def test_a_record_of_a_newer_version_stops_the_try_whatever_is_in_it(entries):
    """After a downgrade: an older package must neither guess what a newer one noted, nor call it damaged and pay."""
    store = Notebook()
    store.save(RECORD | {"version": VERSION + 1} | entries)

    with pytest.raises(
        e.StateUnavailableError, match=r"is of version 2, this package knows 1.*newer package"
    ):
        load(store)


def test_all_that_a_record_may_hold_has_a_frozen_name():
    assert Record.__struct_fields__ == (
        "version",
        "round",
        "input_fingerprint",
        "number",
        "external_task_id",
        "task_id",
        "refused",
        "before",
        "account",
        "paid_for",
        "delivered_in",
        "audio_id",
        "spoken_at",
        "duration",
    )
