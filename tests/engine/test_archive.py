"""Archives: closed orders that came out of a snapshot are known, listed, counted and forgotten like live ones."""

from __future__ import annotations

from zlib import crc32

import pytest

from engine.archive import EMPTY, FILTER_BYTES, Archive, name_filter
from engine.commands import PutVenue
from engine.snapshot import restore, snapshot
from tests.engine.desk import ANN, BOB, IOC, Desk, reason

KEPT = 10


def restored(desk: Desk) -> Desk:
    desk.exchange = restore(b"".join(snapshot(desk.exchange)))
    return desk


def closed_desk(count: int, kept: int = 100_000) -> Desk:
    """ANN has closed orders 1 to `count`, named n1, n2 ...; they ended in that order, and came out of a snapshot."""
    desk = Desk(kept=kept)
    for number in range(1, count + 1):
        desk.buy(ANN, 1, number, tif=IOC, named=f"n{number}")
    return restored(desk)


def archive(desk: Desk) -> Archive | None:
    return desk.exchange.accounts[ANN].archive


def ids(desk: Desk, **more: object) -> list[int]:
    return [view.order_id for view in desk.exchange.orders(ANN, include_closed=True, **more)[0]]  # type: ignore[arg-type]


def test_closed_orders_are_not_made_live_at_a_start() -> None:
    desk = closed_desk(5)
    account = desk.exchange.accounts[ANN]
    assert not account.orders
    assert not account.closed
    assert not account.history
    assert len(account.archive or ()) == 5


def test_an_account_without_closed_orders_has_no_archive() -> None:
    desk = Desk()
    desk.buy(ANN, 1, 100)
    assert archive(restored(desk)) is None


def test_an_archived_order_sent_again_gives_its_first_outcome_and_other_content_is_refused() -> None:
    desk = Desk()
    desk.sell(BOB, 2, 100)
    first = desk.buy(ANN, 3, 100, tif=IOC, named="again")
    restored(desk)
    twice = desk.buy(ANN, 3, 100, tif=IOC, named="again", attempt=2)
    assert (twice.duplicate, twice.order_id, twice.fills, twice.journal_seq) == (
        True,
        2,
        first.fills,
        first.journal_seq,
    )
    assert reason(desk.buy(ANN, 4, 100, tif=IOC, named="again")) == "DUPLICATE_CLIENT_ORDER_ID"
    assert desk.buy(BOB, 4, 1, tif=IOC, named="again").order_id == 3


def test_an_archived_order_is_found_by_either_name_and_can_be_neither_cancelled_nor_replaced() -> None:
    desk = Desk()
    desk.sell(BOB, 2, 100)
    desk.buy(ANN, 2, 100, named="full")
    desk.buy(ANN, 1, 99, tif=IOC, named="gone")
    before = [desk.exchange.order(ANN, number) for number in (2, 3)]
    restored(desk)
    assert [desk.exchange.order(ANN, number) for number in (2, 3)] == before
    assert [desk.exchange.order(ANN, 0, name) for name in ("full", "gone")] == before
    for named, because in (("full", "already_filled"), ("gone", "already_cancelled"), ("never", "not_found")):
        refusal = desk.cancel(ANN, named=named).refusal
        assert refusal is not None
        assert refusal.texts["reason"] == because
    assert reason(desk.replace(ANN, 3, 5)) == "REPLACE_FAILED"
    assert desk.exchange.order(ANN, 1) is None  # BOB's
    assert desk.exchange.order(ANN, 4) is None


def test_orders_without_a_client_order_id_are_archived_and_never_taken_for_each_other() -> None:
    desk = Desk()
    size = 21 * FILTER_BYTES * 8
    shares_their_bit = next(name for name in map(str, range(100_000)) if crc32(name.encode()) % size == crc32(b""))
    for number in range(21):
        desk.buy(ANN, 1, 100, tif=IOC, named="" if number else shares_their_bit)
    restored(desk)
    assert ids(desk) == list(range(1, 22))
    assert desk.exchange.order(ANN, 0, "") is None
    assert desk.buy(ANN, 1, 100, tif=IOC).order_id == 22
    assert bytes(name_filter([b"", b""])).count(0) == 2 * FILTER_BYTES


def test_pages_join_archived_and_live_orders_by_id() -> None:
    desk = Desk()
    for number in range(1, 10):
        desk.buy(ANN, 1, 100 - number, on="AAPL" if number % 3 == 0 else "SPX")
    for number in (7, 2, 6, 4):
        desk.cancel(ANN, number)
    restored(desk)
    desk.cancel(ANN, 8)
    desk.buy(ANN, 1, 50)
    assert ids(desk) == list(range(1, 11))
    assert ids(desk, after_order_id=3, limit=4) == [4, 5, 6, 7]
    assert ids(desk, instrument_id="AAPL") == [3, 6, 9]
    assert [view.order_id for view in desk.exchange.orders(ANN)[0]] == [1, 3, 5, 9, 10]
    assert desk.exchange.orders(ANN, True, "", 7, 3)[1] is False
    assert desk.exchange.orders(ANN, True, "", 6, 3)[1] is True


