"""The words of an order that are refused: the exchange knows numbers alone, and says them in its refusal.

Who has sent the order hears the word as it was said; who hears of it elsewhere, the contract's word, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from outcry.encoding import ORDER_TYPES, SIDES, TIMES_IN_FORCE
from outcry.errors import OrderRejected

Answer = TypeVar("Answer")

# By the code that refuses them: the field, its name, and the words that the contract knows.
SAID: dict[str, tuple[str, str, Mapping[str, int]]] = {
    "INVALID_SIDE": ("side", "side", SIDES),
    "INVALID_ORDER_TYPE": ("order_type", "order type", ORDER_TYPES),
    "INVALID_TIME_IN_FORCE": ("time_in_force", "time in force", TIMES_IN_FORCE),
}


def in_words(read: Callable[[Any], Answer], said: Mapping[str, Any]) -> Callable[[Any], Answer]:
    """`read`, whose refusal of a word names the word that was `said`."""

    def read_in_words(answer: Any) -> Answer:
        try:
            return read(answer)
        except OrderRejected as refusal:
            raise worded(refusal, said) from None

    return read_in_words


def worded(refusal: OrderRejected, said: Mapping[str, Any]) -> OrderRejected:
    field, name, known = SAID.get(refusal.code, ("", "", {}))
    given = said.get(field)
    if given is None:
        return refusal
    if given.lower() not in known:
        message = f"Unknown {name}: {given}"
    elif field == "order_type":
        message = unsupported(given)
    else:
        return refusal  # the word is good, and does not go with the rest of the order
    return OrderRejected(refusal.code, message, {**refusal.details, field: given})


def without_number(code: str, message: str) -> str:
    """The exchange's message, in words where it names a number that stands for one."""
    field, name, known = SAID.get(code, ("", "", {}))
    unknown, colon, number = message.partition(": ")
    if not (colon and unknown == f"Unknown {name}"):
        return message
    words = [word for word, known_number in known.items() if str(known_number) == number]
    return unsupported(words[0]) if words and field == "order_type" else unknown


def unsupported(order_type: str) -> str:
    return f"Order type {order_type} is not supported yet"
