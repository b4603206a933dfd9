"""Networks on disk, ready for sounds: those of runs, and those of exports."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from multiview import calibration
from multiview.calibration import Calibration
from multiview.evaluation import check_weights
from multiview.experiment.run import Run
from multiview.predict import light, onnx
from multiview.predict.batches import Network, Outputs
from multiview.predict.predictor import Predictor
from multiview.starters import located
from multiview.support import plugins
from multiview.support.errors import InputError, first_line
from multiview.support.lean import quiet
from multiview.support.records import fields, listed, mapping, maybe, number, one_of, read_record, whole, word
from multiview.systems import find_system
from multiview.views import SAMPLE_RATES, paper_views

if TYPE_CHECKING:
    from multiview.networks import BlendedModel

SAVED_MODEL = "saved_model.pb"
VIEWS_SIGNATURE = "views"  # of exports: takes views of segments, gives branches
_NAMES = listed(word, once=True)
RECORD = fields(
    {
        "system": word,
        "classes": listed(word, least=1, once=True),
        "sample_rate": one_of(SAMPLE_RATES),
        "weights": mapping(number(0, 1)),
    },
    {
        "views": _NAMES,
        "store_views": _NAMES,
        "plugins": mapping(mapping(_NAMES)),
        "calibration": maybe(calibration.RECORD),
        "largest_difference": number(),
        "without_graph": _NAMES,
        "segment": mapping(listed(whole(1))),
        "format": word,
        "precision": word,
        "files": _NAMES,
        "sha256": mapping(word),
    },
)  # `export.json`


def digests(path: Path, patterns: Sequence[str] = ("**/*",)) -> dict[str, str]:
    """SHA-256 of the files in a folder, by their path there."""
    files = {each for pattern in patterns for each in path.glob(pattern) if each.is_file()}
    return {each.relative_to(path).as_posix(): hashlib.sha256(each.read_bytes()).hexdigest() for each in sorted(files)}


def load(path: str | Path, calibrated: bool = True) -> Predictor:
    """The network of a run or of an export, ready for sounds.

    Parameters
    ----------
    path : path
        A run directory; or the directory of an export, of which the newest version is taken, or one version of it; or
        the name of a starter model, such as `esc10`.
    calibrated : bool
        Whether its answers are at the temperatures that were fitted on the validation clips, if it has any; those made
        before there were temperatures have none. Otherwise they are as the network gives them.

    Raises
    ------
    InputError
        If there is neither, or it is damaged or needs a plugin.
    """
    path = located(path)
    if (path / "run.json").is_file():
        run = Run(path)
        predictor = of_run(run, run.load_model())
    elif export := Export.find(path):
        predictor = export.load()
    else:
        raise InputError(f"expected a run or an export, found none at {path}; check the path")
    if not calibrated:
        predictor.calibration = None
    return predictor


def of_run(run: Run, model: BlendedModel) -> Predictor:
    """The kept model of a run, ready for sounds."""
    store = run.read()["store"]
    try:
        network = _traced(model)
    except Exception as error:  # of any kind, where the file says what cannot be computed
        raise InputError(f"{run.model} cannot be computed ({first_line(error)}); train again") from error
    return Predictor(
        network,
        store["classes"],
        store["sample_rate"],
        list(model.input),
        model.weights_by_branch(),
        store_views(run),
        run.calibration(),
    )


def _traced(model: BlendedModel) -> Network:
    """The model as a function of batches of any size.

    Not `predict_on_batch` on TensorFlow, which makes a graph for the first size of batch that it meets, and, a second
    and more, another one for the next.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return model.predict_on_batch
    import tensorflow as tf

    batch = {view: tf.TensorSpec([None, *each.shape[1:]], tf.float32) for view, each in model.input.items()}
    function = tf.function(lambda views: model(views, training=False), input_signature=[batch], autograph=False)
    graph = function.get_concrete_function()
    return lambda views: {branch: values.numpy() for branch, values in graph(views).items()}


def store_views(run: Run) -> tuple[str, ...]:
    """The views of the store that a run was trained on; runs made before did not record them, and had the paper's."""
    return tuple(run.read()["store"].get("views") or paper_views())


