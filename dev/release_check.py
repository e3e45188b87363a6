"""
Build wheel and sdist into `dist/`, and check whether they are fit to be published.

    TAG=v0.1.0 python dev/release_check.py [--unreleased]

The tag that is to be published, if there is one, comes by the environment.

Goes through to the end, so that one refusal hides no other: what is in both files, whether a package index will render
the README and its links lead somewhere, whether the tests run out of the unpacked sdist, whether the wheel works in a
plain Airflow, the oldest and the newest that we test. What is checked here is what is to be uploaded.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING

from environment import ROOT, constraints_file, ensure, find_uv, python_for, uv_environment
from environment import TOOLS_PINS as PINS
from versions import NEWEST, SUPPORTED, Supported

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message

DIST = ROOT / "dist"
PROBE = ROOT / "dev" / "release_probe.py"
PACKAGE = "airflow_provider_kling_avatar"
PLACEHOLDER = "OWNER"
"""Stands in `pyproject.toml` where the owner of the repository belongs, until there is one."""
SDIST_TESTS = (
    "tests/test_project.py",
    "tests/test_readme.py",
    "tests/kling/test_contract.py",
    "tests/simulator/test_simulator_media.py",
    "tests/airflow/test_airflow_metadata.py",
)
"""A quick part of the tests that reads much of what has to be shipped: schemas, prices, media, docs, tools."""
RELATIVE = re.compile(r"\]\((?!https?://|mailto:|#)|(?:href|src)=\"(?!https?://|mailto:|#)")
"""A link or a picture that leads nowhere on the page of a package index."""


class RefusedError(Exception):
    """Something is not fit to be published; the message says what, and what to do."""


def refuse_unless(good: object, message: str) -> None:
    """Refuse to go on, with a :class:`RefusedError`, what is not good."""
    if not good:
        raise RefusedError(message)


def run(*command: object, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """
    Run a program and return what it printed.

    :raises RefusedError: it failed; with the end of what it printed.
    """
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=env or uv_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    told = (done.stdout + done.stderr).strip()
    refuse_unless(done.returncode == 0, f"{' '.join(map(str, command[:4]))} ... failed:\n{told[-3000:]}")
    return done.stdout


def tool(*command: object) -> None:
    """Run a program that is fetched for it, in the version that is pinned: it sees what is to be published."""
    run(find_uv(), "tool", "run", "--constraints", PINS, *command)


class Release:
    """
    What was built, and the checks of it, in the order in which they run.

    :param unreleased: accept what only a release needs: a true address, and a date in the change log.
    :param tag: the tag that is to be published.
    """

    def __init__(self, *, unreleased: bool, tag: str | None) -> None:
        self.unreleased, self.tag = unreleased, tag
        self.project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def build(self) -> str:
        """Build both, the wheel out of the sdist."""
        shutil.rmtree(DIST, ignore_errors=True)
        run(find_uv(), "build", "--quiet", "--build-constraints", PINS, "--out-dir", DIST)
        (DIST / ".gitignore").unlink(missing_ok=True)
        (self.wheel,), (self.sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
        with zipfile.ZipFile(self.wheel) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            self.metadata: Message = message_from_bytes(wheel.read(name))
        self.version = self.metadata["Version"]
        return ", ".join(
            f"{path.name} {path.stat().st_size // 1024} KiB" for path in (self.wheel, self.sdist)
        )

    def wheel_contents(self) -> str:
        """See that the wheel holds the whole package, its data too, and nothing else."""
        tool("check-wheel-contents", "--package", PACKAGE, self.wheel)
        with zipfile.ZipFile(self.wheel) as wheel:
            return f"{len(wheel.namelist())} files"

    def sdist_contents(self) -> str:
        """See that the sdist holds all that git has, and nothing else."""
        ours = set(run("git", "ls-files").splitlines())
        with tarfile.open(self.sdist) as sdist:
            theirs = {member.name.partition("/")[2] for member in sdist if not member.isdir()} - {"PKG-INFO"}
        refuse_unless(not ours - theirs, f"missing in the sdist: {sorted(ours - theirs)[:10]}")
        refuse_unless(
            not theirs - ours,
            f"in the sdist but not in git, commit or remove it: {sorted(theirs - ours)[:10]}",
        )
        return f"{len(theirs)} files"

    def readme(self) -> str:
        """See that a package index can render the README, and that its links and pictures lead somewhere."""
        tool("twine", "check", "--strict", self.wheel, self.sdist)
        text = self.metadata.get_payload()
        assert isinstance(text, str)
        left = [line for line in text.splitlines() if RELATIVE.search(line)]
        refuse_unless(
            not left, "relative links, which lead nowhere on a package index:\n" + "\n".join(left[:5])
        )
        base = f"{self.project['urls']['Repository']}/"
        ours = re.findall(rf"{re.escape(base)}(?:blob|raw)/v{re.escape(self.version)}/([^)#]+)", text)
        missing = [path for path in ours if not (ROOT / path).exists()]
        refuse_unless(ours, f"no link of the README leads to {base}: see the substitutions in pyproject.toml")
        refuse_unless(not missing, f"the README links to what is not there: {missing}")
        return f"{len(ours)} links of our own"

    def tests(self) -> str:
        """Run tests where the sdist is unpacked."""
        python = ensure(ROOT / ".venv", NEWEST.airflow)
        with tempfile.TemporaryDirectory(prefix="release-") as folder:
            with tarfile.open(self.sdist) as sdist:
                sdist.extractall(folder, filter="data")
            (unpacked,) = Path(folder).iterdir()
            env = {
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("AIRFLOW", "PYTEST"))
            }
            env |= {"AIRFLOW_HOME": f"{folder}/home", "PYTHONPATH": str(unpacked)}
            where = run(python, "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)", cwd=unpacked, env=env)
            refuse_unless(
                where.startswith(str(unpacked)), f"the sdist's package is hidden by {where.strip()}"
            )
            pytest = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider")
            run(*pytest, "--collect-only", cwd=unpacked, env=env)
            return run(*pytest, *SDIST_TESTS, cwd=unpacked, env=env).splitlines()[-1]

    def plain(self, entry: Supported) -> str:
        """See that the wheel works in a plain Airflow."""
        (ROOT / ".venvs").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="plain-", dir=ROOT / ".venvs") as folder:
            venv, python = Path(folder, "venv"), Path(folder, "venv", "bin", "python")
            run(find_uv(), "venv", "--quiet", "--python", python_for(entry), venv)
            install = (find_uv(), "pip", "install", "--quiet", "--python", python)
            pins = ("--constraint", constraints_file(entry))
            run(*install, self.wheel, f"apache-airflow=={entry.airflow}", *pins)
            run(find_uv(), "pip", "check", "--python", python)
            env = {"AIRFLOW_HOME": f"{folder}/home", "PATH": os.environ["PATH"], "HOME": folder}
            told = json.loads(run(python, "-I", PROBE, cwd=Path(folder), env=env).splitlines()[-1])
            refuse_unless(told["from"].startswith(str(venv)), f"imported from {told['from']}")
            refuse_unless(told["version"] == self.version, f"Airflow sees version {told['version']}")
            refuse_unless(told["hook"], "Airflow cannot load the hook of the connection type kling_avatar")
            site = self.project["urls"][
                "Documentation"
            ]  # Airflow 2.11 looks it up later, from the same metadata
            refuse_unless(told["documentation"] in (None, site), f"Airflow links to {told['documentation']}")
            for script in self.project["scripts"]:
                run(venv / "bin" / script, "--help", cwd=Path(folder), env=env)
            return "imports in ms: " + ", ".join(f"{name} {ms}" for name, ms in told["milliseconds"].items())

    def release(self) -> str:
        """See that version, tag and change log agree."""
        log = (ROOT / "CHANGELOG.md").read_text("utf-8")
        heading = next((line for line in log.splitlines() if line.startswith(f"## [{self.version}]")), None)
        refuse_unless(heading, f"CHANGELOG.md has no heading for {self.version}")
        if self.tag:
            refuse_unless(
                self.tag == f"v{self.version}",
                f"the tag is {self.tag}, the package's version is {self.version}: tag it v{self.version}",
            )
        if not self.unreleased:
            refuse_unless(
                re.search(r"\d{4}-\d\d-\d\d$", heading or ""),
                f"CHANGELOG.md says {heading!r}: put the day of the release there",
            )
        return heading or ""

    def address(self) -> str:
        """See that the address of repository and site is a true one."""
        urls = self.metadata.get_all("Project-URL", [])
        placeholders = [url for url in urls if PLACEHOLDER in url]
        if placeholders and self.unreleased:
            return f"a placeholder, accepted for now: {placeholders[0]}"
        refuse_unless(
            not placeholders,
            f"the address of repository and site is still a placeholder ({placeholders[:1]}): replace "
            f"{PLACEHOLDER} in pyproject.toml by the owner of the repository, and build again",
        )
        return urls[0]


def main() -> int:
    """Run from the command line; the result is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--unreleased", action="store_true", help="accept what only a release needs")
    options = parser.parse_args()
    release = Release(unreleased=options.unreleased, tag=os.environ.get("TAG"))
    checks: list[tuple[str, Callable[[], str]]] = [
        ("the build", release.build),
        ("the wheel's contents", release.wheel_contents),
        ("the sdist's contents", release.sdist_contents),
        ("the README on an index", release.readme),
        ("tests out of the sdist", release.tests),
        *(
            (f"plain Airflow {entry.airflow}", lambda entry=entry: release.plain(entry))
            for entry in (SUPPORTED[0], NEWEST)
        ),
        ("tag and change log", release.release),
        ("the address", release.address),
    ]
    refused = 0
    for name, check in checks:
        begin = time.monotonic()
        try:
            told, word = check(), "ok"
        except RefusedError as error:
            told, word = str(error), "REFUSED"
            refused += 1
        print(f"{time.monotonic() - begin:6.1f} s  {word:7}  {name}: {told}", flush=True)
        if refused and check == release.build:
            break  # without it there is nothing to check
    print(f"\n{'not fit to be published' if refused else 'fit to be published'}: dist/")
    return 1 if refused else 0


if __name__ == "__main__":
    from processes import interruptible

    with interruptible():
        sys.exit(main())
