"""The simulator over HTTP, on loopback and nowhere else."""

import contextlib
import dataclasses
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from infra.local.stripe import knobs, pages
from infra.local.stripe.errors import Refused
from infra.local.stripe.faults import Fault
from infra.local.stripe.simulator import Simulator
from infra.local.stripe.webhooks import Transport, send_http
from infra.local.stripe.world import API_VERSION, expand

HOST = "127.0.0.1"
_KEY_PREFIXES = tuple(f"{kind}_test_" for kind in ("sk", "rk"))
_MAX_BODY_BYTES = 1 << 20
_POLL_SECONDS = 0.01


class App:
    """The WSGI application: the API, the pages, and the knobs. ``wait`` is what latency is made of."""

    def __init__(self, simulator: Simulator, wait: Callable[[float], None] = time.sleep) -> None:
        self.simulator = simulator
        self._wait = wait

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = request.max_form_memory_size = _MAX_BODY_BYTES
        try:
            response = self._answer(request)
        except HTTPException as refused:
            response = _write_json({"error": {"message": refused.description}}, refused.code or 400)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.path.startswith("/v1/"):
            return self._answer_api(request)
        try:
            if request.path.startswith("/_simulator/") and "/authenticate/" not in request.path:
                document = json.loads(request.get_data() or b"{}")
                return _write_json(
                    knobs.turn(self.simulator, request.path.removeprefix("/_simulator/"), document)
                )
            return self._answer_page(request)
        except Refused as refused:
            if request.path.startswith("/_simulator/"):
                return _write_json(refused.body, refused.status)
            return Response(pages.show_notice(str(refused)), refused.status, mimetype="text/html")

    def _answer_api(self, request: Request) -> Response:
        simulator, lock = self.simulator, self.simulator.world.lock
        with lock:
            met = simulator.faults.take(request.method, request.path)
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        replay = None
        try:
            _authenticate(request)
            self._refuse_by_fault(met)
            pairs = [*request.args.items(multi=True), *request.form.items(multi=True)]
            if key:
                with lock:
                    fingerprint = hashlib.sha256(
                        json.dumps([request.path, sorted(pairs)]).encode()
                    ).hexdigest()
                    replay = simulator.keys.begin(key, fingerprint, simulator.world.now())
        except Refused as refused:
            return _write_json(refused.body, refused.status)
        self._wait_out(met)
        kinds = {fault.kind for fault in met}
        if "cut_before" in kinds:
            with lock:
                if key and replay is None:
                    simulator.keys.release(key)
            return _cut(request)
        if replay is not None:
            status, body = replay
        else:
            status, body = self._execute(request, pairs, key, kinds)
        if "cut_after" in kinds:
            return _cut(request)
        response = Response(body, status, mimetype="application/json")
        response.headers["Request-Id"] = "req_" + hashlib.sha256(body).hexdigest()[:14]
        response.headers["Stripe-Version"] = API_VERSION
        if key:
            response.headers["Idempotency-Key"] = key
        if replay is not None:
            response.headers["Idempotent-Replayed"] = "true"
        return response

    def _refuse_by_fault(self, met: list[Fault]) -> None:
        kinds = {fault.kind for fault in met}
        if "rate_limited" in kinds:
            message = "Too many requests hit the API too quickly."
            raise Refused(message, status=HTTPStatus.TOO_MANY_REQUESTS, code="rate_limit", started=False)
        if "forbidden" in kinds:
            message = "The provided key does not have the required permissions for this endpoint."
            raise Refused(message, status=HTTPStatus.FORBIDDEN, started=False)
        if "conflict" in kinds:
            message = "This object cannot be accessed right now because another request is accessing it."
            raise Refused(message, status=HTTPStatus.CONFLICT, code="lock_timeout", started=False)

    def _wait_out(self, met: list[Fault]) -> None:
        for fault in met:
            if fault.kind == "latency":
                self._wait(fault.seconds)

    def _execute(
        self, request: Request, pairs: list[tuple[str, str]], key: str | None, kinds: set[Any]
    ) -> tuple[int, bytes]:
        simulator, started = self.simulator, True
        with simulator.world.lock:
            simulator.world.idempotency_key = key
            status, document = HTTPStatus.OK.value, {}
            try:
                route, ids = simulator.find_route(request.method, request.path)
                params = route.spec.read(pairs)
                paths = params.pop("expand", [])
                if "error_before" not in kinds:
                    document = expand(simulator.world, route.act(params, *ids), paths)
            except Refused as refused:
                status, document, started = refused.status, refused.body, refused.started
            finally:
                simulator.world.idempotency_key = None
            if started and kinds & {"error_before", "error_after"}:
                status = HTTPStatus.INTERNAL_SERVER_ERROR.value
                document = {"error": {"type": "api_error", "message": "An unknown error occurred."}}
            body = json.dumps(document, indent=2).encode()
            if key and started:
                simulator.keys.finish(key, status, body)
            elif key:
                simulator.keys.release(key)
        return status, body

    def _answer_page(self, request: Request) -> Response:
        simulator, world = self.simulator, self.simulator.world
        match request.path.strip("/").split("/"):
            case ["c", "pay", session_id]:
                return self._answer_checkout(request, session_id)
            case ["receipts", charge_id]:
                with world.lock:
                    page = pages.show_receipt(world.get("charge", charge_id))
            case ["p", "session", portal_id]:
                with world.lock:
                    portal = world.get("billing_portal.session", portal_id)
                    customer = portal["customer"]
                    methods = world.select("payment_method", customer=customer)
                    paid = world.select("payment_intent", customer=customer, status="succeeded")
                    page = pages.show_portal(portal, methods, paid)
            case ["_simulator", "authenticate", intent_id]:
                with world.lock:
                    intent = world.find(intent_id)
                    if intent is None:
                        raise Refused("There is no such intent.", status=HTTPStatus.NOT_FOUND)
                    back = ((intent["next_action"] or {}).get("redirect_to_url") or {}).get("return_url")
                    page = pages.show_authentication(intent)
                if request.method == "POST":
                    simulator.payments.authenticate(
                        intent_id, succeeds=request.form.get("action") == "succeed"
                    )
                    return (
                        _redirect(back)
                        if back
                        else Response(pages.show_notice("Done."), mimetype="text/html")
                    )
            case _:
                raise Refused("There is no such page.", status=HTTPStatus.NOT_FOUND)
        return Response(page, mimetype="text/html")

    def _answer_checkout(self, request: Request, session_id: str) -> Response:
        simulator, world = self.simulator, self.simulator.world
        with world.lock:
            session = world.get("checkout.session", session_id)
            error = None
            if request.method == "POST":
                if request.form.get("action") == "cancel" and session["cancel_url"]:
                    return _redirect(session["cancel_url"])
                try:
                    simulator.checkout.pay(session_id, request.form.get("payment_method", ""))
                except Refused as refused:
                    error = str(refused)
            if session["status"] == "complete":
                return _redirect(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session_id))
            if session["status"] == "expired":
                raise Refused("This session has expired.", status=HTTPStatus.GONE)
            status = HTTPStatus.PAYMENT_REQUIRED if error else HTTPStatus.OK
            return Response(pages.show_checkout(session, error), status, mimetype="text/html")


