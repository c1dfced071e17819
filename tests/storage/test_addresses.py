"""Which addresses may be talked to: the rules by themselves, without a socket."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armlx_chain.storage.addresses import AddressRefused, AddressRules, is_public, resolve_with_patience

pytestmark = pytest.mark.unit

PUBLIC = "https://indexer.example"


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "193.0.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_addresses_of_the_open_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "fec0::1",
        "64:ff9b:1::a00:1",
        "5f00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "2002:a00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "localhost",
        "",
    ],
)
def test_addresses_of_a_private_kind_in_any_disguise_are_not_public(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_as_public_in_ipv6_clothes(address: ipaddress.IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))
    assert is_public(str(ipaddress.IPv6Address(int(ipaddress.ip_address("64:ff9b::")) | int(address)))) == (
        is_public(str(address))
    )


@given(st.text(max_size=40))
def test_no_text_makes_the_judgement_fail(text: str) -> None:
    assert is_public(text) in (True, False)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://a.example/x",
        "gopher://a.example",
        "data:text/plain,x",
        "http://",
        "https:///path",
        "//a.example/x",
        "http://user@a.example/",
        "http://user:word@a.example/",
        "http://a.example/\r\nX: y",
        "http://a.example/ b",
        "http://a.example:99999/",
        "http://a.example:0/",
        "http://[::1/",
        "https://a.example/" + "x" * 5000,
        "https://\N{CYRILLIC SMALL LETTER A}.example/",
    ],
)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        AddressRules(None, None).check_url(url, first=url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "169.254.169.254", "localhost", "a.localhost", "10.1.2.3"]
)
def test_a_learned_url_must_not_name_a_private_address(host: str) -> None:
    rules = AddressRules([PUBLIC], None)
    with pytest.raises(AddressRefused, match="private"):
        rules.check_url(f"http://{host}:5678/", first=f"http://{host}:5678/")
    AddressRules([f"http://{host}:1/"], None).check_url(f"http://{host}:5678/", first=PUBLIC)


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.", "localhost.", "0"]
)
def test_a_learned_url_must_not_spell_a_private_address_in_a_way_of_its_own(host: str) -> None:
    """Behind a proxy nothing but the spelling can be judged here."""
    rules = AddressRules([PUBLIC], None)
    with pytest.raises(AddressRefused, match="private"):
        rules.check_url(f"http://{host}:5678/", first=PUBLIC)
    with pytest.raises(AddressRefused, match="private"):
        rules.redirected("https://a.example/x", f"https://{host}/y", first=PUBLIC)


@pytest.mark.parametrize("host", ["134744072", "8.8.8.8", "a.example", "127.0.0.1.example", "beef.example"])
def test_public_addresses_and_names_are_left_alone(host: str) -> None:
    AddressRules([PUBLIC], None).check_url(f"http://{host}:5678/", first=PUBLIC)


def test_a_url_that_the_person_asked_for_may_be_private_but_not_what_it_leads_to() -> None:
    rules = AddressRules(None, None)
    rules.check_url("http://10.0.0.5:80/", first="http://10.0.0.5:80/")
    with pytest.raises(AddressRefused):
        rules.check_url("http://10.0.0.6:80/", first="http://10.0.0.5:80/")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:10.0.0.1", "169.254.169.254"])
def test_a_name_is_judged_by_the_address_behind_it(address: str) -> None:
    rules = AddressRules([PUBLIC], None)
    rules.check_address("https://rebind.example/", "8.8.8.8", first=PUBLIC)
    with pytest.raises(AddressRefused, match=r"rebind\.example"):
        rules.check_address("https://rebind.example/", address, first=PUBLIC)


@pytest.mark.parametrize(
    ("start", "location", "target"),
    [
        ("https://a.example/x", "https://b.example/y", "https://b.example/y"),
        ("https://a.example/x", "/y", "https://a.example/y"),
        ("https://a.example/x/z", "y?q=1", "https://a.example/x/y?q=1"),
        ("https://a.example/x", "//b.example/y", "https://b.example/y"),
        ("http://a.example/x", "https://b.example/y", "https://b.example/y"),
        ("http://a.example/x", "http://a.example/y", "http://a.example/y"),
        ("http://a.example/x", "http://a.example:80/y", "http://a.example:80/y"),
        ("http://a.example/x", "http://known.example:8080/y", "http://known.example:8080/y"),
    ],
)
def test_a_redirect_to_https_or_within_one_place_is_followed(start: str, location: str, target: str) -> None:
    rules = AddressRules(["http://known.example:8080", PUBLIC], None)
    assert rules.redirected(start, location, first=start) == target


@pytest.mark.parametrize(
    ("start", "location"),
    [
        ("https://a.example/x", "http://a.example/y"),
        ("https://a.example/x", "http://known.example:8080/y"),
        ("http://a.example/x", "http://b.example/y"),
        ("http://a.example/x", "http://a.example:81/y"),
        ("http://a.example/x", "file:///etc/passwd"),
        ("https://a.example/x", "FILE:///etc/passwd"),
        ("https://a.example/x", "javascript:alert(1)"),
        ("https://a.example/x", "https://127.0.0.1/y"),
        ("https://a.example/x", "https://[::1]/y"),
        ("https://a.example/x", "https://localhost/y"),
        ("https://a.example/x", "https://169.254.169.254/latest/meta-data"),
        ("https://a.example/x", "https://user:word@b.example/"),
        ("https://a.example/x", "https://[broken/"),
        ("https://a.example/x", "https://b.example/\x00"),
        ("https://a.example/x", "https://b.example/" + "y" * 9000),
    ],
)
def test_any_other_redirect_is_refused(start: str, location: str) -> None:
    rules = AddressRules(["http://known.example:8080", PUBLIC], None)
    with pytest.raises(AddressRefused):
        rules.redirected(start, location, first=start)


def test_a_list_of_hosts_bounds_redirects() -> None:
    rules = AddressRules([PUBLIC], ["devnet.example"])
    assert rules.redirected("https://a.example/x", "https://DEVNET.example/y", first=PUBLIC)
    assert rules.redirected("https://a.example/x", "/y", first=PUBLIC) == "https://a.example/y"
    with pytest.raises(AddressRefused, match="list"):
        rules.redirected("https://a.example/x", "https://other.example/y", first=PUBLIC)


@given(st.text(max_size=60))
def test_no_location_escapes_the_rules(location: str) -> None:
    rules = AddressRules([PUBLIC], None)
    try:
        target = rules.redirected("https://a.example/x", location, first=PUBLIC)
    except AddressRefused:
        return
    assert target.startswith("https://")


def test_names_resolve_in_time_or_not_at_all() -> None:
    assert resolve_with_patience("127.0.0.1", 80, 60.0) == ["127.0.0.1"]
    with pytest.raises(OSError, match=r".+"):
        resolve_with_patience("no-such-name.invalid", 80, 60.0)
    with pytest.raises(OSError, match=r".+"):
        resolve_with_patience("x" * 300, 80, 60.0)
