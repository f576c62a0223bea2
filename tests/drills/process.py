"""Processes that are ended before a step in the file system, or whose disk is full from there on: each step in turn.

An end is kill -9, as a crash would be. A step is what Python's audit events tell of below a folder (opening for
writing, making, renaming, linking, removing), taking a lock, and a sync.
"""

import errno
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

TAKING = {"os.mkdir", "os.link"}
"""Steps for which a full disk has no room, as for opening to write and for a sync."""
STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "fcntl.flock"}
LIMIT = 60
"""Seconds after which a process counts as hanging."""
FAILED, HANGING = 70, 71


def fork() -> int:
    """Fork, though torch has threads: the child uses none of them, and Python warns of that from 3.12 on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def start(
    act: Callable[[], int], root: Path, before: int | None = None, log: Path | None = None, *, full: bool = False
) -> int:
    """Fork a process that acts and ends with what `act` returns.

    Args:
        act: What it does.
        root: Steps are counted below this folder.
        before: Number of the step before which it is killed; None: it is not.
        log: A file for the number of its steps and for a traceback.
        full: Whether it is not killed, but finds the disk full from that step on.

    Returns:
        Its process id.
    """
    process = fork()
    if process:
        return process
    signal.signal(signal.SIGALRM, lambda *_: os._exit(HANGING))
    signal.alarm(LIMIT)
    counter = _count(root, before, full=full)
    code = FAILED
    try:
        code = act()
        text = str(counter[0])
    except BaseException:
        text = traceback.format_exc()
    if log is not None:
        log.write_text(text)
    os._exit(code)


def wait(process: int) -> int:
    """Wait for a process; return how it ended, -9 where it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _count(root: Path, before: int | None, *, full: bool) -> list[int]:
    counter = [0]
    inside = f"{root}{os.sep}"

    def step(*, takes: bool = True) -> None:
        counter[0] += 1
        if before is None or counter[0] < before:
            return
        if not full:
            os.kill(os.getpid(), signal.SIGKILL)
        if takes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def hook(event: str, args: tuple) -> None:
        if event == "open":
            path, _, flags = args
            if str(path).startswith(inside) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                step()
        elif event in STEPS and (event == "fcntl.flock" or str(args[0]).startswith(inside)):
            step(takes=event in TAKING)

    sync = os.fsync

    def counted(descriptor: int) -> None:
        step()
        sync(descriptor)

    os.fsync = counted
    sys.addaudithook(hook)
    return counter
