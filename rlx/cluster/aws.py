"""The one door to AWS: clients, pages of answers, and errors in words.

boto3 is imported when the first client is made. It reads credentials, `AWS_PROFILE` and `AWS_ENDPOINT_URL` as
every other tool does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlx.cluster.errors import ClusterError

#: Answers to "is it there?" that mean no.
NOT_FOUND = frozenset(
    {
        "404",
        "InvalidAMIID.Malformed",
        "InvalidAMIID.NotFound",
        "InvalidGroup.NotFound",
        "InvalidInstanceID.NotFound",
        "InvalidInstanceType",
        "InvalidKeyPair.NotFound",
        "InvalidSpotInstanceRequestID.NotFound",
        "InvalidSubnetID.NotFound",
        "InvalidVolume.NotFound",
        "NoSuchBucket",
        "NoSuchEntity",
        "NoSuchResourceException",
    }
)
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_CREDENTIALS = {
    "AuthFailure",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
#: Refusals that no second try changes: rights, credentials, protection against termination.
PERMANENT = frozenset({*_DENIED, *_CREDENTIALS, "OperationNotPermitted"})
_LOG_IN = "aws configure, or AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class AwsError(ClusterError):
    """AWS refused a call.

    Attributes:
        code: AWS's word for it, e.g. `AuthFailure`; empty if it was never asked.
    """

    def __init__(self, what: str, where: str = "", next: str = "", code: str = "") -> None:
        super().__init__(what, where, next)
        self.code = code

    @property
    def not_found(self) -> bool:
        """Whether it says that something is not there."""
        return self.code in NOT_FOUND


class Aws:
    """Calls to AWS on behalf of one user.

    Args:
        region: where calls go that name no other region.
    """

    def __init__(self, region: str) -> None:
        self.region = region
        self._session = new_session()
        self._clients: dict[tuple[str, str], Any] = {}

    def call(self, service: str, operation: str, region: str = "", **parameters: Any) -> dict[str, Any]:
        """Call one operation, named as in Python: `describe_instances`.

        Raises:
            AwsError: with what, where and what next.
        """
        region = region or self.region
        try:
            answer = getattr(self._client(service, region), operation)(**parameters)
        except Exception as error:
            raise _worded(error, service, operation, region) from error
        return dict(answer)

    def items(
        self, service: str, operation: str, key: str, region: str = "", **parameters: Any
    ) -> Iterator[dict[str, Any]]:
        """Go through all pages of an operation that lists something.

        Args:
            key: where the list stands in the answer.

        Raises:
            AwsError: with what, where and what next.
        """
        region = region or self.region
        try:
            client = self._client(service, region)
            if not client.can_paginate(operation):
                yield from getattr(client, operation)(**parameters)[key]
                return
            for page in client.get_paginator(operation).paginate(**parameters):
                yield from page[key]
        except GeneratorExit:
            raise
        except Exception as error:
            raise _worded(error, service, operation, region) from error

    def _client(self, service: str, region: str) -> Any:
        # IAM is the same everywhere; one client will do.
        place = ("iam", self.region) if service == "iam" else (service, region)
        if place not in self._clients:
            from botocore.config import Config

            config = Config(
                connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5}
            )
            self._clients[place] = self._session.client(service, region_name=place[1], config=config)
        return self._clients[place]


def new_session() -> Any:
    """Make a session of boto3.

    Raises:
        ClusterError: boto3 is not installed, or the named profile does not exist.
    """
    try:
        import boto3
        from botocore.exceptions import ProfileNotFound
    except ImportError:
        raise ClusterError("boto3 is not installed", "", "pip install 'rlx[aws]'") from None
    try:
        return boto3.Session()
    except ProfileNotFound as error:
        raise ClusterError(str(error), "AWS", _LOG_IN) from None


def _worded(error: Exception, service: str, operation: str, region: str) -> Exception:
    """Word an error of botocore; others stay as they are."""
    from botocore import exceptions

    action = f"{service}:{''.join(word.capitalize() for word in operation.split('_'))}"
    where = f"AWS {region}"
    if isinstance(error, exceptions.ClientError):
        return _refused(error, action, where)
    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        return AwsError("no credentials", "AWS", _LOG_IN)
    if isinstance(error, (exceptions.TokenRetrievalError, exceptions.CredentialRetrievalError)):
        return AwsError(f"credentials cannot be had ({error})", "AWS", _LOG_IN)
    if isinstance(error, (exceptions.HTTPClientError, exceptions.ConnectionError)):
        hint = "is the region spelled right, and does this machine reach the internet?"
        return AwsError(f"cannot be reached ({error})", where, hint, "unreachable")
    if isinstance(error, exceptions.BotoCoreError):
        return AwsError(f"{action} failed: {error}", where)
    return error


def _refused(error: Any, action: str, where: str) -> AwsError:
    found = error.response.get("Error", {})
    code, message = str(found.get("Code", "")), str(found.get("Message", "")).strip()
    if code in _CREDENTIALS:
        return AwsError(f"the credentials are not accepted ({code}: {message})", where, _LOG_IN, code)
    if code in _DENIED:
        hint = f"give this user {action}; all that rlx needs is in cluster/iam-policy.json"
        return AwsError(f"{action} is not permitted ({code})", where, hint, code)
    return AwsError(f"{action} failed ({code}: {message})", where, code=code)
