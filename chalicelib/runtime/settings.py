"""What a function is told by its environment. Read once, on first use; secrets are never in it."""

import os
from collections.abc import Mapping
from functools import cache

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)

    stage: str
    table_prefix: str
    aws_region: str
    currency: str = Field(default="USD", pattern="^[A-Z]{3}$")
    pepper_secret_id: str
    #: Names the parameter that holds the address of the API as people and programs reach it.
    public_url_parameter: str = ""
    heartbeats_queue_arn: str
    heartbeats_queue_url: str
    heartbeats_dlq_url: str
    telemetry_queue_arn: str
    telemetry_queue_url: str
    telemetry_dlq_url: str
    charges_queue_url: str
    charges_dlq_url: str
    payments_queue_url: str = ""
    payments_dlq_url: str = ""
    #: Who writes to people: an identity of SES.
    mail_from: str = ""
    identity_providers_secret_id: str = ""
    stripe_secret_id: str = ""
    grid_secret_id: str = ""
    #: The ARN of the KMS key that wraps the data keys of persons.
    person_key_id: str = ""
    documents_bucket: str = ""
    seals_bucket: str = ""
    #: Who bills, as statements name them. The address has its lines apart by ``|``.
    seller_name: str = "Provocative Cloud"
    seller_address: str = ""
    seller_country: str = ""
    seller_tax_id: str = ""
    #: Sites whose pages may read answers, with spaces between them: scheme, host and port, nothing else.
    allowed_origins: str = Field(default="", pattern=r"^(?:https?://[a-z0-9.-]+(?::[0-9]{1,5})?(?: |$))*$")
    watches_queue_arn: str
    watches_queue_url: str
    watches_dlq_url: str
    command_queue_prefix: str
    host_role_arn: str
    #: Where a machine that was launched enrols; known to the function that launches.
    public_api_url: str = ""
    #: Multiplies the rate limits. More than 1 where one address is everybody: the embedded cloud.
    rate_limit_factor: int = Field(default=1, ge=1, le=10_000)
    #: Holds new accounts to fewer GPUs and less spending, see `chalicelib.rentals.ramp`.
    new_account_ramp: bool = True
    heartbeat_interval_seconds: int = Field(default=10, ge=1, le=60)
    telemetry_interval_seconds: int = Field(default=60, ge=1, le=600)


def parse_settings(environment: Mapping[str, str]) -> Settings:
    """Raises pydantic.ValidationError naming each variable that is missing or wrong."""
    return Settings.model_validate({name.lower(): value for name, value in environment.items()})


@cache
def get_settings() -> Settings:
    return parse_settings(os.environ)
