"""What a renter does with the command line, against the API's own routes."""

import json

from chalicelib.carbon.intensity import Forecast
from chalicelib.core.clock import format_instant
from chalicelib.core.workloads import Endpoint
from chalicelib.metering.service import keep_logs
from chalicelib.rentals.messages import LogExcerpt
from chalicelib.webhooks.dispatch import deliver
from tests.factories import GPU_TYPE, REGION
from tests.fakes.database import START_MS
from tests.unit.carbon.grids import SWEDEN, build_forecast, build_point


def rent(terminal, *more, gpus="1"):
    return terminal.read("rent", "-g", GPU_TYPE, "-n", gpus, *more, "--", "python", "train.py")


def report(terminal, rental_id, state, **more):
    seeded = terminal.platform.seeded
    seeded.report(seeded.rental(rental_id), state, **more)


def test_offers_say_what_there_is_at_what_price_and_why_not(terminal):
    shown = terminal("offers")
    assert GPU_TYPE in shown.out
    assert "2.49 USD" in shown.out
    (offer,) = terminal.read("offers", "-g", GPU_TYPE, "-n", "4", "--max-price", "2.49")["items"]
    assert (offer["why_not"], offer["availability"]) == ([], "MEDIUM")
    (dear,) = terminal.read("offers", "--max-price", "2.48", "--min-memory", "80GB")["items"]
    assert dear["why_not"] == ["price_cap"]
    assert "price_cap" in terminal("offers", "--max-price", "2.48").out
    assert "GPU TYPE" not in terminal("offers", "-g", "A10").out


def test_a_life_from_rent_to_receipt(terminal):
    started = rent(terminal, "-l", "train")
    rental_id = started["rental_id"]
    assert (started["label"], started["gpu_count"], started["state"]) == ("train", 1, "provisioning")
    assert rental_id in terminal("ps").out
    report(terminal, rental_id, "running")
    assert "running" in terminal("show", rental_id).out
    assert terminal("stop", rental_id).out == f"{rental_id} is stopping, on its way to stopped.\n"
    report(terminal, rental_id, "terminated", wiped=True)
    assert terminal.read("show", rental_id)["state"] == "stopped"
    assert "on its way to running" in terminal("resume", rental_id).out
    report(terminal, rental_id, "running")
    locked = terminal("lock", rental_id)
    assert "locked" in locked.out
    refused = terminal("terminate", rental_id, "--yes", code=1)
    assert "provocative unlock" in refused.err
    terminal("unlock", rental_id)
    assert "terminating" in terminal("terminate", rental_id, "-y").out
    report(terminal, rental_id, "terminated", wiped=True)
    terminal.platform.seeded.charge_all()
    assert terminal("ps").out.startswith("No rentals")
    assert rental_id in terminal("ps", "--ended").out
    receipt = terminal.read("cost", rental_id)
    assert receipt["charge"]["ledger_sum_micros"] == 0
    shown = terminal("cost", rental_id).out
    assert f"24.710 gCO2e/kWh in {REGION}" in shown
    assert "Wh, difference" in " ".join(shown.split())


def test_the_wallet_and_the_quota(terminal):
    wallet = terminal.read("cost")
    assert wallet["available_micros"] == wallet["posted_micros"] - wallet["held_micros"]
    assert "available  1000000.00 USD" in terminal("cost").out
    assert terminal.read("quota")["used"] == 0
    rent(terminal, gpus="2")
    assert terminal.read("quota")["used"] == 2


def test_rent_waits_until_it_runs_and_tells_where_it_stands(terminal):
    seeded = terminal.platform.seeded

    def start():
        for rental in seeded.cloud.rentals.store.list_rentals(seeded.renter.account_id, 10, None).items:
            seeded.report(seeded.rental(rental.rental_id), "running")

    terminal.meanwhile = start
    done = terminal("rent", "-g", GPU_TYPE, "--wait", "--", "true")
    assert "state          running" in done.out
    assert "provisioning" in done.err
    assert terminal.slept == [2.0]


