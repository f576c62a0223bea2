"""A module's reference to another module or parameter, which has its place elsewhere in the model."""

from dataclasses import dataclass
from typing import Generic, TypeVar

Target = TypeVar("Target")


@dataclass(frozen=True, eq=False)
class Reference(Generic[Target]):
    """Keep a module or parameter in a module without registering it there.

    nn.Module registers what is assigned to one of its attributes: it would be named, saved and trained a second time.
    What lies inside another object it does not see.
    """

    target: Target
