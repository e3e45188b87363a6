"""The S3 server of the tests, used the way Airflow uses it."""

import json
import os
import subprocess
import sys

import pytest
from object_store import ObjectStore

SCRIPT = """
from airflow.providers.common.compat.sdk import ObjectStoragePath

path = ObjectStoragePath("s3://videos@films/news/one.mp4")
with path.open("wb") as file:
    file.write(b"film" * 1000)
print(path.exists(), path.stat().st_size, path.read_bytes()[:4])
"""


@pytest.fixture
def store(tmp_path):
    with ObjectStore(tmp_path) as running:
        running.create_bucket("films")
        yield running


def test_a_storage_path_of_airflow_reaches_it_by_its_connection(store, tmp_path):
    env = os.environ | {"AIRFLOW_CONN_VIDEOS": store.connection, "AIRFLOW_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], env=env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "True 4000 b'film'"
    assert store.keys("films") == ["news/one.mp4"]
    assert store.read("films", "news/one.mp4") == b"film" * 1000


def test_an_upload_that_was_broken_off_can_be_seen(store):
    store.client.create_multipart_upload(Bucket="films", Key="news/half.mp4")

    assert store.unfinished_uploads("films") == ["news/half.mp4"]
    assert store.keys("films", "news/") == []


def test_nothing_of_it_is_left_when_it_is_stopped(tmp_path):
    with ObjectStore(tmp_path) as store:
        assert store.process.running
        assert json.loads(store.connection)["extra"]["endpoint_url"] == store.url

    assert store.process.survivors() == []
