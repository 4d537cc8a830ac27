"""The public HPACK vectors: what six encoders made of the same 32 stories of header lists. Read where they are."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from wire.hpack.static import Field

ENCODERS = (
    "go-hpack",
    "haskell-http2-naive-huffman",
    "nghttp2",
    "nghttp2-16384-4096",
    "nghttp2-change-table-size",
    "swift-nio-hpack-plain-text",
)
PLAIN_LISTS = "raw-data"


class Case(NamedTuple):
    block: bytes
    fields: tuple[Field, ...]
    table_limit: int | None


def stories(encoder: str) -> Iterator[list[Case]]:
    """Each story is one connection's blocks, in order."""
    with tarfile.open(archive()) as tar:
        for member in tar:
            if member.name.startswith(f"{encoder}/") and (file := tar.extractfile(member)):
                yield [case(entry) for entry in json.load(file)["cases"]]


def case(entry: dict[str, Any]) -> Case:
    pairs = [pair for header in entry["headers"] for pair in header.items()]
    fields = tuple((name.encode(), value.encode()) for name, value in pairs)
    return Case(bytes.fromhex(entry.get("wire", "")), fields, entry.get("header_table_size"))


def archive() -> Path:
    default = Path(__file__).parents[2] / "../shared/data"
    path = Path(os.environ.get("OUTCRY_SHARED_DATA", default)) / "hpack" / "hpack-test-case.tar.xz"
    if not path.is_file():
        words = "the HPACK vectors are not there: OUTCRY_SHARED_DATA names the folder that holds them"
        assert os.environ.get("OUTCRY_REQUIRE_DATA") != "1", words
        pytest.skip(words)
    return path
