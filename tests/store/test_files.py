import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from peftbench.store import files
from peftbench.store.files import replacing_folder
from tests.drills.process import fork


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path):
    for text in ("old", "new"):
        with replacing_folder(tmp_path / "deep" / "a") as temporary:
            (temporary / text).write_text(text)
            assert not (tmp_path / "deep" / "a" / text).exists()
    assert names(tmp_path / "deep") == ["a"]
    assert names(tmp_path / "deep" / "a") == ["new"]


def test_a_folder_that_is_not_finished_leaves_the_old_one_and_nothing_beside_it(tmp_path):
    with replacing_folder(tmp_path / "a") as temporary:
        (temporary / "old").write_text("")

    def interrupted():
        with replacing_folder(tmp_path / "a") as temporary:
            (temporary / "new").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["old"]


def stopped(write):
    """Run `write` in a process that dies in the middle of it, and return its id."""
    process = fork()
    if not process:
        try:
            write()
        finally:
            os._exit(1)
    os.waitpid(process, 0)
    return process


def dying(writer, path):
    """Die while `path` is written."""

    def write():
        with writer(path) as temporary:
            if temporary.is_dir():
                (temporary / "half").write_text("half")
            os._exit(9)

    return write


@pytest.mark.parametrize("writer", [files.replacing, files.new_folder, files.replacing_folder])
def test_f6_a_stray_of_a_process_with_the_same_number_is_in_nobodys_way(tmp_path, monkeypatch, writer):
    """In containers numbers of processes come again; and F14: the stray goes."""
    process = stopped(dying(writer, tmp_path / "a"))
    assert len(names(tmp_path)) == 1
    monkeypatch.setattr(os, "getpid", lambda: process)
    with writer(tmp_path / "a"):
        pass
    assert names(tmp_path) == ["a"]


def test_f14_what_a_dead_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    for name in ("a", "b"):
        stopped(dying(files.replacing, tmp_path / name))
        stopped(dying(files.new_folder, tmp_path / name))
    with files.replacing(tmp_path / "mine") as temporary, files.temporary_folder(tmp_path) as folder:
        temporary.write_text("mine")
        (folder / "inner").write_text("mine")
        stopped(lambda: files.sweep(tmp_path))
        assert (folder / "inner").read_text() == "mine"
        assert sorted(tmp_path.iterdir()) == sorted([temporary, folder])
    assert names(tmp_path) == ["mine"]
    assert (tmp_path / "mine").read_text() == "mine"


def test_strays_where_locks_are_not_known_go_by_their_age(tmp_path, monkeypatch):
    stopped(dying(files.replacing, tmp_path / "a"))

    def unknown(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", unknown)
    files.sweep(tmp_path)
    (stray,) = tmp_path.iterdir()
    os.utime(stray, (0, 0))
    files.sweep(tmp_path)
    assert names(tmp_path) == []


def test_f3_a_pipe_is_written_to_and_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    with files.replacing(path) as place:
        place.write_text("report")
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert os.read(descriptor, 100) == b"report"
    os.close(descriptor)


def test_f3_a_link_stays_a_link_whatever_it_leads_to(tmp_path):
    for name, target in (("null", Path("/dev/null")), ("file", tmp_path / "target"), ("new", tmp_path / "fresh")):
        (tmp_path / "target").write_text("old")
        (tmp_path / name).symlink_to(target)
        with files.replacing(tmp_path / name) as temporary:
            temporary.write_text("new")
        assert (tmp_path / name).is_symlink()
        assert not stat.S_ISREG(target.stat().st_mode) or target.read_text() == "new"
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_file_that_this_process_writes_to_is_gone_on_with(tmp_path):
    """`report --out /dev/stdout > FILE`: what is printed afterwards comes after it."""
    code = (
        "import sys; from pathlib import Path; from peftbench.store.files import replacing\n"
        "with replacing(Path('/dev/stdout')) as place: place.open('a').write('report\\n')\n"
        "print('next')\n"
    )
    with (tmp_path / "out").open("a") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "report\nnext\n"


def test_of_two_new_folders_of_one_name_the_first_stays(tmp_path):
    def late():
        with files.new_folder(tmp_path / "a") as temporary:
            (temporary / "late").write_text("")
            with files.new_folder(tmp_path / "a") as other:
                (other / "first").write_text("")

    with pytest.raises(FileExistsError):
        late()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["first"]


def test_a_file_takes_no_name_that_something_has(tmp_path):
    (tmp_path / "whole").write_text("whole")
    (tmp_path / "there").write_text("there")
    with pytest.raises(FileExistsError):
        files.place(tmp_path / "whole", tmp_path / "there")
    files.place(tmp_path / "whole", tmp_path / "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"there": "there", "new": "whole"}


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_move_to_another_disk_is_a_copy_that_is_there_whole(tmp_path, monkeypatch, kind):
    source, target = tmp_path / "staged" / "a", tmp_path / "big" / "a"
    source.parent.mkdir()
    if kind == "folder":
        source.mkdir()
    (source / "inner" if kind == "folder" else source).write_text("new")

    def elsewhere(one, other, rename=os.replace):
        if Path(one).parent.parent != Path(other).parent.parent or Path(one).parent == Path(other).parent:
            return rename(one, other)
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "replace", elsewhere)
    files.move(source, target)
    assert (target / "inner" if kind == "folder" else target).read_text() == "new"
    assert names(source.parent) == []
    assert names(target.parent) == ["a"]


def test_files_and_their_folder_are_on_the_disk_before_and_after_they_take_their_name(tmp_path, monkeypatch):
    steps = []
    sync, rename = files.sync, os.replace
    monkeypatch.setattr(files, "sync", lambda path: (steps.append(("sync", path)), sync(path)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append(("rename", Path(b))), rename(a, b)))
    with files.replacing(tmp_path / "a") as temporary:
        temporary.write_text("a")
    assert steps == [("sync", temporary), ("rename", tmp_path / "a"), ("sync", tmp_path)]
