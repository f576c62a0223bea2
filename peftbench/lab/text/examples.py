"""docs/lab-examples.md: five rendered examples of every family, as the models see them."""

import random
from pathlib import Path

from peftbench.lab.text.mixture import draw_pair, wordings
from peftbench.lab.world.world import World
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import expand, load

DOCUMENT = Path("docs/lab-examples.md")
NUM_EXAMPLES = 5
GROUPS = {
    "lab-all": "Held-out tasks: no model is trained on them",
    "lab-validation": "Validation tasks: never trained on, never reported; settings are chosen on them",
    "lab-train": "Training tasks: mini-t0 and mini-bert are taught these, on other sentences",
}
HEAD = """# What the lab's models see

Input, then `->` and the answer; for a task the other choices stand behind it. Rendered from the first test rows, the
templates in turn. Made by `python -m peftbench.lab.text.examples`.
"""


def document() -> str:
    """Render the whole page as Markdown."""
    parts = [HEAD]
    for group, title in GROUPS.items():
        parts += [f"## {title}\n", *(_task(name) for name in expand(group))]
    parts += [
        "## The training mixture of mini-t0 and mini-bert\n",
        *(_family(family) for family in wordings()["weights"]),
    ]
    return "\n".join(parts)


def _task(name: str) -> str:
    task = load(TaskSpec(name=name))
    default = " In the default group `lab`." if name in expand("lab") else ""
    lines = [
        f"### {name} ({task.family})\n",
        f"{task.description.rstrip('?.')}. Chance {100 * task.chance:.1f}.{default}\n",
        "```text",
    ]
    for index, row in enumerate(task.test[:NUM_EXAMPLES]):
        example = task.templates[index % len(task.templates)].render(row)
        wrong = ", ".join(choice for choice in example.choices if choice != example.target)
        lines.append(f"{example.input}\n-> {example.target}   (not: {wrong})\n")
    return "\n".join([*lines[:-1], lines[-1].rstrip(), "```\n"])


def _family(family: str) -> str:
    world, rng = World.generate(), random.Random(f"examples/{family}")
    pairs = [draw_pair(world, rng, family) for _ in range(NUM_EXAMPLES)]
    texts = "\n\n".join(f"{source}\n-> {target}" for source, target in pairs)
    return "\n".join([f"### {family}\n", "```text", texts, "```\n"])


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="ascii")
