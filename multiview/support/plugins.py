"""A user's own views, datasets, backbones, rules and augmentations: modules that register them.

A plugin is loaded because the user names it, `--plugin FILE.py` or `--plugin package.module`; never because a
file says so.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from multiview.support import registry
from multiview.support.errors import InputError

_loaded: dict[str, dict[str, list[str]]] = {}  # by the plugin as given: kind to names
_places: dict[Path, str] = {}


def load(plugins: Iterable[str]) -> None:
    """Import plugins, each once; what one registers is there afterwards, or nothing of it.

    Raises
    ------
    InputError
        If one cannot be imported, registers nothing, or declares something that does not fit.
    """
    for plugin in plugins:
        place = Path(plugin).absolute() if plugin.endswith(".py") else None
        if plugin in _loaded or place in _places:
            continue
        before, modules = registry.snapshot(), set(sys.modules)
        try:
            _loaded[plugin] = _register(plugin, place)
        except Exception as error:  # a user's code may raise anything
            registry.restore(before)
            for name in {place.stem if place else plugin} - modules:
                sys.modules.pop(name, None)
            reason = " ".join(str(error).split())
            if not isinstance(error, InputError):
                reason = f"expected a module that imports, found {type(error).__name__}: {reason}; mend it"
            raise InputError(f"plugin {plugin}: {reason}") from error
        if place:
            _places[place] = plugin


def _register(plugin: str, place: Path | None) -> dict[str, list[str]]:
    """Import a plugin; the names that it registers, by kind."""
    before = registry.snapshot()
    if place is None:
        importlib.import_module(plugin)
    else:
        _import_file(place)
    found = {
        kind: names
        for kind, after in registry.snapshot().items()
        if (names := [name for name in after if name not in before.get(kind, ())])
    }
    if not found:
        raise InputError("expected that it registers a view, dataset, backbone or the like, found nothing; mend it")
    return found


def _import_file(place: Path) -> None:
    """Import a file under its own name, by which Keras finds the classes of a saved model, too."""
    if not place.is_file():
        raise InputError(f"expected a Python file, found none at {place}; check --plugin")
    spec = importlib.util.spec_from_file_location(place.stem, place)
    if spec is None or spec.loader is None or place.stem in sys.modules:
        raise InputError(f"expected a file with a name of its own, found a module {place.stem!r}; rename the file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[place.stem] = module
    spec.loader.exec_module(module)


def forget() -> None:
    """Take plugins for not loaded, after `registry.restore` has taken out what they registered."""
    for place in _places:
        sys.modules.pop(place.stem, None)
    _loaded.clear()
    _places.clear()


def given() -> list[str]:
    """The plugins that are loaded, as another process has to be told."""
    return [str(Path(plugin).absolute()) if plugin.endswith(".py") else plugin for plugin in _loaded]


def origin(kind: str, name: str) -> str | None:
    """The plugin that registered a name, None where it is the project's own."""
    return next((plugin for plugin, found in _loaded.items() if name in found.get(kind, ())), None)


def record(used: Mapping[str, Iterable[str]]) -> dict[str, dict[str, list[str]]]:
    """Which of the names in `used`, by kind, come from which plugin, for what is written to disk."""
    records = {}
    for plugin, found in _loaded.items():
        mine = {kind: [name for name in names if name in set(found.get(kind, ()))] for kind, names in used.items()}
        mine = {kind: names for kind, names in mine.items() if names}
        if mine:
            records[Path(plugin).name if plugin.endswith(".py") else plugin] = mine
    return records


def require(place: Path | str, recorded: object) -> None:
    """Refuse what was made with a plugin whose declarations are not there.

    Parameters
    ----------
    place : path
        The run or store, for the message.
    recorded : dict or None
        What `record` gave when it was made.

    Raises
    ------
    InputError
        With what is missing and the plugin to pass.
    """
    there = registry.snapshot()
    for plugin, kinds in recorded.items() if isinstance(recorded, dict) else ():
        for kind, names in kinds.items() if isinstance(kinds, dict) else ():
            missing = [str(name) for name in names if name not in there.get(kind, ())]
            if missing:
                raise InputError(
                    f"{place} needs the {kind} {missing[0]!r} of the plugin {plugin}, found none; say --plugin {plugin}"
                )
