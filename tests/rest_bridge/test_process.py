"""The bridge as a process: how it starts, how it stops, and what it does while the engine is away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from rest_bridge.__main__ import listen, server
from rest_bridge.calls import ASK_TIMEOUT_S, GIVE_UP_S, VALID_FOR_NS
from rest_bridge.docs import models
from rest_bridge.logs import without_secrets
from rest_bridge.settings import Settings, is_loopback

BRIDGE = [sys.executable, "-m", "rest_bridge"]
HANG_S = 30


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:port", "127.0.0.1:70000", ""])
def test_an_address_that_is_none_ends_with_status_2_and_names_the_flag(address):
    ended = subprocess.run([*BRIDGE, "--http", address], capture_output=True, text=True, timeout=HANG_S)
    assert ended.returncode == 2
    assert "--http" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_port_that_is_taken_ends_with_status_2_and_names_the_flag():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run([*BRIDGE, "--http", address], capture_output=True, text=True, timeout=HANG_S)
    assert ended.returncode == 2
    assert f"--http {address}" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_certificate_that_is_not_there_ends_with_status_2_and_names_the_flag():
    flags = ["--http", "127.0.0.1:0", "--tls-ca", "/nowhere.pem"]
    ended = subprocess.run([*BRIDGE, *flags], capture_output=True, text=True, timeout=HANG_S)
    assert (ended.returncode, "--tls-ca" in ended.stderr) == (2, True)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:8000", "exchange.example:8000"])
def test_plain_text_beyond_loopback_ends_with_status_2_and_names_the_flag(address):
    ended = subprocess.run([*BRIDGE, "--http", address], capture_output=True, text=True, timeout=HANG_S)
    assert ended.returncode == 2
    assert f"--http {address} is not loopback" in ended.stderr
    assert "--allow-plaintext" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("way", ["flag", "environment"])
def test_plain_text_beyond_loopback_is_served_where_it_is_allowed(way):
    flags = ["--http", "0.0.0.0:0", *(["--allow-plaintext"] if way == "flag" else [])]
    environment = {**os.environ, "OUTCRY_ALLOW_PLAINTEXT": "true"} if way == "environment" else None
    process = subprocess.Popen([*BRIDGE, *flags], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline().startswith("ready http=http://0.0.0.0:")
    process.terminate()
    assert ended(process) == 0


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"])
def test_loopback_needs_no_leave(address):
    assert is_loopback(address)


def start(**options):
    process = subprocess.Popen(
        [*BRIDGE, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        **options,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready http=http://127.0.0.1:")
    return process, line.strip().removeprefix("ready http=")


def ended(process):
    try:
        return process.wait(HANG_S)
    finally:
        process.kill()
        process.stdout.close()


def test_uvicorn_is_told_the_contract_s_limits():
    with listen("127.0.0.1:0") as listener:
        config = server(Settings(_cli_parse_args=False), listener).config
    assert (config.ws_ping_interval, config.ws_max_size, config.ws_per_message_deflate) == (20, 65_536, False)
    assert (config.access_log, config.server_header, config.proxy_headers) == (False, False, False)


def test_sigterm_ends_it_with_status_0():
    process, _ = start()
    process.terminate()
    assert ended(process) == 0


def test_it_ends_when_its_lifeline_does_and_leaves_ctrl_c_to_whoever_holds_it():
    reader, writer = os.pipe()
    process, url = start(pass_fds=[reader], env={**os.environ, "OUTCRY_LIFELINE_FD": str(reader)})
    os.close(reader)
    process.send_signal(signal.SIGINT)
    assert httpx.get(f"{url}/health").status_code == 200
    os.close(writer)
    assert ended(process) == 0


def test_a_socket_is_closed_with_1012_only_when_the_bridge_stops(own_venue):
    trader = own_venue.trader()
    with connect(f"{own_venue.ws}/ws?api_key={trader.key}") as connection:
        connection.recv(HANG_S)
        own_venue.bridge.popen.terminate()
        with pytest.raises(ConnectionClosed):
            connection.recv(HANG_S)
        assert connection.close_code == 1012
    assert own_venue.bridge.wait() == 0


ORDER = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 100, "client_order_id": "mine"}


def test_while_the_engine_is_away_every_call_says_so_and_when_to_come_back(own_venue):
    trader = own_venue.trader()
    own_venue.engine.kill()
    for method, path, body in (
        ("GET", "/positions", None),
        ("GET", "/orders", None),
        ("GET", "/exchange/orderbook/AAPL", None),
        ("POST", "/orders", ORDER),
        ("POST", "/exchange/orders", ORDER),
        ("DELETE", "/orders/ORD_1", None),
    ):
        response = trader.call(method, path, body)
        assert response.status_code == 503, response.text
        error = response.json()["error"]
        assert error["code"] == "SERVICE_UNAVAILABLE"
        assert error["details"]["outcome"] in ("not_executed", "unknown")
        assert "127.0.0.1" not in response.text
        assert int(response.headers["retry-after"]) >= 1
    assert own_venue.http.get("/health").status_code == 200


def test_sockets_stay_open_over_a_restart_of_the_engine_and_miss_nothing(own_venue):
    trader = own_venue.trader()
    with trader.socket() as socket, trader.socket(path="/ws/market") as market:
        market.say({"action": "subscribe", "channel": "book", "instrument_id": "AAPL"})
        assert market.until("book_snapshot")["data"]["bids"] == []
        assert socket.next()["seq"] == 0
        trader.order("AAPL", "buy", 1, 100)
        assert socket.next()["seq"] == 1
        address = own_venue.engine.address
        own_venue.engine.kill()
        own_venue.engine = own_venue.start_engine(address)
        deadline = time.monotonic() + HANG_S
        while trader.call("POST", "/orders", ORDER).status_code != 200:
            assert time.monotonic() < deadline
        message = socket.next()
        assert (message["seq"], message["type"]) == (2, "new_order_ack")
        assert message["data"]["client_order_id"] == "mine"
        assert market.until("book_snapshot")["data"]["bids"]


def test_an_engine_that_answers_nothing_is_given_up_on_within_5_s_and_the_order_never_happens(own_venue):
    assert VALID_FOR_NS / 1e9 < ASK_TIMEOUT_S < GIVE_UP_S < 5
    trader = own_venue.trader()
    own_venue.engine.popen.send_signal(signal.SIGSTOP)
    calls = [("POST", "/exchange/orders", ORDER), ("POST", "/orders", ORDER), ("GET", "/positions", None)]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda call: trader.call(*call), calls))
    for answer in answers:
        assert answer.status_code == 504
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == ("PROCESSING_TIMEOUT", "Order processing exceeded time limit")
        assert (error["details"]["timeout_ms"], error["details"]["stage"]) == (5000, "gateway")
    assert [answer.json()["error"]["details"]["outcome"] for answer in answers] == [
        "unknown",
        "unknown",
        "not_executed",
    ]
    assert answers[0].json()["error"]["details"]["client_order_id"] == "mine"
    assert answers[1].json()["status"] == "unknown"
    own_venue.engine.popen.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + HANG_S
    while (listing := trader.call("GET", "/orders?status=all")).status_code != 200:
        assert time.monotonic() < deadline
    assert listing.json()["data"]["orders"] == []


def test_no_key_is_in_any_line_of_any_log(own_venue):
    trader = own_venue.trader()
    with trader.socket() as socket:
        socket.next()
    wrong = "not-a-key-but-secret"
    with connect(f"{own_venue.ws}/ws?api_key={wrong}") as connection, pytest.raises(ConnectionClosed):
        connection.recv(HANG_S)
    trader.call("GET", f"/nothing?api_key={trader.key}")
    trader.call("POST", "/orders", b"{")
    own_venue.http.get("/positions", headers={"X-API-Key": wrong})
    own_venue.bridge.stop()
    own_venue.engine.stop()
    service_key = (own_venue.data / "keys" / "bridge.key").read_text().strip()
    for process in (own_venue.bridge, own_venue.engine):
        log = process.log.read_text()
        for key in (trader.key, wrong, service_key):
            assert key not in log


@pytest.mark.parametrize(
    "line",
    [
        '127.0.0.1:1 - "WebSocket /ws?api_key=SECRET&format=flat" [accepted]',
        "< X-API-Key: SECRET",
        "GET /ws?from_seq=1&api_key=SECRET HTTP/1.1",
        "{'x-api-key': 'SECRET'}",
        "?token=SECRET",
    ],
)
def test_whatever_looks_like_a_key_is_struck_out_of_a_line(line):
    assert "SECRET" not in without_secrets(line)
    assert "***" in without_secrets(line)


def test_a_key_in_a_traceback_is_struck_out_too_whoever_logs_it():
    code = """if True:
        import logging, structlog
        from rest_bridge import logs
        logs.configure()
        for log in (structlog.get_logger(), logging.getLogger("uvicorn.error")):
            try:
                raise ValueError("/ws?api_key=SECRET")
            except ValueError:
                log.exception("failed")
    """
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANG_S)
    assert told.stderr.count("api_key=***") == len(told.stderr.splitlines()) == 2
    assert "SECRET" not in told.stderr


def test_registrations_are_limited_by_the_caller_s_own_address_and_say_when_to_come_back(own_venue):
    for _ in range(700):
        response = own_venue.http.post("/auth/register", json={"team_name": "Many"})
        if response.status_code != 200:
            break
    assert response.status_code == 429
    models.ErrorResponse.model_validate(response.json())
    error = response.json()["error"]
    assert error["code"] == "RATE_LIMIT_EXCEEDED"
    assert {"limit", "window", "retry_after"} <= set(error["details"])
    assert int(response.headers["retry-after"]) >= 1
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.9")) as elsewhere:
        url = f"{own_venue.bridge.address}/auth/register"
        answers = [elsewhere.post(url, json={"team_name": "Other"}).status_code for _ in range(100)]
    assert answers == [200] * 100
