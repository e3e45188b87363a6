"""
Resolve what the test environments consist of, and write it down in `dev/constraints/`.

    python dev/constraints.py [VERSION ...]

One file for each tested Airflow, and one for each that is tested with a browser, for all Pythons and platforms, with
names and versions only: no index, no path. Run it when a dependency in pyproject.toml changes or to move to newer
libraries.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib

from environment import ROOT, constraints_file, find_uv, uv_environment
from versions import MINIMUM_PYTHON, NEWEST, SUPPORTED, WITH_PAGES, Supported, supported


def own_providers() -> list[str]:
    """Return the Airflow provider packages of which we need a version: always today's, whatever day the rest is of."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return [
        line.split(">=")[0]
        for line in wanted
        if line.startswith("apache-airflow-providers-") and ">=" in line
    ]


def resolve(entry: Supported, extras: str) -> None:
    """
    Write the constraints of one version.

    :param extras: of this project, separated by commas.
    """
    target = constraints_file(entry, extras)
    with tempfile.NamedTemporaryFile("w", suffix=".in") as pin:
        pin.write("\n".join([f"apache-airflow=={entry.airflow}", *entry.pins]))
        pin.flush()
        command = [
            *(
                find_uv(),
                "pip",
                "compile",
                "--quiet",
                "--no-header",
                "--no-annotate",
                "--universal",
                "--upgrade",
            ),
            *("--python-version", ".".join(map(str, MINIMUM_PYTHON))),
            *(word for extra in extras.split(",") for word in ("--extra", extra)),
            *("--no-emit-package", "airflow-provider-kling-avatar", "--output-file", str(target)),
        ]
        if entry.as_of:
            command += ["--exclude-newer", entry.as_of]
            for package in own_providers():
                command += ["--exclude-newer-package", f"{package}=2100-01-01"]
        subprocess.run(
            [*command, str(ROOT / "pyproject.toml"), pin.name], check=True, env=uv_environment(), cwd=ROOT
        )
    print(f"{target.relative_to(ROOT)}: {len(target.read_text().splitlines())} packages")


if __name__ == "__main__":
    for item in [supported(version) for version in sys.argv[1:]] or SUPPORTED:
        resolve(item, "dev,lint" if item is NEWEST else "dev")  # make lint runs there only
        if item in WITH_PAGES:
            resolve(item, "dev,ui")
