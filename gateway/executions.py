"""ExecutionFeed servicer: an account's numbered events as protobuf reports."""

from __future__ import annotations

import asyncio
from typing import assert_never

from engine.events import (
    CancelRejected,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    PositionUpdated,
    ReplaceRejected,
)
from gateway import codec
from gateway.access import Access
from gateway.edge import Context, Streams, streaming
from gateway.event_records import Numbered
from gateway.feeds import Feeds, too_slow
from outcry import v1


class ExecutionFeed(v1.ExecutionFeedServicer):
    def __init__(self, access: Access, feeds: Feeds, streams: Streams) -> None:
        self.access = access
        self.feeds = feeds
        self.streams = streams

    @streaming
    async def StreamExecutions(self, request: v1.StreamExecutionsRequest, context: Context) -> None:
        """Catch up from `from_seq`, then live, until the reader goes, is too slow, or the server stops."""
        account = self.access.account(context)
        task = asyncio.current_task()
        assert task is not None
        reader = self.feeds.join(account, request.from_seq if request.HasField("from_seq") else None, task.cancel)
        try:
            await context.write(v1.ExecutionReports(last_seq=self.feeds.event_log.last_number(account)))
            async for events in self.feeds.follow(account, reader):
                reports = [report(event) for event in events]
                await context.write(v1.ExecutionReports(reports=reports, last_seq=reports[-1].seq))
        except asyncio.CancelledError:
            if reader.lost:
                raise too_slow(reader) from None
            raise
        finally:
            self.feeds.leave(account, reader)


def report(numbered: Numbered) -> v1.ExecutionReport:
    """One numbered event; a new kind of event fails the type check until it has a place here."""
    message = v1.ExecutionReport(seq=numbered.number, journal_seq=numbered.journal_seq, time_ns=numbered.time_ns)
    event = numbered.event
    match event:
        case OrderAccepted():
            message.accepted.CopyFrom(accepted(event))
        case OrderFilled():
            message.filled.CopyFrom(filled(event))
        case PositionUpdated():
            message.position.instrument_id = event.instrument_id
            message.position.position = event.position
        case OrderCancelled():
            message.cancelled.CopyFrom(
                v1.OrderCancelled(
                    order_id=event.order_id,
                    client_order_id=event.client_order_id,
                    cancelled_quantity=event.cancelled_quantity,
                    reason=event.reason,
                )
            )
        case OrderRejected():
            message.rejected.CopyFrom(
                v1.OrderRejected(
                    client_order_id=event.client_order_id,
                    instrument_id=event.instrument_id,
                    reject=codec.reject(event.refusal),
                )
            )
        case CancelRejected():
            message.cancel_rejected.CopyFrom(
                v1.CancelRejected(order_id=event.order_id, client_order_id=event.client_order_id, reason=event.reason)
            )
        case OrderReplaced():
            message.replaced.CopyFrom(replaced(event))
        case ReplaceRejected():
            message.replace_rejected.CopyFrom(
                v1.ReplaceRejected(
                    order_id=event.order_id,
                    client_order_id=event.client_order_id,
                    reject=codec.reject(event.refusal),
                )
            )
        case OrderExpired():
            message.expired.CopyFrom(
                v1.OrderExpired(
                    order_id=event.order_id,
                    client_order_id=event.client_order_id,
                    cancelled_quantity=event.cancelled_quantity,
                )
            )
        case _:
            assert_never(event)
    return message


def accepted(event: OrderAccepted) -> v1.OrderAccepted:
    return v1.OrderAccepted(
        order_id=event.order_id,
        client_order_id=event.client_order_id,
        instrument_id=event.instrument_id,
        side=codec.SIDE[event.side],
        order_type=codec.ORDER_TYPE[event.order_type],
        time_in_force=codec.TIME_IN_FORCE[event.time_in_force],
        quantity=event.quantity,
        price=event.price,
        expires_at_ns=event.expires_at_ns,
    )


def filled(event: OrderFilled) -> v1.OrderFilled:
    return v1.OrderFilled(
        order_id=event.order_id,
        client_order_id=event.client_order_id,
        trade_id=event.trade_id,
        instrument_id=event.instrument_id,
        side=codec.SIDE[event.side],
        price=event.price,
        quantity=event.quantity,
        remaining_quantity=event.remaining_quantity,
        status=codec.STATUS[event.status],
        liquidity=codec.LIQUIDITY[event.liquidity],
        fees=event.fees,
    )


def replaced(event: OrderReplaced) -> v1.OrderReplaced:
    return v1.OrderReplaced(
        order_id=event.order_id,
        client_order_id=event.client_order_id,
        quantity=event.quantity,
        price=event.price,
        remaining_quantity=event.remaining_quantity,
    )
