"""A server process: `python -m imagefs.mount.serve`, run by the keeper. Never by hand.

The keeper is watched before anything slow is imported: from the moment a server starts, one of the
two can die and the other one holds the mount.
"""

from __future__ import annotations

import importlib
import logging
import signal
import sys

from imagefs.mount.keepers import KeeperLink

_WITHOUT_FUSE = 4  # arguments


def run(argv: list[str]) -> int:
    """Serve what the keeper says; the exit status is 0 once it is unmounted."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s",
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if len(argv) == _WITHOUT_FUSE:  # no mount yet: import while the image is being found
        importlib.import_module("imagefs.mount.stored")
    keeper = KeeperLink.of(argv)
    if keeper is None:
        return 1
    keeper.watch()
    from imagefs.mount.server import main
    from imagefs.mount.stored import open_contents

    return main(keeper, open_contents)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
