"""Whatever a handler raises, pyfuse3 sees a FUSEError; see guard.py."""

from __future__ import annotations

import errno

import pytest
from pyfuse3 import FUSEError

from imagefs.errors import NotFoundError
from imagefs.fuse.guard import Guarded


class _Raises(Guarded):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        raise self.error

    async def forget(self, inode_list: object) -> None:
        raise self.error


async def _code(error: BaseException) -> int:
    with pytest.raises(FUSEError) as caught:
        await _Raises(error).fsyncdir(1, False)
    return int(caught.value.errno)


async def test_oserror_keeps_its_errno() -> None:
    assert await _code(OSError(errno.ENOSPC, "full")) == errno.ENOSPC
    assert await _code(FUSEError(errno.EPERM)) == errno.EPERM
    assert await _code(OSError("no number")) == errno.EIO


@pytest.mark.expects_warnings
async def test_our_errors_are_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    assert await _code(NotFoundError("no such layer")) == errno.ENOENT
    assert "no such layer" in caplog.text


@pytest.mark.expects_warnings
async def test_anything_else_is_eio_with_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    assert await _code(ZeroDivisionError("oops")) == errno.EIO
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.expects_warnings
async def test_forget_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    await _Raises(OSError(errno.EIO, "gone")).forget([(1, 1)])
    assert "forget" in caplog.text
