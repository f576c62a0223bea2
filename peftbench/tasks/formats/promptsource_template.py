"""A template of promptsource: rendered as a whole with the row and its label, then split into input and target."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
from jinja2 import Undefined, nodes

from peftbench.errors import TaskError
from peftbench.spec.limits import MAX_CHOICES, MAX_TEMPLATE_CHARS
from peftbench.tasks import labels
from peftbench.tasks.formats.environment import Environment
from peftbench.tasks.sandbox import compiled
from peftbench.tasks.task import Example, Row
from peftbench.tasks.template import SEPARATOR, Template, emptied, place

ANSWER_CHOICES = "answer_choices"
"""Name of the list of choices in a template."""
PROTECTED = "\uf8ff\uf8fe\uf8ff"
"""Stands for a separator in a row's own texts while the rendering is split: characters for private use."""
BY_CHANCE = ("choice", "random", "shuffle")
"""Filters."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ENCODINGS: Sequence[Sequence[Any]] = (
    range(MAX_CHOICES),
    range(1, MAX_CHOICES + 1),
    [str(number) for number in range(MAX_CHOICES)],
    [str(number) for number in range(1, MAX_CHOICES + 1)],
    LETTERS,
    LETTERS.lower(),
)
"""How a data set may write class 0, 1, 2, ...: templates compare the label with what stands there."""


def highlight(text: str) -> str:
    """Mark a text as promptsource's pages do."""
    return f"<span style='color: #F08080'>{text}</span>"


def most_frequent(items: Sequence[Any]) -> list[Any] | None:
    """Return the items that occur most often, in the order of their first ones; None where there are none."""
    counts = Counter(items).most_common()
    return [item for item, count in counts if count == counts[0][1]] or None


