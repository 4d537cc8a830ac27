"""Registration, keys, and what an account holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from outcry.models import Balance
from rest_bridge.answers import answer
from rest_bridge.bodies import REGISTRATION, ROTATION
from rest_bridge.calls import Call
from rest_bridge.contracts.forms import held
from rest_bridge.decimals import quantity
from rest_bridge.identifiers import account_name
from rest_bridge.service_key import ServiceKey


class Registrar:
    """Opens accounts. The service key lets the bridge say for which address it asks."""

    def __init__(self, service_key: ServiceKey) -> None:
        self.service_key = service_key

    async def register(self, call: Call) -> Response:
        body = await call.body(REGISTRATION, ("team_name",))
        call.client = call.exchange.with_key(None, self.forwarded(call))
        made = await call.client.register(body["team_name"], body.get("role", ""), body.get("invite", ""))
        account = {
            "team_id": account_name(made.account_id),
            "team_name": made.team_name,
            "role": made.role,
            "api_key": made.api_key,
        }
        return answer(call.request_id, data=account, also=account)

    def forwarded(self, call: Call) -> Sequence[tuple[str, str]]:
        """The caller's address, for the gateway's limit of registrations an address."""
        address = call.request.client
        return (*self.service_key.metadata(), ("x-forwarded-for", address.host if address else "unknown"))


async def rotate_key(call: Call) -> Response:
    await call.optional_body(ROTATION)
    made = await call.exchange.rotate_key()
    key = {"team_id": account_name(made.account_id), "api_key": made.api_key}
    return answer(call.request_id, data=key, also=key)


async def get_positions(call: Call) -> Response:
    return answer(call.request_id, data={"positions": held(await call.exchange.positions())})


async def get_balances(call: Call) -> Response:
    balances = await call.exchange.balances()
    return answer(call.request_id, data={"balances": {asset: balance_row(row) for asset, row in balances.items()}})


def balance_row(balance: Balance) -> dict[str, Any]:
    return {
        "total": quantity(balance.total),
        "reserved": quantity(balance.reserved),
        "available": quantity(balance.available),
    }
