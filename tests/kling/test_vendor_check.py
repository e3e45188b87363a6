"""What the check of one's own API finds, at the simulator in all its forms and at gateways that answer otherwise."""

from __future__ import annotations

import json
import socket
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from conftest import KEY
from network_kit import closed_port

from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling.vendor_check import (
    ABSENT,
    DIFFERS,
    MATTERS,
    OK,
    UNANSWERED,
    VendorCheck,
)
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY

APIS = ["kling", "kling-broadcast", "cometapi", "generations", "relay"]
LINK = "https://cdn.test/clip.mp4?Signature=0a1b2c3d"
NAME_OF_MINE = "news-clip-0a1b2c3d-0"
PROMPT = "a prompt that is nobody's business"


def check(config, task_id=None):
    """Return the findings by their probes, and all of them as one text."""
    findings = VendorCheck(config).run(task_id)
    return {finding.probe: finding for finding in findings}, "\n".join(map(repr, findings))


def verdicts(found):
    return {finding.verdict for finding in found.values()}


# ---------------------------------------------------------------------------------------------- the simulator


@pytest.fixture(params=["live", "documented"])
def seller(request, start_vendor):
    """A simulator in either form of not-found."""
    return start_vendor(not_found=request.param, queue_seconds=0, render_seconds=0, port=0)


def config_at(seller, config_of, api):
    prefix = {"path_prefix": "/relay/kling"} if api == "relay" else {}
    return config_of(seller.url, api, password="sk-simulator", **prefix)


@pytest.mark.parametrize("api", APIS)
def test_the_simulator_is_as_expected_in_both_of_its_forms_and_nothing_is_paid(api, seller, config_of):
    found, _ = check(config_at(seller, config_of, api))

    assert verdicts(found) <= {OK, ABSENT}
    assert (
        "a missing id is believed: yes while waiting, yes by a later try"
        in found["a missing id, avatar"].means
    )
    code = "1201" if seller.settings.not_found == "live" else "1203"
    assert f"code {code}" in found["a missing id, avatar"].seen
    assert {request.method for request in seller.requests} == {"GET"}
    assert seller.ledger()["total"]["tasks"] == 0


@pytest.mark.parametrize("api", ["kling", "cometapi", "relay"])
def test_a_name_that_nobody_has_is_believed_to_be_missing_where_the_api_is_asked_by_name(
    api, seller, config_of
):
    found, _ = check(config_at(seller, config_of, api))
    for endpoint in ("avatar", "image_to_video"):
        finding = found[f"a missing name, {endpoint}"]
        assert (finding.verdict, finding.means) == (OK, "a missing name is believed: yes")


def test_where_there_is_neither_name_nor_list_it_says_that_nobody_can_be_asked(seller, config_of):
    found, _ = check(config_at(seller, config_of, "generations"))
    assert found["a missing name, avatar"].verdict == ABSENT
    assert "on_unknown_submission decides" in found["a missing name, avatar"].means
    assert found["list, avatar"].verdict == ABSENT


def test_tasks_in_the_list_are_told_in_numbers_and_field_names_without_their_ids(sim, config_of):
    ids = sim.seed(count=4, spacing_seconds=30, queue_seconds=0, render_seconds=0, age_seconds=60)
    ids += sim.seed(count=2, outcome="failed", queue_seconds=0, render_seconds=0, age_seconds=600)

    found, text = check(config_at(sim, config_of, "kling"))

    assert verdicts(found) <= {OK, ABSENT}
    assert "HTTP 200, 6 rows of task_id text" in found["list, avatar"].seen
    assert "task_result.videos[].url text" in found["list, avatar"].seen
    assert found["order of the list, avatar"].seen == "newest first"
    assert found["pages of the list, avatar"].seen == "2 rows, then 2"
    told = found["tasks in the list, avatar"].seen
    assert told.startswith("4 succeed (succeeded), 2 failed (failed); with a name: 0")
    assert "succeeded with link 4, duration 4, units 4 of 4" in told
    assert not any(task_id in text for task_id in ids)
    assert sim.url + "/" not in text


