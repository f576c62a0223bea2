"""The boundary to files of strangers: one line with path and hint for each fault, and nothing else is caught."""

import json

import pytest

from peftbench.errors import MethodError, ModelError
from peftbench.models import foreign


class PanicException(BaseException):
    """As pyo3 calls what a Rust library raises where it panics; that class cannot be imported."""


FAULTS = [RecursionError("deep"), KeyError("x"), MemoryError(), TypeError("two\n  lines \x1b[31m"), Exception("bare")]
FAULTS += [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), OSError(36, "File name too long"), PanicException("index")]


@pytest.mark.parametrize("fault", FAULTS, ids=[type(fault).__name__ for fault in FAULTS])
def test_whatever_a_library_raises_is_one_line_with_path_and_hint(fault, tmp_path):
    with pytest.raises(MethodError) as error, foreign.reading(tmp_path / "x.json", MethodError):
        raise fault
    assert str(tmp_path / "x.json") in error.value.message
    assert error.value.message.isprintable()
    assert error.value.hint == foreign.COPY
    assert error.value.__cause__ is fault


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), SystemExit(3), ModelError("said already")])
def test_what_ends_the_program_and_what_was_said_already_go_through(fault, tmp_path):
    with pytest.raises(type(fault)) as error, foreign.reading(tmp_path):
        raise fault
    assert error.value is fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[1]", "no JSON object but a list"),
        (b"null", "but null"),
        (b"{", "is damaged: Expecting property name"),
        (b"\xe9", "can't decode byte"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b'{"a": ' + b"9" * 5000 + b"}", "4300 digits"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "nested too deep"),
        (b"[" * 100_000, "RecursionError"),
    ],
)
def test_what_is_no_object_of_text_is_refused(text, words, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(text)
    with pytest.raises(ModelError, match=words) as error:
        foreign.read_object(path)
    assert error.value.hint


def test_an_object_of_bounded_depth_is_read(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a":' * 32 + "1" + "}" * 32)
    assert list(foreign.read_object(path)) == ["a"]


def test_folders_and_large_files_are_not_read(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="no regular file"):
        foreign.read_text(tmp_path)
    (tmp_path / "x").write_text("abcd")
    monkeypatch.setattr(foreign, "MAX_BYTES", 3)
    with pytest.raises(ModelError, match="has 4 bytes") as error:
        foreign.read_text(tmp_path / "x")
    assert error.value.hint == "at most 3 are read"


@pytest.mark.parametrize(("name", "words"), [("a" * 256, "256 characters"), ("b/\udcff", "UTF-8"), ("a\0b", "no name")])
def test_names_that_no_file_has_are_refused(name, words):
    with pytest.raises(ModelError, match=words) as error:
        foreign.check_name(name)
    assert error.value.hint
    foreign.check_name("/".join(["a" * 255] * 3))


@pytest.mark.parametrize("value", [0, -1, 1_001, 10**6, True, "2", [2], 2.0, float("nan")])
def test_sizes_out_of_bounds_are_refused(value, tmp_path):
    for name in ("num_hidden_layers", "n_layer", "encoder_layers"):
        with pytest.raises(ModelError, match=f"has {name} = ") as error:
            foreign.check_limits(tmp_path, {name: value})
        assert error.value.hint == "a whole number from 1 to 1,000"
    foreign.check_limits(tmp_path, {"num_hidden_layers": 1000, "n_inner": None})


@pytest.mark.parametrize("value", [-0.1, 2, "0", float("nan"), [0.1], 10**400])
def test_shares_out_of_bounds_are_refused(value, tmp_path):
    for name in ("attention_dropout", "resid_pdrop", "dropout_rate"):
        with pytest.raises(ModelError, match=f"has {name} = ") as error:
            foreign.check_limits(tmp_path, {name: value})
        assert error.value.hint == "a number from 0 to 1"
    foreign.check_limits(tmp_path, {"attention_dropout": 0, "resid_pdrop": 1.0, "classifier_dropout": None})


def test_limits_speak_of_fields_that_configs_have(tmp_path):
    """A name that is misspelled in the table would bound nothing."""
    from tests.tiny import FAMILIES, tiny_folder

    known = set()
    for family in FAMILIES:
        known |= {*json.loads((tiny_folder(family, tmp_path / family) / "config.json").read_text())}
    assert {*foreign.LIMITS} - {"num_labels"} <= known
