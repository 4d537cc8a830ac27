"""Document 001, "API Communication Design": its Python samples, word for word.

Each stands in a function whose parameters are the names that the sample uses and does not define; `Api` is its `api`.
Answers and events are objects there (`response.success`, `msg.order_id`), as `json` makes them with an object hook.
"""
# fmt: off
# ruff: noqa: RET504  the document's code is not ours to mend

from __future__ import annotations

import json
from collections import defaultdict
from types import SimpleNamespace


def thing(fields):
    return SimpleNamespace(**fields)


def event(text):
    return json.loads(text, object_hook=thing)


class Api:
    """`api`: the calls of the document over `requests`."""

    def __init__(self, requests):
        self.requests = requests

    def submit_order(self, order):
        return self.requests.post("/orders", json=order).json(object_hook=thing)

    def validate_order(self, order):
        return self.requests.post("/orders/validate", json=order).json(object_hook=thing)

    def get_open_orders(self):
        return self.requests.get("/orders").json(object_hook=thing)

    def get_positions(self):
        return self.requests.get("/positions").json(object_hook=thing)


# "2. Immediate Feedback"
def immediate_feedback(api, order, track_order, log_error):
    # Submit order
    response = api.submit_order(order)
    # Response arrives in ~1ms with validation result

    if response.success:
        # Order passed validation, track order_id
        track_order(response.order_id)
    else:
        # Handle validation error immediately
        log_error(response.error.code, response.error.message)


# "3. Detailed Async Updates"
def detailed_async_updates(update_open_orders, process_fill):
    # WebSocket handler
    def on_message(msg):
        if msg.type == "new_order_ack":
            # Order entered the book
            update_open_orders(msg.order_id)
        elif msg.type == "execution_report":
            # Order filled (partially or fully)
            process_fill(msg.order_id, msg.price, msg.quantity)

    return on_message


# "Scenario 1: Successful Order"
def successful_order(api):
    # 1. Bot submits order (T+0ms)
    response = api.submit_order({
        "instrument_id": "SPX_CALL_4500_20240315",
        "side": "buy",
        "quantity": 10,
        "price": 100.0
    })
    return response


# "Scenario 2: Validation Failure"
def validation_failure(api):
    # 1. Bot submits invalid order (T+0ms)
    response = api.submit_order({
        "instrument_id": "SPX_CALL_4500_20240315",
        "side": "buy",
        "quantity": 100,  # Exceeds position limit
        "price": 100.0
    })
    return response


# "Scenario 3: Query Operations"
def open_orders_query(api):
    # Get open orders
    response = api.get_open_orders()
    return response


def positions_query(api):
    # Get positions
    response = api.get_positions()
    return response


# "3. Simplified Bot Logic"
def simplified_bot_logic(api, pending_orders, handle_validation_error, process_execution):
    async def submit_order_with_tracking(order):
        # Synchronous validation
        response = api.submit_order(order)

        if not response.success:
            # Handle validation error immediately
            handle_validation_error(response.error)
            return None

        # Track order for async updates
        pending_orders[response.order_id] = order
        return response.order_id

    # Separate async handler
    async def handle_websocket_event(event):
        if event.type == "execution_report":
            order = pending_orders.get(event.order_id)
            if order:
                process_execution(order, event)

    return submit_order_with_tracking, handle_websocket_event


# "Fire and Forget"
def fire_and_forget(api, signals, create_order, track_order):
    # Submit multiple orders without waiting for execution
    for signal in signals:
        response = api.submit_order(create_order(signal))
        if response.success:
            track_order(response.order_id)
    # Continue immediately, handle executions async


# "Synchronous Validation Check"
def synchronous_validation_check(api, order, submit_when_ready):
    # Validate order would be accepted without submitting
    response = api.validate_order(order)  # Future feature
    if response.success:
        # Order would be accepted
        submit_when_ready(order)


# "Execution Monitoring"
def execution_monitoring(original_quantity, log):
    # Track fill progress via WebSocket
    fills = defaultdict(int)

    def on_execution_report(msg):
        fills[msg.order_id] += msg.quantity
        if fills[msg.order_id] >= original_quantity[msg.order_id]:
            log.info(f"Order {msg.order_id} fully filled")

    return on_execution_report
