"""The one writer of files and folders: whatever it makes is there whole or not at all, also after a power cut.

All is written under a temporary name beside its place and takes its name by one rename. Who writes holds a lock (flock)
on the temporary; the kernel drops it when the writer dies, so that whatever lies there unlocked is a stray of a dead
writer, on whichever host or in whichever container it ran, and the next writer in that folder sweeps it.
"""

import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".peftbench-"
UNLOCKABLE_AGE = 86400
"""Seconds after which a temporary is a stray on a file system that knows no locks."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file whole: yield a path to write to, which takes the place of `path` when the block ends well.

    A link stays, and its target is replaced. What is no regular file (a device, a pipe) is itself written to.
    """
    if _is_stream(path):
        yield path
        return
    target = Path(os.path.realpath(path))
    with _temporary(target.parent, is_folder=False) as temporary:
        yield temporary
        sync(temporary)
        os.replace(temporary, target)
        sync(target.parent)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Write a folder whole: yield a temporary one, which becomes `folder` when the block ends well.

    Raises:
        FileExistsError: There is such a folder, by now: who was first stays.
    """
    with temporary_folder(folder.parent) as temporary:
        yield temporary
        sync_whole(temporary)
        if os.path.lexists(folder):
            raise FileExistsError(errno.EEXIST, "it is there already", str(folder))
        temporary.rename(folder)
        sync(folder.parent)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Write a folder whole: yield a temporary one, which takes the place of `folder` when the block ends well."""
    with temporary_folder(folder.parent) as temporary:
        yield temporary
        sync_whole(temporary)
        move(temporary, folder)


@contextmanager
def temporary(parent: Path) -> Iterator[Path]:
    """Yield an empty file in `parent` that nobody sweeps; if it is still there when the block ends it is removed."""
    with _temporary(parent, is_folder=False) as path:
        yield path


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a folder in `parent` that nobody sweeps; what is left of it when the block ends is removed."""
    with _temporary(parent, is_folder=True) as temporary:
        yield temporary


def move(source: Path, target: Path) -> None:
    """Move a file or a folder that is whole to its place, and what was there out of the way first.

    Raises:
        OSError: It cannot be moved; the target is then as it was.
    """
    make_folder(target.parent)
    if target.is_dir() and not target.is_symlink():
        with temporary_folder(target.parent) as aside:
            target.rename(aside / target.name)
            try:
                _rename(source, target)
            except BaseException:
                (aside / target.name).rename(target)
                raise
    else:
        _rename(source, target)
    sync(target.parent)


def place(source: Path, target: Path) -> None:
    """Give a file that is whole its name, where nothing has that name.

    Raises:
        FileExistsError: Something has it, by now.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: there a file that comes up in this very moment is not seen
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "it is there already", str(target)) from None
        source.rename(target)
    source.unlink(missing_ok=True)
    sync(target.parent)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of what they do under the lock of this folder; they wait."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int, *, wait: bool = True) -> bool | None:
    """Lock an open file or folder until it is closed.

    Returns:
        Whether it could be had; None where the file system knows no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_at(path: Path, descriptor: int) -> bool:
    """Tell whether an open file still has this name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they are on the disk; one that is there stays."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written and not be listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot
            raise
    finally:
        os.close(descriptor)


def sync_whole(folder: Path) -> None:
    """Wait until a folder is on the disk with all that it holds."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            sync_whole(path)
        else:
            sync(path)
    sync(folder)


def sweep(folder: Path) -> None:
    """Remove what dead writers left in a folder."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(PREFIX):
                with suppress(OSError):
                    _sweep(Path(entry.path))


def _sweep(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        has_lock = lock(descriptor, wait=False)
        if has_lock is None:
            has_lock = time.time() - os.fstat(descriptor).st_mtime > UNLOCKABLE_AGE
        if has_lock:
            _remove(path)
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(parent: Path, *, is_folder: bool) -> Iterator[Path]:
    """Make a file or a folder that nobody else has or sweeps."""
    make_folder(parent)
    sweep(parent)
    path, descriptor = _made(parent, is_folder=is_folder)
    try:
        yield path
    finally:
        if os.path.lexists(path):
            _remove(path)
        os.close(descriptor)


def _made(parent: Path, *, is_folder: bool) -> tuple[Path, int]:
    """Make a temporary and lock it; again, where a sweeper came between the two."""
    while True:
        path = _unique(parent)
        if is_folder:
            path.mkdir()
        try:
            descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:
            if is_folder:
                continue
            raise
        lock(descriptor)
        if is_at(path, descriptor):
            return path, descriptor
        os.close(descriptor)


def _unique(parent: Path) -> Path:
    host = "".join(letter for letter in os.uname().nodename[:24] if letter.isascii() and letter.isalnum())
    return parent / f"{PREFIX}{host}-{os.getpid()}-{secrets.token_hex(6)}"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _rename(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_over(source, target)


def _copy_over(source: Path, target: Path) -> None:
    """Move to another file system: copy beside the target, and rename there."""
    if source.is_dir():
        with new_folder(target) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
    else:
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
    _remove(source)


def _is_stream(path: Path) -> bool:
    """Tell whether a path names something that bytes are written to, and that has no content to be replaced."""
    if not path.exists() or path.is_dir():
        return False
    return not stat.S_ISREG(path.stat().st_mode) or _is_descriptor(path)


def _is_descriptor(path: Path) -> bool:
    """Tell whether links lead to a file that this process has open, as /dev/stdout does: others go on writing there."""
    while path.is_symlink():
        if os.path.realpath(path.parent).startswith("/proc/"):
            return True
        path = path.parent / path.readlink()
    return False
