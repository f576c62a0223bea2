"""How much a stranger's settings, rows and templates may hold: one table, read wherever something comes in."""

# Of any value, in settings and in rows.
MAX_NUMBER = 2**64 - 1
"""Of a whole number, either side of zero: what files of rows and tensors can hold."""
MAX_CHARS = 1_000_000
"""Of one text."""
MAX_DEPTH = 32
"""Of tables and lists in each other; configs of models in use have 5."""

# Of settings, from a TOML or the command line.
MAX_NAME_BYTES = 255
"""Of a file's or folder's name: what file systems hold."""
MAX_TOML_BYTES = 10_000_000
MAX_YAML_BYTES = 2_000_000
MAX_YAML_VALUES = 100_000
"""With each alias written out."""
MAX_CELLS = 100_000
"""Of a recipe or a command line."""
MAX_ORDERS = 1_000
"""Of the same shots."""
MAX_SHOTS = 1_000_000
MAX_CONCURRENCY = 256
MAX_JOBS = 1_000
"""Of a run at a time."""
MAX_FOLDS = 1_000
MAX_STEPS_OF_TRAINING = 100_000_000
MAX_BATCH_SIZE = 100_000
MAX_NEW_TOKENS = 100_000
"""Of an answer that is written."""
MAX_BEAMS = 100
MAX_STOPS = 100
"""Texts that end an answer."""
MAX_SETTING = 1_000_000
"""Of a method's whole numbers: ranks, widths, virtual tokens."""
MAX_SEED = 2**32 - 1
MAX_REPETITIONS = 100
"""Of a training, by other seeds."""

# Of a file of prices.
MAX_PRICES = 20
"""Of models, of machines, of trainings."""
MAX_PRICE = 1e12
"""In any currency; so do numbers of queries a day end there."""
MAX_PRICE_NAME_CHARS = 40
MAX_DAYS = 36_525

# Of rows.
MAX_ROW_DEPTH = 16
"""Of tables and lists in each other; a row stands in tables itself where it is saved as a shot."""
MAX_COLUMNS = 1_000
MAX_COLUMN_CHARS = 200
"""Of a column's name."""
MAX_CHOICES = 500
"""Of one row: each is scored, and in tuning trained on, with its row."""

# Of a template, while it renders one row.
MAX_STEPS = 20_000
"""Loop rounds, calls, filters, operators, items of lists and outputs; a thousand characters count as one more."""
CHARS_PER_STEP = 1_000
MAX_WORK = 10**8
"""Characters that a filter, an operator or a method could make; it is refused before it begins."""
MAX_ARGUMENT = 10_000
"""Of a number that says how wide, how often or how long."""
MAX_POWER_BITS = 4_096
MAX_TEMPLATE_CHARS = 100_000
MAX_BRACKETS = 50
"""Open at once."""
MAX_BLOCKS = 15
"""Open at once: `for`, `if` and the like."""
