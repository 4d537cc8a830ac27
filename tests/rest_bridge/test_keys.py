"""A key is rotated and revoked: what REST and WebSocket clients see of it."""

from __future__ import annotations

import json

from websockets.exceptions import ConnectionClosed

from rest_bridge.docs import models
from tests.rest_bridge.conftest import HANG_S, Trader


def test_a_rotated_key_is_in_the_answer_and_the_old_one_is_unknown_at_once(venue, alice):
    before = alice.call("GET", "/positions")
    answer = alice.call("POST", "/auth/rotate", {"request_id": "turn"})
    assert (before.status_code, answer.status_code) == (200, 200)
    made = models.RotatedResponse.model_validate(answer.json())
    assert made.request_id == "turn"
    assert (made.api_key, made.team_id) == (made.data.api_key, made.data.team_id)
    assert alice.call("GET", "/positions").status_code == 401
    assert alice.call("POST", "/auth/rotate").status_code == 401
    again = Trader(venue, made.api_key).call("POST", "/auth/rotate")
    assert again.status_code == 200
    assert again.json()["team_id"] == made.team_id


def test_a_rotation_that_does_not_fit_rotates_nothing(alice):
    assert alice.call("POST", "/auth/rotate", {"key": "mine"}).status_code == 400
    assert alice.call("POST", "/auth/rotate", b"nonsense").status_code == 400
    assert alice.call("GET", "/positions").status_code == 200


def close_code(socket) -> int:
    try:
        while True:
            socket.connection.recv(HANG_S)
    except ConnectionClosed as end:
        return end.rcvd.code


def test_a_socket_is_closed_with_1008_when_its_key_is_rotated_or_revoked(venue, alice, bob):
    with alice.socket() as hers, bob.socket() as his:
        for socket in (hers, his):
            assert socket.next()["type"] == "position_snapshot"
        alice.call("POST", "/auth/rotate")
        assert close_code(hers) == 1008
        his.say({"action": "subscribe", "channel": "trades", "instrument_id": "AAPL"})
        assert his.next()["type"] == "subscribed"
        number = int(json.loads(bob.call("POST", "/auth/rotate").content)["team_id"].removeprefix("TEAM_"))
        assert close_code(his) == 1008
    assert venue.operator.revoke_key(number, new_key=True).api_key


def test_a_revoked_key_is_refused_as_a_wrong_one_is(venue, alice):
    key = alice.call("POST", "/auth/rotate").json()
    trader = Trader(venue, key["api_key"])
    venue.operator.revoke_key(int(key["team_id"].removeprefix("TEAM_")))
    revoked, wrong = trader.call("GET", "/positions"), Trader(venue, "x" * 50).call("GET", "/positions")
    assert (revoked.status_code, revoked.json()["error"]) == (401, wrong.json()["error"])
