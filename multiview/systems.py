"""The systems that are trained, and the rows that follow from them without training: views, branches, names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from multiview.support.errors import InputError
from multiview.support.registry import Registry
from multiview.views import VIEWS, in_order, paper_views

JOINT = "multiview"  # the branch on the concatenated embedding


@dataclass(frozen=True)
class System:
    """A network that is trained.

    Parameters
    ----------
    name, label : str
        In files and options, and for people.
    views : tuple of str
        What it takes.
    branches : tuple of str
        The classifiers that it is trained on.
    scored : str
        The branch whose accuracy counts, at validation and at test.
    ensemble : str or None
        Name of the row that Eq. (6) makes of its branches.
    """

    name: str
    label: str
    views: tuple[str, ...]
    branches: tuple[str, ...]
    scored: str
    ensemble: str | None = None
    colour: str | None = None
    line: Any = "-"

    @property
    def joint(self) -> bool:
        """Whether it looks at several views at once."""
        return self.scored == JOINT


@dataclass(frozen=True)
class JointSystem:
    """A system on several views, to be chosen: the paper's four, or any two and more."""

    name: str
    label: str
    view_branches: bool  # whether each view keeps a classifier of its own
    ensemble: str | None = None
    colour: str | None = None
    line: Any = "-"

    def of(self, views: Sequence[str]) -> System:
        """The system on these views."""
        branches = (*views, JOINT) if self.view_branches else (JOINT,)
        return System(self.name, self.label, tuple(views), branches, JOINT, self.ensemble, self.colour, self.line)


JOINT_SYSTEMS: Registry[JointSystem] = Registry("system")
CONCAT = JOINT_SYSTEMS.register(
    JointSystem("concat", "Concat. fusion", view_branches=False, colour="#D55E00", line=(0, (6, 2, 1, 2, 1, 2)))
)
MULTIVIEW = JOINT_SYSTEMS.register(
    JointSystem(JOINT, "Multi-view", view_branches=True, ensemble="self_ensemble", colour="#000000")
)

# Rows of Table 3 that nothing is trained for.
LATE_FUSION = "late_fusion"
DERIVED = {MULTIVIEW.ensemble: "Self-ensemble", LATE_FUSION: "Late fusion"}


def system_names(views: Iterable[str] | None = None) -> tuple[str, ...]:
    """The trained systems, baselines first: one a view, then those on several."""
    views = tuple(VIEWS) if views is None else tuple(views)
    return (*views, *(JOINT_SYSTEMS if len(views) > 1 else ()))


def find_system(name: str, views: Iterable[str] | None = None) -> System:
    """The system of a name, on some views where it takes several.

    Parameters
    ----------
    views : iterable of str, optional
        Two or more for a system on several views, the paper's four by default; a view's own system takes none.

    Raises
    ------
    InputError
        For an unknown system or view, or views that do not go with it.
    """
    if name in JOINT_SYSTEMS:
        chosen = paper_views() if views is None else in_order(views)
        if len(chosen) < 2:
            raise InputError(f"expected two or more --views for {name}, found {chosen[0]}; train that system alone")
        return JOINT_SYSTEMS[name].of(chosen)
    if name not in VIEWS:
        raise InputError(f"expected a system of {', '.join(system_names())}; found {name!r}")
    if views is not None and in_order(views) != (name,):
        raise InputError(f"system {name} takes its own view, found --views {','.join(views)}; drop --views")
    view = VIEWS[name]
    return System(name, view.label, (name,), (name,), name, colour=view.colour, line=view.line)


def chosen_views(name: str, views: Iterable[str] | None) -> tuple[str, ...] | None:
    """The choice of views as settings record it: None where it is what the system takes by default."""
    if views is None or find_system(name, views) == find_system(name):
        return None
    return in_order(views)


def table_rows() -> tuple[str, ...]:
    """All rows of Table 3, in the paper's order: what fuses views first, then the views."""
    return ("self_ensemble", MULTIVIEW.name, LATE_FUSION, CONCAT.name, *VIEWS)


def label(name: str) -> str:
    """How people read the name of a view, a branch, a system or a row."""
    for kind in (DERIVED, JOINT_SYSTEMS, VIEWS):
        if name in kind:
            entry = kind[name]
            return entry if isinstance(entry, str) else entry.label
    return name


def curve_style(name: str) -> tuple[str | None, Any]:
    """Colour and line of a branch or a system in all pictures: Okabe and Ito's palette, told apart in grey, too."""
    entry = JOINT_SYSTEMS.get(name) or VIEWS.get(name)
    return (None, "-") if entry is None else (entry.colour, entry.line)
