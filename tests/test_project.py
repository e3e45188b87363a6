"""What the project's own files say of each other: addresses, versions, make's targets, what contributors are told."""

import contextlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import release_check
import yaml
from versions import NEWEST, SUPPORTED

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
URLS = PYPROJECT["project"]["urls"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
PAGES = [
    ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "docs/stability.md")
]
FOLDERS = (".github", "airflow_provider_kling_avatar", "benchmarks", "dev", "docs", "example_dags")


def workflow(name):
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text("utf-8"))


CI, RELEASE = workflow("ci")["jobs"], workflow("release")["jobs"]


def minor(version):
    return tuple(map(int, version.split(".")[:2]))


PYTHONS_HERE = {
    minor(word.rpartition(" ")[2])
    for word in PYPROJECT["project"]["classifiers"]
    if re.search(r":: 3\.\d+$", word)
}


# ------------------------------------------------------------------------------------------ addresses


def test_every_address_of_ours_in_the_project_file_begins_as_the_repositorys():
    links = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]

    for name in ("Homepage", "Changelog", "Issues"):
        assert URLS[name].startswith(URLS["Repository"])
    for link in links:
        assert f"]({URLS['Repository']}/" in link["replacement"]
    owner, name = URLS["Repository"].removeprefix("https://github.com/").split("/")
    assert URLS["Documentation"] == f"https://{owner}.github.io/{name}/"


def test_the_placeholder_stands_in_the_project_file_alone():
    files = [*ROOT.glob("*.*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*"))]
    texts = [path for path in files if path.suffix in {".md", ".py", ".yml", ".toml", ".json"}]
    address = f"github.com/{release_check.PLACEHOLDER}/"

    assert [path.name for path in texts if address in path.read_text("utf-8")] == ["pyproject.toml"]


def test_a_placeholder_address_is_refused_unless_nothing_is_released():
    release = release_check.Release(unreleased=False, tag=None)
    release.metadata = type(
        "Metadata", (), {"get_all": lambda *_: ["Homepage, https://github.com/OWNER/x"]}
    )()

    with pytest.raises(
        release_check.RefusedError, match=r"still a placeholder.*replace OWNER in pyproject\.toml"
    ):
        release.address()
    release.unreleased = True
    assert "accepted for now" in release.address()


@pytest.mark.parametrize(("tag", "refused"), [("v0.1.0", False), ("v0.1.1", True), ("0.1.0", True)])
def test_a_tag_has_to_be_that_of_the_version(tag, refused):
    release = release_check.Release(unreleased=True, tag=tag)
    release.version = "0.1.0"

    if refused:
        with pytest.raises(
            release_check.RefusedError, match=r"the package's version is 0\.1\.0: tag it v0\.1\.0"
        ):
            release.release()
    else:
        assert release.release().startswith("## [0.1.0]")


def test_no_shell_reads_the_name_of_a_tag(tmp_path):
    """Whoever may push a tag gives its name; git takes one that a shell would run."""
    tag = f"v$(touch {tmp_path}/one)`touch {tmp_path}/two`$(shell touch {tmp_path}/three)"
    done = subprocess.run(
        ["make", "--no-print-directory", "release-check", "PYTHON=printenv TAG #"],  # in the check's place
        cwd=ROOT,
        env=os.environ | {"TAG": tag},
        capture_output=True,
        text=True,
        check=True,
    )
    [checked] = [step for step in RELEASE["build"]["steps"] if "release-check" in step.get("run", "")]

    assert done.stdout == f"{tag}\n"
    assert list(tmp_path.iterdir()) == []
    assert checked["env"] == {"TAG": "${{ github.ref_name }}"}
    assert "TAG" not in checked["run"]


def test_nothing_is_published_that_has_not_passed_all_of_ci():
    needed = {name: RELEASE[name] for name in RELEASE["publish"]["needs"]}

    assert "release-check" in str(needed["build"])
    assert needed["ci"]["uses"] == "$/.github/workflows/ci.yml"
    assert "workflow_call" in workflow("ci")[True]  # YAML takes the word `on` for a truth


def test_whatever_makes_or_checks_a_release_is_pinned():
    pins = dict(
        line.partition(" ;")[0].split("==") for line in release_check.PINS.read_text("utf-8").splitlines()
    )
    builders = [re.match(r"[\w-]+", line)[0] for line in PYPROJECT["build-system"]["requires"]]

    assert {*builders, "check-wheel-contents", "twine", "uv"} <= set(pins)


