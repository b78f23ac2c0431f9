"""An invitation is for one address, once, for seven days; no address of it is kept anywhere."""

from dataclasses import replace

import pytest

from chalicelib.accounts.model import PERMISSIONS
from chalicelib.accounts.service import create_account
from chalicelib.core.errors import Conflict, Forbidden, InvalidInput, NotFound, RateLimited, Unavailable
from chalicelib.core.principal import MEMBER_ROLES
from chalicelib.organisations import inviting, service
from chalicelib.organisations.model import INVITATION_LIFETIME_MS, Membership, normalise_address
from chalicelib.organisations.ports import Once
from tests.factories import add_person, add_renter, seed_cloud, sign_in
from tests.fakes import Crash

ADA = "ada@lab.example"
HOUR_S = 3_600


class Office:
    """An owner who invites, and people who have proved their addresses."""

    def __init__(self):
        self.seeded = seed_cloud()
        self.cloud = self.seeded.cloud
        self.ports, self.mailer = self.cloud.organisations, self.cloud.mailer
        self.owner = add_person(self.seeded, "owner")
        self.account_id = self.owner.account_id

    def invite(self, address=ADA, role="developer", *, by=None, key="once", fingerprint="f"):
        command = inviting.Invite(self.account_id, address, role)
        return inviting.invite_member(
            self.ports, by or self.owner, command, Once(key, fingerprint, self.show)
        )

    def show(self, made):
        return repr(made)

    def read_token(self, position=-1):
        return self.mailer.sent[position].text.split("/invitations/")[1].split("\n")[0]

    def accept(self, token, *, address=ADA, user_id="usr_ada", key="accept"):
        if address is not None:
            self.cloud.addresses[user_id] = address
        person = sign_in("acc_none", user_id, "viewer")
        return inviting.accept_invitation(self.ports, person, token, Once(key, token, self.show))

    def find(self, user_id="usr_ada"):
        return service.get_membership(self.ports, self.account_id, user_id)

    def list(self):
        return inviting.list_invitations(self.ports, self.owner, self.account_id, 10, None).items


@pytest.fixture
def office():
    return Office()


def test_who_accepts_is_a_member_with_the_role_that_was_offered(office):
    office.invite()
    (mail,) = office.mailer.sent
    assert mail.to == ADA
    assert "https://api.example/stage/invitations/" in mail.text
    office.accept(office.read_token())
    assert office.find().role == "developer"
    assert office.list() == []
    assert [entry.action for entry in office.cloud.audit.entries[-2:]] == ["member.invited", "member.joined"]


def test_a_token_is_good_once(office):
    office.invite()
    token = office.read_token()
    office.accept(token)
    office.accept(token)
    with pytest.raises(NotFound):
        office.accept(token, key="again")
    with pytest.raises(NotFound):
        office.accept(token, user_id="usr_eve", key="eve")


def test_two_who_accept_at_once_are_one_member(office):
    office.invite()
    token = office.read_token()

    def meanwhile():
        office.cloud.db.interlude = None
        office.accept(token, user_id="usr_first", key="first")

    office.cloud.db.interlude = meanwhile
    with pytest.raises(NotFound):
        office.accept(token, user_id="usr_second", key="second")
    assert (office.find("usr_first") is None, office.find("usr_second") is None) == (False, True)


@pytest.mark.parametrize("address", ["eve@lab.example", "ada@lab.example.net", "ada+x@lab.example"])
def test_it_is_for_the_address_that_it_was_sent_to(office, address):
    office.invite()
    with pytest.raises(NotFound):
        office.accept(office.read_token(), address=address)


def test_an_address_that_nobody_verified_is_none(office):
    office.invite()
    with pytest.raises(Forbidden) as refused:
        office.accept(office.read_token(), address=None)
    assert refused.value.code == "address_not_verified"


@pytest.mark.parametrize("given", [" Ada@Lab.Example ", "ADA@LAB.EXAMPLE", "\uff41da@lab.example"])
def test_however_an_address_is_written_it_is_the_same(office, given):
    office.invite(given)
    assert office.mailer.sent[0].to == ADA
    office.accept(office.read_token(), address=normalise_address(given))
    assert office.find() is not None


@pytest.mark.parametrize(
    "given", ["", "ada", "@lab.example", "ada@lab", "a b@lab.example", "a@b@c.example", "a\n@b.example",
              "ada@lab.example\r\nBcc: eve@x.example", "<ada@lab.example>", f"{'a' * 250}@b.example"]
)  # fmt: skip
def test_what_is_no_address_is_sent_nothing(office, given):
    with pytest.raises(InvalidInput):
        office.invite(given)
    assert office.mailer.sent == []


