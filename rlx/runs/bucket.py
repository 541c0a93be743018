"""The one door to S3: objects below a URL, and errors in words.

boto3 is imported when the first bucket is opened. It reads credentials, `AWS_PROFILE` and
`AWS_ENDPOINT_URL` as every other tool does.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import Any

from rlx.runs.errors import MirrorError, MirrorUsageError

_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_LOG_IN = "aws configure, or AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_CONFLICT = frozenset({"412", "409", "PreconditionFailed", "ConditionalRequestConflict"})
_DELETE_AT_ONCE = 1000


@dataclass(frozen=True)
class StoredObject:
    """An object of a listing. `key` is below the folder that was listed; `modified_at` by S3's clock."""

    key: str
    size: int
    modified_at: float


@dataclass(frozen=True)
class Found:
    """An object's content, its version, and its age in seconds by S3's own clock."""

    content: bytes
    etag: str
    age_seconds: float


class Bucket:
    """A folder in S3.

    Args:
        url: `s3://bucket/prefix`.
        client: boto3's; by default a new one.

    Raises:
        MirrorUsageError: the URL is none.
        MirrorError: boto3 is not installed.
    """

    def __init__(self, url: str, client: Any = None) -> None:
        self.name, self.prefix = split_url(url)
        self.client = new_client(url) if client is None else client

    @property
    def url(self) -> str:
        """Where it is."""
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def below(self, folder: str) -> Bucket:
        """Return a folder of this one."""
        return Bucket(f"{self.url}/{folder}", self.client)

    def put(self, key: str, content: bytes, **conditions: str) -> str:
        """Write a small object at once; its version.

        Args:
            conditions: `IfMatch` or `IfNoneMatch`.

        Raises:
            ObjectChangedError: a condition is not met.
            MirrorError: S3 refuses or cannot be reached.
        """
        with self._worded():
            answer = self.client.put_object(Bucket=self.name, Key=self._key(key), Body=content, **conditions)
            return str(answer["ETag"])

    def upload(self, key: str, file: Path) -> None:
        """Write a file, in parts if it is large.

        Raises:
            MirrorError: S3 refuses or cannot be reached.
            OSError: the file cannot be read.
        """
        with self._worded():
            self.client.upload_file(str(file), self.name, self._key(key), Config=_transfer())

    def download(self, key: str, file: Path) -> None:
        """Write an object into a file.

        Raises:
            MirrorError: S3 refuses or cannot be reached.
        """
        with self._worded():
            self.client.download_file(self.name, self._key(key), str(file), Config=_transfer())

    def get(self, key: str, last_bytes: int | None = None) -> Found | None:
        """Read an object, or its end; None if there is none (or it is empty and only its end was wanted).

        Raises:
            MirrorError: S3 refuses or cannot be reached.
        """
        limit = {} if last_bytes is None else {"Range": f"bytes=-{last_bytes}"}
        try:
            with self._worded():
                answer = self.client.get_object(Bucket=self.name, Key=self._key(key), **limit)
                return Found(answer["Body"].read(), str(answer["ETag"]), _age(answer))
        except MirrorError as error:
            if error.absent or error.code == "InvalidRange":
                return None
            raise

    def objects(self, folder: str = "") -> list[StoredObject]:
        """Return all objects below a folder; keys that are no plain relative paths are left out.

        Raises:
            MirrorError: S3 refuses or cannot be reached.
        """
        start = self._key(folder)
        start = start if start.endswith("/") or not start else f"{start}/"
        found = []
        with self._worded():
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=start):
                for one in page.get("Contents", ()):
                    key = one["Key"][len(start) :]
                    if is_plain(key):
                        found.append(StoredObject(key, int(one["Size"]), one["LastModified"].timestamp()))
        return found

    def folders(self) -> Iterator[str]:
        """Yield the names of the folders in this one, in order.

        Raises:
            MirrorError: S3 refuses or cannot be reached.
        """
        start = f"{self.prefix}/" if self.prefix else ""
        with self._worded():
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=start, Delimiter="/"
            )
            for page in pages:
                for one in page.get("CommonPrefixes", ()):
                    name = one["Prefix"][len(start) :].rstrip("/")
                    if is_plain(name):
                        yield name

    def delete(self, keys: list[str]) -> None:
        """Delete objects, in this order; those that are not there are no error.

        Raises:
            MirrorError: S3 refuses some, or cannot be reached.
        """
        for start in range(0, len(keys), _DELETE_AT_ONCE):
            some = [{"Key": self._key(key)} for key in keys[start : start + _DELETE_AT_ONCE]]
            with self._worded():
                answer = self.client.delete_objects(Bucket=self.name, Delete={"Objects": some, "Quiet": True})
            for refused in answer.get("Errors", ())[:1]:
                raise MirrorError(f"{refused['Key']} was not deleted ({refused.get('Code')})", self.url)

    def _key(self, key: str) -> str:
        return "/".join(part for part in (self.prefix, key) if part)

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            worded = _words(error, self.url)
            if worded is None:
                raise
            raise worded from error


