"""What assets, lineage and metrics learn of a finished clip."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace

import pytest

from airflow_provider_kling_avatar import metrics
from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.lineage import dataset_name, uri_of
from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.mark.parametrize(
    ("place", "uri"),
    [
        ("s3://conn@bucket/a/b.png", "s3://bucket/a/b.png"),
        ("https://u:p@host/face.png?signature=secret", "https://host/face.png"),
        ("/data/face.png", "file:///data/face.png"),
        ("abfss://box@account.dfs/x.png", "abfss://box@account.dfs/x.png"),
        (base64.b64encode(b"\xff\xd8\xff\xe0" * 100).decode(), None),
        ("data:image/png;base64,AAAA", None),
        ({"audio_id": "1"}, None),
        (None, None),
    ],
)
def test_a_place_is_named_without_account_and_query(place, uri):
    assert uri_of(place) == uri


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://bucket/a/b.mp4", ("s3://bucket", "a/b.mp4")),
        ("file:///data/x.mp4", ("file", "/data/x.mp4")),
        ("https://host/x.png", ("https://host", "x.png")),
    ],
)
def test_datasets_are_named_by_openlineages_convention(uri, name):
    assert dataset_name(uri) == name


@pytest.fixture
def finished(sim, face, voice, make_context, tmp_path):
    """Make a clip and have a task deliver it that has outlets."""

    def run(outlets=(), events=None):
        from airflow.providers.common.compat.sdk import TaskDeferred

        operator = KlingAvatarOperator(
            task_id="clip", image=face, audio=voice, output_path=f"{tmp_path}/clip.mp4", outlets=list(outlets)
        )
        context = make_context()
        context |= {"task": operator, "outlet_events": events}
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(context)
        sim.advance(60)
        event = {"task_id": deferred.value.trigger.kling_task_id, "verdict": "succeeded"}
        manifest = operator.execute_complete(context, {**event, "queued": 10.0, "rendering": 40.0})
        return operator, manifest

    return run


class Events:
    """What Airflow gives a task for its one outlet."""

    def __init__(self, outlet, accessor):
        self.outlet, self.accessor = outlet, accessor

    def __getitem__(self, outlet):
        assert outlet == self.outlet
        return self.accessor


def test_an_assets_event_carries_the_manifest_without_signed_urls(finished):
    from airflow.providers.common.compat.sdk import Asset

    asset, accessor = Asset("file:///videos"), SimpleNamespace(extra={})
    _, manifest = finished([asset], Events(asset, accessor))

    assert accessor.extra["file"] == manifest["file"]
    assert not {"video_url", "watermark_url"} & set(accessor.extra)


def test_an_alias_is_given_the_file(finished):
    from airflow.providers.common.compat.sdk import AssetAlias

    added, alias = [], AssetAlias("videos")
    accessor = SimpleNamespace(add=lambda asset, extra: added.append((asset, extra)))
    _, manifest = finished([alias], Events(alias, accessor))

    ((asset, extra),) = added
    assert asset.uri.rstrip("/") == manifest["file_uri"]
    assert extra["sha256"] == manifest["sha256"]


def test_openlineage_learns_inputs_output_and_cost(finished):
    pytest.importorskip("airflow.providers.openlineage")
    operator, manifest = finished()
    lineage = operator.get_openlineage_facets_on_complete(None)

    assert [i.namespace for i in lineage.inputs] == ["file", "file"]
    assert [o.name for o in lineage.outputs] == [manifest["file"]]
    facet = lineage.run_facets["kling_avatar"]
    assert (facet.task_id, facet.units, facet.queued_seconds) == (
        manifest["task_id"],
        manifest["units"],
        10.0,
    )


def test_openlineage_learns_nothing_of_a_task_without_a_clip():
    sensor = KlingAvatarSensor(task_id="wait", kling_task_id="1")

    assert sensor.get_openlineage_facets_on_complete(None) is None


@pytest.fixture
def sent(monkeypatch):
    """What is handed to Airflow's metrics, under its name."""
    from airflow.providers.common.compat.sdk import Stats

    seen = {}

    def note(name, value=1, *, tags=None):
        seen[name.removeprefix("kling_avatar.")] = (value, tags)

    monkeypatch.setattr(Stats, "incr", note, raising=False)
    monkeypatch.setattr(Stats, "timing", note, raising=False)
    return seen


