"""AWS Signature Version 4 for JSON requests, after the published algorithm.

Own code because botocore alone would double the agent's memory. Source: AWS, "Create a signed AWS API
request" (canonical request, string to sign, derived key).
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

_ALGORITHM = "AWS4-HMAC-SHA256"


class AwsCredentials(msgspec.Struct, frozen=True):
    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at_ms: int = 2**53
    #: When they were asked for; with ``expires_at_ms`` it gives the refresh instant.
    obtained_at_ms: int = 0


def sign_request(
    credentials: AwsCredentials,
    *,
    region: str,
    service: str,
    method: str,
    host: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    at_ms: int,
) -> dict[str, str]:
    """Return ``headers`` plus the ones that make the request authentic.

    ``host`` carries the port when it is not the scheme's own. There is no query string: the JSON
    protocol posts to ``path``. ``at_ms`` is the time in the eyes of AWS (skew corrected by the caller).
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at_ms // 1000))
    signed = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    signed |= {"host": host, "x-amz-date": stamp}
    if credentials.session_token:
        signed["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            quote(path, safe="/-_.~"),
            "",
            *[f"{name}:{signed[name]}" for name in sorted(signed)],
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = _derive_key(credentials.secret_access_key, stamp[:8], region, service)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    answer = dict(headers) | {"Host": host, "X-Amz-Date": stamp}
    if credentials.session_token:
        answer["X-Amz-Security-Token"] = credentials.session_token
    answer["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return answer


def _derive_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
