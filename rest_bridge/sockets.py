"""WebSockets: an account's numbered events, and public market data, until one side ends it.

A socket pulls from gRPC streams and writes; the bridge queues nothing. A reader that takes nothing for STALL_S is
closed with 1013 and the last number it was sent; until then its stream waits in gRPC's own flow control. When the
engine restarts, the streams resume by number behind the socket, which stays open.

    positions at S ─▶ [missed events N+1 ... S] ─▶ snapshot (seq S) ─▶ S+1, S+2 ...
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any, NoReturn
from urllib.parse import urlsplit

import structlog
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from outcry import AsyncClient
from outcry.errors import ExchangeError, InvalidRequest, PermissionDenied, RateLimited, Unauthenticated, Unavailable
from outcry.models import Positions
from rest_bridge.answers import refusal
from rest_bridge.bodies import SUBSCRIPTION, invalid, parse_object, read_fields, read_query, shorten
from rest_bridge.calls import could_be_key, keep_inside, name_of, nothing_at
from rest_bridge.identifiers import UINT64_MAX
from rest_bridge.links import Links
from rest_bridge.messages import FORMATS, Format, error_message, market_message, subscription_message
from rest_bridge.service_key import ServiceKey

MESSAGE_LIMIT = 64 * 1024  # bytes of one message from a client; uvicorn enforces it
STALL_S = 5.0
# Who shows no valid key has a share of its own, so that strangers never take what key holders need.
SOCKETS_LIMIT = 900  # with a key that the engine knows
UNPROVEN_LIMIT = 300  # whose key has not been judged yet, or was refused
PUBLIC_SOCKETS_LIMIT = 300
ALL_SUBSCRIPTIONS_LIMIT = 600  # of sockets with a key
PUBLIC_SUBSCRIPTIONS_LIMIT = 300
ACCOUNT_SOCKETS_LIMIT = 32
SUBSCRIPTIONS_LIMIT = 64  # of one socket
ENGINE_WAIT_S = 5.0  # for a new socket while the engine is away
RETRY_S = 0.25
CHANNELS = ("book", "trades", "ticker")

POLICY_VIOLATION = 1008
INTERNAL_FAILURE = 1011
TRY_AGAIN_LATER = 1013
REASON_LIMIT = 123  # bytes that a close frame has room for

log = structlog.get_logger()


class Goodbye(Exception):
    """The socket ends with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason.encode()[:REASON_LIMIT].decode(errors="ignore")


class Quota:
    """How many of something there may be at once, for each owner."""

    def __init__(self, limit: int, words: str) -> None:
        self.limit = limit
        self.words = words
        self.taken: Counter[str] = Counter()

    @contextmanager
    def one(self, owner: str = "") -> Iterator[None]:
        """Take one for a while. Unavailable where there is none left."""
        if self.taken[owner] >= self.limit:
            raise Unavailable("CIRCUIT_BREAKER_OPEN", self.words, {"limit": self.limit})
        self.taken[owner] += 1
        try:
            yield
        finally:
            self.taken[owner] -= 1
            if not self.taken[owner]:
                del self.taken[owner]


class Sockets:
    """All sockets of this process: admits them by origin and number, and ends each with the code it deserves."""

    def __init__(self, feeds: Links, market: Links, service_key: ServiceKey, allowed_origins: Collection[str]) -> None:
        self.feeds = feeds
        self.market = market
        self.service_key = service_key
        self.allowed_origins = frozenset(allowed_origins)
        self.keyed = Quota(SOCKETS_LIMIT, "too many connections")
        self.unproven = Quota(UNPROVEN_LIMIT, "too many connections at once")
        self.without_key = Quota(PUBLIC_SOCKETS_LIMIT, "too many connections without a key")
        self.of_account = Quota(ACCOUNT_SOCKETS_LIMIT, "too many connections of this account")
        self.subscriptions = Quota(ALL_SUBSCRIPTIONS_LIMIT, "too many subscriptions")
        self.public_subscriptions = Quota(PUBLIC_SUBSCRIPTIONS_LIMIT, "too many subscriptions without a key")

    async def private(self, websocket: WebSocket) -> None:
        await self.serve(PrivateSocket(websocket, self))

    async def public(self, websocket: WebSocket) -> None:
        await self.serve(Socket(websocket, self))

    async def nowhere(self, websocket: WebSocket) -> None:
        """The answer to a handshake on a path that has no socket."""
        await deny(websocket, nothing_at(websocket))

    async def serve(self, socket: Socket) -> None:
        websocket = socket.websocket
        if not is_allowed(websocket, self.allowed_origins):
            words = "This origin may not open a WebSocket here"
            denied = PermissionDenied("PERMISSION_DENIED", words, {"origin": shorten(websocket.headers["origin"])})
            await deny(websocket, denied)
            return
        with suppress(WebSocketDisconnect):
            try:
                await socket.run()
            except Goodbye as end:
                await websocket.close(end.code, end.reason)
            except Unavailable as full:
                await websocket.accept()
                await websocket.close(TRY_AGAIN_LATER, full.message)


