"""Which orders end when. Orders that expire at the same moment (all DAY orders do) share one entry in time."""

from __future__ import annotations

from sortedcontainers import SortedList

from engine.fixed import INT64_MAX
from engine.order import Order

DAY_NS = 86_400_000_000_000


def next_midnight_ns(time_ns: int) -> int:
    """The next 00:00 UTC after `time_ns`."""
    return (time_ns // DAY_NS + 1) * DAY_NS


class Expiries:
    """Open orders by the moment they expire. `next_ns` is the earliest, INT64_MAX where there is none."""

    __slots__ = ("due", "next_ns", "times")

    def __init__(self) -> None:
        self.due: dict[int, dict[int, Order]] = {}
        self.times: SortedList[int] = SortedList()
        self.next_ns = INT64_MAX

    def add(self, order: Order, expires_at_ns: int) -> None:
        moment = self.due.get(expires_at_ns)
        if moment is None:
            moment = self.due[expires_at_ns] = {}
            self.times.add(expires_at_ns)
            self.next_ns = self.times[0]
        moment[order.order_id] = order

    def discard(self, order: Order, expires_at_ns: int) -> None:
        moment = self.due[expires_at_ns]
        del moment[order.order_id]
        if not moment:
            del self.due[expires_at_ns]
            self.times.remove(expires_at_ns)
            self.next_ns = self.times[0] if self.times else INT64_MAX

    def until(self, time_ns: int) -> list[Order]:
        """The orders that expire at or before `time_ns`: the earliest first, then in order of entry."""
        times = self.times.irange(maximum=time_ns)
        return [order for moment in times for order in self.due[moment].values()]
