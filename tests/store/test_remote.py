"""Results in an object store: fsspec's memory, and a server of S3 on this machine."""

import os
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from peftbench.cli.app import main
from peftbench.errors import RecordError
from peftbench.store import fit
from peftbench.store.pack import pack
from peftbench.store.place import named, url
from peftbench.store.results import Store
from tests.report.stored import stored
from tests.store.older import without_files
from tests.store.test_many_writers import NAMES, at_once, check_whole, write_all
from tests.store.test_results import SCORES, record

fsspec = pytest.importorskip("fsspec")
LATER = {"created_at": "2027-01-01T00:00:00+00:00"}


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """Address of a server of S3, with one bucket."""
    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("w") as file:
        server = subprocess.Popen(["moto_server", "-p", str(port)], stdout=file, stderr=file)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with socket.socket() as asking:
                if not asking.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.1)
        yield address
    finally:
        server.kill()
        server.wait()


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.s3)])
def address(request, tmp_path, monkeypatch):
    """An empty folder at an address; each of its readers has a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    if request.param == "memory":
        yield f"memory://{tmp_path.name}/results"
        fsspec.filesystem("memory").store.clear()
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("endpoint"))
    fsspec.filesystem("s3").makedirs("bucket", exist_ok=True)
    yield f"s3://bucket/{tmp_path.name}/results"


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Open a store as another machine does."""

    def opened(address, machine="there"):
        with monkeypatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
            return Store(address)

    return opened


def write(store, made, writer="m", *, force=True):
    """Write a record with scores, a prompt and an adapter that say who wrote them."""
    with store.staging() as staged:
        (staged / "adapter" / "template-0").mkdir(parents=True)
        (staged / "adapter" / "template-0" / "adapter.safetensors").write_text(f"of {writer}")
        log_prob = -1.0 - len(writer)
        return store.write(made, SCORES.assign(log_prob=log_prob), f"of {writer}", staged / "adapter", force=force)


def listed(address):
    fs, base = fsspec.url_to_fs(address)
    fs.invalidate_cache()
    return sorted(path.partition(f"{base}/")[2] for path in fs.find(base))


def test_an_address_is_one_however_it_is_typed(tmp_path):
    for typed in ("s3://bucket/results", "s3:/bucket/results", "s3://bucket/results/"):
        assert url(typed) == "s3://bucket/results"
        assert named(Path(typed)) == "s3://bucket/results"
    assert named(tmp_path) == str(tmp_path)
    assert url("file:///tmp/x") == url("file:/tmp/x") == "file:///tmp/x"
    for local in ("results", "/results", "C:/results", "C:\\results", "./s3:/results", "", tmp_path):
        assert url(local) is None


def test_what_was_written_is_read_elsewhere(address, elsewhere):
    store, other = Store(address), elsewhere(address)
    assert (store.readable(), other.find(record().id)) == (([], []), None)
    store.check_writable()
    made = write(store, record())
    for reader in (store, other, elsewhere(address, "a third")):
        assert reader.find(made.id) == made
        assert reader.all() == [made]
        assert reader.is_complete(made)
        assert reader.read_scores(made.id)["log_prob"].tolist() == [-2.0, -2.0]
    fit.check(store.adapters / made.id)
    names = listed(address)
    assert [name.partition("/")[0] for name in names] == ["adapters", "prompts", "records", "scores"]
    assert f"records/{made.id}.json" in names  # a copy of the records alone is a results folder


def test_a_copy_stands_for_its_address_in_other_processes(address, elsewhere, tmp_path):
    copy = Store(Store(address).root)
    made = write(copy, record())
    assert elsewhere(address).all() == [made]
    stray = tmp_path / "downloaded"
    stray.mkdir()
    (stray / "address").write_text(address)
    assert Store(stray).root == stray  # what strangers wrote opens no address
    fit.check(copy.adapters / made.id)


