"""What a crash or a failing disk may leave, and what a start makes of it: the whole truth, a truth without the batch
that nobody was told of, or a refusal that says where. Never anything else."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from gateway import manifest
from gateway.frames import HEADER_BYTES, Header, frame_bytes, frames, header_bytes, read_header
from gateway.journal import Durability, Journal
from gateway.segments import ENCODER, MAGIC, VERSION, JournalDamaged, JournalTooNew
from tests.gateway.journals import entry, make_journal, read_journal

SIZES = [2, 1, 2]  # batches; the last two commands are the last batch
WHOLE = [entry(seq) for seq in range(1, 6)]
WITHOUT_LAST = WHOLE[:3]


def ends(data: bytes) -> list[int]:
    """The offsets where a batch ends, and where the header does."""
    header = read_header(data)
    assert header is not None
    return [HEADER_BYTES, *(frame.end for frame in frames(data, HEADER_BYTES, header.seed))]


def overwrite(path: Path, data: bytes | bytearray) -> None:
    """Give a file other bytes in place: thousands of times faster on a disk than writing it anew."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def test_a_journal_cut_at_any_byte_gives_all_batches_that_are_whole(tmp_path: Path) -> None:
    (path,) = make_journal(tmp_path, SIZES)
    data = path.read_bytes()
    kept = {end: sum(SIZES[:count]) for count, end in enumerate(ends(data))}
    for size in range(len(data) + 1):
        overwrite(path, data[:size])
        commands = max((count for end, count in kept.items() if end <= size), default=0)
        assert read_journal(tmp_path) == WHOLE[:commands], size


def test_what_was_cut_off_is_told_and_gone(tmp_path: Path) -> None:
    (path,) = make_journal(tmp_path, SIZES)
    data = path.read_bytes()
    path.write_bytes(data[:-3])
    journal = Journal.open(tmp_path, durability=Durability.WRITE)
    journal.close()
    last = ends(data)[-2]
    assert journal.torn_bytes == len(data) - 3 - last
    assert path.read_bytes() == data[:last]


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1])
def test_after_a_torn_tail_the_journal_goes_on(tmp_path: Path, size: int) -> None:
    """A batch, or a new segment's header, was on its way when the engine was killed."""
    (path,) = make_journal(tmp_path, SIZES)
    path.write_bytes(path.read_bytes()[:-1])
    make_journal(tmp_path, [2])
    (tmp_path / f"{6:020d}.journal").write_bytes(b"OUTCRYJ\n".ljust(HEADER_BYTES)[:size])
    make_journal(tmp_path, [1])
    assert read_journal(tmp_path) == [entry(seq) for seq in range(1, 7)]


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    (path,) = make_journal(tmp_path, SIZES)
    data = path.read_bytes()
    last = ends(data)[-2]
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        overwrite(path, damaged)
        if bit // 8 >= last:  # nobody can tell it from a batch that was never finished
            assert read_journal(tmp_path) == WITHOUT_LAST, bit
            continue
        with pytest.raises(JournalDamaged) as refusal:
            read_journal(tmp_path)
        assert refusal.value.path == path
        assert refusal.value.offset in {0, *ends(data)}
        assert refusal.value.offset <= bit // 8
        assert str(path) in str(refusal.value)
        assert f"offset {refusal.value.offset}" in str(refusal.value)
        assert path.read_bytes() == damaged, "what is refused is left as it was found"


def test_any_flipped_bit_of_an_earlier_segment_is_found(tmp_path: Path) -> None:
    path, *_ = make_journal(tmp_path, SIZES, segment_bytes=1)
    data = path.read_bytes()
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        overwrite(path, damaged)
        with pytest.raises(JournalDamaged) as refusal:
            read_journal(tmp_path)
        assert refusal.value.path == path


def test_an_earlier_segment_cut_short_is_refused(tmp_path: Path) -> None:
    path, *_ = make_journal(tmp_path, SIZES, segment_bytes=1)
    data = path.read_bytes()
    for size in range(len(data)):
        overwrite(path, data[:size])
        with pytest.raises(JournalDamaged):
            read_journal(tmp_path)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_segment_is_refused(tmp_path: Path, missing: int) -> None:
    paths = make_journal(tmp_path, SIZES, segment_bytes=1)
    paths[missing].unlink()
    with pytest.raises(JournalDamaged, match="is missing") as refusal:
        read_journal(tmp_path)
    assert refusal.value.path == paths[missing]
    (tmp_path / manifest.NAME).unlink()
    with pytest.raises(JournalDamaged, match="is missing") as refusal:
        read_journal(tmp_path)
    assert refusal.value.path == paths[missing + 1]


def test_without_its_manifest_a_journal_is_read_whole(tmp_path: Path) -> None:
    make_journal(tmp_path, SIZES, segment_bytes=1)
    path = tmp_path / manifest.NAME
    data = path.read_bytes()
    for damaged in (b"", data[:-2], data.replace(b"1", b"2", 1), b"no manifest\n00000000\n", b"{}\n9f17e3a1\n"):
        path.write_bytes(damaged)
        assert read_journal(tmp_path) == WHOLE
    path.unlink()
    assert read_journal(tmp_path) == WHOLE


def test_a_segment_that_is_sealed_is_read_only_when_it_is_needed(tmp_path: Path) -> None:
    first, _, _ = make_journal(tmp_path, SIZES, segment_bytes=1)
    first.write_bytes(bytes(first.stat().st_size))
    journal = Journal.open(tmp_path, durability=Durability.WRITE)
    assert list(journal.replay(after_seq=2)) == WHOLE[2:]
    with pytest.raises(JournalDamaged):
        list(journal.replay(after_seq=1))
    journal.close()


