"""Where an engine is reached."""

from __future__ import annotations

import pytest

from outcry.addresses import dialled


@pytest.mark.parametrize(
    ("listened", "reached"),
    [
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        ("[::]:50051", "[::1]:50051"),
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("[2001:db8::]:1", "[2001:db8::]:1"),
        ("10.0.0.0:1", "10.0.0.0:1"),
        ("exchange.example:443", "exchange.example:443"),
        ("exchange", "exchange"),
        ("unix:/tmp/socket", "unix:/tmp/socket"),
    ],
)
def test_an_address_of_every_interface_is_reached_on_the_loopback(listened: str, reached: str) -> None:
    assert dialled(listened) == reached
