"""Which URLs are refused, and which addresses no delivery connects to."""

import pytest

from chalicelib.core.errors import InvalidInput
from chalicelib.webhooks.addresses import Reach, check_url, is_public
from chalicelib.webhooks.delivery_gateway import HttpSender

REFUSED_ADDRESSES = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::169.254.169.254",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2001:10::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "2130706433",
    "127.1",
    "",
    "hooks.example.com",
]
PUBLIC_ADDRESSES = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "223.255.255.1", "2606:4700::1111", "2a00:1450::1"]

REFUSED_URLS = [
    "http://hooks.example.com/",
    "ftp://hooks.example.com/",
    "file:///etc/passwd",
    "gopher://hooks.example.com/",
    "//hooks.example.com/",
    "hooks.example.com",
    "https://",
    "https:///path",
    "https://user@hooks.example.com/",
    "https://@hooks.example.com/",
    "https://hooks.example.com#@1.1.1.1/",
    "https://hooks.example.com/#",
    "https://hooks.example.com\\@1.1.1.1/",
    "https://hooks.example.com /",
    "https://hooks.example.com/\r\nHost: x",
    "https://hooks.example.com:0/",
    "https://hooks.example.com:22/",
    "https://hooks.example.com:80/",
    "https://hooks.example.com:1023/",
    "https://hooks.example.com:65536/",
    "https://hooks.example.com:x/",
    "https://localhost/",
    "https://localhost./",
    "https://printer/",
    "https://metadata.google.internal/",
    "https://printer.local/",
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://0x7f.0.0.0x1/",
    "https://127.1/",
    "https://1.2.3.4.5/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[fe80::1%25eth0]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[v1.x]/",
    "https://-bad.example.com/",
    "https://under_score.example.com/",
    "https://a..example.com/",
    "https://\u24d4xample.com/",
    "https://hooks.example.com/\u00e9",
    f"https://hooks.example.com/{'a' * 2048}",
]
ALLOWED_URLS = [
    "https://hooks.example.com",
    "https://hooks.example.com/",
    "https://HOOKS.example.com:443/in?token=1&x=%20",
    "https://hooks.example.com:8443/in",
    "https://xn--bcher-kva.example/",
    "https://8.8.8.8/in",
    "https://[2606:4700::1111]:8443/in",
]


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_no_delivery_connects_to_an_address_that_is_not_public(address):
    connected = []
    sender = HttpSender(Reach(), lambda *_: [address], lambda *given: connected.append(given))
    assert sender.send("https://hooks.example.com/", b"{}", {}).error == "address_refused"
    assert (connected, is_public(address)) == ([], False)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_a_public_address_is_allowed(address):
    assert Reach().allows(address)


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_a_url_that_cannot_be_an_endpoint_is_refused_when_it_is_given(url):
    with pytest.raises(InvalidInput) as refused:
        check_url(url, Reach())
    assert refused.value.code == "invalid_webhook_url"


@pytest.mark.parametrize("url", ALLOWED_URLS)
def test_a_url_of_the_public_internet_is_taken(url):
    check_url(url, Reach())


def test_only_a_stage_on_a_laptop_reaches_itself_and_nothing_else_of_its_network():
    laptop = Reach(loopback=True)
    check_url("http://127.0.0.1:8000/in", laptop)
    assert laptop.allows("127.0.0.1")
    for address in ("10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "0.0.0.0"):
        assert not laptop.allows(address)
    for url in (
        "http://hooks.example.com/",
        "http://10.0.0.1/",
        "http://localhost:8000/",
        "ftp://127.0.0.1/",
    ):
        with pytest.raises(InvalidInput):
            check_url(url, laptop)
    with pytest.raises(InvalidInput):
        check_url("http://127.0.0.1:8000/in", Reach())
