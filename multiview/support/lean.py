"""Imports that take no longer, and say no more, than they must."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator

from multiview.support.errors import other_backend


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


def _copy_of_stderr() -> int | None:
    """Another descriptor of standard error; None where that is closed, as for some daemons."""
    try:
        return os.dup(2)
    except OSError:
        return None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing reaches standard error, not even what compiled libraries write to it."""
    if (saved := _copy_of_stderr()) is None:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
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

    Raises
    ------
    InputError
        If it is told to use a backend that there is not.
    """
    with quiet(), without("sklearn", "pandas"):
        try:
            import keras  # noqa: F401
        except ValueError as error:
            if "Unable to import backend" not in str(error):
                raise
            raise other_backend(str(error).rpartition(":")[2].strip()) from error


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """What Python writes to standard error reaches it, what compiled libraries write does not."""
    if (saved := _copy_of_stderr()) is None:
        yield
        return
    before, nowhere = sys.stderr, os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    with open(saved, "w", buffering=1, errors="backslashreplace") as sys.stderr:
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            sys.stderr = before


def slow_abort() -> None:
    """Where a library aborts the process, let it wait some seconds for who ends it in a better way."""
    c = ctypes.CDLL(None)
    c.signal.argtypes, c.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    # A handler gets the number of its signal, 6, which `sleep` takes for seconds.
    c.signal(signal.SIGABRT, ctypes.cast(c.sleep, ctypes.c_void_p))
