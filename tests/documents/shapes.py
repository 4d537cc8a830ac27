"""What the documents promise of a message, written as they write it.

A shape is the message of a document with what differs from run to run named instead: ids, moments, numbers. Everything
else is compared as it stands, type and value, so that 10 is not 10.0 and true is not 1. Additions are free.
"""

from __future__ import annotations

import re
from typing import Any

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
ORDER_ID = re.compile(r"ORD_[1-9]\d*")
TRADE_ID = re.compile(r"TRD_[1-9]\d*")
REQUEST_ID = re.compile(r"req_\w+")
SUPPORT_REFERENCE = re.compile(r"ERR_\w+")
WORDS = re.compile(r".+")


def assert_fits(shape: Any, value: Any, where: str = "message") -> None:
    """Every field of `shape` is in `value` and fits; a list of one shape is a list of such things, not empty."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), f"{where} is {value!r}"
        assert shape.keys() <= value.keys(), f"{where} lacks {shape.keys() - value.keys()}: {value}"
        for name, part in shape.items():
            assert_fits(part, value[name], f"{where}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), f"{where} is {value!r}"
        assert value, f"{where} is empty"
        for index, item in enumerate(value):
            assert_fits(shape[0], item, f"{where}[{index}]")
    elif isinstance(shape, re.Pattern):
        assert isinstance(value, str), f"{where} is {value!r}"
        assert shape.fullmatch(value), f"{where} is {value!r}, not {shape.pattern}"
    elif isinstance(shape, type):
        assert type(value) is shape, f"{where} is {value!r}, not of type {shape.__name__}"
    else:
        assert (type(value), value) == (type(shape), shape), f"{where} is {value!r}, not {shape!r}"


def accepted(data: dict[str, Any]) -> dict[str, Any]:
    """Document 000, "Standard Response Structure": success."""
    return {
        "success": True,
        "request_id": REQUEST_ID,
        "order_id": ORDER_ID,
        "data": {"order_id": ORDER_ID, "timestamp": TIME, **data},
        "error": None,
        "timestamp": TIME,
    }


def refused(code: str, message: str, details: dict[str, Any]) -> dict[str, Any]:
    """Document 000, "Standard Response Structure": error."""
    return {
        "success": False,
        "request_id": REQUEST_ID,
        "order_id": None,
        "data": None,
        "error": {"code": code, "message": message, "details": details},
        "timestamp": TIME,
    }
