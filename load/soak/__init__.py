"""A soak: all that may happen between clients and a server, for as long as one likes, with nothing left behind."""
