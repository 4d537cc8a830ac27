"""Whatever comes, the answer is an ApiResponse with the documented code, and the state stays as it was."""

from __future__ import annotations

import pytest

from rest_bridge.docs import models

CALLS = [
    ("POST", "/exchange/orders"),
    ("GET", "/exchange/orders"),
    ("GET", "/exchange/orders/ORD_1"),
    ("DELETE", "/exchange/orders/ORD_1"),
    ("PATCH", "/exchange/orders/ORD_1"),
    ("GET", "/exchange/orderbook/AAPL"),
    ("POST", "/orders"),
    ("GET", "/orders"),
    ("GET", "/orders/ORD_1"),
    ("DELETE", "/orders/ORD_1"),
    ("PATCH", "/orders/ORD_1"),
    ("POST", "/orders/validate"),
    ("GET", "/positions"),
    ("GET", "/balances"),
]
WITH_BODY = [call for call in CALLS if call[0] in ("POST", "PATCH")]
ORDER = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 100}


def error_of(response, status):
    assert response.status_code == status, response.text
    body = response.json()
    form = models.RefusedResponse if "status" in body else models.ErrorResponse
    form.model_validate(body)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] == body["request_id"]
    return body["error"]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_a_key_nothing_is_told(venue, method, path):
    error = error_of(venue.http.request(method, path), 401)
    assert error["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("key", ["wrong", "", "x" * 300, "k" * 64])
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_wrong_key_comes_before_anything_that_is_wrong_with_the_request(venue, method, path, key):
    response = venue.http.request(method, path, headers={"X-API-Key": key}, content=b"{not json")
    assert error_of(response, 401)["code"] == "UNAUTHENTICATED"


def test_a_wrong_key_comes_before_a_malformed_id_and_an_unknown_book(venue):
    for method, path in (("GET", "/orders/x"), ("DELETE", "/orders/x"), ("GET", "/exchange/orderbook/NOPE")):
        response = venue.http.request(method, path, headers={"X-API-Key": "wrong"})
        assert error_of(response, 401)["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_a_body_that_is_not_json_is_refused(alice, method, path):
    error = error_of(alice.call(method, path, b"{not json"), 400)
    assert (error["code"], error["details"]) == ("INVALID_REQUEST", {"field": "body"})


@pytest.mark.parametrize(("method", "path"), [*WITH_BODY, ("POST", "/auth/register")])
def test_a_body_beyond_the_limit_is_refused_whether_its_length_is_told_or_not(alice, method, path):
    def chunks():
        for _ in range(70):
            yield b" " * 1024

    for content in (b" " * 70_000, chunks()):
        response = alice.venue.http.request(method, path, content=content, headers={"X-API-Key": alice.key})
        error = error_of(response, 413)
        assert (error["code"], error["details"]) == ("PAYLOAD_TOO_LARGE", {"limit_bytes": 65_536})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"instrument_id": "NOPE"}, "INVALID_INSTRUMENT"),
        ({"side": "hold"}, "INVALID_SIDE"),
        ({"order_type": "iceberg"}, "INVALID_ORDER_TYPE"),
        ({"time_in_force": "WHENEVER"}, "INVALID_TIME_IN_FORCE"),
        ({"quantity": 0}, "INVALID_QUANTITY"),
        ({"quantity": -1}, "INVALID_QUANTITY"),
        ({"quantity": 1.5}, "INVALID_QUANTITY"),
        ({"order_type": "limit", "price": None}, "MISSING_PRICE"),
        ({"price": 0}, "INVALID_PRICE"),
        ({"price": -1}, "INVALID_PRICE"),
        ({"price": 100.001}, "INVALID_PRICE"),
        ({"price": 9e9, "quantity": 9e9}, "NOTIONAL_OUT_OF_RANGE"),
        ({"quantity": 1_000_000}, "INSUFFICIENT_FUNDS"),
        ({"time_in_force": "FOK"}, "FOK_NOT_FILLABLE"),
    ],
)
def test_the_engine_s_refusals_come_with_their_code_and_change_nothing(alice, venue, change, code):
    before = venue.digest()
    for path in ("/exchange/orders", "/orders", "/orders/validate"):
        response = alice.call("POST", path, {**ORDER, **change})
        error = error_of(response, 400)
        assert error["code"] == code
        assert response.json()["order_id"] is None
    assert venue.digest() == before


