"""A simulated AWS whose instances are hosts out of namespaces: moto answers, a thread makes the hosts.

Every call is recorded, with the access key that made it: this machine's, or the head's role.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
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
#: Of the test itself, which looks on.
_OBSERVER = "OBSERVEROBSERVEROBSE"
_PORT = 5555
ROOT = Path(__file__).resolve().parents[2]


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
        self.recording = folder / "calls.jsonl"
        self._full = folder / "no-capacity"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._names: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self.errors: list[str] = []

    def __enter__(self) -> SimulatedAws:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.recording.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.rehearsal.moto_server"]
        files = [str(self.recording), str(self._full)]
        with open(self.folder / "moto.log", "wb") as log:
            self._server = subprocess.Popen(
                [*command, "0.0.0.0", str(_PORT), *files], stdout=log, stderr=log, cwd=ROOT
            )
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

    def client(self, service: str, key: str = _OBSERVER) -> Any:
        """Return a client for the test itself, whose calls are not looked at."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key="secret",
        )

    def calls(self) -> set[Call]:
        """Return the calls so far, those of this test itself left out."""
        lines = [json.loads(line) for line in self.recording.read_text().splitlines()]
        return {
            Call(one["service"], one["action"], one["key"] == ACCESS_KEY)
            for one in lines
            if one["key"] != _OBSERVER
        }

    def instances(self, *states: str) -> list[dict[str, Any]]:
        """Return instances in these states; all without."""
        pages = self.ec2.get_paginator("describe_instances").paginate()
        found = [one for page in pages for reserved in page["Reservations"] for one in reserved["Instances"]]
        return [one for one in found if not states or one["State"]["Name"] in states]

    def no_capacity(self, *types: str) -> None:
        """Refuse to start instances of these types from now on."""
        self._full.write_text(" ".join(types))

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
