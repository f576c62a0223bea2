"""Which served model is which: by what a server says of it, and by what it answers."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peftbench.errors import RecordError
from peftbench.store.files import replacing

LEAST, TIMES = 0.06, 4.0
"""Answers are the same within so many nats, the step of a bfloat16 logit between 8 and 16, and within so many times the
difference that the probe saw when it asked again."""


def fingerprint(path: Path | None, facts: Mapping[str, str | None], canary: Sequence[float], noise: float) -> str:
    """Return a digest of a served model: the same as long as facts are, and answers are within the noise.

    A model that was swapped in silence answers otherwise, and is another one. Answers that differ by noise cannot be
    rounded to the same digest, as they may lie on two sides of a border: so the first ones are written down.

    Args:
        path: Where known models are written down; None where none are, and the canary is rounded.
        facts: What the server says, the tokenizer's digest, and the dialect.
        canary: Log-probabilities of fixed prompts, in nats.
        noise: Largest difference of one of them that was asked for again, in nats.

    Raises:
        RecordError: The file is damaged.
    """
    models = [] if path is None else _read(path)
    for model in models:
        if model["facts"] == facts and is_same(model["canary"], canary, noise):
            return str(model["fingerprint"])
    text = json.dumps([sorted(facts.items()), [round(value, 2) for value in canary]])
    digest = hashlib.sha256(text.encode()).hexdigest()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        models.append({"fingerprint": digest, "facts": dict(facts), "canary": list(canary)})
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(models, indent=1) + "\n", encoding="utf-8")
    return digest


def is_same(first: Sequence[float], other: Sequence[float], noise: float) -> bool:
    """Return whether two canaries differ by no more than noise."""
    most = max(LEAST, TIMES * noise)
    return len(first) == len(other) and all(abs(a - b) <= most for a, b in zip(first, other, strict=True))


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        models = json.loads(path.read_text(encoding="utf-8"))
        assert all({"fingerprint", "facts", "canary"} <= model.keys() for model in models)
    except (ValueError, AssertionError, AttributeError, TypeError):
        hint = "remove it: served models then get other fingerprints, and their cells run again"
        raise RecordError(f"'{path}' is damaged", hint=hint) from None
    return list(models)