@pytest.mark.parametrize(
    ("field", "word", "code", "message"),
    [
        ("side", "hold", "INVALID_SIDE", "Unknown side: hold"),
        ("side", "Größe☃", "INVALID_SIDE", "Unknown side: Größe☃"),
        ("order_type", "iceberg", "INVALID_ORDER_TYPE", "Unknown order type: iceberg"),
        ("order_type", "stop", "INVALID_ORDER_TYPE", "Order type stop is not supported yet"),
        ("order_type", "STOP_LIMIT", "INVALID_ORDER_TYPE", "Order type STOP_LIMIT is not supported yet"),
        ("time_in_force", "WHENEVER", "INVALID_TIME_IN_FORCE", "Unknown time in force: WHENEVER"),
    ],
)
def test_a_word_that_is_not_known_is_named_as_it_was_said(alice, field, word, code, message):
    for path in ("/exchange/orders", "/orders", "/orders/validate"):
        for body in ({**ORDER, field: word}, {**ORDER, field: word, "quantity": 0}):
            error = error_of(alice.call("POST", path, body), 400)
            assert error == {"code": code, "message": message, "details": {field: word}}


def test_a_word_that_is_not_known_comes_in_its_place_among_the_reasons(alice):
    words = {"side": "hold", "order_type": "stop", "time_in_force": "WHENEVER"}
    bodies = [{"instrument_id": "NOPE"}, {}, {"side": "buy"}, {"side": "buy", "order_type": "limit"}]
    for path in ("/exchange/orders", "/orders"):
        answers = [alice.call("POST", path, ORDER | words | body) for body in bodies]
        codes = [error_of(answer, 400)["code"] for answer in answers]
        assert codes == ["INVALID_INSTRUMENT", "INVALID_SIDE", "INVALID_ORDER_TYPE", "INVALID_TIME_IN_FORCE"]


def test_a_known_time_in_force_that_does_not_fit_its_expiry_keeps_the_exchange_s_words(alice):
    error = error_of(alice.call("POST", "/orders", {**ORDER, "time_in_force": "GTD"}), 400)
    assert (error["code"], error["message"]) == ("INVALID_TIME_IN_FORCE", "A GTD order needs expires_at")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"quantity": True}, "quantity"),
        ({"quantity": None}, "quantity"),
        ({"quantity": "ten"}, "quantity"),
        ({"price": [100]}, "price"),
        ({"price": 1e10}, "price"),
        ({"side": None}, "side"),
        ({"side": 1}, "side"),
        ({"sid": "buy"}, "sid"),
        ({"client_order_id": "x" * 129}, "client_order_id"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"request_id": 7}, "request_id"),
        ({"expires_at": "later"}, "expires_at"),
        ({"stop_price": 99}, "stop_price"),
        ({"stop_loss": 99}, "stop_loss"),
        ({"take_profit": 101}, "take_profit"),
        ({"display_quantity": 1}, "display_quantity"),
        ({"post_only": True}, "post_only"),
        ({"self_trade_prevention": "cancel_taker"}, "self_trade_prevention"),
        ({"signal_confidence": "0.9"}, "signal_confidence"),
    ],
)
def test_what_does_not_fit_or_is_not_built_is_refused_by_name(alice, venue, change, field):
    before = venue.digest()
    for path in ("/exchange/orders", "/orders", "/orders/validate"):
        error = error_of(alice.call("POST", path, {**ORDER, **change}), 400)
        assert (error["code"], error["details"]["field"]) == ("INVALID_REQUEST", field)
    assert venue.digest() == before


@pytest.mark.parametrize(
    "content",
    [
        b'{"instrument_id": "AAPL", "side": "buy", "quantity": NaN, "price": 1}',
        b'{"instrument_id": "AAPL", "side": "buy", "quantity": 1e308, "price": 1}',
        b'{"instrument_id": "AAPL", "side": "buy", "quantity": 9223372036854775808, "price": 1}',
        b'{"instrument_id": "AAPL", "side": "buy", "quantity": 1, "quantity": 2, "price": 1}',
        b'{"instrument_id": "\\ud800", "side": "buy", "quantity": 1, "price": 1}',
        b'{"instrument_id": "AAPL", "side": "buy", "quantity": "\\u0661", "price": 1}',
        b"[" * 50_000,
        b"",
        b"\x00" * 100,
    ],
)
def test_odd_json_is_refused_and_changes_nothing(alice, venue, content):
    before = venue.digest()
    for path in ("/exchange/orders", "/orders"):
        assert error_of(alice.call("POST", path, content), 400)["code"] == "INVALID_REQUEST"
    assert venue.digest() == before


