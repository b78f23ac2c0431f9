"""The whole API behind HTTP on 127.0.0.1, over one database in memory: for clients that nobody here wrote."""

import re
import threading
from html import unescape
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import httpx
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

import app
from chalicelib.accounts.model import Account
from chalicelib.accounts.standing import Standings
from chalicelib.identity.model import SESSION_COOKIE
from chalicelib.oauth.server_gateway import AuthlibServer
from tests.fakes.oauth import AuthorizationWorld
from tests.fakes.wiring import rewire
from tests.unit.runtime.gateway import Context


class QuietHandler(WSGIRequestHandler):
    def log(self, *_):
        pass


class Site:
    """``url`` is where it is served, and the issuer. ``address`` is what the gateway says of the caller."""

    def __init__(self, monkeypatch):
        self.world = AuthorizationWorld()
        self.address = "203.0.113.7"
        self.server = make_server("127.0.0.1", 0, self.serve, threaded=True, request_handler=QuietHandler)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.world.issuer = self.url
        self.seen = []
        rewire(
            monkeypatch,
            standings=Standings(
                SimpleNamespace(get_account=lambda each: Account(each, "Acme Research", "USD", 0)),
                self.world.clock.now_ms,
            ),
            oauth_ports=self.world.ports,
            oauth_server=AuthlibServer(self.world.ports),
            public_url=self.url,
        )
        self.routes = [
            (
                re.compile(
                    re.sub(
                        r"\{(\w+)\}",
                        r"(?P<\1>[^/]+)",
                        re.escape(path).replace(r"\{", "{").replace(r"\}", "}"),
                    )
                ),
                path,
            )
            for path in app.app.routes
        ]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @Request.application
    def serve(self, request):
        status, body, headers = self.ask(
            request.method,
            request.path,
            query={name: request.args.getlist(name) for name in request.args} or None,
            headers=dict(request.headers),
            body=request.get_data(),
        )
        return Response(body, status, headers)

    def ask(self, method, path, *, query=None, headers=None, body=b""):
        found = next(((m, route) for pattern, route in self.routes if (m := pattern.fullmatch(path))), None)
        if found is None or method not in app.app.routes[found[1]]:
            return 403, b'{"message": "Missing Authentication Token"}', {}
        match, route = found
        event = {
            "resource": route,
            "path": path,
            "httpMethod": method,
            "headers": headers or {},
            "multiValueHeaders": {name: [value] for name, value in (headers or {}).items()},
            "multiValueQueryStringParameters": query,
            "queryStringParameters": query and {name: values[-1] for name, values in query.items()},
            "pathParameters": match.groupdict() or None,
            "stageVariables": None,
            "requestContext": {
                "httpMethod": method,
                "resourcePath": route,
                "requestId": "request-1",
                "identity": {"sourceIp": self.address},
                "path": path,
            },
            "body": body.decode(),
            "isBase64Encoded": False,
        }
        answer = app.app(event, Context())
        self.seen.append((method, route, answer["statusCode"]))
        named = {name: values[-1] for name, values in answer.get("multiValueHeaders", {}).items()}
        return answer["statusCode"], answer["body"], named | answer.get("headers", {})


class Browser:
    """A signed-in person: opens a link, reads the form, and decides."""

    def __init__(self, site, cookie=None):
        self.site = site
        self.http = httpx.Client(
            headers={"Cookie": f"{SESSION_COOKIE}={cookie or site.world.cookie}"}, follow_redirects=False
        )

    def close(self):
        self.http.close()

    def read_form(self, page):
        fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
        return {unescape(name): unescape(value) for name, value in fields}

    def consent(self, link, decision="approve"):
        """Follow an authorization link to the end and return where the browser is sent to."""
        page = self.http.get(link)
        assert page.status_code == 200, page.text
        form = self.read_form(page.text) | {"decision": decision}
        answer = self.http.post(f"{self.site.url}/oauth/authorize", data=form)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def enter(self, code, **more):
        page = self.http.get(f"{self.site.url}/device")
        form = self.read_form(page.text) | {"user_code": code, **more}
        return self.http.post(f"{self.site.url}/device", data=form)

    def connect(self, code, decision="approve"):
        page = self.enter(code)
        assert page.status_code == 200, page.text
        form = self.read_form(page.text) | {"decision": decision}
        return self.http.post(f"{self.site.url}/device", data=form)


def read_answer(location):
    """Return the parameters that an authorization answer carries."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
