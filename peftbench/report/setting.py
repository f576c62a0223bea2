"""What makes two records one row of a table: equal settings, whatever the task and the seed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from peftbench.record import Record

# A row pools seeds and averages over tasks. `limit` shows as n, and `templates` by their number, beside the accuracy.
NOT_SETTING = {"seed", "task", "task_sha256", "limit"}
# These have columns of their own.
IN_COLUMNS = {"learner", "model", "method", "shots"}
PREFIX = "ICL->prefix"
"""In-context learning by the shots' saved keys and values."""


def key(record: Record) -> str:
    """Give the text that records of one row share."""
    setting = {name: value for name, value in _pooled(record.identity).items() if name not in NOT_SETTING}
    setting["as"] = method(record)
    return json.dumps(setting, sort_keys=True)


def method(record: Record) -> str:
    """Name the way of learning: zero-shot, ICL, or the method that tuned."""
    if record.learned.method:
        return record.learned.method
    if record.identity.get("icl", {}).get("as_prefix"):
        return PREFIX
    return "ICL" if record.identity.get("shots", record.learned.num_shots) else "zero-shot"


def order(record: Record) -> int:
    """Say in which order the shots stood; 0 is that of the draw."""
    return int(record.identity.get("icl", {}).get("order", 0))


def _pooled(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the order of the shots: a row pools orders as it pools seeds."""
    options = {name: value for name, value in identity.get("icl", {}).items() if name not in ("order", "as_prefix")}
    return {name: value for name, value in identity.items() if name != "icl"} | ({"icl": options} if options else {})


def differences(records: Sequence[Record]) -> list[str]:
    """Say for rows that have the same method, model and shots what tells them apart.

    Args:
        records: One record of each such row.

    Returns:
        For each row "rank=8, lr=0.01": the settings that are not the same in all of them; "" for a single row.
    """
    tables = [_flat(_pooled(record.identity)) for record in records]
    names = list(dict.fromkeys(name for table in tables for name in table))
    unequal = [name for name in names if len({_text(table.get(name)) for table in tables}) > 1]
    return [
        ", ".join(f"{name.rpartition('.')[2]}={_text(table[name])}" for name in unequal if name in table)
        for table in tables
    ]


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Lift nested settings to one level: {"training": {"lr": 1}} -> {"training.lr": 1}."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if not prefix and name in NOT_SETTING | IN_COLUMNS:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _text(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value[:8] if len(value) == 64 else value  # a fingerprint
    return json.dumps(value)
