"""The flow: one cell from its plan to its record, and what was learned put to use on new rows."""
