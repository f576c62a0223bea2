"""How much a stranger's rows, templates and settings may hold: one table, read wherever something comes in."""

# Settings, of a TOML or of the command line.
MAX_NUMBER = 2**53
"""Of a whole number: what JSON and floats hold exactly."""
MAX_DEPTH = 32
"""Of tables and lists in each other, in settings and in rows."""
MAX_NAME_BYTES = 255
"""Of a file's or folder's name: what file systems hold."""
MAX_CELLS = 100_000
"""Of a recipe or a command line."""
MAX_ORDERS = 1_000
"""Of the same shots."""
MAX_BATCH_SIZE = 100_000
MAX_SEED = 2**32 - 1

# Rows.
MAX_DIGITS = 4_300
"""Of a whole number, as Python has it."""
MAX_CHARS = 1_000_000
"""Of one text."""
MAX_COLUMNS = 1_000
MAX_COLUMN_CHARS = 200
"""Of a column's name."""
MAX_CHOICES = 500
"""Of one row: each is scored and, in tuning, trained on with its row."""

# Templates: one rendering of one row.
MAX_STEPS = 20_000
"""Loop rounds, calls, filters, operators, list items and outputs; a thousand characters count as one more."""
CHARS_PER_STEP = 1_000
MAX_WORK = 10**8
"""Characters that one filter, operator or method could make, before it is let begin."""
MAX_ARGUMENT = 10_000
"""Of a number that says how wide, how often or how long."""
MAX_POWER_BITS = 4_096
MAX_TEMPLATE_CHARS = 100_000
MAX_BRACKETS = 50
"""Open at once; so for blocks (`for`, `if`, ...)."""
MAX_BLOCKS = 15
