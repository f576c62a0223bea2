"""The page of examples shows every task and family, and is what the committed one says."""

from pathlib import Path

from peftbench.lab.text.examples import DOCUMENT, document
from peftbench.lab.text.mixture import wordings
from peftbench.lab.text.rows import FOLDER

ROOT = Path(__file__).parents[3]


def test_the_committed_page_is_what_the_world_draws() -> None:
    assert (ROOT / DOCUMENT).read_text() == document()


def test_every_task_and_family_has_five_examples() -> None:
    sections = {part.split()[0]: part for part in document().split("### ")[1:]}
    assert set(sections) == {path.stem for path in FOLDER.glob("*.toml")} | set(wordings()["weights"])
    assert all(part.count("\n-> ") == 5 for part in sections.values())
