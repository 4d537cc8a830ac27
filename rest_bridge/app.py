"""The application: documented calls, WebSockets, pages, and the form of every answer that is none of them.

Routes are FastAPI's, for its OpenAPI, and their handlers are called directly: FastAPI's own way of reading a request
and checking an answer costs more than the order itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Match, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from outcry import AsyncClient
from outcry.errors import ExchangeError, InvalidRequest, Unavailable
from rest_bridge.answers import refusal
from rest_bridge.bodies import invalid, shorten
from rest_bridge.calls import ASK_TIMEOUT_S, Call, Endpoint, Handler, endpoint, name_of, nothing_at
from rest_bridge.contracts import accounts, exchange, orders
from rest_bridge.docs import operations
from rest_bridge.links import Links
from rest_bridge.service_key import ServiceKey
from rest_bridge.settings import Settings
from rest_bridge.sockets import Sockets

REQUESTS_LIMIT = 250  # under way at once: at overload an answer takes about as long as so many orders do
PAGE = Path(__file__).parent / "web" / "index.html"
DESCRIPTION = """Trade on Outcry by REST and WebSocket. Every call but registration takes a key in `X-API-Key`.

`/exchange` answers when the outcome of an order is final; `/orders` answers when it is accepted, and the WebSocket
tells the rest."""


class DirectRoute(APIRoute):
    """A route whose endpoint takes the request as it is and gives the response as it leaves."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handler: Endpoint = self.endpoint
        return handler


class Admission:
    """Sheds what comes beyond REQUESTS_LIMIT at once, rather than let everybody wait."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self.under_way >= REQUESTS_LIMIT:
            shed = Unavailable("CIRCUIT_BREAKER_OPEN", "Too many requests are under way", {"limit": REQUESTS_LIMIT})
            await refusal(name_of(Request(scope)), shed)(scope, receive, send)
        else:
            self.under_way += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self.under_way -= 1


def create_app(settings: Settings) -> FastAPI:
    """The bridge's application. Its gRPC channels open at first use, in the loop that runs it."""
    roots = settings.tls_ca.read_bytes() if settings.tls_ca else None

    def new_client() -> AsyncClient:
        return AsyncClient(settings.grpc, root_certificates=roots, timeout_s=ASK_TIMEOUT_S)

    # Channels apart, so that neither feeds nor market data ever stand before an order.
    client, feeds, market = new_client(), Links(new_client), Links(new_client)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for link in (client, feeds, market):
            await link.close()

    app = FastAPIOffline(
        title="Outcry",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        static_url="/docs-assets",
        swagger_ui_oauth2_redirect_url="/docs/oauth2-redirect",
    )
    service_key = ServiceKey(settings.service_key)
    add_calls(app, client, accounts.Registrar(service_key))
    add_sockets(app, client, Sockets(feeds, market, service_key, settings.allowed_origins))
    add_pages(app)
    add_refusals(app)
    add_to_schema(app)
    app.add_middleware(Admission)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["X-API-Key", "X-Request-Id", "Idempotency-Key", "Content-Type"],
            expose_headers=["X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy"],
        )
    return app


