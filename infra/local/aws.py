"""Clients of the embedded cloud."""

from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

from infra.local.ministack import ACCOUNT_ID, REGION


@dataclass(slots=True)
class Aws:
    """boto3 clients bound to one endpoint, one per service."""

    endpoint_url: str
    access_key_id: str = ACCOUNT_ID
    secret_access_key: str = "embedded"  # noqa: S105  # MiniStack takes any
    session_token: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict)

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def client(self, service: str) -> Any:
        if service not in self._clients:
            session = boto3.session.Session(
                aws_access_key_id=self.access_key_id,
                aws_secret_access_key=self.secret_access_key,
                aws_session_token=self.session_token,
                region_name=REGION,
            )
            config = Config(
                retries={"total_max_attempts": 2},
                read_timeout=60,
                max_pool_connections=40,
                s3={"addressing_style": "path"},
            )
            self._clients[service] = session.client(service, endpoint_url=self.endpoint_url, config=config)
        return self._clients[service]
