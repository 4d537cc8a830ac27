"""`outcry replay` against a real engine: what is right is told apart from what is not, by exit status and by name."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outcry import Client
from tests.venues import EngineProcess, engine_process

DIFFERENT, FAILED = 1, 2
REAL_DAY_TIMEOUT_S = 300

SELL, BUY = -1, 1
COMMANDS = [
    (-1, "SEED", 11, SELL, 1001000, 100),
    (-1, "SEED", -1, SELL, 1001000, 30),
    (-1, "SEED", 12, BUY, 1000000, 50),
    (0, "ADD", 13, BUY, 999900, 10),
    (1, "HIT", 11, SELL, 1001000, 40),
    (3, "REDUCE", 12, BUY, 1000000, 20),
    (4, "HIT", 11, SELL, 1001000, 60),
    (5, "TAKE", -1, SELL, 1001000, 10),
    (6, "HIT", -1, SELL, 1001000, 20),
    (7, "DROP", 13, BUY, 999900, 10),
    (7, "SEED", 13, BUY, 999800, 5),
    (8, "HIT", 12, BUY, 1000000, 5),
    (9, "CANCEL", 12, BUY, 1000000, 25),
]
NO_ASK, NO_BID = (9999999999, 0), (-9999999999, 0)
BOOKS = [  # ask, bid, second ask, second bid
    [(1001000, 130), (1000000, 50), NO_ASK, (999900, 10)],
    [(1001000, 90), (1000000, 50), NO_ASK, (999900, 10)],
    [(1001000, 90), (1000000, 50), NO_ASK, (999900, 10)],  # nothing was to be seen
    [(1001000, 90), (1000000, 30), NO_ASK, (999900, 10)],
    [(1001000, 30), (1000000, 30), NO_ASK, (999900, 10)],
    [(1001000, 20), (1000000, 30), NO_ASK, (999900, 10)],
    [NO_ASK, (1000000, 30), NO_ASK, (999900, 10)],
    [NO_ASK, (1000000, 30), NO_ASK, (999800, 5)],
    [NO_ASK, (1000000, 25), NO_ASK, (999800, 5)],
    [NO_ASK, (999800, 5), NO_ASK, NO_BID],
]


class Day:
    """The hand-made day on disk, to be spoilt line by line."""

    def __init__(self, folder: Path) -> None:
        self.commands = folder / "commands.csv.gz"
        self.book = folder / "book.csv.gz"
        self.write(COMMANDS, BOOKS)

    def write(self, commands: list[tuple[int, str, int, int, int, int]], books: list[list[tuple[int, int]]]) -> None:
        lines = ["row,op,id,side,price,quantity", *(",".join(map(str, command)) for command in commands)]
        self.commands.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
        rows = [",".join(str(number) for level in book for number in level) for book in books]
        self.book.write_bytes(gzip.compress("".join(f"{row}\n" for row in rows).encode()))


@pytest.fixture
def day(tmp_path: Path) -> Day:
    return Day(tmp_path)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    with engine_process(tmp_path_factory.mktemp("replay") / "data", "--durability", "write") as process:
        yield process


def outcry_replay(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTCRY_")}
    return subprocess.run(
        [sys.executable, "-m", "outcry", "replay", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**environment, "COLUMNS": "200", **variables},
        timeout=REAL_DAY_TIMEOUT_S,
    )


def replayed(engine: EngineProcess, day: Day, *options: str, book: bool = True) -> subprocess.CompletedProcess[str]:
    at_engine = ["--instrument", "TINY", "--grpc", engine.address, "--api-key", engine.operator_key]
    compared = ["--book", str(day.book)] if book else []
    return outcry_replay(day.commands, *compared, *at_engine, *options)


def test_a_day_that_was_recorded_right_replays_exactly_and_can_be_replayed_again(
    engine: EngineProcess, day: Day
) -> None:
    for _ in range(2):
        done = replayed(engine, day)
        assert done.returncode == 0, done.stderr
        assert "rows equal 10 of 10" in " ".join(done.stdout.split())
        assert "makers equal 4 of 4" in " ".join(done.stdout.split())
        assert "instructions accepted 13 of 13" in " ".join(done.stdout.split())


def test_batches_of_one_instruction_give_the_same_day(engine: EngineProcess, day: Day) -> None:
    assert replayed(engine, day, "--batch", "1").returncode == 0


def test_the_book_is_empty_after_a_replay(engine: EngineProcess, day: Day) -> None:
    assert replayed(engine, day, "--limit-rows", "4").returncode == 0
    with Client(engine.address) as client:
        book = client.order_book("TINY")
    assert (book.bids, book.asks) == ((), ())


def test_rows_beyond_the_limit_are_not_played(engine: EngineProcess, day: Day) -> None:
    done = replayed(engine, day, "--limit-rows", "2")
    assert "rows equal 2 of 2" in " ".join(done.stdout.split())
    assert "makers equal 1 of 1" in " ".join(done.stdout.split())


def test_without_a_book_file_the_makers_are_compared_all_the_same(engine: EngineProcess, day: Day) -> None:
    done = replayed(engine, day, book=False)
    assert done.returncode == 0, done.stderr
    assert "rows equal not compared" in " ".join(done.stdout.split())
    assert "makers equal 4 of 4" in " ".join(done.stdout.split())


def test_a_wrong_quantity_in_the_book_is_named_with_its_row_and_level(engine: EngineProcess, day: Day) -> None:
    books = [*BOOKS[:3], [(1001000, 90), (1000000, 30), NO_ASK, (999900, 11)], *BOOKS[4:]]
    day.write(COMMANDS, books)
    done = replayed(engine, day)
    assert done.returncode == DIFFERENT
    assert "row 3, bid level 2: expected 11 at 999900, got 10 at 999900" in done.stdout
    assert "rows equal 9 of 10" in " ".join(done.stdout.split())


def test_a_level_too_many_in_the_book_is_named(engine: EngineProcess, day: Day) -> None:
    day.write(COMMANDS, [*BOOKS[:9], [NO_ASK, (999800, 5), NO_ASK, (999700, 1)]])
    done = replayed(engine, day)
    assert done.returncode == DIFFERENT
    assert "row 9, bid level 2: expected 1 at 999700, got empty" in done.stdout


def test_a_wrong_maker_is_named_with_its_row(engine: EngineProcess, day: Day) -> None:
    """The order that came second at the price is not the one that is hit."""
    jumped = [*COMMANDS[:4], (1, "HIT", -1, SELL, 1001000, 20)]
    day.write(jumped, [BOOKS[0], [(1001000, 110), *BOOKS[1][1:]]])
    done = replayed(engine, day)
    assert done.returncode == DIFFERENT
    assert "row 1, maker: expected 20 of -1, got 20 of 11" in done.stdout
    assert "rows equal 2 of 2" in " ".join(done.stdout.split())
    assert "makers equal 0 of 1" in " ".join(done.stdout.split())


def test_a_hit_that_meets_nobody_is_named(engine: EngineProcess, day: Day) -> None:
    day.write([*COMMANDS[:4], (1, "HIT", 11, SELL, 1000900, 20)], [BOOKS[0], BOOKS[0]])
    done = replayed(engine, day)
    assert done.returncode == DIFFERENT
    assert "row 1, maker: expected 20 of 11, got no trade" in done.stdout


def test_a_refused_instruction_is_named_with_the_reason(engine: EngineProcess, day: Day) -> None:
    day.write([*COMMANDS[:4], (1, "ADD", 14, BUY, -5, 10)], [BOOKS[0], BOOKS[0]])
    done = replayed(engine, day)
    assert done.returncode == DIFFERENT
    assert "row 1, instruction: expected accepted, got INVALID_PRICE" in done.stdout


def test_an_instrument_in_use_is_refused_and_left_as_it_was(engine: EngineProcess, day: Day) -> None:
    with Client(engine.address, engine.operator_key) as operator:
        operator.put_instrument("BUSY", tick_size="0.01", lot_size=1, quote_asset="USD")
        operator.with_key(operator.register("somebody").api_key).buy("BUSY", 1, "10.00")
        done = replayed(engine, day, "--instrument", "BUSY")
        assert done.returncode == FAILED
        assert "the book of BUSY is not empty" in done.stderr
        assert len(operator.order_book("BUSY").bids) == 1


def test_an_instrument_that_settles_in_cash_is_refused(engine: EngineProcess, day: Day) -> None:
    done = replayed(engine, day, "--instrument", "AAPL")
    assert done.returncode == FAILED
    assert "AAPL settles in cash" in done.stderr


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ([*COMMANDS[:4], (1, "SWAP", 11, SELL, 1001000, 40)], "line 6: not a command"),
        ([*COMMANDS[:4], (1, "CANCEL", 99, SELL, 1001000, 40)], "row 1: CANCEL of order 99, which does not rest"),
        ([*COMMANDS[:4], (1, "HIT", 11, SELL, 1001000, 101)], "row 1: HIT takes more than is left of order 11"),
        ([*COMMANDS[:4], (-1, "SEED", 15, SELL, 1001000, 1)], "line 6: row -1 comes after row 0"),
        ([*COMMANDS, (10, "ADD", 15, BUY, 999000, 1)], "ends before row 10"),
    ],
)
def test_a_file_that_does_not_fit_its_format_is_told_and_nothing_stays_behind(
    engine: EngineProcess, day: Day, spoilt: list[tuple[int, str, int, int, int, int]], words: str
) -> None:
    day.write(spoilt, BOOKS)
    done = replayed(engine, day)
    assert done.returncode == FAILED
    assert words in done.stderr
    with Client(engine.address) as client:
        assert client.order_book("TINY").bids == ()


def cut_short(day: Day) -> None:
    day.commands.write_bytes(day.commands.read_bytes()[:-20])


def not_gzipped(day: Day) -> None:
    day.commands.write_text("row,op,id,side,price,quantity\n")


def not_ascii(day: Day) -> None:
    day.commands.write_bytes(gzip.compress(b"row,op,id,side,price,quantity\n\xff\n"))


@pytest.mark.parametrize("spoil", [cut_short, not_gzipped, not_ascii])
def test_a_file_that_cannot_be_read_is_told_by_name(
    engine: EngineProcess, day: Day, spoil: Callable[[Day], None]
) -> None:
    spoil(day)
    done = replayed(engine, day)
    assert done.returncode == FAILED
    assert f"{day.commands} cannot be read" in done.stderr


def test_a_row_of_the_book_with_half_a_level_is_told(engine: EngineProcess, day: Day) -> None:
    day.book.write_bytes(gzip.compress(gzip.decompress(day.book.read_bytes()) + b"1001000,130,1000000\n"))
    done = replayed(engine, day)
    assert done.returncode == FAILED
    assert "not a row of a book: 1001000,130,1000000" in done.stderr


def test_an_engine_of_its_own_has_nothing_of_the_user_s_settings(day: Day, tmp_path: Path) -> None:
    roots = tmp_path / "ca.pem"
    roots.write_text("of another engine")
    settings = {"OUTCRY_VENUE": "nowhere.toml", "OUTCRY_TLS_KEY": "nowhere.pem", "OUTCRY_TLS_CA": str(roots)}
    done = outcry_replay(day.commands, "--book", day.book, "--instrument", "TINY", **settings)
    assert done.returncode == 0, done.stderr


def test_roots_that_are_not_there_are_told_in_one_line(day: Day) -> None:
    done = outcry_replay(day.commands, "--instrument", "TINY", "--tls-ca", "nowhere.pem")
    assert done.returncode == FAILED
    assert "nowhere.pem" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_key_and_a_wrong_address_are_told_in_one_line(engine: EngineProcess, day: Day) -> None:
    somewhere = ["--instrument", "TINY", "--grpc", engine.address]
    assert "UNAUTHENTICATED" in outcry_replay(day.commands, *somewhere, "--api-key", "wrong").stderr
    nowhere = outcry_replay(day.commands, "--instrument", "TINY", "--grpc", "127.0.0.1:1", "--api-key", "any")
    assert nowhere.returncode == FAILED
    assert "UNAVAILABLE" in nowhere.stderr
    assert "go together" in outcry_replay(day.commands, *somewhere).stderr


async def test_a_replay_is_exact_while_another_market_is_live(engine: EngineProcess, day: Day) -> None:
    with Client(engine.address, engine.operator_key) as operator:
        operator.put_instrument("LIVE", tick_size="0.01", lot_size=1, quote_asset="USD")
        bot = operator.with_key(operator.register("bot").api_key)
        replaying = asyncio.create_task(asyncio.to_thread(replayed, engine, day))
        trades = 0
        while not replaying.done():
            await asyncio.to_thread(bot.sell, "LIVE", 1, "10.00")
            trades += len((await asyncio.to_thread(bot.buy, "LIVE", 1, "10.00")).fills)
    assert (await replaying).returncode == 0
    assert trades > 0


def real_day() -> Path:
    default = Path(__file__).parents[2] / "../shared/data"
    return Path(os.environ.get("OUTCRY_SHARED_DATA", default)) / "nasdaq-goog-2012-06-21"


@pytest.mark.timeout(REAL_DAY_TIMEOUT_S)
def test_the_real_day_gives_the_venue_s_own_book_and_makers_through_an_engine_of_its_own() -> None:
    folder = real_day()
    if not folder.is_dir():
        words = "the recorded day is not there: OUTCRY_SHARED_DATA names the folder that holds it"
        assert os.environ.get("OUTCRY_REQUIRE_DATA") != "1", words
        pytest.skip(words)
    done = outcry_replay(folder / "commands.csv.gz", "--book", folder / "book.csv.gz", "--instrument", "GOOG")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rows equal 147,916 of 147,916" in " ".join(done.stdout.split())
    assert "makers equal 7,760 of 7,760" in " ".join(done.stdout.split())
