"""moto's server, which writes down every call, and has zones that run out of instances.

    python -m tests.rehearsal.moto_server ADDRESS PORT CALLS NO_CAPACITY

CALLS gets a line of JSON for each call with an access key; instance types in the file NO_CAPACITY are
refused.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import InstanceBackend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import MotoRequestHandler
from werkzeug.serving import run_simple

_run_instances = InstanceBackend.run_instances


class Recorder:
    """Writes down service, action and access key of each call, and passes it on."""

    def __init__(self, app: Callable[..., Iterable[bytes]], file: Path) -> None:
        self.app = app
        self.file = file
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request (WSGI)."""
        signed = re.search(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        if signed:
            key, service = signed[1], signed[2]
            call = {"key": key, "service": service, "action": self._action(environ, service)}
            with self.lock, self.file.open("a", encoding="utf-8") as written:
                written.write(json.dumps(call) + "\n")
        return self.app(environ, start_response)

    @staticmethod
    def _action(environ: dict[str, Any], service: str) -> str:
        if target := environ.get("HTTP_X_AMZ_TARGET"):
            return str(target).rpartition(".")[2]
        if service == "s3":  # named by method and path, with bodies of megabytes
            return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        return dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace"))).get("Action", "?")


def refuse_types(file: Path) -> None:
    """Have moto refuse the instance types in a file, as AWS does where a zone has no room."""

    def run_instances(self: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = kwargs.get("instance_type")
        if file.exists() and wanted in file.read_text().split():
            message = f"We currently do not have sufficient {wanted} capacity in the requested zone."
            raise EC2ClientError("InsufficientInstanceCapacity", message)
        return _run_instances(self, *args, **kwargs)

    InstanceBackend.run_instances = run_instances


if __name__ == "__main__":
    address, port, calls, no_capacity = sys.argv[1:]
    refuse_types(Path(no_capacity))
    app = Recorder(DomainDispatcherApplication(create_backend_app), Path(calls))
    run_simple(address, int(port), app, threaded=True, request_handler=MotoRequestHandler)