class Export:
    """One version of an export.

    Parameters
    ----------
    path : path
        `DIR/VERSION`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.record = self.path / "export.json"

    @classmethod
    def find(cls, path: str | Path) -> Export | None:
        """The version at `path`, or the newest one below it; None if there is neither."""
        candidates = (Path(path), *(Path(path) / str(version) for version in reversed(versions(path))))
        return next((cls(each) for each in candidates if any((each / name).is_file() for name in NETWORKS)), None)

    def read(self) -> dict:
        """Content of `export.json`.

        Raises
        ------
        InputError
            If it is missing or damaged.
        """
        return read_record(self.record, RECORD, "export the run again")

    def load(self) -> Predictor:
        """The network of the export, ready for sounds of any rate and format.

        Raises
        ------
        InputError
            If it is incomplete or damaged, or needs a plugin.
        """
        record = self.read()
        plugins.require(self.path, record.get("plugins"))
        try:
            system, temperatures = find_system(record["system"], record.get("views")), record.get("calibration")
            for name, found in (("weights", record["weights"]), ("calibration", (temperatures or {}).get("branches"))):
                if found is not None and set(found) != set(system.branches):
                    raise ValueError(f"expected {name} of {', '.join(system.branches)}, found others")
            check_weights(record["weights"])
            file = next(name for name in NETWORKS if (self.path / name).is_file())
            self._check_files(file, record.get("sha256"))
            predictor = Predictor(
                NETWORKS[file](self.path / file, system.branches),
                record["classes"],
                record["sample_rate"],
                system.views,
                record["weights"],
                # Exports made before do not have it, and were of the paper's views.
                record.get("store_views", ()),
                Calibration.of_record(temperatures),
            )
            silence = {view: np.zeros((1, *predictor.size.segment_shape(view), 1), np.float32) for view in system.views}
            for branch, answer in predictor.network(silence).items():
                if answer.shape != (1, len(predictor.classes)):
                    raise ValueError(f"expected {branch} of {len(predictor.classes)} classes, found {answer.shape[1:]}")
            return predictor
        except InputError:
            raise
        except Exception as error:  # of any kind, where files are damaged
            raise self._damaged(error) from error

    def _check_files(self, network: str, wanted: dict[str, str] | None) -> None:
        """That the files which a network is loaded from are those that were exported; those of before say nothing."""
        if wanted is None:
            return
        beside = "variables/" if network == SAVED_MODEL else network
        found = digests(self.path, (network, f"{beside}*"))
        for name in {name for name in (*found, *wanted) if name == network or name.startswith(beside)}:
            if found.get(name) != wanted.get(name):
                raise ValueError(f"expected {name} as it was exported, found another")

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f"{self.path} cannot be loaded ({first_line(error)}); export the run again")


def _of_savedmodel(file: Path, branches: Sequence[str]) -> Network:
    """The branches that a SavedModel gives for views of segments."""
    with quiet():
        import tensorflow as tf

    loaded = tf.saved_model.load(str(file.parent))  # kept, as it owns the variables
    loaded.signatures[VIEWS_SIGNATURE]

    def network(segments: Outputs) -> Outputs:
        inputs = {view: tf.constant(values[..., 0]) for view, values in segments.items()}
        outputs = loaded.signatures[VIEWS_SIGNATURE](**inputs)
        return {branch: outputs[branch].numpy() for branch in branches}

    return network


# What loads a network, by the name of its file; where an export has several, the first is taken. SavedModels made
# before, and those of networks that LiteRT does not run, have no other.
NETWORKS: dict[str, Callable[[Path, Sequence[str]], Network]] = {
    light.FILE: light.light_network,
    onnx.FILE: onnx.onnx_network,
    SAVED_MODEL: _of_savedmodel,
}


def versions(directory: str | Path) -> list[int]:
    """Version numbers in the directory of an export, in order."""
    return sorted(int(path.name) for path in Path(directory).glob("*") if path.name.isdecimal() and path.is_dir())
