"""Frozen tables of settings, whose faults are all told at once."""

import difflib
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from peftbench.errors import PeftbenchError
from peftbench.spec import values

Table = TypeVar("Table", bound=BaseModel)

MAX_SHOWN = 8
"""Of the faults of one table."""


class Unfit(ValueError):
    """Fields that do not go together, with what would.

    Args:
        hint: What would work.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Settings(BaseModel):
    """A frozen table of settings; unknown names, and values beyond the limits of `spec.limits`, are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _within_limits(cls, table: Any) -> Any:
        values.check(table)
        return table


def checked(schema: type[Table], table: dict[str, Any], what: str, error: type[PeftbenchError]) -> Table:
    """Build `schema` from a table and turn all of its faults into one error.

    Raises:
        PeftbenchError: As `error`; names each faulty field.
    """
    try:
        return schema.model_validate(table)
    except ValidationError as faults:
        texts = [_fault(fault) for fault in faults.errors()]
        if len(texts) > MAX_SHOWN:
            texts[MAX_SHOWN:] = [f"and {len(texts) - MAX_SHOWN} faults like these"]
        raise error(f"{what}: {'; '.join(texts)}", hint=_hint(schema, faults)) from None


def _fault(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    text = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


def _hint(schema: type[BaseModel], faults: ValidationError) -> str | None:
    """Name the defaults of fields with a wrong value; where a name is wrong or missing, the names that there are.

    Fields that do not go together say so themselves, and may bring a hint.
    """
    causes = (fault.get("ctx", {}).get("error") for fault in faults.errors())
    hint = next((cause.hint for cause in causes if isinstance(cause, Unfit)), None)
    if hint is not None:
        return hint
    names = dict.fromkeys(str(fault["loc"][0]) for fault in faults.errors() if fault["loc"])
    if not names:
        return None
    fields = schema.model_fields
    plain = [name for name in names if name in fields and isinstance(fields[name].default, str | int | float)]
    if len(plain) == len(names):
        return "default: " + ", ".join(f"{name} = {fields[name].default!r}" for name in plain)
    unknown = [name for name in names if name not in fields]
    near = difflib.get_close_matches(unknown[0], fields, n=1) if unknown else []
    return (f"did you mean '{near[0]}'? " if near else "") + f"known fields: {', '.join(fields)}"