def test_a_list_without_names_cannot_say_that_a_name_is_missing(sim, config_of):
    sim.seed(count=1, api="kling-broadcast", queue_seconds=0, render_seconds=0, age_seconds=9)
    found, _ = check(config_at(sim, config_of, "kling-broadcast"))
    finding = found["a missing name, avatar"]
    assert finding.verdict == MATTERS
    assert "a missing name is believed: no" in finding.means
    assert "the list of tasks shows no names" in finding.means


def test_a_task_of_ones_own_is_looked_at_without_showing_it(sim, config_of):
    (task_id,) = sim.seed(
        count=1, endpoint="image_to_video", queue_seconds=0, render_seconds=0, age_seconds=9
    )
    found, text = check(config_at(sim, config_of, "kling"), task_id)
    assert found["own task"].verdict == OK
    assert found["own task"].seen.startswith("image_to_video: 1 succeed (succeeded)")
    assert "task_result.videos[].url text" in found["own task"].seen
    assert task_id not in text

    found, text = check(config_at(sim, config_of, "kling"), "829999999999999999")
    assert (found["own task"].verdict, found["own task"].means) == (MATTERS, "it cannot be asked for")
    assert "829999999999999999" not in text


def test_resource_packs_are_told_by_state_where_kling_itself_is_asked(sim, config_of):
    found, text = check(config_at(sim, config_of, "kling"))
    packs = found["resource packs"]
    assert packs.seen.startswith(
        "1 online; with something left: 1 of 1; slots by name: none; resource_pack_name text"
    )
    assert packs.means == "a balance in money is not asked for: Kling tells it only in answer to a POST"
    assert "pack-default" not in text
    assert check(config_at(sim, config_of, "cometapi"))[0]["resource packs"].verdict == ABSENT


def test_of_resource_packs_it_is_told_how_many_have_something_left_and_no_amount(
    gateway, config_of, monkeypatch
):
    amounts = ["0.0", 0, "811.25", 922, None]
    packs = [
        {"resource_pack_name": "Video 5Con", "status": "online", "remaining_quantity": amount}
        for amount in amounts
    ]
    costs = 200, {"code": 0, "data": {"code": 0, "resource_pack_subscribe_infos": packs}}
    monkeypatch.setattr(gateway, "answer", lambda path, _: costs if path == "/account/costs" else NOT_FOUND)
    found, text = check(config_of(gateway.url))
    assert found["resource packs"].seen.startswith(
        "5 online; with something left: 2 of 5; slots by name: 5Con; "
    )
    assert "811" not in text
    assert "922" not in text


def test_signed_keys_are_named_by_their_kind_alone(sim, config_of):
    config = config_of(sim.url, login=DEFAULT_ACCESS_KEY, password=DEFAULT_SECRET_KEY)
    found, text = check(config)
    assert found["connection"].seen.endswith("prefix none, access key and secret key")
    assert verdicts(found) <= {OK, ABSENT}
    assert DEFAULT_ACCESS_KEY not in text
    assert DEFAULT_SECRET_KEY not in text


def test_a_key_that_is_refused_and_a_host_that_is_not_there_end_the_check(sim, config_of):
    with pytest.raises(e.AuthenticationError, match="check the connection's password"):
        check(config_of(sim.url, password="sk-another-key"))
    with pytest.raises(e.ConnectionFailedError, match="check the connection's host"):
        check(config_of(f"http://127.0.0.1:{closed_port()}"))
    assert len(sim.requests) == 2  # the second tells a key that is refused from a question that is


# ---------------------------------------------------------------------------------------------- other gateways

NOT_FOUND = (400, {"code": 1201, "message": "Task not found by id/external id: {}"})


