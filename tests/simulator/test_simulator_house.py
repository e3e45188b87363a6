from __future__ import annotations

import ast
import html
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

import airflow_provider_kling_avatar.simulator as package
from airflow_provider_kling_avatar.simulator.__main__ import main, settings_from
from airflow_provider_kling_avatar.simulator.server import SimulatorServer

PATH = "/v1/videos/avatar/image2video"
KEYS = ("sk-simulator", "simulator-secret-key")


def test_tasks_ledger_links_and_clock_survive_a_restart(run, tmp_path):
    with run(state_dir=tmp_path, public_url="http://kling.test") as (sim, caller):
        task = caller.avatar(external_task_id="mine").json()["data"]["task_id"]
        sim.advance(1000)
        video = caller.get(f"{PATH}/{task}").json()["data"]["task_result"]["videos"][0]
    with run(state_dir=tmp_path) as (sim, caller):
        assert caller.get(f"{PATH}/mine").json()["data"]["task_status"] == "succeed"
        assert caller.avatar(external_task_id="mine").json()["code"] == 1201
        assert sim.ledger()["total"]["tasks"] == 1
        link = video["url"].replace("http://kling.test", sim.url)
        assert requests.get(link, timeout=30).status_code == 200


def test_the_ledger_has_a_line_per_accepted_task_and_exact_totals(sim, caller, make_picture):
    caller.avatar(mode="pro", external_task_id="mine")
    caller.post(
        "/v1/videos/image2video", {"image": make_picture(), "model_name": "kling-v1", "duration": "5"}
    )
    caller.post("/v1/audio/tts", {"text": "hello", "voice_id": "oversea_male1", "voice_language": "en"})
    caller.avatar(mode="nonsense")
    report = requests.get(f"{sim.url}/simulator/ledger", timeout=20).json()
    assert [entry["endpoint"] for entry in report["entries"]] == ["avatar", "image_to_video", "speech"]
    assert report["entries"][0] | {"task_id": "", "created_at": 0} == {
        "task_id": "",
        "account": "default",
        "dialect": "kling",
        "endpoint": "avatar",
        "external_task_id": "mine",
        "mode": "pro",
        "seconds": "2.5",
        "units": "1.6",
        "amount_usd": "0.224",
        "created_at": 0,
        "status": "submitted",
    }
    assert report["total"]["units"] == "2.65"
    assert report["total"]["amount_usd"] == "0.371"


def test_seconds_are_billed_whole_and_rounded_down(sim, caller, make_sound):
    task = caller.avatar(sound_file=make_sound(11.3)).json()["data"]["task_id"]
    sim.advance(60)
    data = caller.get(f"{PATH}/{task}").json()["data"]
    assert data["task_result"]["videos"][0]["duration"] == "11.3"
    assert data["final_unit_deduction"] == "4.4"
    assert data["final_balance_deduction"] == {"quota": "4.4", "list_price": "0.616"}
    assert sim.ledger()["total"]["units"] == "4.4"


def test_the_gateway_that_is_told_the_length_bills_what_it_was_told(sim, caller):
    body = {
        "model": "kling-avatar-v2-standard",
        "image_url": "https://pictures.test/face.png",
        "audio_url": "https://sounds.test/voice.mp3",
        "audio_duration_seconds": 18.5,
    }
    assert caller.post("/v1/video/generations", body).status_code == 200
    assert sim.ledger()["total"]["units"] == "7.4"


def test_the_pack_shrinks_when_a_task_succeeds_and_the_ledger_counts_it_from_its_acceptance(sim, caller):
    def used():
        query = {"start_time": 0, "end_time": 1}
        pack = caller.get("/account/costs", params=query).json()["data"]["resource_pack_subscribe_infos"][0]
        return round(pack["total_quantity"] - pack["remaining_quantity"], 4)

    caller.avatar()
    sim.fault(kind="fail_task")
    caller.avatar()
    sim.fault(kind="stuck")
    caller.avatar()
    caller.avatar(mode="nonsense")
    assert (used(), sim.ledger()["total"]["tasks"], sim.ledger()["total"]["units"]) == (0, 3, "2.4")
    sim.advance(60)
    assert (used(), sim.ledger()["total"]["tasks"], sim.ledger()["total"]["units"]) == (0.8, 3, "1.6")
    caller.post("/v1/audio/tts", {"text": "hello", "voice_id": "oversea_male1", "voice_language": "en"})
    assert used() == 0.85


