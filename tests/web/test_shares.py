"""What many clients share: nobody has all of it, and nothing is lost in the account."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from pacarchive.web.http.shares import LOCAL, Shares, client_of


@pytest.mark.parametrize(
    ("address", "client"),
    [
        (IPv4Address("TCP", "192.0.2.1", 5), "192.0.2.1"),
        (IPv6Address("TCP", "2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (IPv6Address("TCP", "2001:db8:1:2::", 7), "2001:db8:1:2::/64"),
        (IPv6Address("TCP", "fe80::1%eth0", 7), "fe80::/64"),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 7), "192.0.2.1"),
        (UNIXAddress(b"/run/x"), LOCAL),
        (None, LOCAL),
    ],
    ids=str,
)
def test_clients(address: IAddress | None, client: str) -> None:
    """One client is one address, or one network of IPv6."""
    assert client_of(address) == client


def test_no_client_has_all() -> None:
    """Beyond its share a client gets no more, while another one does; beyond the sum nobody does."""
    shares = Shares(10, 6)
    shares.take("a", 6)
    assert (shares.allows("a"), shares.allows("b", 4), shares.allows("b", 5)) == (False, True, False)
    shares.take("b", 4)
    assert not shares.allows("c")
    shares.give_back("a", 2)
    assert (shares.allows("c", 2), shares.allows("c", 3), shares.held, shares.of("a")) == (True, False, 8, 4)


def test_too_much_in_sum_is_the_fault_of_those_who_have_most() -> None:
    """The one who just came, or has little, has not exceeded anything."""
    shares = Shares(10, 8)
    for client, amount in (("a", 7), ("b", 3), ("c", 1)):
        shares.take(client, amount)
    assert [shares.exceeded(client) for client in "abcd"] == [True, False, False, False]
    shares.give_back("a", 1)
    assert not shares.exceeded("a")
    shares.take("a", 3)
    shares.give_back("b", 3)
    shares.give_back("c", 1)
    assert shares.exceeded("a"), "alone, and beyond its share"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-9, 9)), max_size=60))
def test_account(steps: list[tuple[str, int]]) -> None:
    """The sum is the sum, and nothing is kept of a client that has nothing."""
    shares, held = Shares(20, 10), dict.fromkeys("abc", 0)
    for client, amount in steps:
        if amount >= 0:
            shares.take(client, amount)
            held[client] += amount
        elif held[client] + amount >= 0:
            shares.give_back(client, -amount)
            held[client] += amount
    assert shares.held == sum(held.values())
    assert {client: shares.of(client) for client in held} == held
    for client, amount in held.items():
        if amount:
            shares.give_back(client, amount)
    assert (shares.held, [client for client in "abc" if shares.exceeded(client)]) == (0, [])
