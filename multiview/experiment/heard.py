"""Which clips a trained network has heard, itself or by what it started from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

from multiview.experiment.run import Run
from multiview.experiment.schema import HEARD, STARTED_FROM
from multiview.settings import Settings, from_record
from multiview.splits import make_split
from multiview.store import Store
from multiview.support.errors import InputError

Place = tuple[str, ...]  # of a clip: folders and name, without suffix and case


def heard(run: Run, store: Store, parts: Sequence[str] = ("train", "validation")) -> list[str]:
    """Clips of `store` that were in the training or validation of the run, or of what it started from.

    `parts` of a `Split` are those that count; of a starter model all do. As far as that can be told, and where names
    alone leave a doubt, a clip counts:

    - `store` is one that a network was trained on, by its fingerprint: its clips are known by their full ids.
    - `store` is another, and the run's own is still there: ids count without suffixes and case, as collections are
      passed on in other formats, but with their folders, and one has to be the end of the other. `dog/01.wav` is
      `Dog/01.ogg`, `sounds/dog/01.wav` and `01.wav`, which may be of any folder; it is not `cat/01.wav`.
    - A starter model lists its clips, which were published as single files: their names count in any folder.
    """
    record: dict | None = run.read()
    ids, places, own = set[str](), set[Place](), _own_store(run)
    if own and own.fingerprint != store.fingerprint:
        places |= set(map(_place, _of_split(own, run.settings(), parts)))
    while record:
        places |= {_place(name)[-1:] for name in record.get(HEARD) or ()}
        if record["store"]["fingerprint"] == store.fingerprint:
            ids |= _of_split(store, from_record(record["settings"]), parts)
        record = record.get(STARTED_FROM)
    ends = {end for place in places for end in _ends(place)}

    def is_heard(name: str) -> bool:
        place = _place(name)
        return name in ids or place in ends or not places.isdisjoint(_ends(place))

    return [name for name in map(str, store.ids) if is_heard(name)]


def all_known(run: Run, store: Store) -> bool:
    """Whether `heard` can tell for the run and all that it started from: not where a store is gone, or changed.

    If not, a line on standard error says so.
    """
    record, told = run.read(), _own_store(run) is not None
    while record:
        if not (told or record.get(HEARD) or record["store"]["fingerprint"] == store.fingerprint):
            print(
                f"note: the store that {run.path} or what it started from was trained on is gone or changed: clips of "
                f"it that are in {store.path}, too, cannot be told, and count as not heard",
                file=sys.stderr,
            )
            return False
        record, told = record.get(STARTED_FROM) or {}, False
    return True


def _place(name: str) -> Place:
    path = PurePosixPath(name.casefold())
    return (*path.parts[:-1], path.stem)


def _ends(place: Place) -> list[Place]:
    return [place[start:] for start in range(len(place))]


def _of_split(store: Store, settings: Settings, parts: Sequence[str]) -> set[str]:
    split = make_split(store, settings.fold, settings.seed)
    return {str(store.ids[row]) for part in parts for row in getattr(split, part)}


def _own_store(run: Run) -> Store | None:
    """That which the run was trained on; None where it is gone, changed, or of a starter model."""
    try:
        return run.store()
    except (InputError, KeyError):
        return None
