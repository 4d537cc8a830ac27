"""The bridge's log: one line of JSON an event on stderr, uvicorn's warnings among them, and never a key.

A key may come in a WebSocket's query string, which uvicorn likes to log. Its own lines are kept from warning upwards,
and whatever looks like a secret in a query is struck out of every line and traceback that passes, whoever wrote it.
"""

from __future__ import annotations

import logging
import re
import sys

import structlog
from structlog.types import EventDict

SECRET = re.compile(
    r"((?:api_key|token|invite|x-api-key|x-service-key)[\"']?\s*[=:]\s*[\"']?)[^&\s\"',)}]+", re.IGNORECASE
)


def without_secrets(words: str) -> str:
    return SECRET.sub(r"\1***", words)


def strike_secrets(logger: object, method: str, event: EventDict) -> EventDict:
    """structlog's step that strikes secrets out of every text of an event, its traceback among them."""
    return {name: without_secrets(value) if isinstance(value, str) else value for name, value in event.items()}


def configure() -> None:
    """Send structlog's and the libraries' lines to stderr. Call once, before anything logs."""
    shared: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        strike_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer(), foreign_pre_chain=shared)
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
