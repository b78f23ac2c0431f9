"""Members, invitations, projects and service accounts of organisations."""

from typing import Any

from pynamodb.attributes import UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class MembershipsByUser(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_user"
        projection = AllProjection()

    user_id = UnicodeAttribute(hash_key=True)
    pk = UnicodeAttribute(range_key=True)


class ServiceAccountsByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = AllProjection()

    account_id = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class OrganisationsTable(Table):
    class Meta(TableMeta):
        table_name = "organisations"


class OrganisationItem(OrganisationsTable):
    owners = IntegerAttribute(default=0)


class MembershipItem(OrganisationsTable):
    user_id = UnicodeAttribute()
    by_user = MembershipsByUser()
    role = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    issued_keys = IntegerAttribute()


class InvitationItem(OrganisationsTable):
    role = UnicodeAttribute()
    token_digest = UnicodeAttribute()
    invited_by = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    expires_at_ms = IntegerAttribute()
    mailed_at_ms = IntegerAttribute(null=True)
    #: Seconds, for DynamoDB; late, so that code reads the other.
    expires_at = IntegerAttribute()


class ProjectItem(OrganisationsTable):
    name = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    archived_at_ms = IntegerAttribute(null=True)


class ServiceAccountItem(OrganisationsTable):
    account_id = UnicodeAttribute()
    by_account = ServiceAccountsByAccount()
    name = UnicodeAttribute()
    role = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    disabled_at_ms = IntegerAttribute(null=True)
    issued_keys = IntegerAttribute()
