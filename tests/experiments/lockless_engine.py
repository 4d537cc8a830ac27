"""`python -m gateway` that takes no lock on its folder: for a control."""

from __future__ import annotations

from gateway import __main__, lock

if __name__ == "__main__":
    lock.is_taken = lambda fd: True
    __main__.main()
