"""Packages of extras: what needs one says so in one line where it is not installed."""

import importlib.metadata

from peftbench.errors import MethodError


def require(package: str, extra: str, wish: str) -> None:
    """Check that a package is installed.

    Args:
        package: As pip knows it.
        extra: The extra of this package that brings it.
        wish: What needs it, as it is typed.

    Raises:
        MethodError: It is not; the hint has the command.
    """
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        message = f"{wish} needs the package {package}, which is not installed"
        raise MethodError(message, hint=f"pip install 'peftbench[{extra}]'") from None
