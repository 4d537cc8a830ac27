"""A loss of power takes nothing that was acknowledged: an ext4 of its own is shut down under the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experiments.crowd import Crowd
from tests.experiments.lives import HANG_S, ORDERS, Lives
from tests.venues import until

SIZE = 256 << 20
TOOLS = ("mkfs.ext4", "mount", "umount", "xfs_io")


class PowerSwitch:
    """A file system in a file. `cut` stops it without writing anything back; `restore` mounts it again."""

    def __init__(self, folder: Path) -> None:
        self.image, self.mounted = folder / "image", folder / "mounted"
        self.mounted.mkdir()
        with self.image.open("wb") as file:
            file.truncate(SIZE)
        run("mkfs.ext4", "-q", str(self.image))
        self.restore()

    def restore(self) -> None:
        run("mount", "-o", "loop", str(self.image), str(self.mounted))

    def cut(self) -> None:
        run("xfs_io", "-x", "-c", "shutdown", str(self.mounted))

    def unmount(self) -> None:
        run("umount", str(self.mounted))


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=HANG_S)


@pytest.fixture
def power(tmp_path: Path) -> Iterator[PowerSwitch]:
    if os.geteuid() or not all(map(shutil.which, TOOLS)):
        pytest.skip("needs root, and mkfs.ext4 and xfs_io of e2fsprogs and xfsprogs")
    try:
        switch = PowerSwitch(tmp_path)
    except subprocess.CalledProcessError as problem:
        pytest.skip(f"needs to mount an image: {problem.stderr.decode().strip()}")
    yield switch
    switch.unmount()


async def through_a_power_cut(power: PowerSwitch, crowd: Crowd, lives: Lives) -> None:
    run("sync", "-f", str(power.mounted))  # what the first life left is not what this is about
    engine = await lives.begun()
    enough = crowd.answered + ORDERS
    await until(lambda: crowd.answered >= enough, HANG_S)
    power.cut()
    engine.kill()
    engine.stop()
    power.unmount()
    power.restore()
    await lives.last(crowd)


@pytest.mark.timeout(240)
async def test_every_acknowledged_order_survives_a_loss_of_power(power: PowerSwitch) -> None:
    lives = Lives(power.mounted / "data", "--durability", "fsync", "--snapshot-every", "100")
    async with lives.crowd(3) as crowd:
        await through_a_power_cut(power, crowd, lives)


@pytest.mark.timeout(240)
async def test_without_syncs_a_loss_of_power_is_seen_to_lose_orders(power: PowerSwitch) -> None:
    """`write` promises no more than to survive the process."""
    lives = Lives(power.mounted / "data", "--durability", "write", "--snapshot-every", "0", module="gateway")
    async with lives.crowd(3) as crowd:
        with pytest.raises((AssertionError, RuntimeError), match=r"lost|did not start|executed twice"):
            await through_a_power_cut(power, crowd, lives)