def test_after_seven_days_it_is_gone_though_its_row_is_there(office):
    office.invite()
    office.cloud.clock.advance_seconds(INVITATION_LIFETIME_MS / 1000)
    assert office.list() == []
    with pytest.raises(NotFound):
        office.accept(office.read_token())


def test_a_revoked_one_is_gone(office):
    office.invite()
    (invitation,) = office.list()
    inviting.revoke_invitation(office.ports, office.owner, office.account_id, invitation.invitation_id)
    with pytest.raises(NotFound):
        office.accept(office.read_token())
    with pytest.raises(NotFound):
        inviting.revoke_invitation(office.ports, office.owner, office.account_id, invitation.invitation_id)


def test_inviting_twice_replaces_the_first(office):
    office.invite(role="admin")
    office.cloud.clock.advance_seconds(HOUR_S)
    office.invite("ADA@lab.example", "viewer", key="twice")
    assert [each.role for each in office.list()] == ["viewer"]
    with pytest.raises(NotFound):
        office.accept(office.read_token(0))
    office.accept(office.read_token(1), key="second")
    assert office.find().role == "viewer"


def test_within_an_hour_no_second_mail_goes_and_the_link_is_good_for_the_newer_invitation(office):
    office.invite(role="admin")
    answer = office.invite("ADA@lab.example", "viewer", key="twice")
    assert (answer.status, answer.replayed) == (201, False)
    office.invite(role="viewer", key="twice")
    assert len(office.mailer.sent) == 1
    assert [each.role for each in office.list()] == ["viewer"]
    office.accept(office.read_token())
    assert office.find().role == "viewer"


@pytest.mark.parametrize("over_by", ["revoked", "accepted"])
def test_a_link_that_is_worth_nothing_is_followed_by_no_other_mail_within_the_hour(office, over_by):
    office.invite()
    if over_by == "accepted":
        office.accept(office.read_token())
    else:
        (invitation,) = office.list()
        inviting.revoke_invitation(office.ports, office.owner, office.account_id, invitation.invitation_id)
    office.cloud.clock.advance_seconds(HOUR_S - 1)
    with pytest.raises(RateLimited) as refused:
        office.invite(key="again")
    assert (refused.value.code, refused.value.extra["retry_after_seconds"]) == ("too_many_invitations", 1)
    office.cloud.clock.advance_seconds(1)
    office.invite(key="again")
    assert len(office.mailer.sent) == 2


def test_another_organisation_may_invite_the_same_address(office):
    office.invite()
    other = add_renter(office.seeded, name="other", credit_micros=0).account_id
    owner = add_person(office.seeded, "owner", account_id=other)
    office.account_id = other
    office.invite(by=owner)
    assert [mail.to for mail in office.mailer.sent] == [ADA, ADA]


def invite_many(office, count, by, first=0):
    for number in range(first, first + count):
        office.invite(f"{number}@lab.example", by=by, key=f"{by.user_id}{number}")


