"""One `outcry up` for all the documents' bots, and fresh accounts for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from tests.documents.bots import Account, Up

Register = Callable[[], Account]


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("documents"))
    yield running
    running.stop()


@pytest.fixture
def register(exchange: Up) -> Iterator[Register]:
    """Opens accounts; when the test is over, nothing of theirs rests any more."""
    accounts: list[Account] = []
    names = (f"team {number}" for number in count(1))

    def opened() -> Account:
        accounts.append(Account(exchange.base_url, next(names)))
        return accounts[-1]

    yield opened
    for account in accounts:
        account.leave()


@pytest.fixture
def bot(register: Register) -> Account:
    """The account that the sample trades with."""
    return register()


@pytest.fixture
def other(register: Register) -> Account:
    """Its counterparty."""
    return register()
