"""How long a server keeps a connection, as gRPC's options have it: not for ever, and no longer than it is of use.

One that is idle, which is to have no calls, or old is asked to leave: its calls may end, and it begins no more. Clients
begin them on another connection, of the same server or of one that has come to share its load.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wire.server_connection import ServerConnection

SPREAD = 0.1  # of the age, so that connections which came together do not leave together


class Tenure:
    def __init__(self, connection: ServerConnection, now: float) -> None:
        self.connection = connection
        self.old_at = now + connection.settings.age_s * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311  # no secret
        self.idle_since = now
        self.last_begun = 0  # the number of the last call that was seen

    def look(self, now: float) -> None:
        connection, core, settings = self.connection, self.connection.core, self.connection.settings
        if core.streams or core.last_accepted != self.last_begun:
            self.last_begun, self.idle_since = core.last_accepted, now
        if now - self.old_at > settings.age_grace_s:
            connection.abandon("The connection is too old")
        elif now > self.old_at or now - self.idle_since > settings.idle_s:
            connection.leave()