def zipped(*lists: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Pair the items of lists, as far as the shortest one goes."""
    return list(zip(*lists, strict=False))


def _environment() -> Environment:
    """Make promptsource's environment: Jinja's, in which a name that a row lacks is empty, and what it adds."""
    jinja = Environment(undefined=Undefined)
    jinja.add_filter("highlight", highlight)
    jinja.add_filter("most_frequent", most_frequent)
    jinja.globals["zip"] = zipped
    return jinja


ENVIRONMENT = _environment()


class PromptsourceTemplate(Template):
    """One of promptsource's templates with answer choices.

    The label's column says in the rendering which class is meant. So each row is rendered for its class and for the
    next one: the input must stay the same, or it tells the label, and each target must be its class's choice, or the
    column means something else. Over the rows of a task all classes have their turn.

    A name that a row lacks is the empty text and null is the word "None", as there; but a column that the row does not
    have is refused where the template names it in the open.

    Args:
        name: The template's name.
        index: Its number among those of its file that can be ranked.
        text: Jinja source of the whole, with "|||" in what it renders to.
        choices: Jinja source that renders to the answer choices, split by "|||".
        label: Name of the label's column.

    Differs: promptsource cuts each printed value to 2,048 characters unless it is told not to; nothing is cut here.

    Raises:
        TaskError: A syntax error, or a filter that draws by chance.
    """

    more = {"kind": "promptsource"}
    environment = ENVIRONMENT

    def __init__(self, name: str, index: int, text: str, choices: str | Sequence[str], label: str) -> None:
        self._begin(name, index, text, choices, label)
        source = choices if isinstance(choices, str) else SEPARATOR.join(choices)
        self._whole, names = self._compile(text)
        self._choices_part, of_choices = self._compile(source)
        self._refuse_label(of_choices)
        self._variables = set(names | of_choices)
        self._encodings = list(ENCODINGS)  # the one that fits comes first as soon as a row shows it
        # Only a condition around all of it can leave nothing.
        self._may_be_empty = text.lstrip().startswith("{%")
        self.reads_rows = bool(self._variables - {label, ANSWER_CHOICES})
        self.fixed_choices = None if of_choices else self._split_choices({}, None)

    def reads(self, row: Row) -> bool:
        """Whether the row is one of its task's, and one that it does not render to nothing."""
        if not super().reads(row) or not self._may_be_empty or self.absent(row.fields):
            return super().reads(row)
        value = self._values[max(row.label, 0)]
        return self._rendered(self._of_class(row, self.choices_of(row), value), row) != ""

    def absent(self, fields: Mapping[str, Any]) -> list[str]:
        """List the columns that the template reads and a row lacks."""
        return sorted(self._variables - fields.keys() - {ANSWER_CHOICES, self.label})

    def label_of(self, row: Row) -> int | None:
        """Return the index of the choice that the label's column means; None where it means none of them."""
        value, choices = row.fields.get(self.label), self.choices_of(row)
        text = str(int(value) if isinstance(value, bool) else value).strip()
        if not self.reads(row):
            return _index(text, self._values, len(choices))
        faults = []
        for values in self._encodings:
            index = _index(text, values, len(choices))
            fault = None if index is None else self._fault(row, choices, values, index)
            if index is not None and fault is None:
                self._prefer(values)
                return index
            faults += [fault] if fault else []
        named = None if text.lstrip("-").isdecimal() else labels.index(value, choices)
        if named is None and faults:
            raise faults[0]
        return named

    def choices_of(self, row: Row) -> tuple[str, ...]:
        """Render the answer choices of a row.

        Raises:
            TaskError: Fewer than two, empty or equal choices; or as `render`.
        """
        return self.fixed_choices or self._split_choices(self._protected(row.fields), row)

    def render(self, row: Row, content: str | None = None) -> Example:
        """Turn a row into an example; see `Template.render`.

        Raises:
            TaskError: A column that the row lacks, an input that tells the label or is empty, targets that are not the
                choices, or a label beyond them.
        """
        if absent := self.absent(row.fields):
            raise self._no_column(absent, row)
        choices = self.choices_of(row)
        self._check_label(choices, row)
        values = self._encoding(row, choices)
        fields = self._protected(row.fields if content is None else emptied(row.fields, content))
        text, _ = self._parts(fields | {ANSWER_CHOICES: list(choices), self.label: values[row.label]}, row)
        if not text:
            message = f"template '{self.name}' gives an empty input{place(row)}"
            raise TaskError(message, hint=f"the part before '{SEPARATOR}' needs some text in every row")
        return Example(row.id, text, choices, row.label, row)

    @property
    def _values(self) -> Sequence[Any]:
        """What stands for each class in the label's column, by the rows until now."""
        return self._encodings[0]

    def _encoding(self, row: Row, choices: Sequence[str]) -> Sequence[Any]:
        """Find what stands for each class in the label's column, by what the template makes of it.

        Raises:
            TaskError: Nothing known does; or the input tells the label.
        """
        faults = []
        for values in self._encodings:
            fault = self._fault(row, choices, values, row.label)
            if fault is None:
                self._prefer(values)
                return values
            faults.append(fault)
        raise faults[0]

    def _prefer(self, values: Sequence[Any]) -> None:
        """Try these values first: the next rows are most likely written so."""
        self._encodings.sort(key=lambda other: other is not values)

    def _fault(self, row: Row, choices: Sequence[str], values: Sequence[Any], index: int) -> TaskError | None:
        """Say where `values` do not stand for the classes, or the input tells which of two classes is right."""
        inputs = set()
        for number in (index, (index + 1) % len(choices)):
            if number >= len(values):
                return TaskError(f"template '{self.name}' has {len(choices)} choices for {len(values)} classes")
            try:
                text, target = self._parts(self._of_class(row, choices, values[number]), row)
            except TaskError as error:
                return error
            if target != choices[number]:
                message = f"template '{self.name}' ends with '{target}' for class {number}{place(row)}"
                hint = f"the class may stand in another column than '{self.label}'"
                return TaskError(f"{message}, and its choice is '{choices[number]}'", hint=hint)
            inputs.add(text)
        if len(inputs) == 1:
            return None
        message = f"template '{self.name}' tells the label in its input{place(row)}"
        return TaskError(message, hint=f"it reads otherwise for class {index} than for another one")

    def _of_class(self, row: Row, choices: Sequence[str], value: Any) -> dict[str, Any]:
        return self._protected(row.fields) | {ANSWER_CHOICES: list(choices), self.label: value}

    def _parts(self, fields: Mapping[str, Any], row: Row | None) -> tuple[str, str]:
        """Render the whole and split it into input and target."""
        parts = [_plain(part) for part in self._rendered(fields, row).split(SEPARATOR)]
        if parts == [""]:
            message = f"template '{self.name}' renders to nothing{place(row)}"
            raise TaskError(message, hint="it is for other rows: another template, or other rows")
        if len(parts) != 2:
            message = f"template '{self.name}' renders to {len(parts)} parts between '{SEPARATOR}'{place(row)}"
            raise TaskError(message, hint="two are needed: input and target")
        return parts[0], parts[1]

    def _rendered(self, fields: Mapping[str, Any], row: Row | None) -> str:
        self.environment.start(self._num_chars)
        return self._render(self._whole, fields, row)

    def _split_choices(self, fields: Mapping[str, Any], row: Row | None) -> tuple[str, ...]:
        self.environment.start(self._num_chars)
        rendered = self._render(self._choices_part, fields, row)
        return self._checked_choices([_plain(choice) for choice in rendered.split(SEPARATOR)], row)

    def _protected(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value.replace(SEPARATOR, PROTECTED) if isinstance(value, str) else value
            for name, value in fields.items()
        }

    def _compile(self, source: str) -> tuple[jinja2.Template, frozenset[str]]:
        drawn = _drawn(source)
        if drawn is None:
            return super()._compile(source)
        message = f"template '{self.name}' draws by chance: it has the filter '{drawn}'"
        raise TaskError(message, hint="prompts are the same in every run")


def _drawn(source: str) -> str | None:
    """Return the name of a filter that draws by chance, wherever it stands: Jinja looks up those inside `if` late."""
    try:
        tree = ENVIRONMENT.parse(source[:MAX_TEMPLATE_CHARS])
    except (jinja2.TemplateSyntaxError, RecursionError, ValueError):  # refused when it is compiled
        return None
    return next((node.name for node in tree.find_all(nodes.Filter) if node.name in BY_CHANCE), None)


def _plain(part: str) -> str:
    return part.replace(PROTECTED, SEPARATOR).strip()


def _index(text: str, values: Sequence[Any], num_choices: int) -> int | None:
    """Return the class that a label's text means where `values` stand for classes."""
    known = [str(value) for value in values[:num_choices]]
    return known.index(text) if text in known else None


def label_names(text: str, choices: str) -> set[str]:
    """Return the names that a template reads behind its separator and nowhere else: the label's is among them.

    Raises:
        jinja2.TemplateSyntaxError: It is no Jinja.
        BudgetError: It is longer, or nested deeper, than a template may be.
    """
    _, of_choices = compiled(choices, ENVIRONMENT)
    _, undeclared = compiled(text, ENVIRONMENT)
    tree = ENVIRONMENT.parse(text)
    in_order = list(_walk(tree))
    split = next((index for index, node in enumerate(in_order) if _separates(node)), len(in_order))
    before, behind = (
        {node.name for node in part if isinstance(node, nodes.Name)} for part in (in_order[:split], in_order[split:])
    )
    return (behind & undeclared) - before - of_choices - {ANSWER_CHOICES}


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    """Yield nodes in the order in which they stand in the source."""
    yield node
    yield from itertools.chain.from_iterable(map(_walk, node.iter_child_nodes()))


def _separates(node: nodes.Node) -> bool:
    return isinstance(node, nodes.TemplateData) and SEPARATOR in node.data
