"""The server of one mount: answers FUSE, and may die at any moment. Never mounts."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import trio

from imagefs.errors import ImagefsError
from imagefs.fuse import session
from imagefs.fuse.ops import ImageOps
from imagefs.fuse.reader import ContentReader
from imagefs.mount.config import Config
from imagefs.mount.keepers import KeeperLink
from imagefs.system.mounts import mounts, raise_read_ahead
from imagefs.tree import Tree
from imagefs.upper import Engine, Journal, Squash, UpperDir
from imagefs.upper.dialect import Dialect

log = logging.getLogger("imagefs.server")

READ_AHEAD_KIB = 1024
_SECRET_MAX = 1 << 16


@dataclass(frozen=True)
class Contents:
    """What a mount shows. `reader` is entered for as long as the server runs."""

    tree: Tree
    reader: AbstractAsyncContextManager[ContentReader]
    upper: UpperDir | None = None
    squash: Squash | None = None
    dialect: Dialect | None = None
    journal: bool = True


Opener = Callable[[str, bytes | None], Contents]
"""From what the server is told, and a secret, to what it serves. Raises ImagefsError."""


def main(keeper: KeeperLink, opener: Opener) -> int:
    """Serve until unmounted; the exit status is 0 then."""
    try:
        trio.run(_serve, keeper, opener)
    except session.Gone:
        pass
    except ImagefsError as error:
        log.error("%s", error)
        keeper.say(f"error {error}")
        return 1
    except BaseException as error:
        log.exception("the server ends")
        keeper.say(f"error the file system server failed: {error!r}; see {keeper.run}/log")
        return 1
    keeper.say("bye")
    return 0


def _secret(held: tuple[int, ...]) -> bytes | None:
    return os.pread(held[1], _SECRET_MAX, 0) if len(held) > 1 else None


async def _serve(keeper: KeeperLink, opener: Opener) -> None:
    run, fuse_fd = keeper.run, keeper.held[0]
    config = Config.read(run)
    contents = opener(config.told, _secret(keeper.held))
    journal = None
    if contents.upper is not None:
        journal = Journal(run / "journal", enabled=contents.journal)
    engine = Engine(contents.tree, contents.upper, journal, contents.squash, contents.dialect)
    resumed = (run / "init").exists()
    init_request = session.read_init(fuse_fd, run / "init")
    if resumed:
        pending = session.drain(fuse_fd)
        engine.resume(pending.resent, pending.forgets)
        log.info("took over: %d requests wait again", len(pending.resent))
    else:
        engine.begin()
    attachment = session.Attachment(fuse_fd, init_request)
    async with contents.reader as reader, trio.open_nursery() as nursery:
        upper = contents.upper.upper if contents.upper else None
        ops = ImageOps(engine, reader, upper, attachment.attach)
        nursery.start_soon(_announce, attachment, keeper, config)
        await session.serve(ops, attachment, journal)
        nursery.cancel_scope.cancel()
    engine.close()


async def _announce(attachment: session.Attachment, keeper: KeeperLink, config: Config) -> None:
    """Once INIT is answered a first look-up works."""
    await attachment.attached.wait()
    for mount in mounts():
        if mount.source == os.fsencode(config.source):
            raise_read_ahead(mount.device, READ_AHEAD_KIB)
    keeper.say("ready")
