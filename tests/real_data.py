"""Where the data sets are that the repository does not carry: tests marked `real_data` read them."""

import os
from pathlib import Path

VARIABLE = "PEFTBENCH_TEST_DATA"


def folder() -> Path | None:
    """Return the folder that the variable names (none where it is empty), else shared/data beside a parent of ours."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE]) if os.environ[VARIABLE] else None
    beside = (parent / "shared" / "data" for parent in Path(__file__).resolve().parents[2:])
    return next((path for path in beside if (path / "real").is_dir()), None)