def _authenticate(request: Request) -> None:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not given.startswith(_KEY_PREFIXES):
        message = "Invalid API Key provided: the simulator takes test keys alone."
        raise Refused(message, status=HTTPStatus.UNAUTHORIZED, started=False)


def _redirect(url: str) -> Response:
    return Response(status=HTTPStatus.SEE_OTHER, headers={"Location": url})


def _write_json(document: object, status: int = 200) -> Response:
    return Response(json.dumps(document, indent=2), status, mimetype="application/json")


def _cut(request: Request) -> Response:
    """Close the connection without an answer."""
    request.environ["werkzeug.socket"].shutdown(2)
    return Response(status=HTTPStatus.NO_CONTENT)


class _Handler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - werkzeug's name
        """Say nothing: what was asked is in the events and the books."""


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """A simulator that answers at ``url``."""

    url: str
    simulator: Simulator


@contextlib.contextmanager
def run_stripe(
    port: int = 0,
    *,
    seed: int = 0,
    now: Callable[[], float] = time.time,
    transport: Transport = send_http,
    wait: Callable[[float], None] = time.sleep,
    pump_seconds: float | None = None,
) -> Iterator[Running]:
    """Run a fresh simulator on a port of loopback (0: a free one).

    With ``pump_seconds`` what falls due is done that often by itself; without, as a test advances the clock.
    """
    server = make_server(HOST, port, lambda *_: [], threaded=True, request_handler=_Handler)
    url = f"http://{HOST}:{server.server_port}"
    simulator = Simulator(url, seed, now, transport)
    server.app = App(simulator, wait)
    ended = threading.Event()

    def pump() -> None:
        while not ended.wait(pump_seconds):
            simulator.world.advance(0)

    threads = [threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)]
    if pump_seconds is not None:
        threads.append(threading.Thread(target=pump, daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield Running(url, simulator)
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join()