def test_a_release_is_built_and_checked_with_what_is_pinned(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(release_check, "run", lambda *command, **_: commands.append(list(map(str, command))))
    monkeypatch.setattr(release_check, "find_uv", lambda: "uv")
    monkeypatch.setattr(release_check, "DIST", tmp_path / "dist")
    release = release_check.Release(unreleased=False, tag=None)
    release.wheel, release.sdist = tmp_path / "x.whl", tmp_path / "x.tar.gz"

    for step in (release.build, release.wheel_contents, release.readme):
        with contextlib.suppress(ValueError, OSError, AttributeError):  # nothing was really built
            step()

    assert [command[1:3] for command in commands] == [["build", "--quiet"], ["tool", "run"], ["tool", "run"]]
    for command in commands:
        assert command[
            command.index("--constraints" if "tool" in command else "--build-constraints") + 1
        ] == str(release_check.PINS)


@pytest.mark.parametrize(
    ("line", "leads_nowhere"),
    [
        ("[a](docs/a.md)", True),
        ("![a](docs/a.svg)", True),
        ('<img src="docs/a.svg">', True),
        ("[a](https://example.com/a)", False),
        ("[a](#a)", False),
    ],
)
def test_a_relative_link_is_known(line, leads_nowhere):
    assert bool(release_check.RELATIVE.search(line)) is leads_nowhere


# ------------------------------------------------------------------------------------------ versions


def test_ci_runs_every_supported_airflow_on_pythons_that_it_supports():
    older = [(row["airflow"], minor(row["python"])) for row in CI["older"]["strategy"]["matrix"]["include"]]
    newest = {minor(python) for python in CI["newest"]["strategy"]["matrix"]["python"]}

    assert {airflow for airflow, _ in older} == {entry.airflow for entry in SUPPORTED if entry is not NEWEST}
    assert newest == PYTHONS_HERE
    for entry in SUPPORTED:
        used = [python for airflow, python in older if airflow == entry.airflow]
        assert all(python <= entry.newest_python for python in used)


def test_the_page_on_stability_tells_what_ci_runs():
    page = (ROOT / "docs/stability.md").read_text("utf-8")
    told = dict(re.findall(r"^\| [\d.]+ \| ([\d.]+) \| (.+?) \|$", page, re.MULTILINE))
    runs = {NEWEST.airflow: CI["newest"]["strategy"]["matrix"]["python"]}
    for row in CI["older"]["strategy"]["matrix"]["include"]:
        runs.setdefault(row["airflow"], []).append(row["python"])

    assert told == {airflow: ", ".join(pythons) for airflow, pythons in runs.items()}


# ------------------------------------------------------------------------------- what people are told


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "README.md", *WORKFLOWS, FORMS.parent / "pull_request_template.md"],
    ids=lambda p: p.name,
)
def test_every_make_target_that_is_named_is_there(page):
    named = set(re.findall(r"(?:`|run: |^)make ([a-z][a-z-]*)", page.read_text("utf-8"), re.MULTILINE))

    assert named <= TARGETS


def test_every_make_target_that_ci_names_in_a_list_is_there():
    assert set(CI["long"]["strategy"]["matrix"]["target"]) <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_file_and_name_that_contributors_are_sent_to_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    package = ROOT / "airflow_provider_kling_avatar"
    paths = set(re.findall(r"`((?:[\w-]+/)+[\w.-]*|[\w-]+\.(?:py|json|toml|md))`", text))
    everything = "\n".join(
        file.read_text("utf-8") for folder in (package, ROOT / "tests") for file in folder.rglob("*.py")
    )

    assert len(paths) > 15
    folders = {path.rpartition("/")[0] if "NAME" in path else path for path in paths}
    assert [path for path in folders if not any((base / path).exists() for base in (ROOT, package))] == []
    for name in re.findall(r"`(_?[A-Z][A-Z_]+)`", text):
        if name not in {"UNRELEASED", "NAME"}:
            assert re.search(rf"^{name}\b", everything, re.MULTILINE), name


def test_each_form_is_named_where_people_look_for_somebody_to_ask():
    names = [
        yaml.safe_load(form.read_text("utf-8"))["name"]
        for form in FORMS.glob("*.yml")
        if form.stem != "config"
    ]
    where_to_ask = (ROOT / "docs/troubleshooting.md").read_text("utf-8").partition("## Where to ask")[2]

    assert "A question" in names
    assert [name for name in names if f"*{name.rstrip('.')}*" not in where_to_ask.partition("\n## ")[0]] == []
    assert "troubleshooting.md#where-to-ask" in (ROOT / "docs/stability.md").read_text("utf-8")


@pytest.mark.parametrize("form", ["bug.yml", "vendor.yml"])
def test_a_form_asks_for_the_check_of_the_connection_by_its_right_name(form):
    (asked,) = [
        field
        for field in yaml.safe_load((FORMS / form).read_text("utf-8"))["body"]
        if "kling-avatar check" in str(field)
    ]

    assert asked["validations"] == {"required": True}
    command = re.search(r"`kling-avatar (.+?) YOUR_CONNECTION`", asked["attributes"]["label"])[1].split()
    shown = subprocess.run(
        [sys.executable, "-m", "airflow_provider_kling_avatar.cli", command[0], "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert command[1] in shown.stdout