def test_the_first_writer_wins_and_the_second_reads_its_record(address, elsewhere):
    one, other = Store(address), elsewhere(address)
    made = write(one, record(), "a")
    assert write(other, record().model_copy(update=LATER), "b longer one", force=False) == made
    assert other.read_scores(made.id)["log_prob"].tolist() == [-2.0, -2.0]
    assert len(listed(address)) == 4


@pytest.mark.parametrize("is_uploaded", [True, False])
def test_of_two_that_find_nothing_there_the_first_put_wins(is_uploaded, address, elsewhere, monkeypatch):
    """The second has looked, and perhaps uploaded all but its record, when the first one's comes."""
    one, other = Store(address), elsewhere(address)
    upload = other._place._upload

    def late(staged, made):
        acts = [lambda: upload(staged, made), lambda: write(one, record(), "a")]
        for act in acts if is_uploaded else acts[::-1]:
            act()

    monkeypatch.setattr(other._place, "_upload", late)
    standing = write(other, record().model_copy(update=LATER), "b longer one", force=False)
    assert standing.created_at == record().created_at
    assert one.find(standing.id) == standing == other.find(standing.id)
    for reader in (one, other, elsewhere(address, "a third")):
        assert reader.read_scores(standing.id)["log_prob"].tolist() == [-2.0, -2.0]
    assert len(listed(address)) == 4


def test_an_answer_that_was_lost_is_no_other_writer(address, monkeypatch):
    store = Store(address)
    pipe = store._place._fs.pipe_file

    def twice(path, content, mode="overwrite"):
        pipe(path, content, mode="overwrite")
        pipe(path, content, mode=mode)

    monkeypatch.setattr(store._place._fs, "pipe_file", twice)
    made = write(store, record(), force=False)
    assert store.all() == [made]
    assert len(listed(address)) == 4
    fit.check(store.adapters / made.id)
    assert (store.adapters / made.id).is_dir()


def test_force_replaces_a_record_everywhere(address, elsewhere):
    one, other = Store(address), elsewhere(address)
    write(one, record(), "a")
    assert other.all()
    other.read_scores(record().id)
    later = write(one, record().model_copy(update=LATER), "b longer one")
    assert other.all() == [later]
    assert other.read_scores(later.id)["log_prob"].tolist() == [-13.0, -13.0]
    assert len(listed(address)) == 4


def test_what_was_removed_there_or_damaged_here_is_seen(address, elsewhere):
    one, other = Store(address), elsewhere(address)
    made, gone = (write(one, record(name)) for name in ("made", "gone"))
    assert {found.id for found in other.all()} == {made.id, gone.id}
    fs, base = fsspec.url_to_fs(address)
    fs.rm_file(f"{base}/records/{gone.id}.json")
    assert other.all() == one.all() == [made]
    assert other.find(gone.id) is None
    path = other.records / f"{made.id}.json"
    path.unlink()
    assert other.all() == [made]
    fs.pipe_file(f"{base}/records/{made.id}.json", path.read_bytes()[:-40])
    records, faults = other.readable()
    assert (records, len(faults)) == ([], 1)


def test_a_local_folder_that_was_copied_there_is_read_packed_or_not(address, tmp_path, elsewhere):
    local = Store(tmp_path / "local")
    made, older = (write(local, record(name)) for name in ("made", "older"))
    without_files(local.location(older.id))
    older = local.find(older.id)
    packed = Store(tmp_path / "packed")
    in_pack = packed.write(record("packed"), SCORES.assign(row_id=0))
    pack(packed.root)
    fs, base = fsspec.url_to_fs(address)
    for path in [*local.root.rglob("*"), packed.root / "records.parquet"]:
        if path.is_file():
            root = local.root if path.is_relative_to(local.root) else packed.root
            fs.pipe_file(f"{base}/{path.relative_to(root).as_posix()}", path.read_bytes())
    store = elsewhere(address)
    assert sorted(store.all(), key=lambda found: found.id) == sorted((made, older, in_pack), key=lambda found: found.id)
    for found in (made, older):
        assert store.is_complete(found)
        assert store.read_scores(found.id)["log_prob"].tolist() == [-2.0, -2.0]
    assert store.is_packed(in_pack.id)


