"""The fields of a task's TOML file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from peftbench import registry
from peftbench.errors import TaskError
from peftbench.spec import values
from peftbench.spec.decoding import DecodingOptions
from peftbench.spec.settings import Settings, checked


class Data(Settings):
    """Where the rows are: two files, two splits of a data set on the hub, or with whoever passes them on.

    Args:
        train: Path relative to the TOML, or the name of a split, or of the file that comes by hand; "" where there are
            no rows to learn from.
        test: As `train`; "" where there are none to be tested on: training rows are then split into folds, and those
            without a label are left out.
        hub: Id of the data set; None where `train` and `test` are files.
        config: The data set's configuration.
        revision: Branch, tag or commit on the hub.
        by_hand: How the files can be had, where nothing may download them: they come by --data, --train and --test.
        unlabelled: As `train`, of rows whose labels nobody shows: those of a leaderboard. They are answered, and no
            score comes of them; `test` is then "".
    """

    train: str
    test: str
    hub: str | None = None
    config: str | None = None
    revision: str | None = None
    by_hand: str | None = None
    unlabelled: str = ""

    @model_validator(mode="after")
    def _unlabelled_rows_are_no_test(self) -> "Data":
        if self.test and self.unlabelled:
            raise ValueError("'test' rows have labels and 'unlabelled' rows have none: a task has one of the two")
        return self

    @model_validator(mode="after")
    def _hub_settings_need_a_hub(self) -> "Data":
        if self.hub is None and (self.config or self.revision):
            raise ValueError("'config' and 'revision' go with 'hub'")
        if self.hub is not None and self.by_hand is not None:
            raise ValueError("rows come from the 'hub' or 'by_hand', not both")
        return self

    @property
    def is_beside(self) -> bool:
        """Whether the rows lie beside the TOML."""
        return self.hub is None and self.by_hand is None


class Label(Settings):
    """The label's column, and how classes are written there.

    Args:
        names: Class i is written names[i], or as the integer i; None where each row brings its own choices.
        counts: How many test rows each label has: "fixed" where that was set when the rows were made (a balanced test
            set), so that intervals draw rows within each label; "random" where it came as the rows came.
        first: The number of class 0, where classes are written as numbers.
        rare: Whether a class may have fewer rows than there are folds: some folds then have none of it.
    """

    field: str = "label"
    names: tuple[str, ...] | None = Field(None, min_length=2)
    counts: Literal["random", "fixed"] = "random"
    first: int = Field(0, ge=0, le=1)
    rare: bool = False

    @field_validator("names")
    @classmethod
    def _names_differ(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names and len({name.casefold() for name in names}) < len(names):
            raise ValueError("names must differ by more than upper and lower case")
        return names


class Wording(Settings):
    """One [[templates]] table: see `peftbench.tasks.template.Template`.

    Args:
        choices: Left out they are the label's names.
        kind: Whose rules it follows: those here, promptsource's, or lm-evaluation-harness's.
        target: Of lm-evaluation-harness: what says which choice is right.
        joint: Of lm-evaluation-harness: what stands between input and answer.
        description: Of lm-evaluation-harness: what stands once before the shots and the query.
    """

    name: str
    text: str
    choices: str | tuple[str, ...] = ()
    kind: Literal["peftbench", "promptsource", "lm-eval"] = "peftbench"
    target: str = ""
    joint: str = " "
    description: str = ""

    @model_validator(mode="after")
    def _fields_go_with_their_kind(self) -> "Wording":
        if self.kind != "lm-eval" and (self.target, self.joint, self.description) != ("", " ", ""):
            raise ValueError("'target', 'joint' and 'description' go with kind = \"lm-eval\"")
        return self


class Subsets(Settings):
    """Parts of the test rows, whose scores stand beside that of all.

    Args:
        column: Says which part a row is of.
        names: Value of the column, as text -> the part's name.
    """

    column: str
    names: dict[str, Annotated[str, Field(min_length=1, max_length=40)]] = Field(min_length=1, max_length=20)


class TaskFile(Settings):
    """A task as its TOML describes it.

    Args:
        metric: Name in the registry: what its tables show.
        chance: The metric's value by guessing; None: computed from the test rows.
        group: The group that it is run with.
        default: Whether it belongs to the tasks that run when none is named.
        drops_templates: Whether templates that do not fit the rows are left out, each with its reason, or refused.
        remark: What of the file is not used, or used otherwise than where it comes from.
        answer: Whether an answer is one of several choices, or text that is written.
        references: Of text: the column, or the columns, of what it is compared with (`tasks.references`).
        writing: Of text: how it is written.
        subsets: Of text: parts of the test rows that are scored apart, too.
    """

    name: str = Field(min_length=1)
    family: str
    description: str
    version: int = Field(1, ge=1)
    metric: str = "accuracy"
    chance: float | None = Field(None, gt=0, lt=1)
    data: Data
    label: Label = Label()
    templates: tuple[Wording, ...] = Field(min_length=1)
    group: str | None = None
    default: bool = False
    drops_templates: bool = False
    remark: str | None = None
    answer: Literal["choices", "text"] = "choices"
    references: str | tuple[str, ...] = ()
    writing: DecodingOptions = DecodingOptions()
    subsets: Subsets | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of references; none where answers are choices."""
        return (self.references,) if isinstance(self.references, str) else self.references

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, metric: str) -> str:
        try:
            return registry.known(metric, (*registry.METRICS, *registry.TEXT_METRICS), "metric", TaskError)
        except TaskError as fault:
            raise ValueError(f"{fault.message}; {fault.hint}") from None

    @model_validator(mode="after")
    def _fields_go_with_the_answer(self) -> "TaskFile":
        faults = self._faults_of_text() if self.answer == "text" else self._faults_of_choices()
        if any(faults.values()):
            raise ValueError("; ".join(text for text, is_so in faults.items() if is_so))
        return self

    def _faults_of_text(self) -> dict[str, bool]:
        """List what a task of written answers does not have, and whether it is so."""
        of_text = ", ".join(registry.TEXT_METRICS)
        return {
            'references = "COLUMN" says what an answer is compared with, and is missing': not all(self.columns)
            or not self.columns,
            f"metric '{self.metric}' is of choices, and the answer is text: {of_text}": self.metric
            not in registry.TEXT_METRICS,
            "'label' goes with choices: references say what is right": self.label != Label(),
            "'choices' of a template go with answer = \"choices\"": any(part.choices for part in self.templates),
            "templates of other kinds are of choices": any(part.kind != "peftbench" for part in self.templates),
            "'chance' goes with choices: nobody guesses a text": self.chance is not None,
            "rows of a leaderboard are answered by choices": bool(self.data.unlabelled),
        }

    def _faults_of_choices(self) -> dict[str, bool]:
        """List what a task of answer choices does not have, and whether it is so."""
        return {
            f"metric '{self.metric}' is of text that is written: answer = \"text\"": self.metric
            in registry.TEXT_METRICS,
            "'references' and 'writing' go with answer = \"text\"": bool(self.columns)
            or self.writing != DecodingOptions(),
            "'subsets' go with answer = \"text\"": self.subsets is not None,
        }


def read(path: Path) -> TaskFile:
    """Read and check a task's TOML.

    Raises:
        TaskError: The file is missing, is no TOML, or has faults; all faults are listed at once.
    """
    if path.suffix != ".toml":
        raise TaskError(
            f"'{path}' is not a task TOML",
            hint="rows of your own go in with --train, --test, --template and --choices",
        )
    try:
        table = values.toml_file(path)
    except OSError as error:
        raise TaskError(
            f"cannot read task '{path}': {error.strerror}", hint="`peftbench list tasks` names those that come along"
        ) from None
    except ValueError as error:  # no TOML, no UTF-8, or a value beyond the limits
        hint = "text of several lines stands between three quotes; docs/adding-a-task.md has a whole task"
        raise TaskError(f"task '{path}' is not valid TOML: {error}", hint=hint) from None
    return checked(TaskFile, table, f"task '{path}'", TaskError)
