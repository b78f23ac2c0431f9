"""A browser without scripts: keeps cookies, follows redirects when told to, sends what it was shown."""

import re
from dataclasses import replace
from html import unescape
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

from chalicelib.identity.federating import Claims, Provider, ProviderPorts
from tests.unit.identity.people import PASSWORD

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


class FakeProviders:
    """One provider that says what it is told to say; what it was asked stands in ``asked``."""

    def __init__(self, people, *names):
        self.claims = Claims("https://idp.example", "subject-1", "ada@example.com", True, "Ada Byron")
        self.asked = []
        known = {name: Provider(name, "https://idp.example", "client", "secret") for name in names}
        self.ports = ProviderPorts(people.ports, lambda: known, self)

    def build_url(self, provider, proofs, redirect_uri, *, again):
        self.asked.append(SimpleNamespace(proofs=proofs, redirect_uri=redirect_uri, again=again))
        return f"https://idp.example/authorize?state={proofs.state}"

    def redeem(self, provider, code, proofs, redirect_uri):
        self.asked.append(SimpleNamespace(code=code, proofs=proofs, redirect_uri=redirect_uri))
        return replace(self.claims, authenticated_at_ms=self.ports.identity.clock.now_ms())


class Page:
    def __init__(self, answer):
        self.status, self.text = answer["statusCode"], answer["body"]
        self.headers = answer["headers"]
        self.cookies = answer.get("multiValueHeaders", {}).get("Set-Cookie", [])

    @property
    def location(self):
        return self.headers["Location"]

    def field(self, name):
        found = re.search(rf'name="{name}"[^>]*value="([^"]*)"', self.text)
        assert found, f"no field {name}"
        return unescape(found[1])

    def find(self, pattern):
        return re.findall(pattern, self.text)


class Visitor:
    def __init__(self, people, address="192.0.2.1"):
        self.people, self.address, self.cookies = people, address, {}
        self.page = None

    def _ask(self, method, path, body="", headers=None):
        from wsgiref.util import setup_testing_defaults

        from tests.unit.identity.server import serve

        parts = urlsplit(path.removeprefix(self.people.public_url))
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "REMOTE_ADDR": self.address,
            "HTTP_USER_AGENT": FIREFOX,
            "CONTENT_LENGTH": str(len(body)),
            **({"HTTP_COOKIE": cookie} if cookie else {}),
            **({"CONTENT_TYPE": "application/x-www-form-urlencoded"} if method == "POST" else {}),
            **(headers or {}),
        }
        setup_testing_defaults(environ)
        import io

        environ["wsgi.input"] = io.BytesIO(body.encode())
        taken = {}

        def start(status, sent):
            taken["statusCode"] = int(status.split()[0])
            taken["headers"] = dict(sent)
            taken["multiValueHeaders"] = {"Set-Cookie": [v for n, v in sent if n == "Set-Cookie"]}

        (raw,) = serve(environ, start)
        self.page = Page({**taken, "body": raw.decode()})
        for each in self.page.cookies:
            assert each.startswith("__Host-")
            assert "; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=" in each
            name, _, value = each.partition(";")[0].partition("=")
            self.cookies[name] = value
            if each.endswith("Max-Age=0"):
                del self.cookies[name]
        return self.page

    def get(self, path):
        return self._ask("GET", path)

    def post(self, path, headers=None, form=None, **fields):
        token = self.page.field("form") if form is None else form
        return self._ask("POST", path, urlencode({"form": token, **fields}), headers)

    def follow(self):
        assert self.page.status == 303, self.page.text
        assert self.page.location.startswith(self.people.public_url)
        return self.get(self.page.location)

    def sign_up(self, email="ada@example.com", password=PASSWORD, name="Ada Byron"):
        self.get("/signup")
        self.post("/signup", email=email, password=password, name=name)
        self.follow()
        self.get(f"/verify?token={self.people.mailer.read_link()}")
        self.post("/verify", token=self.page.field("token"), password=password)
        return self.follow()

    def sign_in(self, email="ada@example.com", password=PASSWORD, next_path=""):
        self.get(f"/signin?{urlencode({'next': next_path})}" if next_path else "/signin")
        fields = {"next": next_path} if next_path else {}
        return self.post("/signin", email=email, password=password, **fields)

    @staticmethod
    def read_query(url):
        return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