def test_the_account_page_refuses_as_the_rest_of_the_api_does(caller):
    query = {"start_time": 0, "end_time": 1}
    assert caller.get("/account/costs", params=query).json()["data"]["code"] == 0
    assert caller.get("/account/costs").json()["code"] == 1201
    assert caller.get("/account/costs", params=query, headers={"Authorization": "x"}).json()["code"] == 1002


def test_reset_forgets_everything(sim, caller):
    caller.avatar()
    sim.fault(kind="html", times=0)
    assert caller.post("/simulator/reset").status_code == 200
    assert caller.get(PATH).json()["data"] == []
    assert sim.ledger()["entries"] == []


STEERING = [
    ("POST", "faults", {"kind": "html", "times": 0}),
    ("DELETE", "faults", None),
    ("POST", "clock", {"advance": 1}),
    ("POST", "reset", None),
    ("POST", "lists", {"lag_seconds": 5}),
    ("POST", "tasks", {"count": 1}),
    ("POST", "key", {"api_key": "sk-stolen"}),
]
"""All that changes the simulator."""
FOREIGN = [
    {"Origin": "http://evil.test"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:3000"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]
"""What a browser says on behalf of a page that is not the simulator's own."""


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda h: "".join(h.values()))
@pytest.mark.parametrize(("method", "page", "body"), STEERING)
def test_other_web_pages_cannot_steer_it(sim, caller, method, page, body, headers):
    caller.avatar()
    answer = requests.request(method, f"{sim.url}/simulator/{page}", json=body, headers=headers, timeout=20)
    assert answer.status_code == 403
    assert "another web page" in answer.json()["detail"]
    assert sim.state.faults.listing() == []
    assert len(sim.ledger()["entries"]) == 1
    assert caller.get(PATH).status_code == 200


@pytest.mark.parametrize("origin", [True, False])
@pytest.mark.parametrize(("method", "page", "body"), STEERING[:-1])
def test_its_own_page_and_clients_without_an_origin_can_steer_it(sim, method, page, body, origin):
    headers = {"Origin": sim.url, "Sec-Fetch-Site": "same-origin"} if origin else {}
    url = f"{sim.url}/simulator/{page}"
    assert requests.request(method, url, json=body, headers=headers, timeout=20).ok


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"]
)
@pytest.mark.parametrize(("method", "page", "body"), [row for row in STEERING if row[0] == "POST"])
def test_a_form_cannot_steer_it_and_is_told_what_to_send(sim, method, page, body, kind):
    answer = requests.request(
        method,
        f"{sim.url}/simulator/{page}",
        data=json.dumps(body or {}),
        headers={"Content-Type": kind},
        timeout=20,
    )
    assert answer.status_code == 415
    assert "content-type: application/json" in answer.json()["detail"]
    assert sim.state.faults.listing() == []


def test_looking_at_it_is_not_steering(sim):
    for page in ("", "/ledger", "/faults", "/lists", "/clock"):
        assert requests.get(f"{sim.url}/simulator{page}", headers=FOREIGN[0], timeout=20).ok


def test_the_clock_goes_forward_only(caller):
    before = caller.get("/simulator/clock").json()["now"]
    assert caller.post("/simulator/clock", {"advance": 100}).json()["now"] >= before + 100
    assert caller.post("/simulator/clock", {"advance": -1}).status_code == 422


def test_a_newcomer_is_told_how_to_connect_but_not_other_peoples_keys(run, other_account):
    from airflow_provider_kling_avatar.simulator.settings import DEFAULT_ACCOUNT

    with run(accounts=(DEFAULT_ACCOUNT, other_account)) as (sim, caller):
        about = caller.get("/simulator").json()
        assert about["accounts"][0]["api_key"] == "sk-simulator"
        assert about["accounts"][1] == {"name": "other"}
        page = caller.get("/").text
        assert sim.url in page
        assert "sk-other" not in page
        assert caller.get("/simulator/health").json()["status"] == "ok"


