"""Errors that speak to the person at the keyboard; anything else that escapes is a bug and keeps its traceback."""


class PeftbenchError(Exception):
    """Wrong input: what was asked and what was found, with a hint that says what would work.

    Args:
        message: One line, no full stop at the end.
        hint: What to do instead; None where there is nothing to suggest.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RecipeError(PeftbenchError):
    """A recipe or an option that cannot be carried out."""


class TaskError(PeftbenchError):
    """A task file, its data or a template that does not fit."""


class ModelError(PeftbenchError):
    """A model that cannot be found, loaded or addressed."""


class MethodError(PeftbenchError):
    """A method, its settings or an adapter that does not fit the model."""


class CostError(PeftbenchError):
    """A cost that cannot be counted."""


class RecordError(PeftbenchError):
    """A record or a results folder that cannot be read or written."""


class RunError(PeftbenchError):
    """A run that failed although its input was right."""

    exit_code = 1