def test_a_clip_is_counted_and_timed(sent, finished):
    finished()

    assert sent["submitted"] == (1, {"api": "kling", "endpoint": "avatar"})
    assert sent["succeeded"] == (1, {"api": "kling", "endpoint": "avatar", "mode": "std"})
    assert sent["queue_seconds"][0] == timedelta(seconds=10)
    assert sent["render_seconds"][0] == timedelta(seconds=40)
    assert "landing_seconds" in sent


def test_amounts_are_counted_in_whole_millionths(sent, finished):
    _, manifest = finished()
    metrics.succeeded({**manifest, "actual_cost": "0.338688", "currency": "USD"})

    assert sent["cost_micros"][0] == 338688
    assert sent["cost_micros"][1]["currency"] == "USD"


def test_a_failed_try_is_counted_once_by_its_reason(sent, context):
    with pytest.raises(errors.InvalidRequestError):
        KlingAvatarOperator(task_id="clip").execute(context)

    assert sent == {"failed": (1, {"reason": "InvalidRequestError"})}


def test_a_metric_never_fails_a_task(monkeypatch):
    from airflow.providers.common.compat.sdk import Stats

    def fail(*_, **__):
        raise OSError

    monkeypatch.setattr(Stats, "incr", fail, raising=False)
    metrics.failed(ValueError())


def test_nothing_that_goes_wrong_in_telling_fails_a_clip_that_is_paid_for(finished, caplog):
    from airflow.providers.common.compat.sdk import Asset

    class Broken:
        @property
        def extra(self):
            raise RuntimeError("the accessor is broken")

    asset = Asset("file:///videos")
    operator, manifest = finished([asset], Events(asset, Broken()))

    assert manifest["file"]
    assert operator.reported["file"] == manifest["file"], "the others are told all the same"


def test_hook_lineage_learns_the_inputs_and_the_file(finished, face, voice, hook_lineage):
    _, manifest = finished()

    assert {uri for kind, uri in hook_lineage if kind == "in"} == {f"file://{face}", f"file://{voice}"}
    assert [uri for kind, uri in hook_lineage if kind == "out"] == [manifest["file_uri"]]


@pytest.fixture
def hook_lineage(monkeypatch):
    """What is told to Airflow's collector of hook lineage."""
    from airflow.providers.common.compat.lineage import hook

    told = []

    class Collector:
        def add_input_asset(self, context, uri=None, **_):
            told.append(("in", uri))

        def add_output_asset(self, context, uri=None, **_):
            told.append(("out", uri))

    real = hook.get_hook_lineage_collector()
    assert all(hasattr(real, name) for name in vars(Collector) if name.startswith("add"))
    monkeypatch.setattr(hook, "get_hook_lineage_collector", Collector)
    return told


STATSD = """
import contextlib, time
with contextlib.suppress(ImportError, AttributeError, TypeError):  # as Airflow 3.2 does for each task
    from airflow.sdk.observability.metrics import stats_utils
    from airflow.sdk.observability.stats import Stats
    Stats.initialize(factory=stats_utils.get_stats_factory(Stats))
from airflow_provider_kling_avatar import metrics
metrics.submitted("kling", "avatar", is_new=True)
metrics.failed(ValueError("x"))
metrics.succeeded({"api": "kling", "mode": "std", "endpoint": "avatar", "queued_seconds": 10.0,
                   "rendering_seconds": 40.5, "landing_seconds": None, "actual_cost": "0.336", "estimated_cost": None,
                   "currency": "USD", "units": "2.4"})
time.sleep(0.2)
"""


def test_a_statsd_server_receives_them(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        env = {
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(server.getsockname()[1]),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        }
        subprocess.run([sys.executable, "-c", STATSD], env=env, check=True, capture_output=True, timeout=180)
        received = ""
        while "units_micros" not in received:
            received += server.recv(65536).decode() + "\n"

    lines = received.splitlines()
    assert "airflow.kling_avatar.submitted,api=kling,endpoint=avatar:1|c" in lines
    assert "airflow.kling_avatar.failed,reason=ValueError:1|c" in lines
    (rendered,) = [line for line in lines if "render_seconds" in line]
    assert rendered.startswith("airflow.kling_avatar.render_seconds,api=kling,mode=std,endpoint=avatar:40500")
    assert [line for line in lines if "cost_micros" in line] == [
        "airflow.kling_avatar.cost_micros,api=kling,mode=std,endpoint=avatar,currency=USD:336000|c"
    ]
