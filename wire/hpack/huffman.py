"""Decoding strings of HPACK's Huffman code (RFC 7541, 5.2 and appendix B).

The code is canonical: sorted by length, then by symbol, the codes count up; so the lengths alone tell it. Decoding
walks the code's tree, a whole byte at a time: a node of the tree knows, for each byte met so far, at which node the
walk ends and which symbols it passed on the way. A byte not met yet is walked bit by bit, once.
"""

from __future__ import annotations

from functools import lru_cache

from wire.hpack.errors import HpackError

EOS = 256
LENGTHS = (
    *(13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28),
    *(28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28),
    *(6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6),
    *(5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10),
    *(13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7),
    *(7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6),
    *(15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5),
    *(6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28),
    *(20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23),
    *(24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24),
    *(22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23),
    *(21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23),
    *(26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25),
    *(19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27),
    *(20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23),
    *(26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26),
    30,
)

# Strings this short (header names, tokens, timeouts) are worth keeping decoded; longer ones would make the cache big.
CACHED_LENGTH = 64
CACHED_STRINGS = 1024


class Node(dict[int, tuple["Node", bytes]]):
    """An inner node of the tree: for each byte, where it leads from here and what it says."""

    __slots__ = ("branches", "may_end")

    def __init__(self) -> None:
        self.branches: list[Node | int] = []
        self.may_end = False

    def __missing__(self, byte: int) -> tuple[Node, bytes]:
        node, symbols = self, bytearray()
        for shift in range(7, -1, -1):
            branch = node.branches[byte >> shift & 1]
            if isinstance(branch, Node):
                node = branch
            elif branch == EOS:
                raise HpackError("a Huffman string holds the end-of-string symbol")
            else:
                symbols.append(branch)
                node = ROOT
        step = self[byte] = node, bytes(symbols)
        return step


def tree() -> Node:
    """The code as a tree, built from the longest codes up: neighbours of one length share a parent."""
    level: list[Node | int] = []
    for length in range(max(LENGTHS), 0, -1):
        leaves = [symbol for symbol, its_length in enumerate(LENGTHS) if its_length == length]
        codes = [*leaves, *level]
        level = [parent(*codes[place : place + 2]) for place in range(0, len(codes), 2)]
    (root,) = level
    assert isinstance(root, Node)
    return root


def parent(zero: Node | int, one: Node | int) -> Node:
    node = Node()
    node.branches = [zero, one]
    return node


def padded(root: Node) -> Node:
    """The same tree, with the nodes marked where a string may end: after at most 7 ones that begin no symbol."""
    node: Node | int = root
    for _ in range(8):
        assert isinstance(node, Node)
        node.may_end = True
        node = node.branches[1]
    return root


ROOT = padded(tree())


def decoded(data: bytes) -> bytes:
    """The string that `data` is the code of; HpackError where it is none."""
    return cached(data) if len(data) <= CACHED_LENGTH else walked(data)


def walked(data: bytes) -> bytes:
    node, parts = ROOT, []
    for byte in data:
        node, symbols = node[byte]
        parts.append(symbols)
    if not node.may_end:
        raise HpackError("a Huffman string ends within a symbol")
    return b"".join(parts)


cached = lru_cache(maxsize=CACHED_STRINGS)(walked)
