"""What is exported, and what is said of it beside any format."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from multiview.experiment.run import Run
from multiview.export.service import Service
from multiview.predict.predictor import Predictor
from multiview.predict.saved import store_views
from multiview.support import plugins
from multiview.support.errors import InputError, first_line


@dataclass(frozen=True)
class Subject:
    """A run's kept model on its way into a version.

    Attributes
    ----------
    run, live : Run, Predictor
        What is exported, and its network.
    service : Service
        That network in float32, with the graphs of the views.
    name : str
        What a server calls it.
    precision : str
        Of the weights.
    samples : int
        Length of the sounds that a graph of one length takes.
    """

    run: Run
    live: Predictor
    service: Service
    name: str
    precision: str
    samples: int

    def record(self) -> dict:
        """Content of `export.json` that no format changes."""
        return {
            "system": self.run.settings().system,
            "views": self.live.views,
            "store_views": list(store_views(self.run)),
            "plugins": plugins.record({"view": store_views(self.run)}),
            "classes": self.live.classes,
            "sample_rate": self.live.sample_rate,
            "segment": {view: list(self.live.size.segment_shape(view)) for view in self.live.views},
            "weights": self.live.weights,
            "calibration": asdict(self.live.calibration) if self.live.calibration else None,
            "without_graph": self.service.without_graph,
            "precision": self.precision,
        }


@contextlib.contextmanager
def converting(runtime: str) -> Iterator[None]:
    """Say in a line what a converter says of a network that its runtime does not run; a full disk is another matter.

    Raises
    ------
    InputError
        With that.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # of any kind, from converters
        found = first_line(error)
        raise InputError(f"expected a network that {runtime} runs, found {found}; export a SavedModel") from error
