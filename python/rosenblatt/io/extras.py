"""Optional packages: imported where they are used, and asked for by the name of the extra when they are missing."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["MissingExtraError", "require"]


class MissingExtraError(ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


def require(module: str, extra: str, purpose: str) -> Any:
    """Import `module`; `extra` is the name in `pip install "rosenblatt[extra]"`, `purpose` what it is for.

    Raises
    ------
    MissingExtraError
        the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = {"PIL": "pillow", "sklearn": "scikit-learn"}.get(module.split(".")[0], module.split(".")[0])
        raise MissingExtraError(
            f'{purpose} needs {package}, which is not installed: pip install "rosenblatt[{extra}]"', name=module
        ) from error