def test_a_sealed_last_segment_is_never_appended_to(tmp_path: Path) -> None:
    """As in a copy that was taken between two files."""
    paths = make_journal(tmp_path, SIZES, segment_bytes=1)
    paths[-1].unlink()
    make_journal(tmp_path, [1], segment_bytes=1 << 20)
    assert read_journal(tmp_path) == [*WITHOUT_LAST, entry(4)]
    assert len(list(tmp_path.glob("*.journal"))) == 3


def test_a_journal_may_begin_behind_what_is_known_otherwise(tmp_path: Path) -> None:
    paths = make_journal(tmp_path, SIZES, segment_bytes=1)
    paths[0].unlink()
    (tmp_path / manifest.NAME).unlink()
    journal = Journal.open(tmp_path, durability=Durability.WRITE, after_seq=2)
    assert list(journal.replay(after_seq=2)) == WHOLE[2:]
    journal.close()
    with pytest.raises(JournalDamaged, match="command 2 is missing"):
        Journal.open(tmp_path, durability=Durability.WRITE, after_seq=1)


def test_a_missing_batch_is_refused(tmp_path: Path) -> None:
    (path,) = make_journal(tmp_path, SIZES)
    data = path.read_bytes()
    _, first, second, _ = ends(data)
    path.write_bytes(data[:first] + data[second:])
    with pytest.raises(JournalDamaged, match="command 3 must follow, not 4 to 5"):
        read_journal(tmp_path)


def test_a_batch_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (path,) = make_journal(tmp_path, SIZES)
    data = path.read_bytes()
    path.write_bytes(data + data[ends(data)[-2] :])
    with pytest.raises(JournalDamaged, match="command 6 must follow, not 4 to 5"):
        read_journal(tmp_path)


def test_a_segment_under_another_name_is_refused(tmp_path: Path) -> None:
    first, second, _ = make_journal(tmp_path, [1, 1, 1], segment_bytes=1)
    second.write_bytes(first.read_bytes())
    with pytest.raises(JournalDamaged, match="not with the one in its name"):
        read_journal(tmp_path)


def test_a_later_format_is_refused_naming_the_file_and_both_versions(tmp_path: Path) -> None:
    (path,) = make_journal(tmp_path, SIZES)
    header = header_bytes(Header(MAGIC, VERSION + 1, 1, bytes(8)))
    path.write_bytes(header + path.read_bytes()[HEADER_BYTES:])
    with pytest.raises(JournalTooNew) as refusal:
        read_journal(tmp_path)
    assert str(refusal.value) == f"{path} has journal format 2; this version of Outcry reads up to format 1"


def test_another_file_is_refused(tmp_path: Path) -> None:
    (path,) = make_journal(tmp_path, [])
    path.write_bytes(header_bytes(Header(b"OUTCRYE\n", VERSION, 1, bytes(8))))
    with pytest.raises(JournalDamaged, match="not a journal"):
        read_journal(tmp_path)


@pytest.mark.parametrize("space", [1, 27, 28, 4096])
def test_space_that_was_allocated_and_not_written_is_the_end_and_no_damage(tmp_path: Path, space: int) -> None:
    (path,) = make_journal(tmp_path, SIZES)
    path.write_bytes(path.read_bytes() + bytes(space))
    journal = Journal.open(tmp_path, durability=Durability.WRITE)
    journal.close()
    assert journal.torn_bytes == 0
    make_journal(tmp_path, [1])
    assert read_journal(tmp_path) == [*WHOLE, entry(6)]


def test_pages_that_reached_the_disk_before_the_frame_s_first_are_a_torn_tail(tmp_path: Path) -> None:
    (path,) = make_journal(tmp_path, SIZES)
    data = path.read_bytes()
    last = ends(data)[-2]
    path.write_bytes(data[:last] + bytes(40) + data[last + 40 :] + bytes(100))
    assert read_journal(tmp_path) == WITHOUT_LAST


def test_a_damaged_length_does_not_hide_what_follows(tmp_path: Path) -> None:
    (path,) = make_journal(tmp_path, SIZES)
    data = bytearray(path.read_bytes())
    second = ends(bytes(data))[1]
    struct.pack_into("<I", data, second + 8, 0)
    path.write_bytes(data)
    with pytest.raises(JournalDamaged, match="one follows at offset") as refusal:
        read_journal(tmp_path)
    assert refusal.value.offset == second


def test_bytes_that_a_client_chose_cannot_pass_for_a_later_batch(tmp_path: Path) -> None:
    """A frame for another file, inside a batch that was never finished: without the salt it would stop the start."""
    (path,) = make_journal(tmp_path, SIZES)
    forged = frame_bytes(0, 6, 6, ENCODER.encode([entry(6)]))
    path.write_bytes(path.read_bytes() + b"\xff\xd3OX" + bytes(20) + forged)
    assert read_journal(tmp_path) == WHOLE


@pytest.mark.parametrize("payload", [ENCODER.encode([entry(7)]), ENCODER.encode([]), ENCODER.encode([[6, 1, [99]]])])
def test_a_batch_that_holds_something_else_than_it_says_is_refused(tmp_path: Path, payload: bytes) -> None:
    (path,) = make_journal(tmp_path, SIZES)
    header = read_header(path.read_bytes())
    assert header is not None
    offset = path.stat().st_size
    with path.open("ab") as file:
        file.write(frame_bytes(header.seed, 6, 6, payload))
    with pytest.raises(JournalDamaged) as refusal:
        read_journal(tmp_path)
    assert refusal.value.offset == offset
