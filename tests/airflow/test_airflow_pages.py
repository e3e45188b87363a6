"""What the Dags and the commands of Airflow that are printed in README and docs do where they are run."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_kling_avatar.kling.dialects import DIALECTS
from airflow_provider_kling_avatar.testing import FACE, VOICE

ROOT = Path(__file__).parents[2]
AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
PAGES = "\n".join(
    page.read_text("utf-8") for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
)
CODE = "\n".join(re.findall(r"^```(?:bash)?\n(.*?)^```$", PAGES, re.DOTALL | re.MULTILINE))
PROSE = re.sub(r"^```.*?^```$", "", PAGES, flags=re.DOTALL | re.MULTILINE)
NEITHER_LIMITED = ("taken", "no price is known for avatar.std on the api '{api}'")
ONLY_LINKS = "takes only http"
SAID = {
    "kling": ("taken", "taken"),
    "cometapi": NEITHER_LIMITED,
    "relay": NEITHER_LIMITED,
    "generations": (ONLY_LINKS, ONLY_LINKS),
    "kling-broadcast": (ONLY_LINKS, "has no prompt"),
}
"""What becomes of the README's two Dags, which send local files, on each API; the second has a prompt and a limit."""
SENTENCE = (
    "`generations` takes links only, `kling-broadcast` audio as a link and no `prompt`, and where no price is known a "
    "`max_cost` is refused"
)


def printed_dags(page, printed, here):
    """
    Return the Dags of a page by their names.

    :param printed: where the page has its files.
    :param here: where they are.
    """
    dags = {}
    for block in re.findall(
        r"^```python\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE
    ):
        assert printed in block
        source = block.replace(printed, here)
        if AIRFLOW < (3,):
            source = source.replace("airflow.sdk", "airflow.decorators")  # as the page says
        name = re.search(r"^@dag.*\ndef (\w+)", source, re.MULTILINE)[1]
        variables = {}
        exec(compile(source, page, "exec"), variables)
        dags[name] = variables[name]()
    return dags


@pytest.fixture
def readme_dags(tmp_path, no_connection):
    shutil.copy(FACE, tmp_path / "face.jpg")
    shutil.copy(VOICE, tmp_path / "voice.mp3")
    return printed_dags("README.md", '"/data/', f'"{tmp_path}/')


@pytest.mark.parametrize(
    ("number", "dag", "task"), [(0, "talking_head", "submit"), (1, "talking_head_one_task", "avatar")]
)
@pytest.mark.parametrize("api", SAID)
def test_what_an_api_cannot_take_of_the_readmes_dags_is_told_before_anything_is_paid(
    readme_dags, connect, sim, context, api, number, dag, task
):
    connect(api=api, **({"path_prefix": "/relay/kling"} if api == "relay" else {}))
    said = SAID[api][number].format(api=api)
    outcome = (
        contextlib.suppress(TaskDeferred)
        if said == "taken"
        else pytest.raises(Exception, match=re.escape(said))
    )

    with outcome:
        readme_dags[dag].get_task(task).execute(context)

    assert sim.ledger()["total"]["tasks"] == (said == "taken")


def test_the_readmes_dags_are_tried_on_every_api():
    assert set(SAID) == set(DIALECTS)


def test_the_limit_of_the_quick_start_lets_the_longest_recording_through_that_it_invites(
    connect, sim, context, tmp_path, make_sound
):
    shutil.copy(FACE, tmp_path / "face.jpg")
    make_sound("voice.mp3", seconds=300)
    page = printed_dags("docs/quickstart.md", 'Path.home() / "kling"', f'Path("{tmp_path}")')

    with contextlib.suppress(TaskDeferred):
        page["first_clip"].get_task("clip").execute(context)

    assert sim.ledger()["total"]["tasks"] == 1


@pytest.mark.parametrize("page", ["README.md", "docs/connection.md", "docs/gateways.md"])
def test_a_page_on_other_connections_says_what_they_do_not_take(page):
    assert SENTENCE in (ROOT / page).read_text("utf-8")


# ---------------------------------------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def parser():
    from airflow.cli.cli_parser import get_parser

    return get_parser()


def refused(parser, line, capsys):
    """Return what Airflow's own reading of a command line complains of."""
    try:
        parser.parse_args(shlex.split(line, comments=True)[1:])
    except SystemExit:
        return capsys.readouterr().err.strip().splitlines()[-1]
    return ""


@pytest.mark.parametrize(
    "line", sorted(set(re.findall(r"^(?:[A-Z_]+=\S+ )?(airflow .+)$", CODE, re.MULTILINE)))
)
def test_a_command_of_airflows_that_a_page_prints_is_one(parser, line, capsys):
    assert refused(parser, line, capsys) == ""


@pytest.mark.parametrize(
    "line",
    [
        line
        for line in sorted(set(re.findall(r"`(airflow [a-z][^`]+)`", PROSE)))
        if AIRFLOW >= (3,) or not line.startswith("airflow backfill")  # as the page says
    ],
)
def test_a_command_of_airflows_that_a_sentence_names_is_one(parser, line, capsys):
    """It may leave out what Airflow wants to be told besides."""
    assert re.search(r"^$|arguments are required", refused(parser, line, capsys))


@pytest.mark.parametrize("line", ["airflow dags tset x", "airflow dags test x --conference {}"])
def test_a_command_that_airflow_does_not_know_is_found_out(parser, line, capsys):
    assert re.search(r"invalid choice|unrecognized arguments", refused(parser, line, capsys))