@pytest.mark.parametrize(("method", "path"), [*CALLS, ("POST", "/auth/register")])
def test_a_parameter_that_is_unknown_or_comes_twice_is_refused_by_name(alice, venue, method, path):
    before = venue.digest()
    for query, field in (
        ("foo=1", "foo"),
        ("foo=1&foo=2", "foo"),
        ("status=open&depth=1&instrument_id=x&api=1", "api"),
    ):
        body = {**ORDER, "team_name": "x"} if method == "POST" else None
        error = error_of(alice.call(method, f"{path}?{query}", body), 400)
        assert error["code"] == "INVALID_REQUEST"
        assert error["details"]["field"] in (field, "status", "depth", "instrument_id")
        assert "parameter" in error["message"]
    assert venue.digest() == before


@pytest.mark.parametrize("query", ["status=all&status=all", "instrument_id=a&instrument_id=b"])
def test_a_known_parameter_comes_once(alice, query):
    error = error_of(alice.call("GET", f"/orders?{query}"), 400)
    assert error["details"] == {"field": query.partition("=")[0]}


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_wrong_key_comes_before_a_wrong_parameter(venue, method, path):
    response = venue.http.request(method, f"{path}?foo=1", headers={"X-API-Key": "wrong"})
    assert error_of(response, 401)["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("path", ["/exchange/orderbook/", "/orders?instrument_id=", "/exchange/orders?instrument_id="])
@pytest.mark.parametrize("length", [129, 5_000, 20_000])
def test_an_instrument_s_name_that_is_too_long_is_refused_wherever_it_stands(alice, path, length):
    error = error_of(alice.call("GET", path + "A" * length), 400)
    assert (error["code"], error["details"]) == ("INVALID_REQUEST", {"field": "instrument_id"})


def test_the_longest_instrument_s_name_is_merely_unknown(alice):
    error = error_of(alice.call("GET", "/exchange/orderbook/" + "A" * 128), 400)
    assert (error["code"], error["details"]["requested_instrument"]) == ("INVALID_INSTRUMENT", "A" * 128)


@pytest.mark.parametrize(
    "path", ["/nothing", "/exchange", "/orders/", "/exchange/orders/ORD_1/fills", "/api/v1/orders"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_an_api_response_too(venue, path, method):
    error = error_of(venue.http.request(method, path), 404)
    assert (error["code"], error["details"]) == ("NOT_FOUND", {"path": path})


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/orders", "GET, POST"),
        ("DELETE", "/exchange/orders", "GET, POST"),
        ("POST", "/orders/ORD_1", "DELETE, GET, PATCH"),
        ("POST", "/positions", "GET"),
        ("GET", "/auth/register", "POST"),
        ("HEAD", "/positions", "GET"),
    ],
)
def test_a_method_that_is_not_taken_is_told_those_that_are(venue, method, path, allowed):
    response = venue.http.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    if method != "HEAD":
        assert error_of(response, 405)["code"] == "METHOD_NOT_ALLOWED"


def test_the_request_id_is_the_body_s_or_the_header_s_or_a_fresh_one(alice, venue):
    order = {**ORDER, "price": 1}
    named = alice.call("POST", "/orders", {**order, "request_id": "mine"}, **{"X-Request-Id": "other"})
    assert named.json()["request_id"] == named.headers["x-request-id"] == "mine"
    by_header = alice.call("POST", "/orders", order, **{"X-Request-Id": "other"})
    assert by_header.json()["request_id"] == by_header.headers["x-request-id"] == "other"
    fresh = {alice.call("POST", "/orders", order).json()["request_id"] for _ in range(2)}
    assert len(fresh) == 2
    assert all(name.startswith("req_") for name in fresh)


def test_the_request_id_is_in_every_error_too(alice, venue):
    header = {"X-Request-Id": "r-1"}
    answers = [
        venue.http.get("/nothing", headers=header),
        venue.http.put("/orders", headers=header),
        venue.http.get("/orders", headers=header),
        alice.call("POST", "/orders", b"{", **header),
        alice.call("POST", "/orders", {**ORDER, "quantity": "x", "request_id": "r-1"}),
        alice.call("POST", "/orders", b" " * 70_000, **header),
        alice.call("GET", "/orders/ORD_9999999", **header),
    ]
    assert [answer.json()["request_id"] for answer in answers] == ["r-1"] * len(answers)
    assert [answer.status_code for answer in answers] == [404, 405, 401, 400, 400, 413, 404]


@pytest.mark.parametrize(
    ("method", "path"), [*WITH_BODY, ("DELETE", "/orders/ORD_1"), ("DELETE", "/exchange/orders/x")]
)
@pytest.mark.parametrize("key", [None, "", "wrong"])
def test_the_body_s_request_id_is_in_the_answer_to_a_stranger_too(venue, method, path, key):
    headers = {} if key is None else {"X-API-Key": key}
    response = venue.http.request(method, path, headers=headers, content=b'{"request_id": "mine", "quantity": []}')
    assert error_of(response, 401)["code"] == "UNAUTHENTICATED"
    assert response.json()["request_id"] == "mine"


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/nothing", 404), ("DELETE", "/orders", 405)])
def test_the_body_s_request_id_is_in_the_answer_where_nothing_reads_the_body(venue, method, path, status):
    response = venue.http.request(method, path, content=b'{"request_id": "mine"}')
    assert (response.status_code, response.json()["request_id"]) == (status, "mine")


@pytest.mark.parametrize(
    "content",
    [b"{not json", b'{"request_id": 7}', b'{"request_id": ""}', b'{"request_id": "%s"}' % (b"x" * 129), b"[]"],
)
def test_a_stranger_s_request_id_that_does_not_fit_is_none(venue, content):
    response = venue.http.post("/orders", content=content, headers={"X-Request-Id": "other"})
    assert error_of(response, 401)["code"] == "UNAUTHENTICATED"
    assert response.json()["request_id"] == "other"


def test_a_stranger_s_body_beyond_the_limit_is_not_read_for_its_request_id(venue):
    content = b'{"request_id": "mine", "padding": "%s"}' % (b"x" * 70_000)
    response = venue.http.post("/orders", content=content)
    assert error_of(response, 401)["code"] == "UNAUTHENTICATED"
    assert response.json()["request_id"] != "mine"


@pytest.mark.parametrize("prefix", ["/orders", "/exchange/orders"])
def test_a_cancel_answers_with_its_body_s_request_id_in_success_and_failure(alice, prefix):
    order_id = alice.call("POST", "/orders", {**ORDER, "price": 1}).json()["order_id"]
    answers = [alice.call("DELETE", f"{prefix}/{order_id}", {"request_id": name}) for name in ("first", "second")]
    assert [(answer.status_code, answer.json()["request_id"]) for answer in answers] == [
        (200, "first"),
        (400, "second"),
    ]


@pytest.mark.parametrize("path", [path for method, path in CALLS if method == "GET"])
def test_a_query_answers_with_its_body_s_request_id_in_success_and_failure(alice, path):
    for query in ("", "?foo=1"):
        answer = alice.call("GET", path + query, {"request_id": "mine"}, **{"X-Request-Id": "other"})
        assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"


@pytest.mark.parametrize(("content", "field"), [(b"{not json", "body"), (b'{"quantity": 1}', "quantity")])
def test_a_cancel_with_a_body_that_does_not_fit_is_refused_and_the_order_stays(alice, content, field):
    order_id = alice.call("POST", "/orders", {**ORDER, "price": 1}).json()["order_id"]
    response = alice.call("DELETE", f"/orders/{order_id}", content)
    error = error_of(response, 400)
    assert (error["code"], error["details"], response.json()["order_id"]) == (
        "INVALID_REQUEST",
        {"field": field},
        order_id,
    )
    assert alice.call("GET", f"/orders/{order_id}").json()["data"]["status"] == "new"


def test_a_request_id_that_no_header_can_say_is_echoed_in_the_body_alone(alice):
    answer = alice.call("POST", "/orders", {**ORDER, "price": 1, "request_id": "größe\n☃"})
    assert answer.json()["request_id"] == "größe\n☃"
    assert "x-request-id" not in answer.headers


@pytest.mark.parametrize("name", ["X-Request-Id", "Idempotency-Key"])
def test_a_header_that_names_is_limited_in_length(alice, name):
    error = error_of(alice.call("POST", "/orders", ORDER, **{name: "x" * 129}), 400)
    assert error["details"] == {"field": name}


def test_pages_answer_without_a_key(venue):
    page = venue.http.get("/")
    assert page.status_code == 200
    assert all(link in page.text for link in ("/docs", "/openapi.json", "/ws"))
    assert venue.http.get("/health").json() == {"status": "ok"}
    assert venue.http.get("/openapi.json").json()["openapi"].startswith("3.1")


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documentation_needs_nothing_from_elsewhere(venue, path):
    import re

    page = venue.http.get(path).text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert assets
    for asset in assets:
        assert asset.startswith("/")
        assert venue.http.get(asset).status_code == 200
