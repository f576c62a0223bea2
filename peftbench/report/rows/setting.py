"""What makes two records one row of a table: equal settings, whatever the task and the seed."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from peftbench.store.record import Record

# A row pools seeds and averages over tasks. `limit` shows as n, and `templates` by their number, beside the accuracy.
NOT_SETTING = {"seed", "task", "task_sha256", "limit"}
# These have columns of their own.
IN_COLUMNS = {"learner", "model", "method", "shots"}
PREFIX = "ICL->prefix"
"""In-context learning by the shots' saved keys and values."""
LOSSES = {"lm_loss": "L_LM", "unlikelihood_loss": "L_UL", "length_norm_loss": "L_LN"}
"""Setting that weighs a loss -> the loss's name in 2205.05638, section 3.2."""
BESIDE = {"layer_norms", "bias"}
"""Settings that train some of the model beside the method: they are told even where all rows have them."""
OFF = (None, False, "none")


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
        For each row "rank=8, lr=0.01": the settings that are not the same in all of them, and those that train some of
        the model beside the method; mostly "" for a single row.
    """
    tables = [_flat(_pooled(record.identity)) for record in records]
    names = list(dict.fromkeys(name for table in tables for name in table))
    told = [name for name in names if len({_text(table.get(name)) for table in tables}) > 1]
    told += [name for name in names if name not in told and _last(name) in BESIDE and tables[0][name] not in OFF]
    return [", ".join(f"{_last(name)}={_text(table[name])}" for name in told if name in table) for table in tables]


def parts(variant: str, separator: str = ", ") -> list[str]:
    """Split "rank=8, lr=0.01"; a comma inside a value, as of a list, separates nothing."""
    return [part for part in re.split(rf"{separator}(?=[\w.]+=)", variant) if part]


def sort_key(variant: str) -> list[tuple[float, str]]:
    """Sort variants by their words, and by what numbers are worth: rank=8 before rank=64."""
    words = re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?|\D+", variant)
    return [(float(word), "") if word[0].isdigit() else (-1, word) for word in words]


def label(variant: str, record: Record) -> str:
    """Write a variant as people read it: in place of the losses' weights the sum that was minimised, L_LM + 0.5 L_UL.

    Args:
        variant: As `differences` gives it.
        record: One of the row.
    """
    told = [part for part in parts(variant) if part.partition("=")[0] not in LOSSES]
    if told == parts(variant):
        return variant
    return ", ".join([_loss(record.identity["training"]), *told])


def short(label: str) -> str:
    """Write a label where there is little room: values alone, and the name of what is on or off."""
    return ", ".join(_short(*part.rpartition("=")[::2]) for part in parts(label))


def _short(name: str, value: str) -> str:
    return {"true": name, "false": f"no {name}"}.get(value, value)


def _loss(weights: Mapping[str, Any]) -> str:
    terms = [(weights[setting], name) for setting, name in LOSSES.items() if weights[setting]]
    return " + ".join(name if weight == 1 else f"{weight:g} {name}" for weight, name in terms)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


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
    if isinstance(value, list) and value:
        return ",".join(map(_text, value))  # as --set takes it
    return json.dumps(value)
