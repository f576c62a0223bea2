"""Records in an object store, at any address that fsspec opens: s3://bucket/results, gs://..., memory://...

There are no renames and no locks there: what belongs to a record is uploaded first, under names that hold a key of its
content, so that two writers are not in each other's way; then the record itself, by a put that is refused where one is
there. A copy of the records in the user's cache is what is read; it is compared with the listing, by size and by what
the store calls a version, each time.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from peftbench.errors import PeftbenchError, RecordError
from peftbench.store import cache, digest, files
from peftbench.store.local import Local
from peftbench.store.packed import FILES
from peftbench.store.place import url
from peftbench.store.record import Record

EXTRAS = {"s3": "peftbench[s3]", "s3a": "peftbench[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""Scheme -> what is installed for it."""
VERSION = ("size", "ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "updated", "created")
"""What listings have of a file, in one store or another, that changes with it."""
NAME = re.compile(r"\w[\w.-]*")
"""Of files that are read: those that stand for others (*, ?) are nobody's."""
BATCH = 1000
"""Records that are brought at once."""
LISTING, ADDRESS = "listing.json", "address"
"""Files of the copy: what was listed when it was made, and what it is a copy of."""
CLOSED = "check the address, the network and your access to it"


def opened(root: str | Path) -> "Local | Remote":
    """Open a results folder by its path or its address; the copy of an address stands for it, in other processes too.

    Raises:
        RecordError: It has an address that cannot be opened.
    """
    address, home = url(root), cache.folder("results")
    if address is None and home is not None and Path(root).absolute().parent == home:
        with suppress(OSError, ValueError):
            address = (Path(root) / ADDRESS).read_text(encoding="utf-8")
    return Local(Path(root)) if address is None else Remote(address)


class Remote:
    """Records at an address, and their copy in the user's cache; see `place.Place`.

    Args:
        address: As `place.url` returns it.

    Attributes:
        address: The same, without a password.

    Raises:
        RecordError: Nothing is known that opens such addresses, or there is no cache.
    """

    def __init__(self, address: str) -> None:
        home = cache.folder("results")
        if home is None:
            raise RecordError(f"'{address}' needs a cache folder", hint="set XDG_CACHE_HOME to an absolute path")
        self.address = _shown(address)
        self.folder = home / hashlib.sha256(address.encode()).hexdigest()[:16]
        self._copy = Local(self.folder)
        self._fs, self._base = _file_system(address)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # an address may hold a password
            _write(self.folder / ADDRESS, address.encode())
        except OSError as error:
            message = f"cannot write '{self.folder}', the copy of '{self.address}': {error.strerror}"
            raise RecordError(message, hint="set XDG_CACHE_HOME to a folder that you may write") from None
        self._has_packs = self._is_probed = False

    @property
    def claims(self) -> "RemoteNotes":
        """Who is at work on which cell, on whichever machine."""
        return RemoteNotes(self._fs, f"{self._base}/claims")

    def check_writable(self) -> None:
        """Write one file twice, once for each store: the second time must be refused.

        Raises:
            RecordError: It cannot be written; or it is written twice, and so does not tell who is first.
        """
        self._copy.check_writable()
        if self._is_probed:
            return
        path = f"{self._base}/{files.PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
        with self._speaking("written"):
            self._fs.pipe_file(path, b"probe", mode="create")
            try:
                self._fs.pipe_file(path, b"probe", mode="create")
            except FileExistsError:
                self._is_probed = True
            finally:
                self._fs.rm_file(path)
        if not self._is_probed:
            message = (
                f"'{self.address}' ignores conditional writes: of two runs of one cell nobody could tell the first"
            )
            raise RecordError(message, hint="another object store; or a local folder, copied there when it is done")

    def settle(self) -> None:
        """Bring records and packs that are new or changed into the copy, and remove those that are gone."""
        self._copy.settle()
        self._settle_packs()
        before = _listing(self.folder / LISTING)
        listed = self._listed("records", ".json")
        copied = {path.name for path in self._record("").glob("*.json")}
        wanted = [name for name in listed if listed[name] != before.get(name) or name not in copied]
        for start in range(0, len(wanted), BATCH):
            self._bring_records(wanted[start : start + BATCH])
        for name in copied - listed.keys():
            self._record(name).unlink(missing_ok=True)
        if listed != before:
            with self._speaking("copied"):
                _write(self.folder / LISTING, json.dumps(listed).encode())

    def _bring_records(self, names: Sequence[str]) -> None:
        """Bring records into the copy, several at once; those that went away since they were listed are left out."""
        with self._speaking("read"):
            contents = self._fs.cat([f"{self._base}/records/{name}" for name in names], on_error="return")
            for path, content in contents.items():
                if isinstance(content, bytes):
                    _write(self._record(path.rpartition("/")[2]), content)
                elif not isinstance(content, FileNotFoundError):
                    raise content

    def settle_record(self, record_id: str) -> None:
        """Bring a record, or that there is none, into the copy."""
        self._copy.settle()
        self._settle_packs()
        content = self._content(record_id)
        with self._speaking("copied"):
            if content is None:
                self._record(f"{record_id}.json").unlink(missing_ok=True)
            else:
                _write(self._record(f"{record_id}.json"), content)

    def bring_scores(self, record: Record) -> None:
        """Bring a record's scores into the copy, where other ones or none are there."""
        path, sha256 = self.folder / "scores" / f"{record.id}.parquet", record.files and record.files.scores
        if path.exists() and (sha256 is None or digest.of_file(path) == sha256):
            return
        for name in (f"{_keyed(record)}.parquet", path.name):
            with self._speaking("read"), suppress(FileNotFoundError):
                _write(path, self._fs.cat_file(f"{self._base}/scores/{name}"))
                return

    def has_adapter(self, record: Record) -> bool:
        """Tell whether what was learned is there: what a record knows was uploaded before it."""
        if record.files is not None:
            return record.files.adapter is not None
        with self._speaking("read"):
            return bool(self._fs.exists(f"{self._base}/adapters/{record.id}"))

    def publish(self, staged: Path, record: Record, standing: Callable[[], Record | None], *, force: bool) -> Record:
        """Upload what belongs to a record, then the record, if it is the first one; see `Place.publish`.

        Raises:
            RecordError: It cannot be uploaded.
        """
        self.settle_record(record.id)
        before = standing()
        if before is not None and not force:
            return before
        content = (staged / "records" / f"{record.id}.json").read_bytes()
        with self._speaking("written"):
            self._upload(staged, record)
            is_first = self._put(record, content, force=force or before is not None)
        if is_first:
            if before is not None:
                self._remove(before, record)
            return self._copy.publish(staged, record, standing, force=True)
        self.settle_record(record.id)
        winner = standing()
        if winner is None:
            raise RecordError(f"'{self.address}': record {record.id} came and went", hint="run it again")
        self._remove(record, winner)
        return winner

    def _put(self, record: Record, content: bytes, *, force: bool) -> bool:
        """Upload a record; return whether it is the one that is there now."""
        path = f"{self._base}/records/{record.id}.json"
        try:
            self._fs.pipe_file(path, content, mode="overwrite" if force else "create")
        except FileExistsError:  # perhaps one's own, sent twice as the first answer was lost
            return self._content(record.id) == content
        return True

    def _upload(self, staged: Path, record: Record) -> None:
        """Upload all but the record, under its keyed name."""
        for path in sorted(path for path in staged.rglob("*") if path.is_file()):
            kind, name, *inner = path.relative_to(staged).parts
            if kind != "records":
                keyed = _keyed(record) + name.removeprefix(record.id)
                self._fs.put_file(str(path), "/".join([self._base, kind, keyed, *inner]))

    def _remove(self, record: Record, other: Record) -> None:
        """Remove what belongs to a record that another one stands for, as far as that can be done."""
        if _keyed(record) != _keyed(other):
            for name in (f"scores/{_keyed(record)}.parquet", f"prompts/{_keyed(record)}.json"):
                with suppress(Exception):
                    self._fs.rm_file(f"{self._base}/{name}")
            with suppress(Exception):
                self._fs.rm(f"{self._base}/adapters/{_keyed(record)}", recursive=True)

    def _settle_packs(self) -> None:
        """Bring the packs into the copy, once."""
        if not self._has_packs:
            listed = {name for name in self._listed("", ".parquet") if Path(name).match(FILES)}
            for name in listed:
                with self._speaking("read"):
                    _write(self.folder / name, self._fs.cat_file(f"{self._base}/{name}"))
            for path in self.folder.glob(FILES):
                if path.name not in listed:
                    path.unlink()
            self._has_packs = True

    def _listed(self, kind: str, suffix: str) -> dict[str, str]:
        """List the files of a folder there, each with what changes where it changes."""
        folder = f"{self._base}/{kind}".rstrip("/")
        with self._speaking("read"), suppress(FileNotFoundError):
            self._fs.invalidate_cache()
            listed = self._fs.ls(folder, detail=True)
            by_name = {facts["name"].rpartition("/")[2]: facts for facts in listed if facts["type"] == "file"}
            return {name: _version(by_name[name]) for name in by_name if NAME.fullmatch(name) and name.endswith(suffix)}
        return {}

    def _content(self, record_id: str) -> bytes | None:
        with self._speaking("read"), suppress(FileNotFoundError):
            content: bytes = self._fs.cat_file(f"{self._base}/records/{record_id}.json")
            return content
        return None

    def _record(self, name: str) -> Path:
        return self.folder / "records" / name

    @contextmanager
    def _speaking(self, how: str) -> Iterator[None]:
        """Turn what fails in one of many libraries into one line; files that are not there, or are, are no failure."""
        try:
            yield
        except (PeftbenchError, FileNotFoundError, FileExistsError) as error:
            if how == "read" or not isinstance(error, FileNotFoundError):
                raise
            raise self._closed(how, error) from None
        except Exception as error:
            raise self._closed(how, error) from None

    def _closed(self, how: str, error: Exception) -> RecordError:
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        return RecordError(f"'{self.address}' cannot be {how}: {reason}", hint=CLOSED)


class RemoteNotes:
    """Small files in an object store; see `claims.Notes`.

    Args:
        fs: A file system of fsspec.
        folder: Their folder in it.
    """

    def __init__(self, fs: Any, folder: str) -> None:
        self._fs, self._folder = fs, folder

    def names(self) -> list[str]:
        """See `Notes`."""
        self._fs.invalidate_cache()
        return [name.rpartition("/")[2] for name in self._fs.ls(self._folder, detail=False)]

    def read(self, name: str) -> bytes:
        """See `Notes`."""
        content: bytes = self._fs.cat_file(f"{self._folder}/{name}")
        return content

    def create(self, name: str, content: bytes) -> None:
        """See `Notes`."""
        self._fs.pipe_file(f"{self._folder}/{name}", content, mode="create")

    def replace(self, name: str, content: bytes) -> None:
        """See `Notes`."""
        self._fs.pipe_file(f"{self._folder}/{name}", content)

    def remove(self, name: str) -> None:
        """See `Notes`."""
        self._fs.rm_file(f"{self._folder}/{name}")


def _file_system(address: str) -> tuple[Any, str]:
    """Open an address; return its file system and the path in it."""
    import fsspec

    scheme = address.partition(":")[0]
    try:
        fs, base = fsspec.url_to_fs(address)
    except ImportError:
        package = EXTRAS.get(scheme, f"what opens {scheme}:// with fsspec")
        hint = f"pip install '{package}'" if scheme in EXTRAS else f"install {package}"
        raise RecordError(f"'{_shown(address)}' needs a package that is not installed", hint=hint) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RecordError(
            f"'{_shown(address)}' cannot be opened: {reason}", hint="s3://BUCKET/FOLDER, or a folder"
        ) from None
    if hasattr(fs, "auto_mkdir"):
        fs.auto_mkdir = True
    return fs, str(base).rstrip("/")


def _shown(address: str) -> str:
    """Write an address without the name and password that it may have."""
    return re.sub(r"//[^/@]*@", "//", address)


def _keyed(record: Record) -> str:
    """Return the name of what belongs to a record: its id and a key of its content; the id alone of older records."""
    if record.files is None:
        return record.id
    return f"{record.id}.{hashlib.sha256(record.files.model_dump_json().encode()).hexdigest()[:16]}"


def _version(facts: Mapping[str, Any]) -> str:
    return ";".join(str(facts[name]) for name in VERSION if name in facts)


def _listing(path: Path) -> dict[str, str]:
    """Read what was listed when the copy was made; nothing where that is damaged."""
    with suppress(OSError, ValueError):
        table = json.loads(path.read_text(encoding="utf-8"))
        return dict(table) if isinstance(table, dict) else {}
    return {}


def _write(path: Path, content: bytes) -> None:
    """Write a file of the copy, whole; it may be lost in a power cut, and is there to be had again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{files.PREFIX}{os.getpid()}-{secrets.token_hex(6)}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