def test_who_waits_for_too_long_is_told_that_the_rental_goes_on(terminal):
    done = terminal("rent", "-g", GPU_TYPE, "--wait", "--wait-at-most", "5s", "--", "true", code=5)
    assert "still provisioning" in done.err
    assert "provocative terminate rnt_" in done.err


def test_no_room_is_a_place_in_line_or_an_answer(terminal):
    rent(terminal, gpus="4")
    refused = terminal("rent", "-g", GPU_TYPE, "-n", "4", "--no-queue", "--", "true", code=1)
    assert "Without --no-queue a rental waits in line" in refused.err
    waiting = rent(terminal, gpus="4")
    assert waiting["state"] == "queued"
    shown = terminal("show", waiting["rental_id"]).out
    assert "place 1" in shown
    assert "no_capacity" in shown


def test_logs_are_asked_for_and_printed_as_they_are(terminal):
    rental_id = rent(terminal)["rental_id"]
    report(terminal, rental_id, "running")
    text = "step 1\nloss 0.5 [red]\n"

    def send():
        seeded = terminal.platform.seeded
        rental = seeded.rental(rental_id)
        taken = LogExcerpt(seeded.cloud.clock.now_ms(), text, truncated=True)
        keep_logs(seeded.cloud.meters, rental.host_id, {rental_id: taken})

    terminal.meanwhile = send
    shown = terminal("logs", rental_id)
    assert shown.out == text
    assert "[the end of the log" in shown.err
    assert terminal("logs", rental_id, "--last").out == text
    terminal.meanwhile = lambda: None
    silent = terminal("logs", rental_id, code=5)
    assert f"provocative logs {rental_id} --last" in silent.err


def test_templates_are_kept_used_replaced_and_removed(terminal):
    made = terminal.read(
        "templates", "create", "--name", "train", "-g", GPU_TYPE, "-e", "A=1", "--", "python", "t.py"
    )
    template_id = made["template_id"]
    assert (made["command"], made["env"]) == (["python", "t.py"], {"A": "1"})
    assert template_id in terminal("templates").out
    assert terminal.read("rent", "-t", template_id)["gpu_type"] == GPU_TYPE
    replaced = terminal.read("templates", "replace", template_id, "--name", "other", "--", "true")
    assert (replaced["name"], replaced["version"]) == ("other", 2)
    stale = terminal(
        "templates", "replace", template_id, "--name", "x", "--version", "1", "--", "true", code=1
    )
    assert "look at it again" in stale.err
    assert terminal("templates", "remove", template_id, "-y").out == f"{template_id} is gone.\n"
    terminal("templates", "show", template_id, code=3)


def test_webhooks_are_made_tested_looked_at_rotated_and_removed(terminal):
    made = terminal.read("webhooks", "create", "https://hooks.example.com/in", "--event", "rental.failed")
    endpoint_id = made["endpoint_id"]
    assert made["event_types"] == ["rental.failed"]
    assert "hooks.example.com" in terminal("webhooks").out
    event_id = terminal.read("webhooks", "test", endpoint_id)["event_id"]
    assert "waiting" in terminal("webhooks", "events").out
    cloud = terminal.platform.cloud
    deliver(cloud.dispatch, [(terminal.platform.seeded.renter.account_id, event_id)])
    assert ", 200, 10 ms" in terminal("webhooks", "event", event_id).out
    assert "1 of 1" in terminal("webhooks", "events").out
    assert terminal.read("webhooks", "replay", event_id)["deliveries"][0]["state"] == "pending"
    rotated = terminal("webhooks", "rotate-secret", endpoint_id, "-y").out.strip()
    assert rotated.startswith("whsec_")
    assert rotated != made["secret"]
    assert made["secret"] not in terminal("webhooks", "show", endpoint_id).out
    assert "off" in terminal("webhooks", "change", endpoint_id, "--disable").out
    assert "refused" in terminal("webhooks", "create", "https://10.0.0.1/", code=1).err
    assert terminal("webhooks", "remove", endpoint_id, "-y").out == f"{endpoint_id} is gone.\n"
    terminal("webhooks", "show", endpoint_id, code=3)