async def deny(websocket: WebSocket, error: ExchangeError) -> None:
    """Answer the handshake as any request that is refused."""
    await websocket.send_denial_response(refusal(name_of(websocket), error))


def is_allowed(connection: HTTPConnection, allowed_origins: Collection[str]) -> bool:
    """Whether a page of this origin may connect: none (no browser), our own host's, or one that the settings name."""
    origin = connection.headers.get("origin")
    return (
        origin is None
        or origin in allowed_origins
        or urlsplit(origin).netloc.lower() == connection.headers.get("host", "").lower()
    )


class Socket:
    """A conversation about market data: subscriptions come and go, and each follows one stream."""

    refusal: ExchangeError | None = None

    def __init__(self, websocket: WebSocket, sockets: Sockets) -> None:
        self.websocket = websocket
        self.sockets = sockets
        self.places = sockets.without_key
        self.subscription_places = sockets.public_subscriptions
        self.last = 0  # the last number that was sent
        self.subscriptions: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until one side ends it: Goodbye or WebSocketDisconnect says how. Unavailable where it is full."""
        try:
            await self.prepare()
            with self.places.one():
                await self.websocket.accept()
                async with asyncio.TaskGroup() as tasks:
                    self.start(tasks)
                    await self.listen(tasks)
        except* (Goodbye, WebSocketDisconnect, Unavailable) as ends:
            raise first(ends) from None
        except* Exception:
            log.exception("socket_failed")
            raise Goodbye(INTERNAL_FAILURE, "internal error") from None

    async def prepare(self) -> None:
        """Learn before the handshake is answered whether there is a `refusal`."""
        try:
            read_query(self.websocket, ("api_key",))
        except InvalidRequest as error:
            self.refusal = error

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Nothing is sent unasked here, but for what ends it."""
        if self.refusal is not None:
            tasks.create_task(self.refuse(self.refusal))

    async def refuse(self, error: ExchangeError) -> NoReturn:
        await self.tell(error)
        if error.code == "INTERNAL_ERROR":
            raise Goodbye(INTERNAL_FAILURE, f"internal error; the last number sent is {self.last}")
        raise Goodbye(POLICY_VIOLATION, error.message)

    async def tell(self, error: ExchangeError) -> None:
        if error.code == "INTERNAL_ERROR":
            keep_inside(error)
            error.details |= {"stage": "gateway", "outcome": "not_executed"}
        await self.send(error_message(error))

    async def listen(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            message = await self.websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            content = message.get("text")
            try:
                await self.obey(tasks, message["bytes"] if content is None else content)
            except ExchangeError as error:
                await self.tell(error)

    async def obey(self, tasks: asyncio.TaskGroup, content: str | bytes) -> None:
        asked = read_fields(parse_object(content), SUBSCRIPTION, ("action", "channel", "instrument_id"))
        topic = (asked["channel"], asked["instrument_id"])
        if topic[0] not in CHANNELS:
            raise invalid("channel", "is none of book, trades, ticker")
        if asked["action"] == "subscribe":
            await self.subscribe(tasks, topic)
        elif asked["action"] == "unsubscribe":
            await self.unsubscribe(topic)
        else:
            raise invalid("action", "is neither subscribe nor unsubscribe")

    async def subscribe(self, tasks: asyncio.TaskGroup, topic: tuple[str, str]) -> None:
        if topic in self.subscriptions:
            await self.send(subscription_message("subscribed", *topic))
        elif len(self.subscriptions) >= SUBSCRIPTIONS_LIMIT:
            raise invalid("channel", f"would be subscription number {SUBSCRIPTIONS_LIMIT + 1}, one too many")
        else:
            self.subscriptions[topic] = tasks.create_task(self.follow_market(topic))

    async def unsubscribe(self, topic: tuple[str, str]) -> None:
        if following := self.subscriptions.pop(topic, None):
            following.cancel()
        await self.send(subscription_message("unsubscribed", *topic))

    async def follow_market(self, topic: tuple[str, str]) -> None:
        """Pass on one stream, which outlives restarts of the engine; a refusal ends the subscription."""
        channel, instrument_id = topic
        try:
            with self.subscription_places.one(), self.sockets.market.one() as market:
                with suppress(Unavailable):  # the stream waits for an engine that is away
                    await market.order_book(instrument_id, 1)
                await self.send(subscription_message("subscribed", *topic))
                proven = market.with_key(None, self.sockets.service_key.metadata())
                async with aclosing(proven.market_data((instrument_id,), (channel,))) as updates:
                    async for update in updates:
                        await self.send(market_message(update))
        except ExchangeError as error:
            self.subscriptions.pop(topic, None)
            await self.tell(error)

    async def send(self, message: bytes) -> None:
        """Write one message. Goodbye when the reader has taken nothing for STALL_S."""
        try:
            async with asyncio.timeout(STALL_S):
                await self.websocket.send_text(message.decode())
        except TimeoutError:
            raise Goodbye(TRY_AGAIN_LATER, f"too slow; the last number sent is {self.last}") from None


class PrivateSocket(Socket):
    """A conversation with one account: its events by number, and market data beside them."""

    async def prepare(self) -> None:
        """Learn whose socket it is, and where the account's events stand, before the handshake is answered.

        Sooner, and an order that follows the handshake at once could be in the snapshot, its events never told.
        """
        self.places = self.sockets.unproven
        try:
            with self.sockets.unproven.one(), self.sockets.feeds.one() as feeds:
                self.key = read_key(self.websocket)
                client = feeds.with_key(self.key)
                self.form, self.from_seq = await self.wishes(client)
                self.positions = await snapshot(client, self.from_seq)
        except ExchangeError as error:
            self.refusal = error
        else:
            self.places, self.subscription_places = self.sockets.keyed, self.sockets.subscriptions

    async def wishes(self, client: AsyncClient) -> tuple[Format, int | None]:
        """What the query asks for. A wrong key comes before a query that does not fit."""
        try:
            return read_wishes(self.websocket)
        except InvalidRequest:
            await patiently(client)
            raise

    def start(self, tasks: asyncio.TaskGroup) -> None:
        tasks.create_task(self.follow_account())

    async def follow_account(self) -> None:
        try:
            if self.refusal is not None:
                raise self.refusal
            with self.sockets.of_account.one(self.key), self.sockets.feeds.one() as feeds:
                await self.pass_on(feeds.with_key(self.key), self.positions, self.form)
        except (Unauthenticated, PermissionDenied) as error:
            raise Goodbye(POLICY_VIOLATION, error.message) from None
        except (RateLimited, Unavailable) as error:
            raise Goodbye(TRY_AGAIN_LATER, f"{reason_of(error)}; the last number sent is {self.last}") from None
        except ExchangeError as error:
            await self.refuse(error)

    async def pass_on(self, client: AsyncClient, positions: Positions, form: Format) -> None:
        """The missed events, the snapshot in its place, and every event after it, once each."""
        self.last = start = positions.seq if self.from_seq is None else self.from_seq
        if start == positions.seq:
            await self.send(form.snapshot(positions, time.time_ns()))
        async with aclosing(client.executions(start)) as reports:
            async for report in reports:
                if (message := form.report(report)) is not None:
                    await self.send(message)
                self.last = report.seq
                if report.seq == positions.seq:
                    await self.send(form.snapshot(positions, time.time_ns()))


def reason_of(error: ExchangeError) -> str:
    overload = error.code in ("RATE_LIMIT_EXCEEDED", "CIRCUIT_BREAKER_OPEN")
    return error.message if overload else "the exchange is not available"


async def snapshot(client: AsyncClient, from_seq: int | None) -> Positions:
    """The account's positions, no older than `from_seq`. SequenceOutOfRange where there is no such number."""
    while True:
        positions = await patiently(client)
        if from_seq is None or from_seq <= positions.seq:
            return positions
        with suppress(TimeoutError):  # it came to be in the meantime
            async with asyncio.timeout(ENGINE_WAIT_S), aclosing(client.executions(from_seq)) as reports:
                await anext(reports)  # the engine refuses, and names the first and last there are


async def patiently(client: AsyncClient) -> Positions:
    """Positions, asked again while the engine is away, for ENGINE_WAIT_S."""
    give_up = time.monotonic() + ENGINE_WAIT_S
    while True:
        try:
            return await client.positions()
        except Unavailable:
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(RETRY_S)


def read_key(websocket: WebSocket) -> str:
    """The key in the query or the header. Unauthenticated where there is none, or none that could be one."""
    key = websocket.query_params.get("api_key") or websocket.headers.get("x-api-key") or ""
    if not could_be_key(key):
        raise Unauthenticated("UNAUTHENTICATED", "A valid API key is needed")
    return key


def read_wishes(websocket: WebSocket) -> tuple[Format, int | None]:
    """The format and `from_seq` in the query. InvalidRequest names the one that does not fit."""
    query = read_query(websocket, ("api_key", "from_seq", "format"))
    form = FORMATS.get(query.get("format", "default"))
    if form is None:
        raise invalid("format", "is neither default nor flat")
    number = query.get("from_seq")
    if number is None:
        return form, None
    if not (number.isascii() and number.isdigit() and len(number) <= 20 and int(number) <= UINT64_MAX):
        raise invalid("from_seq", "is not an event number")
    return form, int(number)


def first(group: BaseExceptionGroup[Any]) -> BaseException:
    """The reason that came first: what ends a socket cancels the rest of it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
