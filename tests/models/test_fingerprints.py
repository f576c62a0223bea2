import hashlib
import os
import time

import pytest

from peftbench.models import fingerprints, weights
from peftbench.store import cache


@pytest.fixture
def hashing(monkeypatch, tmp_path):
    """Files are large from ten bytes on and old at once; return the paths that are hashed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprints, "LARGE", 10)
    monkeypatch.setattr(fingerprints, "MOMENT", -60.0)
    hashed, read = fingerprints.hashed, []
    monkeypatch.setattr(fingerprints, "hashed", lambda paths: read.append(list(paths)) or hashed(paths))
    return read


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_large_files_are_hashed_once(hashing, tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_bytes(b"0123456789")
    paths[1].write_bytes(b"abc")
    for _ in range(3):
        assert weights.fingerprint(paths) == sha256(b"0123456789abc")
    assert hashing == [paths]
    assert weights.fingerprint(paths[::-1]) == sha256(b"abc0123456789")
    for _ in range(2):
        assert weights.fingerprint(paths[1:]) == sha256(b"abc")  # a small one each time
    assert hashing[2:] == [paths[1:]] * 2


def grow(path):
    path.write_bytes(path.read_bytes() + b"x")


def edit(path):
    path.write_bytes(path.read_bytes().replace(b"4", b"x"))


def replace(path):
    path.with_name("new").write_bytes(path.read_bytes().replace(b"4", b"x"))
    path.with_name("new").rename(path)


@pytest.mark.parametrize("change", [grow, edit, replace])
def test_a_file_that_changed_is_hashed_again_though_its_time_was_put_back(change, hashing, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    before = path.stat()
    assert weights.fingerprint([path]) == sha256(b"0123456789")
    time.sleep(0.01)
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.fingerprint([path]) == sha256(path.read_bytes())
    assert len(hashing) == 2


def test_what_was_written_a_moment_ago_is_not_remembered(hashing, monkeypatch, tmp_path):
    monkeypatch.setattr(fingerprints, "MOMENT", 5.0)
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    for _ in range(2):
        weights.fingerprint([path])
    assert len(hashing) == 2
    assert not (tmp_path / "cache").exists()


def test_what_is_remembered_and_damaged_is_hashed_again(hashing, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    weights.fingerprint([path])
    (note,) = cache.folder("fingerprints").iterdir()
    for content in (b"", b"{", b"[]", b"\xff", note.read_bytes().replace(b'sha256": "', b'sha256": "0')):
        note.write_bytes(content)
        assert weights.fingerprint([path]) == sha256(b"0123456789")
    assert len(hashing) == 6


def test_where_nothing_can_be_remembered_files_are_hashed(hashing, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    for place in (str(tmp_path / "file"), "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        assert weights.fingerprint([path]) == sha256(b"0123456789")
    assert len(hashing) == 2


def test_the_cache_lies_where_the_platform_has_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    for platform, place in (("linux", ".cache"), ("darwin", "Library/Caches")):
        monkeypatch.setattr("sys.platform", platform)
        assert cache.folder("x") == tmp_path / place / "peftbench" / "x"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    assert cache.folder("x") == tmp_path / "Local" / "peftbench" / "x"
