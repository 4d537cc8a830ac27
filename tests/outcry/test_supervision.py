"""Children that die, stay away or do not listen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from outcry import supervision
from outcry.supervision import Child, Ended, Lifeline, Supervisor
from tests.venues import until

SERVE = "print('ready grpc=here', flush=True); import os; os.read(int(os.environ['OUTCRY_LIFELINE_FD']), 1)"


@pytest.fixture
def lifeline() -> Iterator[Lifeline]:
    with Lifeline() as lifeline:
        yield lifeline


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(supervision, "LONGEST_WAIT_S", 0.02)


def child(name: str, code: str, logs: Path, lifeline: Lifeline) -> Child:
    return Child(name, lambda: ["-c", code], logs, lifeline)


async def test_a_child_that_ends_with_status_2_is_not_started_again(tmp_path: Path, lifeline: Lifeline) -> None:
    code = "import sys; print('noise', file=sys.stderr); print('--grpc is taken', file=sys.stderr); sys.exit(2)"
    with pytest.raises(Ended) as ended:
        await Supervisor([child("engine", code, tmp_path, lifeline)]).start()
    assert (str(ended.value), ended.value.status) == ("--grpc is taken", 2)


async def test_a_child_that_keeps_dying_at_its_start_is_given_up_with_its_last_words(
    tmp_path: Path, lifeline: Lifeline, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; print('no luck', file=sys.stderr); sys.exit(3)"
    with pytest.raises(Ended, match="the engine keeps dying at its start") as ended:
        await Supervisor([child("engine", code, tmp_path, lifeline)]).start()
    assert str(ended.value).endswith("no luck")
    assert ended.value.status == 1
    assert capsys.readouterr().err.count("the engine ended (status 3); starting it again") == 4
    assert (tmp_path / "engine.log").read_text().count("no luck") == 5


async def test_children_start_one_after_the_other_and_end_in_the_opposite_order(
    tmp_path: Path, lifeline: Lifeline
) -> None:
    order = tmp_path / "order"
    says = f"import signal,sys; log=open({str(order)!r},'a',buffering=1); log.write('NAME starts\\n');"
    says += "signal.signal(signal.SIGTERM, lambda *_: (log.write('NAME ends\\n'), sys.exit(0)));" + SERVE
    children = [child(name, says.replace("NAME", name), tmp_path, lifeline) for name in ("first", "second")]
    supervisor = Supervisor(children)
    await supervisor.start()
    assert children[0].ready == {"grpc": "here"}
    assert await supervisor.stop()
    assert order.read_text().splitlines() == ["first starts", "second starts", "second ends", "first ends"]


async def test_a_child_that_does_not_stop_is_killed(
    tmp_path: Path, lifeline: Lifeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "STOP_TIMEOUT_S", 0.1)
    deaf = child("deaf", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SERVE, tmp_path, lifeline)
    supervisor = Supervisor([deaf])
    await supervisor.start()
    assert not await supervisor.stop()
    assert deaf.process is not None
    assert deaf.process.returncode == -9


async def test_a_child_that_ends_while_it_serves_is_started_again(tmp_path: Path, lifeline: Lifeline) -> None:
    server = child("engine", SERVE, tmp_path, lifeline)
    supervisor = Supervisor([server])
    await supervisor.start()
    assert server.process is not None
    first = server.process
    first.kill()
    await until(lambda: server.process is not first and server.answers.is_set())
    await supervisor.stop()


async def test_a_child_never_sees_ctrl_c(tmp_path: Path, lifeline: Lifeline) -> None:
    code = "import signal; print(signal.pthread_sigmask(0, []), file=__import__('sys').stderr);" + SERVE
    supervisor = Supervisor([child("engine", code, tmp_path, lifeline)])
    await supervisor.start()
    await supervisor.stop()
    assert "SIGINT" in (tmp_path / "engine.log").read_text()


async def test_who_waits_long_for_a_child_is_told_for_which(
    tmp_path: Path, lifeline: Lifeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervision, "FIRST_NEWS_S", 0.01)
    go = tmp_path / "go"
    code = f"import os\nwhile not os.path.exists({str(go)!r}): pass\n{SERVE}"
    supervisor = Supervisor([child("bridge", code, tmp_path, lifeline)])
    starting = asyncio.create_task(supervisor.start())
    said: list[str] = []

    def heard() -> str:
        said.append(capsys.readouterr().err)
        return "".join(said)

    await until(lambda: "still" in heard())
    go.touch()
    await starting
    await supervisor.stop()
    told = f"outcry: still waiting for the bridge to serve; what it says is in {tmp_path / 'bridge.log'}\n"
    assert heard() == told


async def test_a_child_gets_the_environment_that_it_is_given(tmp_path: Path, lifeline: Lifeline) -> None:
    code = "import os, sys; print(os.environ['OUTCRY_ALLOW_PLAINTEXT'], file=sys.stderr);" + SERVE
    server = Child("bridge", lambda: ["-c", code], tmp_path, lifeline, {"OUTCRY_ALLOW_PLAINTEXT": "true"})
    supervisor = Supervisor([server])
    await supervisor.start()
    await supervisor.stop()
    assert (tmp_path / "bridge.log").read_text() == "true\n"


async def test_children_end_with_the_lifeline(tmp_path: Path) -> None:
    with Lifeline() as lifeline:
        server = child("engine", SERVE, tmp_path, lifeline)
        starting = asyncio.create_task(server.run())
        await asyncio.wait_for(server.answers.wait(), 20)
    assert await asyncio.wait_for(starting, 20) == 0
