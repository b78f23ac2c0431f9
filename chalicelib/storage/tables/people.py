"""People, their second factors, sessions, links, one-time tokens and counters of tries."""

from typing import Any

from pynamodb.attributes import JSONAttribute, UnicodeAttribute, UnicodeSetAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class SessionsByUser(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_user"
        projection = AllProjection()

    session_user_id = UnicodeAttribute(hash_key=True)
    created_at_ms = IntegerAttribute(range_key=True)


class PeopleTable(Table):
    class Meta(TableMeta):
        table_name = "people"


class PersonItem(PeopleTable):
    email_key = UnicodeAttribute(null=True)
    sealed_email = UnicodeAttribute(null=True)
    sealed_name = UnicodeAttribute(null=True)
    status = UnicodeAttribute()
    epoch = IntegerAttribute()
    created_at_ms = IntegerAttribute()
    email_verified_at_ms = IntegerAttribute(null=True)
    password_digest = UnicodeAttribute(null=True)
    #: 1 or 0: numbers are all that is compared here.
    password_is_long = IntegerAttribute()
    version = IntegerAttribute()


class EmailItem(PeopleTable):
    """Says whose an address is, under a keyed digest of it."""

    user_id = UnicodeAttribute()


class FactorsItem(PeopleTable):
    sealed_totp = UnicodeAttribute(null=True)
    last_step = IntegerAttribute()
    pending = UnicodeAttribute(null=True)
    pending_until_ms = IntegerAttribute()
    recovery = UnicodeSetAttribute(null=True)
    passkeys = IntegerAttribute()
    version = IntegerAttribute()


class SessionItem(PeopleTable):
    session_user_id = UnicodeAttribute()
    epoch = IntegerAttribute()
    created_at_ms = IntegerAttribute()
    authenticated_at_ms = IntegerAttribute()
    methods = UnicodeSetAttribute()
    expires_at_ms = IntegerAttribute()
    ended_at_ms = IntegerAttribute(null=True)
    seen_at_ms = IntegerAttribute()
    digest = UnicodeAttribute()
    label = UnicodeAttribute()
    by_user = SessionsByUser()
    expires_at = IntegerAttribute()


class TokenItem(PeopleTable):
    purpose = UnicodeAttribute()
    user_id = UnicodeAttribute(null=True)
    created_at_ms = IntegerAttribute()
    expires_at_ms = IntegerAttribute()
    data: JSONAttribute = JSONAttribute()
    used_at_ms = IntegerAttribute(null=True)
    uses = IntegerAttribute()
    expires_at = IntegerAttribute()


class TriesItem(PeopleTable):
    tried = IntegerAttribute()
    last_at_ms = IntegerAttribute()
    next_at_ms = IntegerAttribute()
    version = IntegerAttribute()
    expires_at = IntegerAttribute()


class PasskeyItem(PeopleTable):
    public_key = UnicodeAttribute()
    sign_count = IntegerAttribute()
    label = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    used_at_ms = IntegerAttribute(null=True)


class FederatedLinkItem(PeopleTable):
    """Stored twice: by issuer and subject, and among what is the person's."""

    issuer = UnicodeAttribute()
    subject = UnicodeAttribute()
    user_id = UnicodeAttribute()
    provider = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
