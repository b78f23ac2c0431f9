"""A renter asks for the log of a rental, and nobody else gets it."""

import pytest

from chalicelib.core.errors import Conflict, NotFound
from chalicelib.metering.service import keep_logs
from chalicelib.rentals.life import terminate_rental
from chalicelib.rentals.messages import LogExcerpt
from chalicelib.rentals.service import read_log, request_log
from tests.factories import add_renter, seed_cloud, start


def test_a_log_is_asked_for_under_the_lease_and_shown_when_it_has_come():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    ports = seeded.cloud.rentals
    with pytest.raises(NotFound) as caught:
        read_log(ports, seeded.renter, rental.rental_id)
    assert caught.value.code == "log_not_fetched"
    request_log(ports, seeded.renter, rental.rental_id)
    command = seeded.cloud.fleet_store.commands[-1]
    assert (command.kind, command.leases) == ("log", rental.leases)
    assert seeded.cloud.audit.entries[-1].action == "rental.log_requested"
    newer, older = LogExcerpt(9, "newer", truncated=True), LogExcerpt(5, "older", truncated=False)
    for excerpt in (newer, older, newer):
        keep_logs(seeded.cloud.meters, rental.host_id, {rental.rental_id: excerpt})
    assert read_log(ports, seeded.renter, rental.rental_id) == newer


def test_another_account_and_another_host_have_no_part_in_it():
    seeded = seed_cloud(hosts=2)
    rental = start(seeded, 1)
    stranger = add_renter(seeded, name="stranger")
    for ask in (request_log, read_log):
        with pytest.raises(NotFound):
            ask(seeded.cloud.rentals, stranger, rental.rental_id)
    keep_logs(seeded.cloud.meters, "hst_other", {rental.rental_id: LogExcerpt(9, "forged", truncated=False)})
    keep_logs(seeded.cloud.meters, rental.host_id, {"rnt_x": LogExcerpt(9, "of nobody", truncated=False)})
    assert seeded.cloud.rentals.store.get_log(rental.rental_id) is None


def test_a_rental_that_ended_has_no_log_to_fetch_and_keeps_what_was():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    last = LogExcerpt(9, "why it failed", truncated=False)
    keep_logs(seeded.cloud.meters, rental.host_id, {rental.rental_id: last})
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    with pytest.raises(Conflict) as caught:
        request_log(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert caught.value.code == "log_wiped"
    assert read_log(seeded.cloud.rentals, seeded.renter, rental.rental_id) == last
