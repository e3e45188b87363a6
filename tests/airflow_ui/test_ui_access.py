"""Who may ask what: each of our routes, by cookie and by token, as an administrator, an editor and nobody."""

import pytest
import requests
from gallery_site import ADMIN, BOARD, EDITOR, NEWSROOM

pytestmark = pytest.mark.ui

TASK = {NEWSROOM: "morning", BOARD: "results"}
ROUTES = {
    "clip": "/api/dags/{dag}/clip?run_id=of-{dag}&task_id={task}",
    "costs": "/api/dags/{dag}/costs",
    "video": "/dags/{dag}/video?run_id=of-{dag}&task_id={task}",
    "download": "/dags/{dag}/video?run_id=of-{dag}&task_id={task}&download=1",
}


@pytest.fixture(scope="session")
def server(site):
    return f"{site.airflow.url}/kling-avatar"


def token(site, user):
    login = {"username": user.name, "password": user.password}
    answer = requests.post(f"{site.airflow.url}/auth/token", json=login, timeout=60)
    assert answer.status_code == 201
    return answer.json()["access_token"]


@pytest.fixture(scope="session", params=["cookie", "bearer"])
def ask_as(request, site, server):
    """Ask a route in somebody's name; neither follow links nor keep what the server sends along."""
    tokens = {user.name: token(site, user) for user in (ADMIN, EDITOR)}

    def ask(user, path):
        mine = tokens[user.name]
        headers = {"cookie": {"Cookie": f"_token={mine}"}, "bearer": {"Authorization": f"Bearer {mine}"}}
        return requests.get(server + path, headers=headers[request.param], allow_redirects=False, timeout=60)

    return ask


def address(route, dag):
    return ROUTES[route].format(dag=dag, task=TASK[dag])


@pytest.mark.parametrize("route", ROUTES)
def test_the_addresses_are_right_for_those_who_may(ask_as, route):
    assert ask_as(ADMIN, address(route, BOARD)).status_code == 200
    assert ask_as(EDITOR, address(route, NEWSROOM)).status_code == 200


@pytest.mark.parametrize("route", ROUTES)
def test_a_guessed_address_of_another_dag_gives_an_editor_nothing(ask_as, route):
    answer = ask_as(EDITOR, address(route, BOARD))
    assert answer.status_code in (403, 404)
    assert len(answer.content) < 300
    assert TASK[BOARD] not in answer.text


@pytest.mark.parametrize("query", ["", f"?dag_id={BOARD}", "?dag_id=%25", "?limit=100&state=ready"])
def test_no_list_names_a_clip_that_an_editor_may_not_see(ask_as, query):
    answer = ask_as(EDITOR, f"/api/clips{query}")
    assert BOARD not in answer.text
    if BOARD in query or "%" in query:
        assert answer.status_code in (403, 404) or answer.json()["clips"] == []
    else:
        assert NEWSROOM in answer.text
        assert BOARD in ask_as(ADMIN, f"/api/clips{query}").text


@pytest.mark.parametrize(
    "path",
    [
        f"/dags/{NEWSROOM}/video?run_id=of-{BOARD}&task_id=results",
        f"/dags/{NEWSROOM}/video?dag_id={BOARD}&run_id=of-{BOARD}&task_id=results",
        f"/dags/{NEWSROOM}%2F..%2F{BOARD}/video?run_id=of-{BOARD}&task_id=results",
        f"/dags/{NEWSROOM}/../{BOARD}/video?run_id=of-{BOARD}&task_id=results",
        f"/api/dags/{NEWSROOM}/clip?dag_id={BOARD}&run_id=of-{BOARD}&task_id=results",
        f"/api/dags/{BOARD}/clip?dag_id={NEWSROOM}&run_id=of-{BOARD}&task_id=results",
        f"/api/dags/{BOARD}/costs?dag_id={NEWSROOM}",
        "/static/..%2f..%2f..%2f__init__.py",
        "/static/%2e%2e/routes.py",
        "/openapi.json",
        "/docs",
    ],
)
def test_no_way_of_asking_for_one_dag_gives_something_of_another(ask_as, path):
    answer = ask_as(EDITOR, path)
    assert answer.status_code in (403, 404, 422) or "<html" in answer.text[:200].lower()  # Airflow's own page
    assert "results" not in answer.text


@pytest.mark.parametrize("route", ["list", *ROUTES])
@pytest.mark.parametrize("proof", [None, "forged", ""])
def test_who_is_not_logged_in_gets_401_and_a_forged_token_403(site, server, route, proof):
    headers = {} if proof is None else {"Authorization": f"Bearer {proof}", "Cookie": f"_token={proof}"}
    path = "/api/clips" if route == "list" else address(route, NEWSROOM)
    answer = requests.get(server + path, headers=headers, allow_redirects=False, timeout=60)
    assert answer.status_code == (403 if proof else 401)  # Airflow's answer to a token that is none
    assert NEWSROOM not in answer.text


def test_the_code_of_the_page_is_public_and_says_what_it_is(server):
    answer = requests.get(f"{server}/static/kling-clips.js?v=1", timeout=60)
    assert answer.status_code == 200
    assert "javascript" in answer.headers["content-type"]
