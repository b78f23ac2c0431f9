"""Keys of an account on the real index."""

from chalicelib import wiring
from chalicelib.accounts.service import create_key
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
            (operator.account_id, {operator.key_id}),
            (renter.account_id, {renter.key_id, second.key_id}),
        ):
            # The index lags behind; the operator's account may have keys of earlier tests.
            page = wait_for(
                lambda account_id=account_id: ports.store.list_keys(account_id, 200, None),
                lambda page, expected=expected: expected <= {each.key_id for each in page.items},
            )
            assert {each.account_id for each in page.items} == {account_id}
            assert all(each.created_at_ms for each in page.items)
