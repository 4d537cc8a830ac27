"""HPACK, the header compression of HTTP/2 (RFC 7541), both ways.

A connection has one Decoder for all its blocks, in the order of their arrival. Encoding keeps no table, so
`encode` is a function: the same fields always give the same bytes, and a block may be encoded once and sent often.
"""

from __future__ import annotations

from wire.hpack.decoder import Block, Decoder
from wire.hpack.encoder import SIZE_UPDATE_TO_ZERO, encode
from wire.hpack.errors import HpackError

__all__ = ["SIZE_UPDATE_TO_ZERO", "Block", "Decoder", "HpackError", "encode"]
