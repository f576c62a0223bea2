"""What metrics of text count with: tests skip what is not installed; `.ci/run` installs it."""

import pytest

from peftbench import registry
from peftbench.errors import PeftbenchError


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test where a metric's packages or programs are missing, with the metric's own words."""
    try:
        registry.text_metric(name).require()
    except PeftbenchError as error:
        return pytest.mark.skip(reason=f"{error.message}: {error.hint}")
    return pytest.mark.skipif(False, reason="")
