"""Writing exports: versions of a run's kept model, each compared with the run before it is put into place.

What `multiview.export.formats` has of a format is all that differs from one to another; `export.json` and
`MODEL_CARD.md` go with each.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import keras

from multiview.experiment.run import Run
from multiview.export.check import check_graphs
from multiview.export.formats import FORMATS, LOW_PRECISION_TOLERANCE, MAX_SECONDS, SECONDS, Format
from multiview.export.model_card import model_card
from multiview.export.service import Service, in_float32
from multiview.export.subject import Subject
from multiview.predict.saved import NETWORKS, Export, digests, of_run, versions
from multiview.starters import located
from multiview.support.errors import InputError, UsageError
from multiview.support.files import ANY_LEFTOVERS, locked, replacing, write_json


def export(
    run_path: str | Path,
    directory: str | Path,
    form: str = "savedmodel",
    precision: str = "float32",
    seconds: float = SECONDS,
) -> Path:
    """Write the kept model of a run as the next version `DIR/1`, `DIR/2` ... of an export.

    It is written aside, loaded again, compared with the live model, and only then renamed into place. If the network
    takes a user's own view that has no graph, the export takes no waveforms, and a line on standard error says so.

    Parameters
    ----------
    run_path : path
        The run, or the name of a starter model.
    directory : path
        What TensorFlow Serving calls the model's base path.
    form : str
        A name of `FORMATS`.
    precision : str
        Of the weights, one that the format has.
    seconds : float
        Length of the sounds that a file takes whose graph is of one length; a SavedModel takes any.

    Returns
    -------
    Path
        `DIR/VERSION`.

    Raises
    ------
    InputError
        If there is no trained run, Keras does not run on TensorFlow, the directory holds another format, or the export
        does not answer as the run does.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(f"expected KERAS_BACKEND=tensorflow to export, found {keras.backend.backend()}")
    chosen = FORMATS.find(form)
    chosen.check(precision)
    run, directory = Run(located(run_path)), Path(directory)
    _check_directory(directory, chosen)
    run.read()
    model = run.load_model()
    live = of_run(run, model)
    shortest = live.size.segment_samples / live.sample_rate
    if not shortest <= seconds <= MAX_SECONDS:
        raise UsageError(f"expected --seconds of {shortest:.2f} to {MAX_SECONDS}, found {seconds:g}")
    check_graphs(live.views, live.size)
    network = in_float32(model, run.settings())
    service = Service(network, live.classes, live.size, live.calibration)
    if service.without_graph:
        missing = ", ".join(service.without_graph)
        print(f"no graph for {missing}: the export takes segments of views, not waveforms", file=sys.stderr)
    subject = Subject(run, live, service, directory.resolve().name, precision, round(seconds * live.sample_rate))
    with locked(directory / "export.lock", f"{directory} is being exported to", ANY_LEFTOVERS):
        _check_directory(directory, chosen)  # again: another process may have been faster
        version = max(versions(directory), default=0) + 1
        with replacing(directory / str(version)) as temporary:
            _write(temporary, chosen, subject, version)
        for name, text in chosen.beside.items():
            if not (directory / name).exists():
                with replacing(directory / name) as temporary:
                    temporary.write_text(text, encoding="utf-8")
    return directory / str(version)


def _check_directory(directory: Path, chosen: Format) -> None:
    """Refuse what is no directory for versions of the format: a server that finds another one there would fail."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"expected a directory for versions, found a file at {directory}; name another")
    if any((directory / name).exists() for name in NETWORKS):
        raise InputError(f"expected a directory for versions, found a version at {directory}; name the one above it")
    for version in versions(directory):
        if other := Export.find(directory / str(version)):
            found = other.read().get("format", "savedmodel")  # those made before have no such entry
            if found != chosen.name:
                raise InputError(f"expected no format but {chosen.name} in {directory}, found {found}; name another")


def _write(path: Path, chosen: Format, subject: Subject, version: int) -> None:
    """Write and check a version."""
    path.mkdir()
    difference, tolerance = chosen.write(path, subject), chosen.tolerances[subject.precision]
    if subject.run.settings().precision != "float32":
        tolerance = max(tolerance, LOW_PRECISION_TOLERANCE)
    if not difference <= tolerance:
        raise InputError(
            f"expected an export within {tolerance} of {subject.run.path}, found a difference of {difference:.3g}; "
            "nothing was written"
        )
    files = sorted(str(each.relative_to(path)) for each in path.iterdir())
    record = {**subject.record(), "format": chosen.name, "files": files, "largest_difference": difference}
    record["sha256"] = digests(path)
    write_json(path / "export.json", record)
    if subject.run.attribution.is_file():
        shutil.copyfile(subject.run.attribution, path / subject.run.attribution.name)
    (path / "MODEL_CARD.md").write_text(model_card(subject.run, version, record), encoding="utf-8")
