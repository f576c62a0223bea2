"""What rows are called, in tables and sentences."""

from peftbench.report.rows import setting, units
from peftbench.report.rows.table import Row


def settings(row: Row) -> str:
    """Write what tells a row from others of its method, model and shots: "rank=8, lr=0.01"; mostly ""."""
    return ", ".join(part.text for part in row.settings)


def label(row: Row) -> str:
    """Write the same for people: the sum of losses in place of their weights, "L_LM + 0.5 L_UL, lr=0.1"."""
    return setting.label(row.settings, row.losses)


def short(row: Row) -> str:
    """Write a label where there is little room: values alone, and the name of what is on or off."""
    return ", ".join(_loss_sum(row) + [part.short for part in row.settings if part.name not in setting.LOSSES])


def method(row: Row) -> str:
    """Name how a row learned, and what tells it from others of its method."""
    return f"{row.method} {label(row)}" if label(row) else row.method


def title(row: Row) -> str:
    """Name a row without its shots: "lora (rank=8) on mini-t0"."""
    detail = f" ({label(row)})" if label(row) else ""
    return f"{row.method}{detail} on {row.model}"


def full(row: Row) -> str:
    """Name a row in full: "ICL on mini-gpt, 32 shots, labels=flipped"."""
    number = "" if row.is_zero_shot else f"{shots(row)} shots"
    return ", ".join(text for text in (f"{row.method} on {row.model}", number, label(row)) if text)


def shots(row: Row) -> str:
    """Write the shots: as they were asked for, and how many were used where fewer fitted: "24 of 32"."""
    used = units.span(row.used_shots)
    return used if row.used_shots == row.shots else f"{used} of {units.span(row.shots)}"


def _loss_sum(row: Row) -> list[str]:
    return [setting.loss_sum(row.losses)] if row.losses else []
