"""The report on the runs below a directory: Table 3, claims, ablations, figures, and all of it on one page."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd


def report(directory: str | PathLike[str]) -> pd.DataFrame:
    """Write tables, figures and `report.html` into `directory`, print the tables, and return Table 3.

    Parameters
    ----------
    directory : path
        With runs `SYSTEM/foldN`, and `ablations/NAME/foldN`, below it.

    Raises
    ------
    InputError
        If there are none, or they do not go together.
    """
    from multiview.report.build import build  # matplotlib is loaded only for those who need it

    return build(directory)


class _Callable(ModuleType):
    """So that `multiview.report(directory)` makes a report, whether or not something has loaded this package."""

    __call__ = staticmethod(report)


sys.modules[__name__].__class__ = _Callable
