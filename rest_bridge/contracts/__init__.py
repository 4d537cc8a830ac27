"""One module per documented contract: what a call reads, what it asks the engine, and what it answers."""
