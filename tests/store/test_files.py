import pytest

from peftbench.store.files import replacing_folder


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
