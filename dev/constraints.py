"""
Resolve what the test environments consist of, and the tools of a release, and write it down in `dev/constraints/`.

    python dev/constraints.py [VERSION ...]

One file for each tested Airflow, one for each that is tested with a browser, and, if no VERSION is given, one for the
tools; for all Pythons and platforms, with names and versions only: no index, no path. Run it when a dependency in
pyproject.toml changes or to move to newer libraries.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from typing import TYPE_CHECKING

from environment import ROOT, TOOLS_PINS, constraints_file, find_uv, uv_environment
from versions import MINIMUM_PYTHON, NEWEST, SUPPORTED, WITH_PAGES, Supported, supported

if TYPE_CHECKING:
    from pathlib import Path


def own_providers() -> list[str]:
    """Return the Airflow provider packages of which we need a version: always today's, whatever day the rest is of."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return [
        line.split(">=")[0]
        for line in wanted
        if line.startswith("apache-airflow-providers-") and ">=" in line
    ]


def compile_into(target: Path, *arguments: str, wanted: list[str]) -> None:
    """
    Resolve requirements and write down what they come to.

    :param arguments: further ones of uv's.
    :param wanted: the requirements.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".in") as requirements:
        requirements.write("\n".join(wanted))
        requirements.flush()
        command = [
            find_uv(),
            "pip",
            "compile",
            "--quiet",
            "--no-header",
            "--no-annotate",
            "--universal",
            "--upgrade",
        ]
        command += ["--python-version", ".".join(map(str, MINIMUM_PYTHON)), "--output-file", str(target)]
        subprocess.run([*command, *arguments, requirements.name], check=True, env=uv_environment(), cwd=ROOT)
    print(f"{target.relative_to(ROOT)}: {len(target.read_text().splitlines())} packages")


def resolve(entry: Supported, extras: str) -> None:
    """
    Write the constraints of one version.

    :param extras: of this project, separated by commas.
    """
    more = [word for extra in extras.split(",") for word in ("--extra", extra)]
    more += ["--no-emit-package", "airflow-provider-kling-avatar"]
    if entry.as_of:
        more += ["--exclude-newer", entry.as_of]
        for package in own_providers():
            more += ["--exclude-newer-package", f"{package}=2100-01-01"]
    wanted = [f"apache-airflow=={entry.airflow}", *entry.pins]
    compile_into(constraints_file(entry, extras), *more, str(ROOT / "pyproject.toml"), wanted=wanted)


def resolve_tools() -> None:
    """Write the versions of uv, and of what a release is built and checked with."""
    built_with = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    compile_into(TOOLS_PINS, wanted=[*built_with, "check-wheel-contents", "twine", "uv"])


if __name__ == "__main__":
    for item in [supported(version) for version in sys.argv[1:]] or SUPPORTED:
        resolve(item, "dev,lint" if item is NEWEST else "dev")  # make lint runs there only
        if item in WITH_PAGES:
            resolve(item, "dev,ui")
    if not sys.argv[1:]:
        resolve_tools()