def test_the_oldest_are_forgotten_first_and_their_client_order_ids_are_free_again() -> None:
    desk = closed_desk(KEPT, kept=KEPT)
    desk.buy(ANN, 1, 100, tif=IOC, named="new")
    assert ids(desk) == [*range(2, 11), 11]
    assert not desk.exchange.is_known(ANN, "n1")
    assert desk.exchange.order(ANN, 1) is None
    assert desk.buy(ANN, 7, 7, tif=IOC, named="n1").order_id == 12
    assert desk.exchange.is_known(ANN, "n3")
    assert not desk.exchange.is_known(ANN, "n2")


def test_fewer_kept_orders_shorten_an_archive_and_one_that_is_empty_goes() -> None:
    desk, live = closed_desk(KEPT), Desk()
    for number in range(1, KEPT + 1):
        live.buy(ANN, 1, number, tif=IOC, named=f"n{number}")
    for kept, left in ((12, 10), (4, 4), (9, 4)):
        for each in (desk, live):
            each.do(PutVenue("open", kept))
        assert len(archive(desk) or ()) == left
        assert ids(desk) == ids(live) == list(range(11 - left, 11))
        assert desk.exchange.digest() == live.exchange.digest()
        assert b"".join(snapshot(desk.exchange)) == b"".join(snapshot(live.exchange))
    for each in (desk, live):
        each.do(PutVenue("open", 0))
    assert archive(desk) is None
    assert ids(desk) == ids(live) == []
    assert desk.exchange.digest() == live.exchange.digest()


def test_a_second_snapshot_has_what_is_still_kept_of_the_first_and_what_closed_since() -> None:
    desk, live = closed_desk(KEPT, kept=KEPT), Desk(kept=KEPT)
    for number in range(1, KEPT + 1):
        live.buy(ANN, 1, number, tif=IOC, named=f"n{number}")
    for each in (desk, live):
        for number in range(11, 15):
            each.buy(ANN, 1, number, tif=IOC, named=f"n{number}")
    restored(desk)
    account = desk.exchange.accounts[ANN]
    assert account.archive is not None
    assert (len(account.archive), account.archive.first, len(account.closed)) == (KEPT, 0, 0)
    assert ids(desk) == list(range(5, 15))
    assert [desk.exchange.is_known(ANN, f"n{number}") for number in (4, 5, 14)] == [False, True, True]
    assert desk.exchange.digest() == live.exchange.digest()
    assert b"".join(snapshot(desk.exchange)) == b"".join(snapshot(live.exchange))


def test_names_that_pass_the_filter_are_told_apart() -> None:
    desk = closed_desk(3)
    size = 3 * FILTER_BYTES * 8
    taken = {crc32(f"n{number}".encode()) % size for number in (1, 2, 3)}
    passing = [
        name
        for name in (f"{letter}{number}" for letter in "mx" for number in range(10_000))
        if crc32(name.encode()) % size in taken
    ]
    assert len(passing) > 100
    assert not any(desk.exchange.is_known(ANN, name) for name in passing)
    assert all(desk.exchange.is_known(ANN, name) for name in ("n1", "n2", "n3"))


def test_client_order_ids_of_any_letters_are_found() -> None:
    names = ["é", "e", "ee", "日本", "z" * 200, "\U0001f600", " ", "é "]
    desk = Desk()
    for name in names:
        desk.buy(ANN, 1, 100, tif=IOC, named=name)
    restored(desk)
    assert [desk.buy(ANN, 1, 100, tif=IOC, named=name).duplicate for name in names] == [True] * len(names)


def test_parts_that_do_not_fit_together_are_no_archive() -> None:
    parts = (archive(closed_desk(3)) or EMPTY).parts()
    assert len(Archive.of(parts)) == 3
    *others, by_name, passing = parts
    wrong = [[*parts[:at], *parts[at + 1 :]] for at in range(len(parts))]
    wrong += [[*others[:at], part[:-8], *others[at + 1 :], by_name, passing] for at, part in enumerate(others)]
    wrong += [[*others, by_name, passing[:0]], [*others, memoryview(bytes(16)), passing]]
    wrong += [[*others[:-2], others[-2][:16], others[-1][:8], by_name[:8], passing]]
    for each in wrong:
        with pytest.raises(ValueError):  # noqa: PT011
            Archive.of(each)
