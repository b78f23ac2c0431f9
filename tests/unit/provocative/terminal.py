"""The command line in this process, before the API's own routes in this process."""

import io
import json
import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from urllib.parse import unquote

import httpx

import app
from chalicelib.accounts.service import authenticate, bootstrap_installation, create_key
from provocative.cli.app import run
from provocative.cli.session import Surroundings
from tests.fakes.statements import FakeDocuments
from tests.unit.platform import Platform
from tests.unit.runtime.contract import hold_to_document
from tests.unit.runtime.gateway import Context, build_event

URL = "https://api.example"
#: Of links to documents.
LINKS = "documents.test"
WIDTH = "80"


class Gateway(httpx.BaseTransport):
    """Turns requests into events of API Gateway. ``faults`` are met once each, the first one first."""

    def __init__(self):
        self.requests: list[httpx.Request] = []
        #: "unreachable" (never sent), "lost" (done, and not answered), or an answer in place of the API's.
        self.faults: list[str | httpx.Response] = []
        self.documents = FakeDocuments()

    def handle_request(self, request):
        self.requests.append(request)
        fault = self.faults.pop(0) if self.faults else None
        if fault == "unreachable":
            raise httpx.ConnectError("connection refused")
        if isinstance(fault, httpx.Response):
            return fault
        answer = self.open_link(request) if request.url.host == LINKS else self.answer(request)
        if fault == "lost":
            raise httpx.ReadTimeout("timed out")
        return answer

    def open_link(self, request):
        """What only has the link in its hand sees: no key of ours reaches it."""
        assert "authorization" not in request.headers
        body = self.documents.files.get(request.url.path.removeprefix("/"))
        return httpx.Response(403) if body is None else httpx.Response(200, content=body)

    def answer(self, request):
        resource, parameters = find_route(request.method, request.url.raw_path.decode().partition("?")[0])
        query: dict[str, list[str]] = {}
        for name, value in request.url.params.multi_items():
            query.setdefault(name, []).append(value)
        names = {
            "authorization": "Authorization",
            "content-type": "Content-Type",
            "idempotency-key": "Idempotency-Key",
        }
        sent = {names[name]: value for name, value in request.headers.items() if name in names}
        event = build_event(
            request.method,
            resource,
            raw=request.content.decode() or None,
            headers=sent,
            query=query or None,
            parameters=parameters,
        )
        # The platform's log goes to the same standard output as what the person reads.
        logging.disable(logging.CRITICAL)
        try:
            answered = app.app(event, Context())
        finally:
            logging.disable(logging.NOTSET)
        hold_to_document(event, answered)
        headers = {name: values[-1] for name, values in answer_headers(answered).items()}
        return httpx.Response(answered["statusCode"], headers=headers, text=answered["body"] or "")

    def count(self):
        return Counter(f"{each.method} {each.url.path}" for each in self.requests)


def answer_headers(answered):
    single = {name: [value] for name, value in answered.get("headers", {}).items()}
    return {**single, **answered.get("multiValueHeaders", {})}


def find_route(method, path):
    """The longest of the literal ones first, as API Gateway chooses."""
    for resource in sorted(app.app.routes, key=lambda each: (each.count("{"), each)):
        pattern = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", resource)
        match = re.fullmatch(pattern, path)
        if match and method in app.app.routes[resource]:
            return resource, match.groupdict()
    raise AssertionError(f"API Gateway knows no {method} {unquote(path)}")


@dataclass
class Run:
    code: int
    out: str
    err: str

    @property
    def body(self):
        return json.loads(self.out)


@dataclass
class Terminal:
    """Runs ``provocative`` for a person with two profiles, or a key in the environment."""

    platform: Platform
    keys: dict[str, str]
    home: object
    capsys: object
    monkeypatch: object
    gateway: Gateway = field(default_factory=Gateway)
    environ: dict[str, str] = field(default_factory=dict)
    slept: list[float] = field(default_factory=list)
    executed: list[list[str]] = field(default_factory=list)

    def sleep(self, seconds):
        """What happens meanwhile: the host beats, and says what it has been asked for."""
        self.slept.append(seconds)
        self.platform.cloud.clock.advance_seconds(seconds)
        self.meanwhile()

    def meanwhile(self):
        pass

    def __call__(self, *arguments, stdin="", role="renter", code=0):
        clock = self.platform.cloud.clock
        around = Surroundings(
            environ={"HOME": str(self.home), **self.as_role(role), **self.environ},
            sleep=self.sleep,
            draw=lambda: 0.0,
            monotonic=lambda: clock.now_ms() / 1000,
            now=lambda: datetime.fromtimestamp(clock.now_ms() / 1000, UTC),
            execute=lambda _program, words: self.executed.append(words),
            transport=self.gateway,
        )
        self.monkeypatch.setenv("COLUMNS", WIDTH)
        self.monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        self.capsys.readouterr()
        returned = run(list(arguments), around)
        told = self.capsys.readouterr()
        assert not any(key in told.out + told.err for key in self.keys.values()), "a key was printed"
        assert "Traceback" not in told.err, told.err
        assert returned == code, f"{returned}\n{told.out}\n{told.err}"
        lines = told.out.splitlines()
        # A sentence wraps by itself; a table would fall apart.
        assert "--json" in arguments or len(lines) == 1 or all(len(line) <= int(WIDTH) for line in lines), (
            told.out
        )
        return Run(returned, told.out, told.err)

    def as_role(self, role):
        return {} if role is None else {"PROVOCATIVE_API_URL": URL, "PROVOCATIVE_API_KEY": self.keys[role]}

    def read(self, *arguments, role="renter"):
        # Before the workload's own words, which may hold a --json too.
        end = arguments.index("--") if "--" in arguments else len(arguments)
        return self(*arguments[:end], "--json", *arguments[end:], role=role).body


def open_terminal(monkeypatch, capsys, tmp_path):
    platform = Platform(monkeypatch)
    accounts, seeded = platform.cloud.accounts, platform.seeded
    for routes in app.APIS:
        monkeypatch.setattr(routes, "_authenticate", partial(authenticate, accounts))
    keys = {
        "operator": bootstrap_installation(accounts, currency="USD", rotate=True).operator_key,
        "renter": create_key(accounts, seeded.operator, seeded.renter.account_id, label="laptop").token,
    }
    terminal = Terminal(platform, keys, tmp_path, capsys, monkeypatch)
    terminal.gateway.documents = platform.cloud.documents
    return terminal
