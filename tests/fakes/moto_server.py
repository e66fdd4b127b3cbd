"""AWS on a loopback port: moto's server, spoken to by the real boto3, with its IAM rules enforced on demand.

moto keeps its state in the process; each test takes a bucket, repository and user of its own.
"""

from __future__ import annotations

import json
import logging
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

REGION = "us-east-1"
ACCOUNT = "123456789012"
ADMIN = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


class Aws:
    """`variables` is the environment of a process that may do everything."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.variables = {
            **ADMIN,
            "AWS_ENDPOINT_URL": url,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str, **more: Any) -> Any:
        return boto3.client(
            service, region_name=REGION, endpoint_url=self.url, aws_access_key_id="testing",
            aws_secret_access_key="testing", **more,
        )  # fmt: skip

    def user(self, *policies: Mapping[str, Any]) -> dict[str, str]:
        """The environment of a process whose user has these policies and no other rights."""
        iam = self.client("iam")
        name = f"agent-{uuid.uuid4().hex[:8]}"
        iam.create_user(UserName=name)
        for number, policy in enumerate(policies):
            iam.put_user_policy(UserName=name, PolicyName=f"p{number}", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        return {**self.variables, **keys}

    @contextmanager
    def enforcing(self) -> Iterator[None]:
        """Check signatures and policies of what is asked meanwhile."""
        self._allow_without_check("0")
        try:
            yield
        finally:
            self._allow_without_check("inf")

    def _allow_without_check(self, requests: str) -> None:
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", requests.encode(), {"Content-Type": "text/plain"}
        )
        with urllib.request.urlopen(request, timeout=10):
            pass


@contextmanager
def aws(host: str = "127.0.0.1") -> Iterator[Aws]:
    """Servers of one process, at whatever address, have one state."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=host, port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    try:
        yield Aws(f"http://{host}:{port}")
    finally:
        server.stop()