def test_claims_are_seen_elsewhere(address, elsewhere, monkeypatch):
    one, other = Store(address), elsewhere(address)
    with one.claims.claim("a"):
        assert not other.claims.is_others("a")  # the same process
        with monkeypatch.context() as patch:
            patch.setattr(os, "uname", lambda: SimpleNamespace(nodename="another machine"))
            assert other.claims.is_others("a")
            with other.claims.claim("a"):
                assert list(other.claims.others_last(["a", "b"], str)) == ["b", "a"]
        assert listed(address) == ["claims/a"]
    assert listed(address) == []
    one.tidy()


def test_a_store_that_ignores_conditional_writes_is_named(address, monkeypatch):
    store = Store(address)
    pipe = store._place._fs.pipe_file
    monkeypatch.setattr(store._place._fs, "pipe_file", lambda path, content, mode="overwrite": pipe(path, content))
    with pytest.raises(RecordError, match="ignores conditional writes") as caught:
        store.check_writable()
    assert f"'{address}'" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert listed(address) == []


def refuse(*_, **__):
    raise ConnectionError("the network\nis down")


def test_what_cannot_be_reached_is_one_line_and_nothing_is_half_written(address, monkeypatch):
    store = Store(address)
    made = write(store, record())
    acts = {
        "put_file": lambda: write(store, record("another")),
        "pipe_file": lambda: write(store, record("another")),
        "ls": store.all,
        "cat_file": lambda: store.find(made.id),
    }
    for name, act in acts.items():
        with monkeypatch.context() as patch:
            patch.setattr(store._place._fs, name, refuse)
            with pytest.raises(RecordError, match=r"cannot be (read|written): the network is down") as caught:
                act()
            assert "\n" not in caught.value.message
            assert "access" in caught.value.hint
        assert Store(address).all() == [made]


def test_the_commands_take_an_address(address, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    made = [stored(address, {0: [1, 0, 1]}), stored(address, {0: [1, 1, 1]}, "ia3", "mini-t0")]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert main(["report", "--results", address]) == 0
    out, err = capsys.readouterr()
    assert "ia3" in out
    assert f"--results {address}" in err
    assert main(["compare", *(record_.id for record_ in made), "--results", address]) == 0
    assert main(["report", "--results", f"{address}/other"]) == 2
    assert f"no records in '{address}/other'" in capsys.readouterr().err
    with pytest.raises(RecordError, match="is no local folder"):
        pack(Path(address))
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("here", "there")] == []


@pytest.mark.parametrize("typed", ["ghost://x/y", "s3:///", "http://"])
def test_an_address_that_nothing_opens_is_one_line(typed, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RecordError) as caught:
        Store(typed).check_writable()
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_package_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def missing(_):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(RecordError, match="'s3://bucket/x' needs a package") as caught:
        Store("s3://bucket/x")
    assert caught.value.hint == "pip install 'peftbench[s3]'"


def test_a_cache_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for place in (str(tmp_path / "file"), "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        with pytest.raises(RecordError, match=r"cache|cannot write") as caught:
            Store("memory://x/y")
        assert "XDG_CACHE_HOME" in caught.value.hint


def test_a_password_is_not_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RecordError) as caught:
        Store("ghost://me:secret@host/x")
    assert "secret" not in caught.value.message


@pytest.mark.s3
@pytest.mark.parametrize("address", ["s3"], indirect=True)
def test_four_processes_that_write_the_same_cells_at_once(address, tmp_path, elsewhere):
    """Two processes on each of two machines."""
    names = NAMES[:20]
    (tmp_path / "log").mkdir()
    fsspec.filesystem("s3").clear_instance_cache()  # a fork has no use for another process's connections

    def write_there(address, writer):
        return write_all(elsewhere(address, f"machine {writer // 2}"), writer, names)

    first = at_once(address, tmp_path / "log", write_there)
    assert len(listed(address)) == 4 * len(names)
    check_whole(elsewhere(address, "a third"), first, names)
