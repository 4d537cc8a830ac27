"""The key by which the gateway knows the bridge: it may then forward addresses, and is no stranger among streams."""

from __future__ import annotations

from pathlib import Path

import structlog

from rest_bridge.calls import could_be_key

log = structlog.get_logger()


class ServiceKey:
    """Lies in a file that the engine makes when it first starts, so it is read whenever it is shown."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What shows the key; nothing where the file holds none."""
        try:
            key = self.file.read_text().strip()
        except (OSError, UnicodeError) as problem:
            log.warning("no_service_key", file=str(self.file), words=str(problem))
            return ()
        if not could_be_key(key):
            log.warning("no_service_key", file=str(self.file), words="it holds no key")
            return ()
        return (("x-service-key", key),)
