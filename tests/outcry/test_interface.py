"""What users import: light, typed, and the same twice."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import outcry
from outcry import AsyncClient, Client
from outcry.async_client import Session as AsyncSession
from outcry.client import Session


def methods(kind: type) -> dict[str, inspect.Signature]:
    members = inspect.getmembers(kind, inspect.isfunction)
    return {name: inspect.signature(member) for name, member in members if not name.startswith("_")}


def plain(signature: inspect.Signature) -> str:
    """A signature without what must differ between the two."""
    text = re.sub(r"\b(Async)?Generator\[(.*?), None(, None)?\]", r"Generator[\2]", str(signature))
    return text.replace("AsyncIterator", "Iterator").replace("AsyncClient", "Client")


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    ours, theirs = methods(Client), methods(AsyncClient)
    assert {name: plain(signature) for name, signature in ours.items()} == {
        name: plain(signature) for name, signature in theirs.items()
    }
    assert len(ours) >= 20


def test_both_sessions_have_the_same_methods() -> None:
    assert set(methods(Session)) == set(methods(AsyncSession))


def test_importing_outcry_imports_no_grpc_until_it_is_used() -> None:
    code = "import sys, outcry; assert 'grpc' not in sys.modules; outcry.Client; assert 'grpc' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_that_is_promised_is_there() -> None:
    for name in outcry.__all__:
        assert getattr(outcry, name) is not None
    with pytest.raises(AttributeError):
        outcry.nothing  # noqa: B018
    assert (Path(outcry.__file__).parent / "py.typed").exists()