class Gateway:
    """A real HTTP server: answers queries as it is told, its list out of rows, and after `answers` nothing."""

    def __init__(self):
        self.query = NOT_FOUND
        self.rows = []
        self.takes_page_size = self.takes_page_number = True
        self.headers = {"Date": formatdate(usegmt=True)}
        self.asked = 0
        self.answers = float("inf")
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                parts = urlsplit(self.path)
                gateway.asked += 1
                if gateway.asked > gateway.answers:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                status, body = gateway.answer(parts.path, parse_qs(parts.query))
                text = body if isinstance(body, str) else json.dumps(body)
                key = self.headers["Authorization"].removeprefix("Bearer ")
                content = text.replace("{}", parts.path.rpartition("/")[2]).replace("KEY", key).encode()
                self.send_response_only(status)
                kind = "text/html" if text.startswith("<") else "application/json"
                for name, value in {"Content-Type": kind, "X-Key": key, **gateway.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, path, asked):
        if not path.endswith("image2video"):
            return self.query
        size = int(asked["pageSize"][0]) if self.takes_page_size else 30
        page = int(asked["pageNum"][0]) if self.takes_page_number else 1
        return 200, {"code": 0, "message": "SUCCEED", "data": self.rows[(page - 1) * size : page * size]}

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def row(number, **changes):
    return {
        "task_id": f"82{number:016d}",
        "task_status": "succeed",
        "task_info": {"external_task_id": NAME_OF_MINE},
        "created_at": 1_790_000_000_000 - number * 60_000,
        "task_result": {"videos": [{"id": "v-1", "url": LINK, "duration": "5.1"}]},
        "user_id": 4711,
        "prompt": PROMPT,
        **changes,
    }


@pytest.fixture
def gateway():
    gateway = Gateway()
    gateway.rows = [row(number) for number in range(5)]
    yield gateway
    gateway.close()


@pytest.fixture
def examine(gateway, config_of):
    """Check the gateway; nothing that is somebody's may be in what comes out."""

    def run(api="relay", task_id=None, **extra):
        found, text = check(config_of(gateway.url, api, **extra), task_id)
        for secret in (KEY, LINK, "Signature", NAME_OF_MINE, PROMPT, "4711", gateway.rows[0]["task_id"]):
            assert secret not in text
        return found

    return run


def test_a_gateway_that_answers_as_kling_is_as_expected(examine):
    found = examine(task_id="820000000000000000")
    assert verdicts({k: f for k, f in found.items() if k != "own task"}) <= {OK, ABSENT}
    assert "with a name: 5" in found["tasks in the list, avatar"].seen


def test_a_web_page_in_place_of_not_found_matters(gateway, examine):
    gateway.query = (404, "<html>KEY not found</html>")
    found = examine()
    finding = found["a missing id, avatar"]
    assert finding.verdict == MATTERS
    assert finding.seen.startswith("HTTP 404, ")
    assert finding.seen.endswith(" bytes of text/html, read as WrongRouteError")
    assert finding.means == "a missing id is believed: no while waiting, no by a later try"
    assert found["a missing name, avatar"].verdict == MATTERS


def test_a_bare_404_is_not_believed_of_an_id_but_of_a_name_that_the_list_does_not_show(gateway, examine):
    gateway.query = (404, {"message": "Not Found"})
    found = examine()
    assert found["a missing id, avatar"].verdict == MATTERS
    assert found["a missing id, avatar"].seen == 'HTTP 404, message text, "Not Found", read as NotFoundError'
    name = found["a missing name, avatar"]
    assert (name.verdict, name.means) == (
        DIFFERS,
        "a missing name is believed: yes, since the list does not show it",
    )


def test_a_gateways_own_word_is_believed_of_an_id(gateway, examine):
    gateway.query = (400, {"code": "task_not_exist", "message": "task_not_exist", "data": None})
    found = examine()
    assert found["a missing id, avatar"].verdict == OK
    assert found["a missing name, avatar"].verdict == DIFFERS


def test_a_good_answer_with_nothing_in_it_for_an_unknown_id_matters(gateway, examine):
    gateway.query = (200, {"code": 0, "message": "SUCCEED", "data": None})
    finding = examine()["a missing id, avatar"]
    assert finding.verdict == MATTERS
    assert "HTTP 200, code number, message text, data null" in finding.seen
    assert finding.seen.endswith("read as UnreadableAnswerError")