def test_reservations_are_booked_shown_and_cancelled(terminal):
    window = ("--from", "2027-02-01T09:00Z", "--to", "2027-02-01T12:00Z")
    ask = ("-g", GPU_TYPE, "-r", REGION, *window)
    none = terminal("reservations", "create", *ask, code=1)
    assert "unknown_region" in none.err
    operator = {"role": "operator"}
    terminal("prices", "set", GPU_TYPE, REGION, "1.99", "--class", "reserved", **operator)
    terminal("hosts", "make-reservable", terminal.platform.host_id, **operator)
    # The catalogue is kept for a minute.
    terminal.platform.cloud.clock.advance_seconds(61)
    seen = terminal("reservations", "availability", *ask, "-n", "4")
    assert "It would fit now; 1.99 USD per GPU-hour." in seen.out
    made = terminal.read("reservations", "create", *ask, "-n", "4", "-l", "launch")
    assert made["bookings"][0]["gpu_count"] == 4
    assert made["reservation_id"] in terminal("reservations").out
    assert "launch" in terminal("reservations", "show", made["reservation_id"]).out
    assert terminal.read("reservations", "quota")["used"] == 4
    unasked = terminal("reservations", "cancel", made["reservation_id"], code=2)
    assert "--yes" in unasked.err
    ended = terminal("reservations", "cancel", made["reservation_id"], "-y")
    assert ended.out == f"{made['reservation_id']} is cancelled; 0.00 USD of its price is kept.\n"


def test_ssh_runs_the_command_that_it_prints(terminal):
    rental_id = rent(terminal)["rental_id"]
    assert (
        "--ssh-key" in terminal("ssh", rental_id, code=1).err
        or "wait" in terminal("ssh", rental_id, code=1).err
    )
    report(terminal, rental_id, "running", endpoints=(Endpoint(22, "tcp", "203.0.113.7", 40_022),))
    words = ["ssh", "-p", "40022", "root@203.0.113.7", "nvidia-smi"]
    assert terminal("ssh", rental_id, "--print", "--", "nvidia-smi").out == " ".join(words) + "\n"
    terminal("ssh", rental_id, "--", "nvidia-smi")
    assert terminal.executed == [words]


def test_policies_are_set_and_taken_away(terminal):
    rental_id = rent(terminal, "--max-duration", "2h30m", "--idle-stop", "30m")["rental_id"]
    policies = terminal.read("show", rental_id)["policies"]
    assert policies["max_duration_seconds"] == 9000
    assert policies["idle_policy"]["idle_seconds"] == 1800
    changed = terminal.read("change", rental_id, "--max-duration", "none", "-l", "renamed")
    assert (changed["policies"]["max_duration_seconds"], changed["label"]) == (None, "renamed")
    assert "What is to change?" in terminal("change", rental_id, code=2).err


def test_json_is_one_document_and_the_apis_own(terminal):
    rent(terminal)
    listed = terminal("ps", "--json")
    (rental,) = json.loads(listed.out)["items"]
    assert rental["price_micros_per_gpu_hour"] == 2_490_000
    failed = terminal("show", "rnt_nobody", "--json", code=3)
    assert failed.out == ""
    assert json.loads(failed.err)["code"] == "not_found"


def test_a_private_key_is_never_sent(terminal, tmp_path):
    secret = tmp_path / "id"
    secret.write_text("-----BEGIN OPENSSH " + "PRIVATE KEY-----\nAAAA\n")
    refused = terminal("rent", "-g", GPU_TYPE, "--ssh-key", str(secret), "--", "true", code=2)
    assert "was not sent" in refused.err
    assert not terminal.gateway.requests


