import hashlib
import json

import pytest

from peftbench.store.seal import broken, sealed

TEXT = json.dumps({"a": 1, "b": "ü"}, indent=2)


def test_the_seal_is_the_digest_of_the_text_without_it_and_its_last_field():
    table = json.loads(sealed(TEXT))
    assert list(table) == ["a", "b", "digest"]
    assert table["digest"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert sealed(TEXT + "\n") == sealed(TEXT)
    assert broken(sealed(TEXT), table, is_needed=True) is None


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"a": 1', '"a": 2'),
        lambda text: text + "\n",
        lambda text: text.replace("  ", " "),
        lambda text: json.dumps(json.loads(text) | {"c": 1}, indent=2),
    ],
)
def test_whatever_is_changed_is_told(edit):
    text = edit(sealed(TEXT))
    assert "was edited" in broken(text, json.loads(text), is_needed=False)


def test_a_file_without_a_seal_is_of_before_or_was_cut():
    assert broken(TEXT, json.loads(TEXT), is_needed=False) is None
    assert "has no digest" in broken(TEXT, json.loads(TEXT), is_needed=True)
