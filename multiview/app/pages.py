"""What the page shows beside sounds: of a run its curves and matrices, of a report its page."""

from __future__ import annotations

import tempfile
from pathlib import Path

from multiview.app.answer import PAGES
from multiview.app.pictures import data_address
from multiview.experiment.results import Results, trial_of
from multiview.experiment.run import ABLATIONS, Run
from multiview.report.build import PAGE, draw_figures

ADDRESS = "/report.html"
_FIGURES = """<div class="pages">{% for caption, picture in figures.items() %}
<h3>{{ caption }}</h3><div class="wide"><img alt="{{ caption }}" src="{{ picture }}"></div>
{% endfor %}</div>"""
_REPORT = '<div class="pages"><iframe title="report" src="{{ address }}"></iframe></div>'


def report_page(path: Path) -> Path | None:
    """The page of a report at `path`, or of that which a run at `path` is part of; None where there is none."""
    folders = [path]
    if Run(path).record.is_file():
        above = list(path.resolve().parents)
        folders += above[2:3] if above[1:] and above[1].name == ABLATIONS else above[1:2]
    return next((page for folder in folders if (page := folder / PAGE).is_file()), None)


def training(path: Path) -> str | None:
    """HTML of the figures of a report that a run alone gives; None for what is no tested run."""
    run = Run(path)
    if not run.metrics.is_file():
        return None
    metrics, store = run.read_metrics(), run.read()["store"]
    results = Results(store["dataset"], {metrics["system"]: {trial_of(run): run}}, views=tuple(store.get("views", ())))
    with tempfile.TemporaryDirectory(prefix="multiview-") as folder:
        figures = {
            figure.caption(results): data_address(picture.read_bytes(), "image/png")
            for picture, figure in draw_figures(results, Path(folder)).items()
        }
    return PAGES.from_string(_FIGURES).render(figures=figures)


def report() -> str:
    """HTML of a frame with the report's page."""
    return PAGES.from_string(_REPORT).render(address=ADDRESS)