def test_an_unknown_id_that_is_answered_with_a_task_matters(gateway, examine):
    gateway.query = (200, {"code": 0, "data": row(0)})
    found = examine()
    assert found["a missing id, avatar"].verdict == MATTERS
    assert found["a missing id, avatar"].means == "an id that nobody has is taken for a task"
    assert found["a missing name, avatar"].means == "a name that nobody has is taken for that of a task"


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("https://login.test/t/SIGSECRET/x?key=KEY", "https://login.test"),
        ("https://someone:KEY@login.test:44344/t/SIGSECRET;x=1", "https://***"),
        ("http://127.0.0.1:44344/t/SIGSECRET/x", "http://127.0.0.1:44344"),
        ("/t/SIGSECRET/x", "another path"),
        ("//login.test/t/SIGSECRET", "another path"),
        ("http://[bad/t/SIGSECRET", "http://[bad"),
    ],
)
def test_of_a_redirect_only_scheme_and_host_are_told(location, told, gateway, config_of):
    gateway.query = (302, "")
    gateway.headers["Location"] = location.replace("KEY", KEY)
    found, text = check(config_of(gateway.url, "relay"))
    assert found["a missing id, avatar"].verdict == MATTERS
    assert f"HTTP 302, to {told}, " in found["a missing id, avatar"].seen
    assert KEY not in text
    assert "/t/" not in text


def test_of_a_content_type_the_parameters_are_left_out(gateway, examine):
    gateway.query = (404, "nothing")
    gateway.headers["Content-Type"] = "text/plain; user=alice"
    assert "7 bytes of text/plain, read" in examine()["a missing id, avatar"].seen


def test_a_key_and_an_account_that_are_echoed_are_not_shown(gateway, examine):
    gateway.query = (
        400,
        {"code": 1201, "message": "no KEY of user 815 (someone@example.com), request 20261129050222"},
    )
    finding = examine()["a missing id, avatar"]
    assert finding.seen == (
        'HTTP 400, code 1201, "no *** of [id] ([id]), request [id]", read as InvalidRequestError'
    )


def test_nothing_that_is_shown_looks_like_a_tag_and_of_addresses_the_host_with_its_port_stays(
    gateway, examine
):
    gateway.query = (
        400,
        {"code": 1201, "message": f"<b>no</b> 12345 at http://h.test:33551/t/12, {'A' * 300}"},
    )
    finding = examine()["a missing id, avatar"]
    assert '"[b]no[/b] [id] at http://h.test:33551, [base64]"' in finding.seen


@pytest.mark.parametrize(
    "key", ["abcd****ijkl", "abcd****", "**ijkl", "abcd...ijkl", "abcd…ijkl", "abcd••ijkl"]
)
def test_a_key_with_its_middle_left_out_is_not_shown(key, gateway, examine):
    gateway.query = (400, {"code": 1201, "message": f"the key {key} has no such task"})
    assert '"the key [id] has no such task"' in examine()["a missing id, avatar"].seen


def test_a_list_that_ignores_page_size_differs_but_does_not_matter(gateway, examine):
    gateway.rows = [row(number) for number in range(70)]
    gateway.takes_page_size = False
    finding = examine()["pages of the list, avatar"]
    assert (finding.verdict, finding.seen) == (DIFFERS, "30 rows, then 30")


def test_a_list_that_ignores_page_numbers_matters(gateway, examine):
    gateway.takes_page_number = False
    finding = examine()["pages of the list, avatar"]
    assert (finding.verdict, finding.seen) == (MATTERS, "2 rows, then 2, the same ones")
    assert "whether a clip is missing cannot be told" in finding.means


def test_a_list_with_the_oldest_first_matters(gateway, examine):
    gateway.rows.reverse()
    finding = examine()["order of the list, avatar"]
    assert (finding.verdict, finding.seen) == (MATTERS, "oldest first")


def test_rows_that_cannot_be_read_and_missing_links_are_told(gateway, examine):
    gateway.rows += [{"taskId": "1", "externalTaskId": "2"}, row(9, task_result=None)]
    found = examine()
    assert (found["list, avatar"].verdict, found["list, avatar"].means) == (MATTERS, "1 rows cannot be read")
    assert found["tasks in the list, avatar"].verdict == DIFFERS
    assert "succeeded with link 5, duration 5, units 0 of 6" in found["tasks in the list, avatar"].seen


