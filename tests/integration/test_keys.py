"""Keys of an account on the real table and its index."""

import pytest

from chalicelib import wiring
from chalicelib.accounts.rotating import RotateKey, rotate_key
from chalicelib.accounts.service import authenticate, create_key
from chalicelib.core.errors import Conflict, Unauthenticated
from chalicelib.core.principal import KeyLimits
from chalicelib.webhooks.leaks import report_leak
from infra.local.cloud import EmbeddedCloud
from tests.integration.fleet_setup import add_renter, become_operator
from tests.integration.in_process import wire_to
from tests.integration.waiting import wait_for


def test_an_account_lists_its_keys_and_nothing_else_of_it(cloud: EmbeddedCloud) -> None:
    with wire_to(cloud):
        operator = become_operator()
        renter, ports = add_renter(operator), wiring.account_ports()
        second = create_key(ports, operator, renter.account_id, label="second").key
        for account_id, expected in (
            (operator.account_id, {operator.actor_id}),
            (renter.account_id, {renter.actor_id, second.key_id}),
        ):
            # The index lags behind; the operator's account may have keys of earlier tests.
            page = wait_for(
                lambda account_id=account_id: ports.store.list_keys(account_id, 200, None),
                lambda page, expected=expected: expected <= {each.key_id for each in page.items},
            )
            assert {each.account_id for each in page.items} == {account_id}
            assert all(each.created_at_ms for each in page.items)


def test_limits_use_and_rotation_of_a_key_are_what_is_stored(cloud: EmbeddedCloud) -> None:
    with wire_to(cloud):
        operator = become_operator()
        renter, ports = add_renter(operator), wiring.account_ports()
        limits = KeyLimits(
            frozenset({"keys:read", "rentals:read"}),
            ("192.0.2.0/24", "2001:db8::/32"),
            ports.clock.now_ms() + 3_600_000,
        )
        issued = create_key(ports, operator, renter.account_id, label="ci", limits=limits)
        key_id = issued.key.key_id
        assert ports.store.get_key(key_id) == issued.key
        assert authenticate(ports, issued.token).permissions == limits.permissions
        used = ports.store.get_key(key_id)
        assert used is not None
        assert used.last_used_at_ms is not None
        # Written once a day: what comes later on the day changes nothing.
        ports.store.note_use(key_id, used.last_used_at_ms, used.last_used_at_ms + 1)
        assert ports.store.get_key(key_id) == used
        ports.store.note_use("key_missing", 0, 1)
        assert ports.store.get_key("key_missing") is None

        def rotate(name: str, target: str) -> RotateKey:
            return RotateKey(target, 0, issued.token, f"{target} {name}", "f", lambda made: made.key_id, str)

        rotated = rotate_key(wiring.rotation_ports(), operator, rotate("once", key_id))
        again = rotate_key(wiring.rotation_ports(), operator, rotate("once", key_id))
        assert (again.token, again.replayed) == (rotated.token, True)
        assert authenticate(ports, rotated.token).limits.networks == limits.networks
        with pytest.raises(Unauthenticated, match="expired"):
            authenticate(ports, issued.token)
        tx = ports.transactions()
        ports.store.retire_key(tx, key_id, "key_other", 1)
        with pytest.raises(Conflict) as refused:
            tx.commit()
        assert refused.value.code == "already_rotated"


def test_a_leaked_key_is_revoked_with_an_event_once(cloud: EmbeddedCloud) -> None:
    with wire_to(cloud):
        operator = become_operator()
        renter, ports = add_renter(operator), wiring.account_ports()
        issued = create_key(ports, operator, renter.account_id, label="leaked")
        for _ in range(2):
            report_leak(wiring.leak_ports(), issued.token, "https://code.example/x")
        with pytest.raises(Unauthenticated):
            authenticate(ports, issued.token)
        events = wiring.webhook_ports().store.list_events(renter.account_id, 50, None).items
        assert [each.data["key_id"] for each in events if each.type == "key.leaked"] == [issued.key.key_id]
        tx = ports.transactions()
        ports.store.revoke_leaked_key(tx, issued.key.key_id, 1)
        with pytest.raises(Conflict):
            tx.commit()
