"""A wording of whatever kind as the template that it describes."""

from collections.abc import Sequence

from peftbench.tasks.formats.lm_eval_template import LmEvalTemplate
from peftbench.tasks.formats.promptsource_template import PromptsourceTemplate
from peftbench.tasks.schema import Wording
from peftbench.tasks.template import Template
from peftbench.tasks.text_template import TextTemplate


def template_of(
    wording: Wording, index: int, label: str, names: Sequence[str] = (), references: Sequence[str] = ()
) -> Template:
    """Build a template.

    Args:
        wording: What it says.
        index: Its number in the task.
        label: Name of the label's column.
        names: Of the classes: its choices where it has none of its own.
        references: Columns of the references, where the answer is written.

    Raises:
        TaskError: As the template's class.
    """
    if references:
        return TextTemplate(wording.name, index, wording.text, references)
    choices = wording.choices or names
    if wording.kind == "promptsource":
        return PromptsourceTemplate(wording.name, index, wording.text, choices, label)
    if wording.kind == "lm-eval":
        return LmEvalTemplate(
            wording.name,
            index,
            wording.text,
            choices,
            label,
            target=wording.target,
            joint=wording.joint,
            description=wording.description,
        )
    return Template(wording.name, index, wording.text, choices, label)
