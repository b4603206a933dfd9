"""Imports that take no longer, and say no more, than they must."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without(*packages: str) -> Iterator[None]:
    """Packages are as if not installed, unless they are loaded already."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None makes an import fail
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing reaches standard error, not even what compiled libraries write to it."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def import_keras() -> None:
    """Import Keras without what TensorFlow's libraries print before they know their log level.

    Nor with packages that Keras loads to take their data and models, a fourth of the time.
    """
    with quiet(), without("sklearn", "pandas"):
        import keras  # noqa: F401