def test_the_page_for_people_escapes_what_callers_sent(caller):
    caller.avatar(external_task_id="<script>alert(1)</script>")
    assert "<script>alert" not in caller.get("/").text


def test_the_page_for_people_plays_finished_films(sim, caller):
    caller.avatar()
    assert ">play</a>" not in caller.get("/").text
    sim.advance(60)
    link = re.search(r'href="(http[^"]+)">play', caller.get("/").text).group(1)
    assert requests.get(html.unescape(link), timeout=30).headers["content-type"] == "video/mp4"


def test_one_gateway_path_serves_clients_of_either_kind(sim, caller):
    path = "/kling/v1/videos/avatar/image2video"
    task = caller.avatar(path, external_task_id="mine").json()["data"]["task_id"]
    sim.advance(60)
    for wanted in (task, "mine"):
        assert caller.get(f"{path}/{wanted}").json()["data"]["task_result"]["videos"][0]["url"]
    relayed = caller.get(f"/relay{path}/{task}").json()
    assert relayed["data"]["task_status"] == "succeed"


def test_by_default_a_test_server_finishes_tasks_at_once_and_leaves_nothing_behind():
    with SimulatorServer() as sim:
        folder = sim.state.folder
        assert folder.exists()
        assert sim.port != 8700
    assert not folder.exists()


def test_the_simulator_shares_no_code_with_the_client():
    for file in Path(package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert not name.startswith(("airflow_provider_kling_avatar.kling", "airflow.")), (
                    file.name,
                    name,
                )


def test_the_command_line_reaches_the_settings():
    line = "--port 0 --slots 2 --queue-seconds 0.1 --account b:sk-b --account c:sk-c:ak:secret --fetch-remote"
    settings = settings_from(
        [*line.split(), "--duplicate-external-id", "accept", "--not-found", "documented"]
    )
    assert [account.name for account in settings.accounts] == ["default", "b", "c"]
    assert settings.accounts[2].secret_key == "secret"
    assert (settings.slots, settings.queue_seconds, settings.fetch_remote) == (2, 0.1, True)
    assert settings.duplicate_external_id == "accept"
    assert settings.not_found == "documented"
    assert "secret" not in repr(settings.accounts[2])


@pytest.mark.parametrize(
    "line",
    [
        "--queue-seconds -1",
        "--account nothing",
        "--webhook-secret whsec_x",
        "--slots many",
        "--duplicate-external-id maybe",
        "--not-found perhaps",
    ],
)
def test_nonsense_on_the_command_line_ends_with_a_usage_message(line, capsys):
    with pytest.raises(SystemExit):
        settings_from(line.split())
    assert "usage: kling-avatar-simulator" in capsys.readouterr().err


def test_a_port_in_use_is_one_clear_line(capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port), "--state-dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"127.0.0.1:{port}" in error


def test_a_state_directory_that_cannot_be_used_is_one_clear_line(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert main(["--port", "0", "--state-dir", str(tmp_path / "file")]) == 1
    assert "cannot use the state directory" in capsys.readouterr().err


def test_the_command_says_where_it_is_and_ends_on_ctrl_c_without_logging_keys(tmp_path):
    command = [sys.executable, "-m", "airflow_provider_kling_avatar.simulator", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--state-dir", str(tmp_path / "state")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[2])},
    )
    url = ""
    for line in process.stdout:
        if "address" in line:
            url = line.split()[-1]
        if "Ctrl-C" in line:
            break
    patience = time.monotonic() + 60
    while time.monotonic() < patience:
        try:
            requests.get(f"{url}/simulator/health", timeout=60)
            break
        except requests.ConnectionError:
            time.sleep(0.05)
    requests.get(url + PATH, headers={"Authorization": "Bearer sk-simulator"}, timeout=60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Stopped." in out
    assert f"GET {PATH} -> 200" in err
    assert "Traceback" not in err
    assert not any(key in err for key in KEYS)