def test_an_organisation_sends_twenty_mails_at_once_and_no_more(office):
    other = add_person(office.seeded, "admin")
    invite_many(office, 12, office.owner)
    invite_many(office, 8, other, first=100)
    with pytest.raises(RateLimited) as refused:
        invite_many(office, 1, other, first=200)
    assert refused.value.extra["retry_after_seconds"] == 86_400 // 20
    assert len(office.mailer.sent) == 20
    office.cloud.clock.advance_seconds(86_400 // 20)
    invite_many(office, 1, other, first=300)


def test_an_inviter_sends_twenty_however_many_organisations_they_have(office):
    invite_many(office, 12, office.owner)
    second = add_renter(office.seeded, name="second", credit_micros=0).account_id
    office.account_id = second
    there = sign_in(second, office.owner.user_id, "owner")
    tx = office.cloud.db.begin()
    office.cloud.organisation_store.add_membership(tx, Membership(second, there.user_id, "owner", 1))
    tx.commit()
    invite_many(office, 8, there, first=100)
    with pytest.raises(RateLimited):
        invite_many(office, 1, there, first=200)
    invite_many(office, 1, add_person(office.seeded, "owner", account_id=second), first=300)


def test_while_the_counters_do_not_answer_no_mail_goes(office):
    office.cloud.mail_buckets.down = True
    with pytest.raises(Unavailable):
        office.invite()
    office.cloud.mail_buckets.down = False
    office.invite()
    assert len(office.mailer.sent) == 1


def test_a_mail_that_was_not_taken_does_not_shut_the_gate(office):
    office.mailer.is_down = True
    with pytest.raises(Unavailable):
        office.invite()
    office.mailer.is_down = False
    office.invite(key="another")
    office.accept(office.read_token())
    assert office.find() is not None


def test_no_bucket_is_named_by_an_address(office):
    office.invite()
    assert office.cloud.mail_buckets.calls
    assert "ada" not in repr(office.cloud.mail_buckets.calls)


def test_what_a_stranger_calls_itself_is_quoted_and_in_no_subject(office):
    store, tx = office.cloud.accounts.store, office.cloud.db.begin()
    account = store.get_account(office.account_id)
    store.replace_account(tx, account, replace(account, name='Lab" \r\nhttps://evil.example'))
    tx.commit()
    office.invite()
    (mail,) = office.mailer.sent
    assert mail.subject == "Invitation to an organisation"
    assert 'calls itself "Lab\' https evil.example"' in mail.text


@pytest.mark.parametrize("name", ["see https://evil.example", "a\nb", "a\x00b", "a\u2028b", "://"])
def test_a_name_has_no_link_and_is_one_line(office, name):
    once = Once("named", "f", office.show)
    for act in (
        lambda: service.create_organisation(office.ports, office.owner, once, name=name, currency="USD"),
        lambda: service.rename_organisation(office.ports, office.owner, office.account_id, name),
    ):
        with pytest.raises(InvalidInput) as refused:
            act()
        assert refused.value.code == "invalid_name"
    service.rename_organisation(office.ports, office.owner, office.account_id, "Łódź & Sons: GPUs / 計算")


def test_a_wrong_secret_a_wrong_form_and_a_missing_invitation_answer_the_same(office):
    office.invite()
    token = office.read_token()
    account, invitation, secret = token.split(".")
    told = set()
    for number, wrong in enumerate(
        (
            token[:-1] + ("0" if token[-1] != "0" else "1"),
            f"{account}.inv_{'0' * 26}.{secret}",
            f"acc_{'0' * 26}.{invitation}.{secret}",
            "nonsense",
            "..",
        )
    ):
        with pytest.raises(NotFound) as refused:
            office.accept(wrong, key=str(number))
        told.add((refused.value.code, refused.value.detail))
    assert len(told) == 1


def test_a_repeat_sends_no_second_mail_and_answers_the_same(office):
    first = office.invite()
    second = office.invite()
    assert (first.body, second.replayed) == (second.body, True)
    assert len(office.mailer.sent) == 1


def test_a_mail_that_was_not_taken_is_sent_by_the_repeat(office):
    office.mailer.is_down = True
    with pytest.raises(Unavailable):
        office.invite()
    office.mailer.is_down = False
    office.invite()
    assert len(office.mailer.sent) == 1
    office.accept(office.read_token())
    assert office.find() is not None


def test_no_address_and_no_token_is_kept_in_any_table(office):
    office.invite()
    token = office.read_token()
    kept = repr(office.cloud.db.tables)
    assert ADA not in kept
    assert "lab.example" not in kept
    assert token not in kept
    assert token.split(".")[2] not in kept


@pytest.mark.parametrize("by", sorted(MEMBER_ROLES))
def test_nobody_invites_to_more_than_their_own_role(office, by):
    member = add_person(office.seeded, by)
    for number, role in enumerate(sorted(MEMBER_ROLES)):
        told = {"by": member, "key": f"{by}{number}"}
        if PERMISSIONS[role] <= PERMISSIONS[by]:
            office.invite(f"{role}@lab.example", role, **told)
        else:
            with pytest.raises(Forbidden):
                office.invite(f"{role}@lab.example", role, **told)


@pytest.mark.parametrize("fate", ["removed", "demoted"])
def test_what_an_inviter_promised_ends_with_their_role(office, fate):
    admin = add_person(office.seeded, "admin")
    office.invite(role="admin", by=admin)
    if fate == "removed":
        service.remove_member(office.ports, office.owner, office.account_id, admin.user_id)
    else:
        service.change_role(office.ports, office.owner, office.account_id, admin.user_id, "viewer")
    with pytest.raises(NotFound):
        office.accept(office.read_token())


def test_a_member_is_not_made_one_twice(office):
    office.invite()
    office.accept(office.read_token())
    office.cloud.clock.advance_seconds(HOUR_S)
    office.invite(key="again")
    with pytest.raises(Conflict) as refused:
        office.accept(office.read_token(), key="again")
    assert refused.value.code == "already_member"


def test_an_operator_invites_the_first_owner_of_an_account_that_they_made(office):
    cloud = office.cloud
    made = create_account(cloud.accounts, office.seeded.operator, name="New", currency="USD")
    office.account_id = made.account_id
    office.invite(role="owner", by=office.seeded.operator)
    office.accept(office.read_token())
    assert office.find().role == "owner"
    assert cloud.db.table("owners")[made.account_id] == 1


def test_a_crash_after_the_commit_is_mended_by_the_repeat(office):
    office.cloud.db.crash_after = office.cloud.db.commits
    with pytest.raises(Crash):
        office.invite()
    office.cloud.db.crash_after = None
    office.invite()
    assert len(office.mailer.sent) == 1


def test_an_answer_names_nobody(office):
    assert ADA not in office.invite().body
