"""A run directory: the files of one system trained on one fold, and what `run.json` says of them."""

from __future__ import annotations

import contextlib
import os
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from multiview.calibration import Calibration
from multiview.evaluation import check_weights
from multiview.experiment.checkpoint import Checkpoint
from multiview.experiment.predictions import Predictions
from multiview.experiment.provenance import continued, here, now, peak_memory_mib
from multiview.experiment.schema import FAILURE, METRICS, PEAK_MEMORY, RUN
from multiview.history import read_history
from multiview.settings import Settings, from_record, of_one_branch
from multiview.store import About, Store
from multiview.support import plugins
from multiview.support.errors import InputError, first_line
from multiview.support.files import ANY_LEFTOVERS, is_locked, locked, write_json
from multiview.support.lean import import_keras
from multiview.support.records import damaged, read_record
from multiview.support.words import listed
from multiview.systems import System
from multiview.views import geometry

if TYPE_CHECKING:
    import keras

STATES = ("done", "running", "interrupted", "failed", "to do")
ABLATIONS = "ablations"  # folder of multi-view runs that differ from the preset's in one setting


class Trial(NamedTuple):
    """The fold that a run is tested on, counted from 1, and its seed."""

    fold: int
    seed: int = 0

    def folder(self, first: int = 0) -> str:
        """Name of the run's directory, where runs with the seed `first` are called by their folds alone."""
        return self.folders()[self.seed != first]

    def folders(self) -> tuple[str, str]:
        """Both names that it may have: where its seed is the first, and where it is another."""
        return f"fold{self.fold}", f"fold{self.fold}_seed{self.seed}"

    def __str__(self) -> str:
        """As people say it after `fold`."""
        return f"{self.fold}" + (f" with seed {self.seed}" if self.seed else "")