def add_calls(app: FastAPI, client: AsyncClient, registrar: accounts.Registrar) -> None:
    """Every call of the contract; those most called come first."""

    def add(method: str, path: str, handler: Handler, document: operations.Document, **edge: Any) -> None:
        app.router.add_api_route(
            path,
            endpoint(client, handler, parameters=operations.query_of(document), **edge),
            methods=[method],
            name=handler.__name__,
            tags=[path.split("/")[1]],
            response_class=JSONResponse,
            response_model=None,
            route_class_override=DirectRoute,
            **document,
        )

    add("POST", "/exchange/orders", exchange.submit, operations.EXCHANGE_SUBMIT)
    add("POST", "/orders", orders.submit, operations.ORDERS_SUBMIT, also=orders.refused)
    add("DELETE", "/exchange/orders/{order_id}", exchange.cancel, operations.EXCHANGE_CANCEL)
    add("DELETE", "/orders/{order_id}", orders.cancel, operations.ORDERS_CANCEL, also=orders.refused)
    add("PATCH", "/exchange/orders/{order_id}", exchange.replace, operations.EXCHANGE_REPLACE)
    add("PATCH", "/orders/{order_id}", orders.replace, operations.ORDERS_REPLACE, also=orders.refused)
    add("POST", "/orders/validate", orders.validate, operations.ORDERS_VALIDATE, also=orders.refused)
    for prefix in ("/exchange/orders", "/orders"):
        add("GET", prefix, exchange.list_orders, operations.LIST)
        add("GET", prefix + "/{order_id}", exchange.get_order, operations.FIND)
    add("GET", "/exchange/orderbook/{instrument_id:path}", exchange.get_order_book, operations.BOOK)
    add("GET", "/positions", accounts.get_positions, operations.POSITIONS)
    add("GET", "/balances", accounts.get_balances, operations.BALANCES)
    add("POST", "/auth/register", registrar.register, operations.REGISTER, needs_key=False)
    add("POST", "/auth/rotate", accounts.rotate_key, operations.ROTATE)


def add_sockets(app: FastAPI, client: AsyncClient, sockets: Sockets) -> None:
    async def plain(call: Call) -> Response:
        raise invalid("upgrade", f"is missing or malformed: {call.request.url.path} is a WebSocket's address")

    for path, serve in (("/ws", sockets.private), ("/ws/market", sockets.public)):
        app.router.routes.append(WebSocketRoute(path, serve))
        refuse = endpoint(client, plain, needs_key=False, parameters=None)
        app.router.add_api_route(path, refuse, include_in_schema=False, route_class_override=DirectRoute)
    app.router.routes.append(WebSocketRoute("/{path:path}", sockets.nowhere))


def add_to_schema(app: FastAPI) -> None:
    """Complete the schema with the key and the WebSocket, which FastAPI has no words for."""
    schema = app.openapi()
    schema["components"]["securitySchemes"] = {"ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    schema["paths"]["/ws"] = {"get": {**operations.WEBSOCKET, "tags": ["ws"], "operationId": "websocket"}}


def add_pages(app: FastAPI) -> None:
    async def page(request: Request) -> Response:
        return FileResponse(PAGE)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    app.router.add_route("/", page, include_in_schema=False)
    app.router.add_route("/health", health, include_in_schema=False)


def add_refusals(app: FastAPI) -> None:
    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        found, headers = described(app, request, error)
        call = Call(AsyncClient(), request)
        await call.take_name()
        return refusal(call.request_id, found, headers=headers)

    async def fail(request: Request, error: Exception) -> Response:
        call = Call(AsyncClient(), request)
        return refusal(call.request_id, call.complete(call.failed()))

    app.add_exception_handler(HTTPException, refuse)
    app.add_exception_handler(Exception, fail)


def described(app: FastAPI, request: Request, error: HTTPException) -> tuple[ExchangeError, dict[str, str] | None]:
    """The contract's words for what the router found, and the headers that belong to them."""
    path = shorten(request.url.path)
    if error.status_code == 404:
        return nothing_at(request), None
    if error.status_code == 405:
        methods = allowed_methods(app, request)
        words = f"{path} takes {', '.join(methods)}"
        return InvalidRequest("METHOD_NOT_ALLOWED", words, {"allowed": methods}), {"Allow": ", ".join(methods)}
    return InvalidRequest("INVALID_REQUEST", str(error.detail), {"field": "request"}), None


def allowed_methods(app: FastAPI, request: Request) -> list[str]:
    """Every method that some route takes at this path; the router itself names those of the first alone."""
    methods: set[str] = set()
    for route in app.router.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods.update(getattr(route, "methods", None) or ())
    return sorted(methods)
