"""A real S3 server in this process, as Airflow's storage paths see it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    import pytest


@dataclass
class Bucket:
    """One bucket, through a client of its own: what it holds is not what our code says it holds."""

    url: str
    conn_id: str
    name: str
    server: ThreadedMotoServer

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def uri(self, key: str, bucket: str | None = None) -> str:
        return f"s3://{self.conn_id}@{bucket or self.name}/{key}"

    def names(self) -> list[str]:
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def read(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def uploads(self) -> list[Any]:
        """Multipart uploads that were begun and neither finished nor aborted: they cost, and nobody sees them."""
        return self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])


def start_bucket(conn_id: str) -> Bucket:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    bucket = Bucket(f"http://{host}:{port}", conn_id, "clips", server)
    bucket.client.create_bucket(Bucket=bucket.name)
    return bucket


def connect(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, url: str | None = None) -> None:
    connection = {
        "conn_type": "aws",
        "login": "test",
        "password": "test",
        "extra": {"endpoint_url": url or bucket.url, "region_name": "us-east-1"},
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{bucket.conn_id.upper()}", json.dumps(connection))
    monkeypatch.setitem(os.environ, "AWS_EC2_METADATA_DISABLED", "true")