class Run:
    """Paths and record of one run directory."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.record = self.path / "run.json"
        self.history = self.path / "history.csv"
        self.model = self.path / "model.keras"
        self.checkpoint = self.path / "checkpoint.npz"
        self.predictions = self.path / "predictions.h5"
        self.metrics = self.path / "metrics.json"
        self.failure = self.path / "failed.json"
        self.attribution = self.path / "ATTRIBUTION.txt"  # credits that a licence of what it was trained on asks for

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory; the lock goes with the process, however that ends.

        Raises
        ------
        InputError
            If another process holds it.
        """
        with locked(self.path / "run.lock", f"{self.path} is being trained or tested", ANY_LEFTOVERS):
            yield

    def is_locked(self) -> bool:
        """Whether a process trains this run now."""
        return is_locked(self.path / "run.lock")

    def read(self) -> dict:
        """Content of `run.json`.

        Raises
        ------
        InputError
            If the directory holds no run.
        """
        if not self.record.is_file():
            raise InputError(f"expected a run directory with a run.json, found none at {self.path}")
        return read_record(self.record, RUN, f"delete {self.path} and train again")

    def read_metrics(self) -> dict:
        """Content of `metrics.json`, which is of this run's system and fold.

        Raises
        ------
        InputError
            If it is missing or damaged, or of another run.
        """
        again, system, settings = f"run multiview evaluate {self.path}", self.system(), self.settings()
        found = read_record(self.metrics, METRICS, again)
        rows = {*system.branches, *([system.ensemble] if system.ensemble else [])}
        wanted = {"system": system.name, "dataset": self.read()["store"]["dataset"], "fold": settings.fold}
        pairs = [(name, found[name], want) for name, want in wanted.items()]
        for name, have, want in (*pairs, ("accuracy of", sorted(found["accuracy"]), sorted(rows))):
            if have != want:
                raise damaged(self.metrics, f"expected {name} {want}, found {reprlib.repr(have)}", again)
        return found

    def read_history(self) -> list[dict[str, float]]:
        """The rows of `history.csv`, see `multiview.history`.

        Raises
        ------
        InputError
            If it is missing or damaged.
        """
        return read_history(self.history, self.system().branches)

    def read_predictions(self) -> Predictions:
        """Content of `predictions.h5`, which is of this run's branches and classes.

        Raises
        ------
        InputError
            If it is missing or damaged, or of another run.
        """
        return Predictions.read(self.predictions, self.system().branches, self.read()["store"]["classes"])

    def settings(self) -> Settings:
        """The run's settings; those that are younger than it with their defaults."""
        return from_record(self.read()["settings"])

    def system(self) -> System:
        """The system with its views and branches.

        Raises
        ------
        InputError
            If it needs a plugin that is not loaded.
        """
        plugins.require(self.path, self.read().get("plugins"))
        return self.settings().resolve()

    def about(self) -> About:
        """The dataset's protocol and terms, as far as the run recorded them."""
        return About.of_record(self.read()["store"].get("about", {}))

    def calibration(self) -> Calibration | None:
        """The temperatures of the kept model; None of runs that were made before, and are not trained yet.

        Raises
        ------
        InputError
            If the record of them is damaged.
        """
        found, branches = Calibration.of_record(self.read().get("calibration")), self.system().branches
        if found and set(found.branches) != set(branches):
            reason = f"expected temperatures of {', '.join(branches)}, found those of {listed(sorted(found.branches))}"
            raise damaged(self.record, reason, f"delete its entry calibration and run multiview evaluate {self.path}")
        return found

    def progress(self) -> tuple[float, float]:
        """Share of the training that would not have to be done again, and the seconds that it took.

        (0, 0) where nothing is on disk, or what is there is damaged.
        """
        try:
            if self.model.is_file() or self.metrics.is_file():
                return 1.0, self.read().get("training_seconds", 0.0)
            epoch, seconds = Checkpoint(self.checkpoint, self.system().branches).progress()
            return min(1.0, epoch / self.settings().epochs), seconds
        except (InputError, OSError, ValueError):
            return 0.0, 0.0

    def update(self, **changes) -> None:
        """Change entries of `run.json`; the time is added, an old failure's reason goes."""
        record = self.read()
        if changes.get("status", "failed") != "failed":
            record.pop("reason", None)
        write_json(self.record, {**record, **changes, "updated": now()})

    def ended(self, status: str, **changes) -> None:
        """Change entries of `run.json` at the end of a training, whatever it ended by; its peak memory is added."""
        peak = max(peak_memory_mib(), self.read().get(PEAK_MEMORY, 0))
        self.update(status=status, **{PEAK_MEMORY: peak}, **changes)

    def _wanted(self, store: Store, settings: Settings) -> dict:
        """What `run.json` says of a run of `settings` on `store`."""
        init, pretrained = (each and each.relative_to(self.path) for each in (settings.init, settings.pretrained))
        return {
            "settings": asdict(replace(settings, init=init, pretrained=pretrained)),
            "store": {
                "path": store.relative_to(self.path),
                "dataset": store.dataset,
                "sample_rate": store.sample_rate,
                "fingerprint": store.fingerprint,
                "classes": store.classes,
                "views": list(store.views),
                "about": asdict(store.about),
            },
            # All views of the store, as its segments are aligned over them.
            "plugins": plugins.record({**settings.names(), "view": store.views}),
        }

    def check(self, store: Store, settings: Settings) -> dict:
        """Content of `run.json`, which has to be that of a run of `settings` on `store`.

        Raises
        ------
        InputError
            If the directory holds another run, with what differs.
        """
        found, wanted = self.read(), self._wanted(store, settings)
        both = of_one_branch(settings), of_one_branch(self.settings())
        pairs = [(key, wanted["store"][key], found["store"].get(key)) for key in ("fingerprint", "classes")]
        pairs += [(field.name, *(getattr(each, field.name) for each in both)) for field in fields(settings)]
        differing = [f"{key} {there} instead of {here}" for key, here, there in pairs if here != there]
        if differing:
            raise InputError(f"{self.path} holds another run: {'; '.join(differing)}; name another --run or delete it")
        return found

    def leave_word(self, reason: str) -> None:
        """Say in the directory that the command which should have made the run has failed, be it before it began."""
        write_json(self.failure, {"reason": reason, "time": now()})

    def why_failed(self) -> str | None:
        """The reason; None for a run that is done, under way or interrupted."""
        if self.metrics.is_file():
            return None
        try:
            record = self.read() if self.record.is_file() else {}
            if record.get("status") == "failed":
                return record.get("reason", "")
            if not self.failure.is_file():
                return None
            return read_record(self.failure, FAILURE, "delete it and repeat the command")["reason"]
        except InputError as error:
            return str(error)

    def state(self) -> str:
        """One of `STATES`; `running` is it in any process that shares the files."""
        if self.is_locked():
            return "running"
        if self.metrics.is_file():
            return "done"
        if self.why_failed() is not None:
            return "failed"
        return "interrupted" if self.record.is_file() else "to do"

    def is_begun(self) -> bool:
        """Whether there is a run; one that failed before its first evaluation is as good as none.

        Raises
        ------
        InputError
            If its record is damaged.
        """
        if not self.record.exists():
            return False
        # The first checkpoint is that of the first evaluation.
        return self.checkpoint.exists() or self.model.exists() or self.read().get("status") != "failed"

    def begin(self, store: Store, settings: Settings, devices: Sequence[Any] = ()) -> bool:
        """Write `run.json`, or check that the run that is there is this one; True if it is trained.

        `devices` are those that share the network.

        Raises
        ------
        InputError
            If the directory holds another run, with what differs, or one that another backend has begun.
        """
        wanted = self._wanted(store, settings)
        self.failure.unlink(missing_ok=True)
        if self.is_begun():
            found = self.check(store, settings)
            finished = self.model.exists()
            if finished:
                self.checkpoint.unlink(missing_ok=True)
                if found["store"] != wanted["store"]:  # moved
                    self.update(store=wanted["store"])
            else:
                self._same_backend(found)
                self._forget_test()
                self.update(store=wanted["store"], status="running", **continued(found, devices))
            return finished
        self._forget_test()
        write_json(self.record, {**wanted, "status": "running", "started": now(), **here(devices)})
        return False

    def _forget_test(self) -> None:
        """Drop what a test said of a network that is trained again: with it, the run would count as done."""
        for path in (self.metrics, self.predictions):
            path.unlink(missing_ok=True)

    def _same_backend(self, found: dict) -> None:
        """Whether what was begun can go on: random numbers, and their states, are those of a backend."""
        import keras

        backend = keras.backend.backend()
        if (before := found.get("machine", {}).get("backend", backend)) != backend:
            raise InputError(
                f"{self.path} was begun with the backend {before}, found {backend}; set KERAS_BACKEND={before} to go "
                "on, or name another directory"
            )

    def store(self) -> Store:
        """The store the run was trained on.

        Raises
        ------
        InputError
            If it is gone, or its content is no longer what it was.
        """
        record = self.read()
        plugins.require(self.path, record.get("plugins"))
        recorded = record["store"]
        if "path" not in recorded:
            raise InputError(f"expected a run with its store, found {self.path} without; name a run of your own")
        store = Store(Path(os.path.normpath(self.path / recorded["path"])))
        if store.fingerprint != recorded["fingerprint"]:
            raise InputError(
                f"{store.path} changed since {self.path} was trained: expected fingerprint "
                f"{recorded['fingerprint'][:12]}, found {store.fingerprint[:12]}"
            )
        return store

    def load_model(self) -> keras.Model:
        """The kept model.

        Raises
        ------
        InputError
            If the run has none yet, or the file is damaged.
        """
        import_keras()
        from multiview.experiment import model_file
        from multiview.networks import BlendedModel

        system, store = self.system(), self.read()["store"]
        if not self.model.is_file():
            raise InputError(f"{self.path} has no model.keras yet; finish it with multiview train")
        try:
            model = model_file.load(self.model)
            if not isinstance(model, BlendedModel):
                raise ValueError(f"expected a network of ours, found {type(model).__name__}")
            size = geometry(store["sample_rate"], system.views)
            wanted = {view: (*size.segment_shape(view), 1) for view in system.views}
            wanted |= {f"{branch} out": (len(store["classes"]),) for branch in system.branches}
            found = {view: tuple(each.shape[1:]) for view, each in model.input.items()}
            found |= {f"{branch} out": tuple(each.shape[1:]) for branch, each in model.output.items()}
            if found != wanted:
                raise ValueError(f"expected a network of {wanted}, found one of {found}")
            check_weights(model.weights_by_branch())
            return model
        except Exception as error:  # of any kind, where the file is damaged or would run code
            raise InputError(f"{self.model} cannot be loaded ({first_line(error)}); train again") from error