def test_states_that_are_not_known_matter(gateway, examine):
    gateway.rows[0] = row(0, task_status="thinking")
    finding = examine()["tasks in the list, avatar"]
    assert (finding.verdict, finding.means) == (MATTERS, "waited for until the deadline: thinking")


SPARE_THE_LIST = "tasks are asked for one by one; set list_path to false to spare the question"


def is_list(path):
    return path.endswith("o")


@pytest.mark.parametrize(
    "answer", [(404, "<html>"), (200, "<html>"), (302, ""), (404, {"message": "Not Found"})]
)
def test_a_list_that_is_not_there_matters_until_the_connection_says_so(answer, gateway, examine, monkeypatch):
    monkeypatch.setattr(gateway, "answer", lambda path, _: answer if is_list(path) else NOT_FOUND)
    found = examine()
    assert (found["list, avatar"].verdict, found["list, avatar"].means) == (MATTERS, SPARE_THE_LIST)
    assert found["connection"].verdict == OK
    found = examine(list_path=False)
    assert verdicts(found) <= {OK, ABSENT}


@pytest.mark.parametrize(
    ("answer", "verdict", "means"),
    [
        (
            (503, {"code": 5001}),
            UNANSWERED,
            "ask again later; if it stays so, tasks are asked for one by one",
        ),
        (
            (429, {"code": 1302}),
            UNANSWERED,
            "ask again later; if it stays so, tasks are asked for one by one",
        ),
        ((502, "<html>"), UNANSWERED, "ask again later; if it stays so, tasks are asked for one by one"),
        ((401, {"code": 1002}), MATTERS, "tasks are asked for one by one"),
        ((200, {"code": 0}), MATTERS, "tasks are asked for one by one"),
    ],
)
def test_a_list_that_is_there_but_not_now_is_not_advised_to_be_spared(
    answer, verdict, means, gateway, examine, monkeypatch
):
    monkeypatch.setattr(gateway, "answer", lambda path, _: answer if is_list(path) else NOT_FOUND)
    finding = examine()["list, avatar"]
    assert (finding.verdict, finding.means) == (verdict, means)


@pytest.mark.parametrize(
    "answer", [(200, "<html>"), (404, "<html>"), (302, ""), (404, {"message": "Not Found"})]
)
def test_where_nothing_is_answered_as_by_this_api_the_connection_is_said_to_be_wrong(
    answer, gateway, examine, monkeypatch
):
    monkeypatch.setattr(gateway, "answer", lambda *_: answer)
    found = examine()
    assert next(iter(found)) == "connection"
    assert found["connection"].verdict == MATTERS
    assert found["connection"].means == (
        "wrong route: nothing is answered as by this api; check the connection's host, api, path_prefix and query_path"
    )
    assert found["list, avatar"].means == "tasks are asked for one by one"


@pytest.mark.parametrize(
    ("key", "off", "missing"),
    [
        (
            {"api": "kling", "login": "the-access-key", "password": "the-secret-key-of-thirty-two-bytes"},
            "a token from an access key is signed anew by the vendor's clock",
            "a token that was refused cannot be signed by the vendor's clock",
        ),
        ({}, "an API key depends on no clock", "an API key depends on no clock"),
    ],
    ids=["access key", "API key"],
)
def test_the_clocks_are_compared_and_what_follows_is_told_of_the_key_that_there_is(
    key, off, missing, gateway, examine
):
    gateway.headers["Date"] = "Sun, 29 Nov 2020 05:00:00 GMT"
    clock = examine(**key)["clock"]
    assert (clock.verdict, clock.means) == (DIFFERS, off)
    del gateway.headers["Date"]
    clock = examine(**key)["clock"]
    assert (clock.verdict, clock.means) == (ABSENT, missing)


