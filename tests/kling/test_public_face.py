"""What people's own scripts import, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_provider_kling_avatar import kling


@pytest.mark.parametrize("name", kling.__all__)
def test_every_public_name_is_there(name):
    assert getattr(kling, name) is not None


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Submitter"):
        kling.Submitter  # noqa: B018  # to be asked for is all


def test_importing_the_package_loads_none_of_its_modules():
    loaded = "sorted(m for m in sys.modules if m.startswith('airflow_provider_kling_avatar.kling.'))"
    code = f"import sys, airflow_provider_kling_avatar.kling; print({loaded})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_a_script_submits_a_clip_with_public_names_alone(sim, face, voice):
    config = kling.KlingConfig.build(
        host=sim.url, login=None, password="sk-simulator", extra={"api": "kling"}
    )
    request = kling.AvatarRequest(image=face, audio=voice)
    with kling.KlingClient(config) as client:
        task = kling.submit_once(client, kling.prepare(request, config.dialect))
    assert isinstance(task, kling.VideoTask)
    assert [entry["task_id"] for entry in sim.ledger()["entries"]] == [task.task_id]
