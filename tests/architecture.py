"""The import graph of the project.

    python -m tests.architecture            # floors, from the top down, with what each module imports
    python -m tests.architecture --check    # status 1 if an arrow points up or modules form a circle

Imports inside of functions count; those for type hints alone do not.
"""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
Arrows = set[tuple[str, str]]

# From the ground up; a name stands for the package or module and all below it. Arrows on one floor must only not
# form a circle.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("multiview.support",),
    ("multiview.views",),
    ("multiview.decoders", "multiview.audio", "multiview.segments", "multiview.store", "multiview.splits",
     "multiview.systems", "multiview.history", "multiview.blending", "multiview.augment", "multiview.backbones",
     "multiview.settings", "multiview.options", "multiview.layers", "multiview.checkpointing", "multiview.recurrence",
     "multiview.crnn", "multiview.optimizer", "multiview.devices", "multiview.starters", "multiview.origin"),
    ("multiview.networks", "multiview.transfer", "multiview.averaging", "multiview.evaluation", "multiview.calibration",
     "multiview.guessing", "multiview.callbacks", "multiview.training"),
    ("multiview.experiment",),
    ("multiview.predict", "multiview.report"),
    ("multiview.api", "multiview.tensorboard"),
    ("multiview.export", "multiview.app"),
    ("multiview.cli", "multiview"),
    ("data_prep",),
)  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module of the project by its name."""
    found = {}
    for package in ("multiview", "data_prep"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def floor(module: str) -> int | None:
    """Number of the floor of a module: that of the longest name that covers it."""
    covering = [
        (len(name), number)
        for number, names in enumerate(FLOORS)
        for name in names
        if module == name or (module.startswith(f"{name}.") and name != "multiview")
    ]
    return max(covering)[1] if covering else None


def _imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Modules that are imported, and names from them; without those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        yield from _imports(node)


def arrows() -> Arrows:
    """Who imports whom."""
    known, found = modules(), set()
    for module, path in known.items():
        for package, name in _imports(ast.parse(path.read_text(encoding="utf-8"))):
            target = f"{package}.{name}" if f"{package}.{name}" in known else package
            if target in known and target != module:
                found.add((module, target))
    return found


def upward(found: Arrows) -> list[str]:
    """Arrows that do not point down or stay on their floor."""
    return sorted(
        f"{one} -> {other}"
        for one, other in found
        if (floor(one) or 0) < (floor(other) or 0) or (one.startswith("multiview") and other.startswith("data_prep"))
    )


def circle(found: Arrows) -> list[str]:
    """The modules of a circle of imports, none where there is none."""
    targets = defaultdict(set)
    for one, other in found:
        targets[one].add(other)
    rest = set(targets) | {other for _, other in found}
    while leaves := {module for module in rest if not targets[module] & rest}:
        rest -= leaves
    # What is left imports something that is left; without what nobody left imports, circles alone are.
    while tops := {module for module in rest if not any(module in targets[other] for other in rest)}:
        rest -= tops
    return sorted(rest)


def main() -> int:
    """Print the graph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args, found = parser.parse_args(), arrows()
    for number in reversed(range(len(FLOORS))):
        print(f"floor {number}")
        for module in (each for each in modules() if floor(each) == number):
            below = sorted(other for one, other in found if one == module)
            print(f"  {module}: {', '.join(below) or '-'}")
    wrong = [*upward(found), *(f"in a circle: {module}" for module in circle(found))]
    print(f"{len(modules())} modules, {len(found)} arrows, {len(wrong)} wrong", *wrong, sep="\n")
    return int(args.check and bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