def test_a_wrong_prefix_is_told_though_the_account_is_answered_beside_it(gateway, config_of, monkeypatch):
    monkeypatch.setattr(
        gateway,
        "answer",
        lambda path, _: (200, {"code": 0}) if path == "/account/costs" else (404, "<html>"),
    )
    assert check(config_of(gateway.url, path_prefix="/no"))[0]["connection"].verdict == MATTERS


def test_a_vendor_that_has_trouble_is_told_as_it_is(gateway, examine):
    gateway.query = (503, {"code": 5001, "message": "busy"})
    found = examine()
    finding = found["a missing id, avatar"]
    assert (finding.verdict, finding.seen) == (
        UNANSWERED,
        'HTTP 503, code 5001, "busy", read as UnavailableError',
    )
    assert finding.means == (
        "ask again later; if it stays so, a missing id is believed: no while waiting, no by a later try"
    )
    assert found["connection"].verdict == OK


def test_each_question_is_told_before_it_is_asked(gateway, config_of):
    asked, config = [], config_of(gateway.url, "relay")
    VendorCheck(config, on_question=lambda probe: asked.append((probe, gateway.asked))).run("82")
    assert asked == [
        ("a missing id, avatar", 0),
        ("a missing id, image_to_video", 1),
        ("a missing name, avatar", 2),
        ("a missing name, image_to_video", 3),
        ("list, avatar", 4),
        ("pages of the list, avatar", 5),
        ("pages of the list, avatar", 6),
        ("list, image_to_video", 7),
        ("pages of the list, image_to_video", 8),
        ("pages of the list, image_to_video", 9),
        ("own task", 10),
        ("own task", 11),
    ]


def test_a_gateway_that_stops_answering_is_reported_as_far_as_it_went_and_after(gateway, examine):
    gateway.answers = 2
    found = examine()
    assert found["a missing id, image_to_video"].verdict == OK
    for probe in ("a missing name, avatar", "list, avatar", "list, image_to_video"):
        assert found[probe].verdict == UNANSWERED
        assert "broke before the answer" in found[probe].seen


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(401, 1002, "Authentication"), (403, 1103, "PermissionDenied")]
)
def test_an_id_that_is_refused_as_a_wrong_key_is_while_the_list_takes_the_key_is_a_row(
    status, code, kind, gateway, examine
):
    gateway.query = (status, {"code": code, "message": "no"})
    found = examine()
    assert found["a missing id, avatar"].verdict == MATTERS
    assert found["a missing id, avatar"].seen == f'HTTP {status}, code {code}, "no", read as {kind}Error'
    assert found["list, avatar"].verdict == OK


@pytest.mark.parametrize(
    "own",
    ["my-news-clip", "clip-7", "news/2026 clip", "news.of.user-7.20261129050222", "<clip>", "someone's"],
)
def test_the_name_of_a_task_of_ones_own_is_shown_in_no_cell(own, gateway, config_of):
    quoted = quote(own, safe="")
    gateway.query = (
        404,
        {"code": 1201, "message": f"Task not found by id/external id: {own}, {quoted.lower()}", own: 1},
    )
    found, text = check(config_of(gateway.url, "relay"), own)
    assert "Task not found by id/external id: [id], [id]" in found["own task"].seen
    assert own not in text
    assert quoted.lower() not in text.lower()

    gateway.query = (200, {"code": 0, "data": {"task_id": own, "task_status": own, f"of {own}": 1}})
    found, text = check(config_of(gateway.url, "relay"), own)
    assert found["own task"].seen.startswith("avatar: 1 [id] (unknown); ")
    assert "of [id] number" in found["own task"].seen
    assert own not in text

    gateway.asked, gateway.answers = 0, 2
    found, text = check(config_of(gateway.url, "relay"), own)
    assert "broke before the answer" in found["own task"].seen
    assert own not in text


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 29 Nov 2020 05:00:00 +9999999999999",
        "Sun, 99 Nov 2020 05:00:00 GMT",
        "29",
        "soon",
    ],
)
def test_a_date_that_cannot_be_read_is_none(date, gateway, examine):
    gateway.headers["Date"] = date
    assert (examine()["clock"].verdict, examine()["clock"].seen) == (ABSENT, "no Date")
