"""The demo's bots: a market on every instrument, that stays bounded and outlives restarts."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from outcry import AsyncClient
from outcry.demo import bot as bot_module
from outcry.demo.bot import Bot
from outcry.demo.maker import LEVELS, MarketMaker, lean, quotes
from outcry.demo.market import REACH_UNITS, FairValue, Listing, listing
from outcry.demo.momentum import POSITION_LIMIT_USUALS, WINDOW, MomentumTrader
from outcry.demo.noise import WAITING_LIMIT, NoiseTrader
from outcry.models import OrderBook
from tests.outcry.conftest import Restarts
from tests.venues import EngineProcess, engine_process

AAPL = Listing("AAPL", Decimal("0.01"), Decimal(1), 15_000, 1, 13)
NO_BOOK = OrderBook("AAPL", 0, 0, (), ())


@pytest.fixture
def own_engine(data: Path) -> Iterator[EngineProcess]:
    with engine_process(data, "--durability", "write") as process:
        yield process


@pytest.fixture
async def channel(own_engine: EngineProcess) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(own_engine.address) as client:
        yield client


def account(channel: AsyncClient, engine: EngineProcess, kind: type[Bot]) -> AsyncClient:
    return channel.with_key((engine.data / "keys" / f"demo-{kind.name}.key").read_text().strip())


async def made(channel: AsyncClient, engine: EngineProcess, kind: type[Bot], seed: int = 1) -> Bot:
    listings = [listing(instrument) for instrument in await channel.instruments()]
    return kind(account(channel, engine, kind), listings, Random(seed))


def test_a_fair_value_moves_and_stays_near_its_anchor() -> None:
    fair = FairValue(AAPL, Random(3), NO_BOOK)
    walk = [fair.step() for _ in range(50_000)]
    assert min(walk) >= 15_000 - REACH_UNITS
    assert max(walk) <= 15_000 + REACH_UNITS
    assert len(set(walk[:1000])) > 5


def test_the_same_seed_gives_the_same_walk() -> None:
    walks = []
    for _ in range(2):
        fair = FairValue(AAPL, Random("7-maker"), NO_BOOK)
        walks.append([fair.step() for _ in range(100)])
    assert walks[0] == walks[1]


def test_quotes_never_cross_and_lean_against_the_position() -> None:
    bids = [ticks for side, ticks in quotes(AAPL, 15_000) if side == "buy"]
    asks = [ticks for side, ticks in quotes(AAPL, 15_000) if side == "sell"]
    assert max(bids) < min(asks)
    assert len(bids) == len(asks) == LEVELS
    assert lean(AAPL, Decimal(0)) == 0
    assert lean(AAPL, Decimal(1000)) < 0 < lean(AAPL, Decimal(-1000))
    assert lean(AAPL, Decimal(10**9)) == lean(AAPL, Decimal(10**10))


async def test_momentum_follows_a_move_up_to_its_limit_and_lets_go_without_one() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        trader = MomentumTrader(client, [AAPL], Random(1))
    limit = POSITION_LIMIT_USUALS * AAPL.usual
    assert trader.wish(AAPL, held=0, move=50) > 0 > trader.wish(AAPL, held=0, move=-50)
    assert trader.wish(AAPL, held=limit, move=50) == 0
    assert trader.wish(AAPL, held=-limit, move=-50) == 0
    assert trader.wish(AAPL, held=10, move=0) < 0 < trader.wish(AAPL, held=-10, move=0)
    assert trader.wish(AAPL, held=0, move=0) == 0
    assert trader.seen["AAPL"].maxlen == WINDOW


async def test_after_one_round_every_instrument_has_two_sides_near_its_price(
    channel: AsyncClient, own_engine: EngineProcess
) -> None:
    maker = await made(channel, own_engine, MarketMaker)
    await maker.round()
    assert len(maker.listings) == 6
    for known in maker.listings.values():
        book = await channel.order_book(known.instrument_id)
        assert len(book.bids) == len(book.asks) == LEVELS
        middle = (book.bids[0].price + book.asks[0].price) / 2
        assert abs(middle / known.price(known.anchor) - 1) < Decimal("0.01")
    apple = await channel.order_book("AAPL")
    assert 149 < apple.bids[0].price < apple.asks[0].price < 151


async def test_bots_trade_and_their_orders_and_positions_stay_bounded(
    channel: AsyncClient, own_engine: EngineProcess
) -> None:
    maker, noise, momentum = [
        await made(channel, own_engine, kind) for kind in (MarketMaker, NoiseTrader, MomentumTrader)
    ]
    for _ in range(60):
        await maker.round()
        for _ in range(8):
            await noise.round()
        await momentum.round()
        assert len(await maker.client.orders()) <= 2 * LEVELS * 6
        assert len(await noise.client.orders()) <= WAITING_LIMIT * 6
        assert await momentum.client.orders() == []
    traded = await maker.client.positions()
    assert set(traded) == set(maker.listings)
    for name, held in (await noise.client.positions()).items():
        assert abs(noise.listings[name].lots(held)) <= 12 * noise.listings[name].usual


async def test_a_maker_that_starts_again_takes_over_its_quotes(channel: AsyncClient, own_engine: EngineProcess) -> None:
    first = await made(channel, own_engine, MarketMaker)
    for _ in range(5):
        await first.round()
    before = {order.order_id for order in await first.client.orders()}
    second = await made(channel, own_engine, MarketMaker, seed=2)
    await second.round()
    after = {order.order_id for order in await second.client.orders()}
    assert len(after) <= 2 * LEVELS * 6
    assert before & after


async def test_bots_go_on_after_the_engine_was_killed_and_started_again(
    restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot_module, "LOST_WAIT_S", 0.05)
    async with AsyncClient(restarts.address) as channel:
        bots = [await made(channel, restarts.engine, kind) for kind in (MarketMaker, NoiseTrader, MomentumTrader)]
        for each in bots:
            each.pace_s = 0.02
        running = asyncio.gather(*(each.run() for each in bots))
        feed = account(channel, restarts.engine, MarketMaker).executions(from_seq=0)
        for restart in range(2):
            before = [await anext(feed) for _ in range(200)]
            restarts.kill()
            restarts.start()
            after = [await anext(feed) for _ in range(200)]
            assert after[0].seq == before[-1].seq + 1, restart
        assert not running.done()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_the_demo_is_a_process_that_leaves_its_orders_in_the_book(
    channel: AsyncClient, own_engine: EngineProcess
) -> None:
    flags = ["--grpc", own_engine.address, "--data", str(own_engine.data)]
    demo = await asyncio.create_subprocess_exec(sys.executable, "-m", "outcry.demo", *flags, stdout=subprocess.PIPE)
    assert demo.stdout is not None
    assert await demo.stdout.readline() == b"ready bots=3\n"
    books = channel.market_data(["AAPL"], ("book",))
    while not (await anext(books)).seq:
        pass
    demo.send_signal(signal.SIGTERM)
    assert await demo.wait() == 0
    assert await account(channel, own_engine, MarketMaker).orders()


def test_without_the_bots_keys_the_demo_says_which_and_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "outcry.demo", "--data", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 2
    assert "demo-maker.key" in run.stderr
    assert run.stderr.count("\n") == 1


async def test_a_key_that_is_not_known_there_ends_the_demo(own_engine: EngineProcess, tmp_path: Path) -> None:
    keys = tmp_path / "other" / "keys"
    keys.mkdir(parents=True)
    for name in ("maker", "momentum", "noise"):
        (keys / f"demo-{name}.key").write_text("wrong")
    command = [sys.executable, "-m", "outcry.demo", "--grpc", own_engine.address, "--data", str(keys.parent)]
    run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 2
    assert "UNAUTHENTICATED" in run.stderr.splitlines()[-1]