def test_a_grids_figures_and_forecasts_are_shown_with_their_source(terminal):
    store = terminal.platform.grid.store
    store.add_actual(build_point(SWEDEN, mg=31_500))
    ahead = build_point(SWEDEN, mg=29_000, kind="forecast", estimated=True, generated_at_ms=START_MS)
    store.add_forecast(Forecast(SWEDEN, START_MS, (ahead,)))
    span = ("--from", "2027-01-15T00:00Z", "--to", "2027-01-16T00:00Z")
    assert "31.500" in terminal("carbon", "intensity", "eu-north-1", *span).out
    forecast = terminal("carbon", "forecast", "eu-north-1", "--at", "2027-01-15T09:00Z").out
    assert "29.000" in forecast
    assert "electricity_maps" in forecast
    assert "annual figures stand in" in terminal("carbon", "forecast", "eu-west-3").out


def test_the_best_start_is_ranked_with_what_it_saves_and_why_not_elsewhere(terminal):
    grid = terminal.platform.grid.store
    hour = 3_600_000
    points = tuple(
        build_point(
            SWEDEN,
            START_MS + number * hour,
            mg * 1000,
            kind="forecast",
            estimated=True,
            generated_at_ms=START_MS,
        )
        for number, mg in enumerate((40, 10, 30))
    )
    grid.add_forecast(Forecast(SWEDEN, START_MS, points))
    asked = ("carbon", "best-start", "eu-north-1", "--duration", "1h", "--or-region", "eu-west-3")
    deadline = format_instant(START_MS + 3 * hour)
    shown = terminal(*asked, "--deadline", deadline).out
    assert "75.0 %" in shown
    assert "10.000" in shown
    assert "not in eu-west-3: forecast_too_short" in shown
    (best,) = terminal.read(*asked, "--deadline", deadline)["items"]
    assert best["starts_at"] == format_instant(START_MS + hour)


def test_the_methodology_is_read_with_its_formulas_sources_and_tables(terminal):
    shown = terminal("carbon", "methodology").out
    assert "SCI = (O + M) / R" in shown
    assert "3600000000 mJ" in shown
    assert "791260" in shown
    assert terminal.read("carbon", "methodology")["sections"][0]["key"] == "energy"


def test_a_start_is_left_open_until_a_deadline_and_shown_with_why_it_waits(terminal):
    terminal.platform.grid.store.add_forecast(build_forecast(SWEDEN, (40, 10, 30)))
    asked = ("--region", REGION, "--finish-by", format_instant(START_MS + 3 * 3_600_000), "--runs-for", "1h")
    started = rent(terminal, *asked)
    assert started["start_plan"]["planned_start_at"] == format_instant(START_MS + 3_600_000)
    shown = " ".join(terminal("show", started["rental_id"]).out.split())
    assert "The grid is forecast to be cleanest then" in shown
    assert "75.0 %" in shown
    saving = terminal("carbon", "saving", started["rental_id"]).out
    assert "provisional" in saving
    assert f"0 g CO2e in {REGION}" in saving
    below = rent(terminal, *asked, "--threshold", "30.5", "--or-region", REGION)
    assert (below["start_plan"]["policy"], below["start_plan"]["threshold_mg_per_kwh"]) == (
        "threshold",
        30_500,
    )


def test_what_is_missing_of_a_flexible_start_is_asked_for(terminal):
    for options, told in {
        ("--runs-for", "1h"): "By when?",
        ("--threshold", "30"): "By when?",
        ("--finish-by", "+3h"): "For how long?",
        ("--start-by", "+3h", "--runs-for", "1h", "--or-region", REGION): "Which region is home?",
    }.items():
        assert told in terminal("rent", "-g", GPU_TYPE, *options, "--", "true", code=2).err
    assert not terminal.gateway.requests
