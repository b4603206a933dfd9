"""The report, step by step: collect the runs, make the tables, draw the figures, write the page, print."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import pandas as pd

from multiview.experiment.results import Results, collect, correct
from multiview.report.ablations import ablation_section, views_left_out_section
from multiview.report.calibration import calibration_section
from multiview.report.claims import claims_section
from multiview.report.classes import classes_section, confused_section
from multiview.report.figures import FIGURES, Figure
from multiview.report.page import render
from multiview.report.section import Section, write
from multiview.report.tables import (
    folds_section,
    missing_rows,
    run_table,
    runs_section,
    table_3,
    table_3_section,
)
from multiview.support.files import ANY_LEFTOVERS, locked, replacing
from multiview.support.plots import save
from multiview.systems import label

PAGE = "report.html"


def build(directory: str | PathLike[str]) -> pd.DataFrame:
    """What `multiview.report.report` does."""
    directory = Path(directory)
    results = collect(directory)
    with locked(directory / "report.lock", f"{directory} is being reported", ANY_LEFTOVERS):
        return _build(results, directory)


def _build(results: Results, directory: Path) -> pd.DataFrame:
    sections = make_sections(results)
    write(sections, directory)
    pictures = draw_figures(results, directory)
    shown = {path: figure.caption(results) for path, figure in pictures.items() if figure.on_page(results)}
    with replacing(directory / PAGE) as temporary:
        page = render(results.dataset, sections, shown, runs_section(run_table(results)))
        temporary.write_text(page, encoding="utf-8")

    # On a terminal the end is what one sees: Table 3.
    print("\n".join(section.markdown() for section in reversed(sections)))
    if missing := missing_rows(results):
        print(f"not there yet: {', '.join(map(label, missing))}")
    print(f"pictures: {', '.join(map(str, pictures))}\nall on one page: {directory / PAGE}")
    return table_3(results)


def make_sections(results: Results) -> list[Section]:
    """The parts of the report for which there are results, in order."""
    ablations = [ablation_section(results), views_left_out_section(results)] if results.ablations else []
    every = [
        table_3_section(results),
        folds_section(results),
        claims_section(correct(results.rows)),
        *ablations,
        classes_section(results),
        confused_section(results),
        calibration_section(results),
    ]
    return [section for section in every if section]


def draw_figures(results: Results, directory: Path) -> dict[Path, Figure]:
    """Draw the figures for which there are results; by the files they went to. Those of before without any go."""
    written = {}
    for name, figure in FIGURES.items():
        path = directory / f"{name}.png"
        if figure.needs(results):
            save(figure.draw(results), path)
            written[path] = figure
        else:
            path.unlink(missing_ok=True)
    return written
