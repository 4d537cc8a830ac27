"""`python -m gateway` that believes the clock, for controls: it stamps commands with what the clock says, whatever it
said before, and deadlines run by it. Its disk is that of tests/gateway/troubled_engine.py."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gateway import __main__, service
from gateway.sequencer import Sequencer
from tests.gateway.troubled_engine import TroubledDisk

if __name__ == "__main__":
    Sequencer.time_ns = property(lambda self: 0, lambda self, moment: None)  # type: ignore[assignment]
    Sequencer.__init__.__kwdefaults__["monotonic"] = time.time_ns
    service.LOCAL_DISK = TroubledDisk(Path(sys.argv[sys.argv.index("--data") + 1]))
    __main__.main()
