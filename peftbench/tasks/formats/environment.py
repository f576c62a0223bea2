"""The sandbox for others' templates: as there, null, NaN and infinity are shown by their words."""

import math
from collections.abc import Callable
from typing import Any

from peftbench.tasks import sandbox


class Environment(sandbox.Environment):
    """The templates' sandbox, with its budget, that shows what is missing as others' code does."""

    def shown(self, value: Any) -> Any:
        """Let through what a prompt may show."""
        is_word = value is None or (isinstance(value, float) and not math.isfinite(value))
        return value if is_word else super().shown(value)

    def add_filter(self, name: str, do: Callable[..., Any]) -> None:
        """Add a filter of theirs, which weighs what it takes and gives as the others do."""
        self.filters[name] = self._bounded(name, do)
