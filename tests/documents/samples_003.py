"""Document 003, "WebSocket Integration with REST API": its Python samples, word for word.

`TradingBot` is the document's, with the `import time` that it forgot; its test changes nothing in it but the two
addresses that it holds. The other samples stand in functions whose parameters are the names they do not define.
"""
# fmt: off
# ruff: noqa: E501, F841, RET504, RUF006  the document's code is not ours to mend

from __future__ import annotations

import asyncio
import json
import time

import requests
import websockets


# "1. Order Submission (REST)"
def order_submission(requests, api_key):
    # Submit order via REST
    response = requests.post(
        "http://localhost:8000/orders",
        headers={"X-API-Key": api_key},
        json={
            "instrument_id": "SPX_4500_CALL",
            "order_type": "limit",
            "side": "buy",
            "quantity": 10,
            "price": 100.0,
            "client_order_id": "MY_ORDER_001"
        }
    )
    return response


# "Example Integration"
class TradingBot:
    def __init__(self, api_key):
        self.api_key = api_key
        self.base_url = "http://localhost:8000"
        self.ws_uri = f"ws://localhost:8000/ws?api_key={api_key}"
        self.pending_orders = {}

    async def run(self):
        # Connect WebSocket for notifications
        async with websockets.connect(self.ws_uri) as websocket:
            # Handle messages in background
            ws_task = asyncio.create_task(self.handle_websocket(websocket))

            # Submit order via REST
            order_id = self.submit_order()

            # Wait for execution via WebSocket
            await self.wait_for_fill(order_id)

    def submit_order(self):
        """Submit order via REST API."""
        response = requests.post(
            f"{self.base_url}/orders",
            headers={"X-API-Key": self.api_key},
            json={
                "instrument_id": "SPX_4500_CALL",
                "order_type": "limit",
                "side": "buy",
                "quantity": 10,
                "price": 100.0,
                "client_order_id": f"BOT_{time.time()}"
            }
        )
        data = response.json()
        self.pending_orders[data["order_id"]] = "submitted"
        return data["order_id"]

    async def handle_websocket(self, websocket):
        """Process WebSocket messages."""
        async for message in websocket:
            msg = json.loads(message)

            if msg["type"] == "new_order_ack":
                order_id = msg["data"]["order_id"]
                if order_id in self.pending_orders:
                    self.pending_orders[order_id] = "acknowledged"
                    print(f"Order {order_id} acknowledged by exchange")

            elif msg["type"] == "execution_report":
                order_id = msg["data"]["order_id"]
                if order_id in self.pending_orders:
                    self.pending_orders[order_id] = "filled"
                    print(f"Order {order_id} filled: {msg['data']['executed_quantity']} @ {msg['data']['executed_price']}")

    async def wait_for_fill(self, order_id):
        """Wait for order to be filled."""
        while self.pending_orders.get(order_id) != "filled":
            await asyncio.sleep(0.1)


# "Pattern 1: Fire and Forget"
def fire_and_forget(submit_order):
    # Submit order and move on
    response = submit_order()
    if response["status"] != "rejected":
        # Continue trading, handle fills via WebSocket
        pass
    return response


# "Pattern 2: Wait for Fill"
async def wait_for_fill(submit_order, wait_for_websocket_message):
    # Submit and wait for execution
    order_id = submit_order()["order_id"]
    execution = await wait_for_websocket_message("execution_report", order_id)
    return execution


# "Pattern 3: Bulk Order Management"
async def bulk_order_management(signals, submit_order, websocket, handle_fill):
    # Track multiple orders
    pending = {}
    for signal in signals:
        order = submit_order(signal)
        pending[order["order_id"]] = signal

    # Process executions as they arrive
    async for msg in websocket:
        if msg["type"] == "execution_report":
            signal = pending.pop(msg["data"]["order_id"])
            handle_fill(signal, msg["data"])
