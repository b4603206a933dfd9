"""`report.html`: everything a report has, in one file that needs no network."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from multiview.report.section import Section


def _text(note: str) -> Markup:
    """A line of a section: escaped, with its bold and code."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", str(escape(note)))
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", bold))


def _data(picture: Path) -> str:
    """A PNG file as part of the page."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def render(dataset: str, sections: Sequence[Section], pictures: Mapping[Path, str], runs: Section) -> str:
    """The page.

    Parameters
    ----------
    pictures : mapping
        PNG file, which becomes part of the page, to its caption.
    runs : Section
        The list of runs, which ends the page.
    """
    loader = PackageLoader("multiview.report", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"text": _text, "data": _data}
    template = environment.get_template("page.html.j2")
    return template.render(dataset=dataset, sections=sections, pictures=pictures, runs=runs)
