"""Experiment 6: a small journal, as a kill leaves it with space allocated behind, is cut at each byte, each of its bits
is flipped, and each of its sectors is lost.

What follows is the whole truth, or the truth without the last batch, which is told; or a refusal that names file and
offset. Never other commands, and never fewer than a whole batch that another follows. The control reads without
checksums, and takes what was flipped for true. (tests/gateway/test_journal_damage.py has more that may go wrong.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway import frames
from gateway.append_file import AppendFile
from gateway.journal import Durability, Journal
from gateway.segments import Entry, JournalDamaged
from tests.gateway.journals import entry, write_batches
from tests.gateway.test_journal_damage import ends, overwrite

SIZES = [2, 1, 2]
WHOLE = [entry(seq) for seq in range(1, 6)]
AHEAD_BYTES = 1_024
SECTOR_BYTES = 64  # small, as the journal is


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The file of an engine that never closed it."""
    journal = Journal.open(tmp_path / "journal", durability=Durability.WRITE, ahead=AHEAD_BYTES)
    assert write_batches(journal, SIZES) == [None] * len(SIZES)
    path = journal.file.path
    assert path.stat().st_size >= journal.file.end + AHEAD_BYTES // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AppendFile, "cut", lambda self, end: None)
        journal.close()
    return path


def start(path: Path) -> tuple[list[Entry], int, JournalDamaged | None]:
    """What a start replays, how many bytes it drops, and why it refuses."""
    try:
        journal = Journal.open(path.parent, durability=Durability.WRITE, ahead=AHEAD_BYTES)
    except JournalDamaged as refusal:
        return [], 0, refusal
    try:
        return list(journal.replay()), journal.torn_bytes, None
    finally:
        journal.close()


def damages(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Each cut, flip and loss: its name, where the damage begins, and what is left."""
    for size in range(len(data)):
        yield "cut", size, data[:size]
    end = ends(data)[-1]
    for bit in range((end + SECTOR_BYTES) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield "flip", bit // 8, bytes(flipped)
    for at in range(0, end, SECTOR_BYTES):
        lost = data[:at] + bytes(SECTOR_BYTES) + data[at + SECTOR_BYTES :]
        if lost != data:
            yield "loss", at, lost[: len(data)]


def test_damage_of_any_kind_is_a_torn_tail_that_is_told_or_a_refusal_that_says_where(killed: Path) -> None:
    data = killed.read_bytes()
    offsets = ends(data)
    kept_at = {end: sum(SIZES[:at]) for at, end in enumerate(offsets)}
    for kind, at, damaged in damages(data):
        overwrite(killed, damaged)
        found, torn, refusal = start(killed)
        assert found == WHOLE[: len(found)], (kind, at)
        if kind == "cut":
            end = max((end for end in offsets if end <= at), default=0)
            assert (len(found), refusal) == (kept_at.get(end, 0), None), at
            assert torn == (at - end if damaged[end:].strip(b"\0") or not end else 0), at
        elif at >= offsets[-2]:
            assert (refusal, torn > 0) == (None, True), (kind, at)
            assert len(found) == (5 if at >= offsets[-1] else 3), (kind, at)
        elif refusal is None:
            assert (kind, len(found)) == ("loss", 3), at
            assert at + SECTOR_BYTES > offsets[-2], "what was lost reaches into the last batch"
        else:
            assert (refusal.path, refusal.offset in {0, *offsets[:-2]}, refusal.offset <= at) == (killed, True, True)
            assert killed.read_bytes() == damaged, "what is refused is left as it was found"


def test_control_without_checksums_what_was_flipped_is_taken_for_true(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = killed.read_bytes()
    believed = 0

    def unchecked(data: bytes, offset: int, seed: int) -> frames.Frame | None:
        """A frame as its lengths have it."""
        if len(data) - offset < frames.FRAME_BYTES:
            return None
        length, first_seq, last_seq = frames.SPAN.unpack_from(data, offset + frames.LEAD.size)
        if last_seq - first_seq > len(data):
            return None  # else all of these numbers would be listed
        end = offset + frames.FRAME_BYTES + length
        payload = data[offset + frames.FRAME_BYTES : end]
        return frames.Frame(first_seq, last_seq, payload, end) if length and end <= len(data) else None

    monkeypatch.setattr(frames, "frame_at", unchecked)
    for kind, _, damaged in damages(data):
        if kind == "flip":
            overwrite(killed, damaged)
            with suppress(JournalDamaged, UnicodeDecodeError, OverflowError):
                found, _, _ = start(killed)
                believed += found != WHOLE[: len(found)]
    assert believed > 100