class ObjectChangedError(MirrorError):
    """Somebody else wrote an object since it was looked at."""


def split_url(url: str) -> tuple[str, str]:
    """Return bucket and prefix of `s3://bucket/prefix`.

    Raises:
        MirrorUsageError: it is none.
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if not url.startswith("s3://") or not re.fullmatch(_BUCKET, bucket):
        raise MirrorUsageError("expected s3://bucket/prefix", url or "--mirror")
    if prefix and not is_plain(prefix):
        raise MirrorUsageError("the prefix must be names with single / between them", url)
    return bucket, prefix


def is_plain(key: str) -> bool:
    """Return whether a key can be a path below a folder: nothing absolute, no `..`, no empty part."""
    unsafe = any(part in ("", ".", "..") for part in key.split("/"))
    return not unsafe and "\\" not in key and "\0" not in key and not PurePosixPath(key).is_absolute()


def new_client(where: str) -> Any:
    """Make a client of S3.

    Raises:
        MirrorError: boto3 is not installed, or the named profile does not exist.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise MirrorError("boto3 is not installed", where, "pip install 'rlx[aws]'") from None
    config = Config(
        connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3}
    )
    try:
        return boto3.Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise MirrorError(str(error), where, _LOG_IN) from None


def _transfer() -> Any:
    from boto3.s3.transfer import TransferConfig

    # In the calling thread: boto3's own threads would keep a program from ending while the network hangs.
    return TransferConfig(use_threads=False, multipart_chunksize=16 * 2**20)


def _age(answer: Any) -> float:
    """Return how old an object is: both times are S3's, so that no other clock matters."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    now = datetime.now(UTC)
    if date:
        with contextlib.suppress(TypeError, ValueError):
            now = parsedate_to_datetime(date)
    return float(max(0.0, (now - answer["LastModified"]).total_seconds()))


def _words(error: Exception, where: str) -> MirrorError | None:
    """Word an error of boto3; None for others."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return _refused(error, where)
    if isinstance(error, Boto3Error):
        cause = error.__context__
        found = _words(cause, where) if isinstance(cause, Exception) else None
        return found or MirrorError(str(error), where)
    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        return MirrorError("no credentials for S3", where, _LOG_IN)
    if isinstance(error, (exceptions.HTTPClientError, exceptions.ConnectionError)):
        return MirrorError(f"S3 cannot be reached ({error})", where, code="unreachable")
    return MirrorError(str(error), where) if isinstance(error, exceptions.BotoCoreError) else None


def _refused(error: Any, where: str) -> MirrorError:
    found = error.response.get("Error", {})
    code, message = str(found.get("Code", "")), str(found.get("Message", "")).strip()
    operation = error.operation_name
    if code in _CONFLICT:
        return ObjectChangedError("somebody else wrote there in the meantime", where, code=code)
    if code == "NoSuchBucket":
        return MirrorError("there is no such bucket", where, f"aws s3 mb s3://{split_url(where)[0]}", code)
    if code in ("403", "AccessDenied"):
        return MirrorError(f"S3 does not permit {operation} ({message or code})", where, code=code)
    return MirrorError(f"S3 refused {operation} ({code}: {message})", where, code=code)
