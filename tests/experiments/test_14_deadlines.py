"""Experiment 14: orders with hardly any time, and calls that are cancelled, each wholly done or absent.

What the engine calls `not_executed` is never on the feed, and sent again it is executed as if for the first time. What
is answered is there. What is unknown can be asked for by its client order id, and the answer is what the feed says. The
control answers `not_executed` where only the answer was late, and is found out.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from gateway import sequencer
from outcry import AsyncClient, Client, OutcomeUnknown, Unavailable, v1
from tests.documents.in_process import FaultyDisk
from tests.experiments.exchanges import HANG_S, UNIT, Exchange, feed, metadata, new_order
from tests.faults.proxy import Fault, faulty
from tests.venues import Stubs, venue

SEED = 14
ROUNDS = 100  # of one order of each kind
LONGEST_S = 0.005
LEGS = 2  # makers with whom each order trades: a half of it would be seen
OFFER = {"instrument_id": "AAPL", "side": "sell", "quantity": 1, "price": 150}
ORDER = {**OFFER, "side": "buy", "quantity": LEGS}
KINDS = ("valid_until", "timeout", "cancelled", "both")
ANSWERED, NOT_EXECUTED, UNKNOWN = "answered", "not_executed", "unknown"


def outcome(error: grpc.aio.AioRpcError) -> str:
    """What the exchange says became of the order; unknown where it says nothing."""
    status = rpc_status.from_call(error)
    info = ErrorInfo()
    told = any(detail.Unpack(info) for detail in status.details) if status else False
    return info.metadata["outcome"] if told else UNKNOWN


async def hurried(stubs: Stubs, key: str, kind: str, within_s: float, name: str) -> str:
    """Send an order that has `within_s`; what its sender knows afterwards."""
    request = new_order(ORDER, name)
    if kind in ("valid_until", "both"):
        request.valid_until_ns = time.time_ns() + int(within_s * 1e9)
    timeout = within_s if kind in ("timeout", "both") else HANG_S
    call = stubs.orders.SubmitOrder(request, metadata=metadata(key), timeout=timeout)
    cancelling = asyncio.get_running_loop().call_later(within_s if kind == "cancelled" else HANG_S, call.cancel)
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return outcome(error)
    except asyncio.CancelledError:
        return UNKNOWN
    finally:
        cancelling.cancel()
    return ANSWERED


async def is_there(stubs: Stubs, key: str, name: str) -> bool:
    """Whether the account has such an order, which must then be wholly done."""
    try:
        order = await stubs.accounts.GetOrder(v1.GetOrderRequest(client_order_id=name), metadata=metadata(key))
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return False
        raise
    assert (order.status, order.filled_quantity) == (v1.ORDER_STATUS_FILLED, LEGS * UNIT)
    return True


def executed(reports: Iterable[v1.ExecutionReport]) -> set[str]:
    """The client order ids on the feed, each accepted once and with all of its fills."""
    events: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        event = getattr(report, str(report.WhichOneof("event")))
        if name := getattr(event, "client_order_id", ""):
            events[name].append(str(report.WhichOneof("event")))
    assert all(said == ["accepted", *["filled"] * LEGS] for said in events.values())
    return set(events)


async def offered(stubs: Stubs, key: str, orders: int) -> None:
    """Enough for so many orders, each of its lots from a maker of its own."""
    submit = v1.Instruction(submit=new_order(OFFER, ""))
    stream = stubs.orders.Session(metadata=metadata(key))
    await stream.write(v1.Instructions(instructions=[submit] * (orders * LEGS)))
    results = await stream.read()
    assert {result.order.status for result in results.results} == {v1.ORDER_STATUS_NEW}
    await stream.done_writing()


def contradictions(known: dict[str, str], there: set[str], fed: set[str]) -> dict[str, str]:
    """The orders of which their senders know something else than the feed says; `there` are those found when asked."""
    return {
        name: knows
        for name, knows in known.items()
        if (name in fed) != (name in there)
        or (name in fed) != {ANSWERED: True, NOT_EXECUTED: False}.get(knows, name in fed)
    }


async def test_every_order_in_a_hurry_is_wholly_done_or_absent_and_the_feed_says_which(exchange: Exchange) -> None:
    chance, key = random.Random(SEED), exchange.register()
    print(f"seed {SEED}")
    known: dict[str, str] = {}
    async with grpc.aio.insecure_channel(exchange.grpc) as channel:
        stubs = Stubs(channel)
        await offered(stubs, exchange.register(), ROUNDS * len(KINDS))
        for round_ in range(ROUNDS):
            within_s = {0: 0.0, ROUNDS - 1: HANG_S}.get(round_, chance.random() * LONGEST_S)
            sent = [hurried(stubs, key, kind, within_s, f"{kind} {round_}") for kind in KINDS]
            known |= {f"{kind} {round_}": knows for kind, knows in zip(KINDS, await asyncio.gather(*sent), strict=True)}
        assert set(known.values()) == {ANSWERED, NOT_EXECUTED, UNKNOWN}
        there = {name for name in known if await is_there(stubs, key, name)}
        fed = executed(await feed(exchange.grpc, key))
        assert contradictions(known, there, fed) == {}
        withdrawn = [name for name, knows in known.items() if knows == NOT_EXECUTED]
        for name in withdrawn:
            again = await stubs.orders.SubmitOrder(new_order(ORDER, name), metadata=metadata(key))
            assert (again.duplicate, again.status) == (False, v1.ORDER_STATUS_FILLED)
        assert executed(await feed(exchange.grpc, key)) == fed | set(withdrawn)


async def test_what_was_withdrawn_never_comes_back_by_a_restart(own_exchange: Exchange) -> None:
    key = own_exchange.register()
    async with grpc.aio.insecure_channel(own_exchange.grpc) as channel:
        stubs = Stubs(channel)
        await offered(stubs, own_exchange.register(), 10)
        assert await hurried(stubs, key, "valid_until", HANG_S, "done") == ANSWERED
        assert await hurried(stubs, key, "valid_until", 0.0, "withdrawn") == NOT_EXECUTED
    await asyncio.to_thread(own_exchange.restart_engine)
    assert executed(await feed(own_exchange.grpc, key)) == {"done"}


@pytest.mark.parametrize("control", [False, True], ids=["as-it-is", "control-that-lies"])
async def test_an_answer_that_is_late_says_unknown_and_what_is_asked_later_says_what_happened(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control: bool
) -> None:
    if control:
        honest = sequencer.timed_out
        lying = lambda stage, outcome, within_ns: honest(stage, "not_executed", within_ns)  # noqa: E731
        monkeypatch.setattr(sequencer, "timed_out", lying)
    disk = FaultyDisk()
    async with venue(tmp_path / "data", durability="fsync", disk=disk, transport=transport) as running:
        stubs = running.stubs
        _, seller = await stubs.register()
        _, buyer = await stubs.register()
        key = str(buyer[0][1])
        await offered(stubs, str(seller[0][1]), 1)
        disk.answers.clear()
        knows = await hurried(stubs, key, "valid_until", 0.2, "mine")
        disk.answers.set()
        there = {"mine"} if await is_there(stubs, key, "mine") else set()
        found = contradictions({"mine": knows}, there, executed(await feed(running.address, key)))
    assert (knows, found) == ((NOT_EXECUTED, {"mine": NOT_EXECUTED}) if control else (UNKNOWN, {}))


# How a bot asks


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.CUT])
async def test_outcome_unknown_names_the_order_to_ask_for_even_where_the_client_made_the_name_up(
    exchange: Exchange, fault: Fault
) -> None:
    key = exchange.register()
    async with faulty(exchange.grpc, http2=True) as proxy, AsyncClient(proxy.address, key) as client:
        proxy.plan.append(fault)
        with pytest.raises(OutcomeUnknown) as unknown:
            await client.buy("AAPL", 1, 100)
        assert unknown.value.client_order_id is not None
        order = await persist(lambda: client.order(client_order_id=unknown.value.client_order_id))
        again = await client.buy("AAPL", 1, 100, client_order_id=unknown.value.client_order_id)
        assert (again.order_id, again.duplicate) == (order.order_id, True)


async def test_the_synchronous_client_s_outcome_unknown_names_the_order_too(exchange: Exchange) -> None:
    def ask(address: str) -> tuple[int, int]:
        with Client(address, key) as client:
            with pytest.raises(OutcomeUnknown) as unknown:
                client.buy("AAPL", 1, 100)
            name = unknown.value.client_order_id
            with Client(exchange.grpc, key) as direct:
                return direct.order(client_order_id=name).order_id, direct.buy(
                    "AAPL", 1, 100, client_order_id=name
                ).order_id

    key = exchange.register()
    async with faulty(exchange.grpc, http2=True) as proxy:
        proxy.plan.append(Fault.LOST)
        found, again = await asyncio.to_thread(ask, proxy.address)
    assert found == again


async def test_a_command_that_names_no_client_order_id_has_none_to_ask_for(exchange: Exchange) -> None:
    key = exchange.register()
    async with faulty(exchange.grpc, http2=True) as proxy, AsyncClient(proxy.address, key) as client:
        proxy.plan.append(Fault.LOST)
        with pytest.raises(OutcomeUnknown) as unknown:
            await client.cancel_all()
        assert unknown.value.client_order_id is None


@pytest.mark.parametrize("path", ["/exchange/orders", "/orders"])
async def test_a_bot_of_rest_is_told_the_name_to_ask_for_and_finds_the_order_by_it(
    exchange: Exchange, path: str
) -> None:
    body = {"instrument_id": "AAPL", "side": "buy", "quantity": 1, "price": 100}
    headers = {"X-API-Key": exchange.register()}
    async with faulty(exchange.grpc, http2=True) as behind:
        bridge = await asyncio.to_thread(exchange.bridge_before, behind.address)
        try:
            async with httpx.AsyncClient(base_url=bridge.address, headers=headers, timeout=HANG_S) as bot:
                behind.plan.append(Fault.LOST)
                response = await bot.post(path, json=body)
                details = response.json()["error"]["details"]
                assert (response.status_code, details["outcome"]) == (503, UNKNOWN)
        finally:
            await asyncio.to_thread(bridge.kill)
    name = details["client_order_id"]
    async with httpx.AsyncClient(base_url=f"http://{exchange.http}", headers=headers, timeout=HANG_S) as bot:
        [found] = (await bot.get(path, params={"client_order_id": name})).json()["data"]["orders"]
        assert (found["client_order_id"], found["status"]) == (name, "new")
        await bot.delete(f"{path}/{found['order_id']}")
        [ended] = (await bot.get(path, params={"client_order_id": name})).json()["data"]["orders"]
        assert ended["status"] == "cancelled"
        for query in ({"status": "open"}, {"instrument_id": "BTC/USDT"}, {"client_order_id": "never was"}):
            answer = await bot.get(path, params={"client_order_id": name, **query})
            assert (answer.status_code, answer.json()["data"]) == (200, {"orders": []})


async def persist(attempt: Callable[[], Awaitable[Any]]) -> Any:
    """What a bot does while its link comes back; the test's own time limit guards it."""
    while True:
        try:
            return await attempt()
        except Unavailable:
            await asyncio.sleep(0.02)
