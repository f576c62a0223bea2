"""Seals: the SHA-256 of a JSON object's text as its last field; a file that was cut or edited is told by it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from peftbench.errors import PeftbenchError
from peftbench.spec.settings import Settings, checked

Contents = TypeVar("Contents", bound=Settings)

SEAL, END = ',\n  "digest": "', "\n}"
FIELD = "digest"


def sealed(text: str) -> str:
    """Add its digest to a JSON object's indented text."""
    text = text.removesuffix("\n")
    return f'{text.removesuffix(END)}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}"{END}\n'


def unsealed(text: str) -> str | None:
    """Return the JSON that a sealed text is made of; None where its last field is no digest, or not its own."""
    head, seal, tail = text.rpartition(SEAL)
    content = head + END
    is_whole = seal and tail == f'{hashlib.sha256(content.encode()).hexdigest()}"{END}\n'
    return content if is_whole else None


def broken(text: str, table: Mapping[str, Any], *, is_needed: bool) -> str | None:
    """Tell what is wrong with the seal of a file that was read.

    Args:
        text: The file's.
        table: The text, parsed.
        is_needed: Whether a file of its version has a digest; those of before may have none.

    Returns:
        What is wrong, in words that follow the file's name; None where nothing is.
    """
    if FIELD not in table:
        return "has no digest: it was cut or edited" if is_needed else None
    return "was edited: its digest is not that of its content" if unsealed(text) is None else None


def read(path: Path, schema: type[Contents], kind: type[PeftbenchError], hint: str) -> Contents:
    """Read a sealed file.

    Args:
        path: Where.
        schema: Its fields, but the digest.
        kind: Of the error.
        hint: Of the error.

    Raises:
        PeftbenchError: Of that kind: the file is missing or damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text)
        fault = broken(text, table, is_needed=True)
    except OSError as error:
        raise kind(f"cannot read '{path}': {error.strerror}", hint=hint) from None
    except (ValueError, RecursionError, TypeError, AttributeError) as error:
        raise kind(f"'{path}' is damaged: {error}", hint=hint) from None
    if fault:
        raise kind(f"'{path}' {fault}", hint=hint)
    return checked(schema, {name: table[name] for name in table if name != FIELD}, f"'{path}'", kind)
