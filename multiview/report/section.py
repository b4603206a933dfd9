"""A part of the report: one table for people and what they must know to read it, as Markdown, CSV and on the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from multiview.support.files import replacing

FILES = ("table", "folds", "claims", "ablations", "confused", "calibration")


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Parameters
    ----------
    heading : str
        On the page.
    table : DataFrame, optional
        Cells as people read them, all text.
    notes : tuple of str
        Lines below the table; `**bold**` and `` `code` `` are all their markup.
    lead : tuple of str
        Lines above the table, on the page only.
    file : str
        One of `FILES`: the section goes to FILE.md and `data` to FILE.csv; to no file where it is empty.
    data : DataFrame, optional
        The numbers.
    digits : int
        Decimals of the numbers in the file.
    """

    heading: str
    table: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    lead: tuple[str, ...] = ()
    file: str = ""
    data: pd.DataFrame | None = None
    digits: int = 4

    def __post_init__(self) -> None:
        if self.file and self.file not in FILES:
            raise ValueError(f"expected a file of {', '.join(FILES)}, found {self.file!r}")

    def markdown(self) -> str:
        """The table and the notes."""
        parts = []
        if self.table is not None:
            cells = self.table.rename(columns=_cell).map(_cell)
            parts.append(cells.to_markdown(index=False, tablefmt="github", disable_numparse=True))
        if self.notes:
            parts.append("\n".join(self.notes))
        return "\n\n".join(parts) + "\n"


def _cell(value: object) -> str:
    return str(value).replace("|", r"\|")


def write(sections: list[Section], directory: Path) -> None:
    """Write the files of the sections, each atomically; those of one name go to one file, those of none are deleted."""
    for file in FILES:
        parts = [section for section in sections if section.file == file]
        if not parts:
            for suffix in (".md", ".csv"):
                (directory / f"{file}{suffix}").unlink(missing_ok=True)
            continue
        with replacing(directory / f"{file}.md") as temporary:
            temporary.write_text("\n".join(part.markdown() for part in parts), encoding="utf-8")
        for part in parts:
            if part.data is not None:
                with replacing(directory / f"{file}.csv") as temporary:
                    part.data.to_csv(temporary, index=False, float_format=f"%.{part.digits}f")
