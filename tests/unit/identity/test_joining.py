"""A person makes an organisation by a form of a page: once, whatever the form says of itself."""

from chalicelib.identity import joining
from chalicelib.runtime.http import MAX_IDEMPOTENCY_KEY
from tests.factories import seed_cloud
from tests.unit.identity.people import People


def test_a_form_makes_one_organisation_however_long_its_name_for_itself_is():
    people, cloud = People(), seed_cloud().cloud
    user, session = people.find(people.sign_up())
    for once in ("a", "x" * 10_000, "\u00e4" * 10_000, "", "x" * 10_000):
        joining.create_organisation(cloud.organisations, user, session, "Ada's lab", "USD", once)
    assert len(joining.list_joined(cloud.organisations, user)) == 4
    keys = [key for owner, key in cloud.db.table("idempotency") if owner == user.user_id]
    assert len(keys) == 4
    assert all(len(key) <= MAX_IDEMPOTENCY_KEY and key.isascii() for key in keys)
