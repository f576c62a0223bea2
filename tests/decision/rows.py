"""Rows, and a tiny model whose training takes two steps."""

from pathlib import Path

from peftbench.learners.progress import Silent
from tests.tiny import tiny_folder


def write_rows(folder: Path, num_rows: int = 20) -> Path:
    """Write rows of two classes, which the text gives away."""
    path = folder / "rows.csv"
    lines = [
        f"{('fine', 'broken')[row % 2]} thing number {row},{('good', 'bad')[row % 2]}\n" for row in range(num_rows)
    ]
    path.write_text("text,label\n" + "".join(lines))
    return path


def write_model(folder: Path, settings: str = "[tune]\nnum_steps = 2\n") -> Path:
    """Write a tiny Llama with settings of its own."""
    model = tiny_folder("llama", folder / "model")
    (model / "peftbench.toml").write_text(settings)
    return model


class Listener(Silent):
    """Remembers what is said."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)
