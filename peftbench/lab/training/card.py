"""The model card of each of the lab's models: its settings, and the figures measured when it was built."""

from __future__ import annotations

import json
from typing import Any

from peftbench.lab.training.train import StepLog

LAST = 100  # steps whose loss is averaged


def model_card(spec: dict[str, Any], num_parameters: int, logs: list[StepLog], measured: dict[str, float]) -> str:
    """Write the card.

    Args:
        spec: The model's TOML, resolved.
        num_parameters: Of the model, tied weights once.
        logs: One entry a step.
        measured: Figures on validation families and training loss, by name.

    Returns:
        Markdown, ASCII.
    """
    num_tokens = sum(log.num_tokens for log in logs)
    seconds = sum(log.seconds for log in logs)
    tail = logs[-LAST:]
    last_loss = sum(log.loss for log in tail) / len(tail)
    rows = {
        "architecture": spec["config"]["architecture"],
        "parameters": f"{num_parameters:,}",
        "steps": f"{len(logs):,}",
        "tokens seen (padding left out)": f"{num_tokens:,}",
        "training seconds (wall)": f"{seconds:,.0f}",
        "training FLOPs, estimated (6 x parameters x tokens)": f"{6 * num_parameters * num_tokens:.2e}",
        f"loss, mean of the last {len(tail)} steps (nats a weighted token)": f"{last_loss:.3f}",
    }
    table = "".join(f"| {name} | {value} |\n" for name, value in rows.items())
    figures = "".join(f"| {name} | {value:.3f} |\n" for name, value in measured.items())
    return (
        f"# {spec['name']}\n\n{spec['card'].strip()}\n\n| made | |\n|---|---|\n{table}\n"
        f"| measured when it was built | |\n|---|---|\n{figures}\n"
        f"Make it again: `peftbench lab build --model {spec['name']} --out DIR`. Its settings:\n\n"
        f"```json\n{json.dumps({key: spec[key] for key in ('config', 'tokenizer', 'train', 'data')}, indent=1)}\n```\n"
    )
