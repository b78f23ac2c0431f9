"""Pages escape what they show, forms are taken whole or not at all, cookies are out of scripts' reach."""

import pytest

from chalicelib.core.errors import InvalidInput
from chalicelib.runtime.http import Call
from chalicelib.runtime.pages import (
    FORM_TYPE,
    MAX_FIELD,
    MAX_FORM_FIELDS,
    read_cookie,
    read_form,
    redirect,
    render_page,
    set_cookie,
)


def send(raw, content_type=FORM_TYPE, **headers):
    return Call(None, raw, {}, {"content-type": content_type, **headers}, "request-1")


def test_what_is_shown_is_escaped_and_only_what_carries_the_nonce_is_obeyed():
    answer = render_page("base.html", nonce="n0nce", title="<script>alert(1)</script>", error="", wide=False)
    assert "<script>alert" not in answer.body
    assert "&lt;script&gt;alert(1)" in answer.body
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'nonce-n0nce'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_a_form_is_read_whole():
    assert read_form(send(b"name=A+b%26c&empty=")) == {"name": "A b&c", "empty": ""}
    assert read_form(send(b"")) == {}


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b"a=1&a=2", FORM_TYPE),
        (b"a=%ff", FORM_TYPE),
        (b"\xff=1", FORM_TYPE),
        (b"no pair", FORM_TYPE),
        (b"&".join(b"f%d=1" % number for number in range(MAX_FORM_FIELDS + 1)), FORM_TYPE),
        (b"a=" + b"x" * (MAX_FIELD + 1), FORM_TYPE),
        (b"x" * (MAX_FIELD + 1) + b"=a", FORM_TYPE),
        (b"{}", "application/json"),
        (b"a=1", ""),
    ],
)
def test_what_is_no_form_is_refused(raw, content_type):
    with pytest.raises(InvalidInput):
        read_form(send(raw, content_type))


def test_a_cookie_is_set_for_this_host_alone_and_read_again():
    header = set_cookie("__Host-session", "abc", lasts_seconds=60)["Set-Cookie"]
    assert header == "__Host-session=abc; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60"
    assert read_cookie(send(b"", cookie="other=1; __Host-session=abc"), "__Host-session") == "abc"
    assert read_cookie(send(b"", cookie="other=1"), "__Host-session") is None
    assert read_cookie(send(b""), "__Host-session") is None


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("__Host-session=mine", "mine"),
        (" __Host-session = mine ;other=1", "mine"),
        ("__Host-session=a=b.c", "a=b.c"),
        ('__Host-session="quoted"', '"quoted"'),
        # What another host of our domain may set holds ours within its value.
        ('theme="x __Host-session=theirs"', None),
        ('__Host-session=mine; theme="x __Host-session=theirs"', "mine"),
        ("theme=x, __Host-session=theirs", None),
        # Of two, one is not ours, and nobody says which.
        ("__Host-session=mine; __Host-session=theirs", None),
        # What others set, in whatever form, keeps nobody from being signed in.
        ('prefs={"dark":true}; __Host-session=mine', "mine"),
        ("bare; =nameless; a[1]=x; \u00e4=1;; __Host-session=mine", "mine"),
        ("__host-session=theirs; x__Host-session=theirs; __Host-session2=theirs", None),
        ("__Host-session", None),
        ("=__Host-session=theirs", None),
    ],
)
def test_a_cookie_is_ours_by_its_whole_name_once_and_as_it_was_set(sent, read):
    assert read_cookie(send(b"", cookie=sent), "__Host-session") == read


def test_a_browser_is_sent_on_by_get():
    answer = redirect("/signin", {"X-Test": "1"})
    assert (answer.status, answer.headers) == (303, {"Location": "/signin", "X-Test": "1"})
