"""
An S3 server on this machine, as a process of its own: moto's, which keeps everything in memory.

Knows how to start it, how an Airflow connection names it, and how to look into it. Knows nothing about videos.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from processes import ManagedProcess, free_ports, stop_all

if TYPE_CHECKING:
    from pathlib import Path

REGION = "us-east-1"
KEY = "testing"  # any will do, but without one s3fs does not sign


class ObjectStore:
    """
    One S3 server on a free port of the loopback interface.

    .. code-block:: python

        with ObjectStore(folder) as store:
            store.create_bucket("videos")
            env = {"AIRFLOW_CONN_AWS_DEFAULT": store.connection}  # ObjectStoragePath("s3://aws_default@videos/a.mp4")

    :param folder: for its log.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = ManagedProcess("object store", command, log=folder / "object-store.log")

    @property
    def connection(self) -> str:
        """The Airflow connection to it, as an environment variable holds it."""
        extra = {"endpoint_url": self.url, "region_name": REGION}
        return json.dumps({"conn_type": "aws", "login": KEY, "password": KEY, "extra": extra})

    def __enter__(self) -> Self:
        """Start, and wait until it answers."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it; what was stored is gone."""
        self.stop()

    def start(self, timeout: float = 60.0) -> None:
        """
        Start it and wait until it answers.

        :param timeout: seconds.
        :raises RuntimeError: it did not.
        """
        from botocore.exceptions import BotoCoreError

        self.process.start()
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.client.list_buckets()
            except BotoCoreError as error:
                if time.monotonic() > deadline or not self.process.running:
                    log = self.process.log.read_text()
                    raise RuntimeError(f"the S3 server did not start: {log}") from error
                time.sleep(0.2)
            else:
                return

    def stop(self) -> None:
        """End it. May be called again."""
        stop_all([self.process])

    @functools.cached_property
    def client(self) -> Any:
        """A boto3 client, which reads neither the environment nor the user's files."""
        from boto3.session import Session
        from botocore.config import Config

        return Session(KEY, KEY, region_name=REGION).client(
            "s3",
            endpoint_url=self.url,
            # It is on this machine, whatever proxy the environment names.
            config=Config(proxies={}, retries={"max_attempts": 1}, connect_timeout=10, read_timeout=60),
        )

    def create_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        self.client.create_bucket(Bucket=name)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the keys of all objects in a bucket that begin so, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", ()))

    def read(self, bucket: str, key: str) -> bytes:
        """Return an object."""
        body: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def unfinished_uploads(self, bucket: str) -> list[str]:
        """Return the keys of uploads in parts that were begun and neither completed nor aborted."""
        found = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        return sorted(upload["Key"] for upload in found)
