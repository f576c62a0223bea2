"""The drill of others' YAML: a file that was good, with odd bytes, tokens and templates in it."""

import random
from pathlib import Path

from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import load
from tests.drills import inputs
from tests.drills.tally import Tally

PROMPTSOURCE = """dataset: reviews
subset: small
templates:
  0edd8660: !Template
    name: one
    jinja: "{{text}} ||| {{answer_choices[label == 'good' and 1 or 0]}}"
    answer_choices: bad ||| good
    metadata: !TemplateMetadata {original_task: true}
  150789fe: !Template
    name: two
    jinja: "JINJA ||| {{answer_choices[label]}}"
    answer_choices: "CHOICES"
    metadata: !TemplateMetadata {original_task: true}
"""
HARNESS = """task: reviews
include: other.yaml
output_type: multiple_choice
doc_to_text: "JINJA"
doc_to_choice: CHOICES
doc_to_target: "TARGET"
test_split: test
"""
OTHER = "dataset_path: reviews\ntraining_split: train\ndescription: 'Say it.'\n"
CHOICES = ("bad ||| good", "['bad', 'good']", "[bad, good]", "{{['bad', text]}}", "text", "{a: bad, b: good}")
TARGETS = ("label", "0", "{{['bad', 'good'].index(label)}}", "{{label}}", "text")
TOKENS = (
    *(b"!!python/name:os.system", b"!function a.b", b"!Template", b"&a ", b"*a", b"<<: *a", b"? ", b"- ", b"---\n"),
    *(b"\t", b"|\n", b">-\n", b"[" * 50_000, b"{a: " * 50_000, b"include: odd.yaml\n", b"!!binary ", b"!!timestamp "),
    *(b"2020-13-45", b"9:" * 5000, b"group: x\n", b"process_docs: !function a.b\n", b"~", b".nan", b"%YAML 9\n"),
)


def yamls(tries: int, seed: int) -> Tally:
    """Load tasks of promptsource's and of lm-evaluation-harness's files with odd bytes, tags and templates."""
    return inputs._drill(tries, seed, _yaml)


def _yaml(drawn: random.Random, folder: Path) -> str:
    text = drawn.choice((PROMPTSOURCE, HARNESS))
    source = "{{text}}" if drawn.random() < 0.5 else inputs._source(drawn)
    quoted = source.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    text = (
        text.replace("JINJA", quoted).replace("CHOICES", drawn.choice(CHOICES)).replace("TARGET", drawn.choice(TARGETS))
    )
    content, other = text.encode(errors="replace"), OTHER.encode()
    if drawn.random() < 0.5:
        content = inputs._mutated(content, drawn)
    if drawn.random() < 0.3:
        place = drawn.randint(0, len(content))
        content = content[:place] + drawn.choice(TOKENS) + content[place:]
    if drawn.random() < 0.1:
        other = inputs._mutated(other, drawn)
    (folder / "other.yaml").write_bytes(other)
    path = folder / "odd.yaml"
    path.write_bytes(content)
    task = load(TaskSpec(name=str(path), train=folder / "rows.csv", test=folder / "rows.csv"))
    for template in task.templates:
        for row in task.test:
            if template.reads(row):
                assert template.render(row).target
    return "used"
