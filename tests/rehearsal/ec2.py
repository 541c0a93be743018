"""A simulated AWS whose instances are hosts out of namespaces: moto answers, a thread makes the hosts.

Every call is recorded, with the access key that made it: this machine's, or the head's role.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from tests.rehearsal.hosts import Hosts, RehearsalError

REGION = "us-east-1"
#: Of this machine; the role of an instance has others.
ACCESS_KEY = "LAPTOPLAPTOPLAPTOP01"
_PORT = 5555


@dataclass(frozen=True)
class Call:
    """One recorded call: `ec2`, `RunInstances`, and whether this machine made it."""

    service: str
    action: str
    from_here: bool


class SimulatedAws:
    """moto at the bridge's address, and a host for each instance that is pending or running.

    Args:
        hosts: on a bridge of network 172.31, where moto's default VPC is.
        folder: for its log and recording.
        profile: lines for .bashrc on every instance.
    """

    def __init__(self, hosts: Hosts, folder: Path, *, profile: str = "") -> None:
        self.hosts = hosts
        self.folder = folder
        self.url = f"http://{hosts.gateway}:{_PORT}"
        self.profile = (
            f"export AWS_ENDPOINT_URL={self.url} AWS_EC2_METADATA_SERVICE_ENDPOINT={self.url}\n{profile}"
        )
        self.recording = folder / "recording"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._names: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self.errors: list[str] = []

    def __enter__(self) -> SimulatedAws:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.recording.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "MOTO_ENABLE_RECORDING": "true",
            "MOTO_RECORDER_FILEPATH": str(self.recording),
            "RLX_NO_CAPACITY": str(self.folder / "no-capacity"),
        }
        log = open(self.folder / "moto.log", "wb")
        command = [sys.executable, "-m", "tests.rehearsal.moto_server", "-H", "0.0.0.0", "-p", str(_PORT)]
        root = Path(__file__).resolve().parents[2]
        self._server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=root)
        log.close()
        for _ in range(150):
            try:
                urllib.request.urlopen(f"{self.url}/moto-api/data.json", timeout=2).close()
                break
            except OSError:
                if self._server.poll() is not None:
                    raise RehearsalError((self.folder / "moto.log").read_text()[-800:]) from None
                time.sleep(0.2)
        self.ec2 = self.client("ec2")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        self._server.terminate()
        self._server.wait(timeout=10)

    @property
    def environment(self) -> Mapping[str, str]:
        """Return what a program of this machine needs to take it for AWS."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self, service: str, key: str = "TESTTESTTESTTESTTEST") -> Any:
        """Return a client for the test itself, whose calls are not looked at."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key="secret",
        )

    def record(self) -> None:
        """Begin to record."""
        request = urllib.request.Request(f"{self.url}/moto-api/recorder/start-recording", method="POST")
        urllib.request.urlopen(request, timeout=5).close()

    def calls(self) -> set[Call]:
        """Return the calls so far, those of this test itself left out."""
        found = set()
        for line in self.recording.read_text().splitlines():
            call = _call(json.loads(line))
            if call is not None:
                found.add(call)
        return found

    def instances(self, *states: str) -> list[dict[str, Any]]:
        """Return instances in these states; all without."""
        pages = self.ec2.get_paginator("describe_instances").paginate()
        found = [one for page in pages for reserved in page["Reservations"] for one in reserved["Instances"]]
        return [one for one in found if not states or one["State"]["Name"] in states]

    def no_capacity(self, *types: str) -> None:
        """Refuse to start instances of these types from now on."""
        (self.folder / "no-capacity").write_text(" ".join(types))

    def host(self, instance: str) -> str:
        """Return the name of an instance's host."""
        return self._names[instance]

    def _keep(self) -> None:
        while not self._stop.wait(1.0):
            try:
                self._keep_once()
            except Exception as error:  # what moto or a host says once must not end the hypervisor
                self.errors.append(f"{type(error).__name__}: {error}")

    def _keep_once(self) -> None:
        there = {one["InstanceId"]: one for one in self.instances("pending", "running")}
        for id in [id for id in self._names if id not in there]:
            self.hosts.remove(self._names.pop(id))
        for id, one in there.items():
            if id not in self._names and one.get("KeyName"):
                name = f"i{id[-8:]}"
                key = self._public_key(one["KeyName"])
                self.hosts.add(name, one["PrivateIpAddress"], public_key=key, profile=self.profile)
                self._names[id] = name

    def _public_key(self, name: str) -> str:
        """Ask moto for the public half of a key pair that it made."""
        if name not in self._keys:
            answer = self.ec2.describe_key_pairs(KeyNames=[name], IncludePublicKey=True)["KeyPairs"][0]
            self._keys[name] = answer["PublicKey"].strip() + "\n"
        return self._keys[name]


def _call(recorded: dict[str, Any]) -> Call | None:
    headers = {key.lower(): str(value) for key, value in dict(recorded["headers"]).items()}
    found = re.search(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/", headers.get("authorization", ""))
    if found is None or found[1] == "TESTTESTTESTTESTTEST":
        return None
    key, service = found[1], found[2]
    body = recorded.get("body") or ""
    if recorded.get("body_encoded"):
        body = base64.b64decode(body).decode("utf-8", "replace")
    if "x-amz-target" in headers:
        action = headers["x-amz-target"].rpartition(".")[2]
    elif service == "s3":
        action = f"{recorded['method']}"
    else:
        action = dict(urllib.parse.parse_qsl(body)).get("Action", "?")
    return Call(service, action, key == ACCESS_KEY)
