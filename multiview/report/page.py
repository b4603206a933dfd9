"""`report.html`: everything a report has, in one file that needs no network."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
div { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9rem; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; } img { max-width: 100%; } figure { margin: 1.5rem 0; }
figcaption { color: #555; font-size: 0.9rem; }
"""

CAPTIONS = {
    "figure2a.png": "Figure 2 (a): validation loss of the branches of the multi-view network",
    "figure2b.png": "Figure 2 (b): weights of the branches",
    "figure2c.png": "Figure 2 (c): validation loss of the multi-view network and the baselines",
    "ablations.png": "Weights of the branches under each blending",
    "confusion.png": "Confusion matrix",
    "per_class.png": "Accuracy by class and system",
}


def _text(markdown: str) -> str:
    """Plain words of Markdown: escaped, with bold and code."""
    escaped = html.escape(markdown, quote=False)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escaped))


def _blocks(markdown: str) -> str:
    """The tables and lines of this project's own Markdown as HTML."""
    lines, parts = markdown.strip().splitlines(), []
    table = [line for line in lines if line.startswith("|")]
    if table:
        head, _, *body = ([_text(cell.strip()) for cell in line.strip("|").split("|")] for line in table)
        rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body)
        parts.append(f"<div><table><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>{rows}</table></div>")
    parts += [f"<p>{_text(line)}</p>" for line in lines if line.strip() and not line.startswith("|")]
    return "".join(parts)


def render(dataset: str, sections: Mapping[str, str], pictures: Sequence[Path], runs: str) -> str:
    """The page.

    Parameters
    ----------
    sections : mapping
        Heading to Markdown with at most one table.
    pictures : sequence of Path
        PNG files, which become part of the page.
    runs : str
        Markdown with one line a run.
    """
    parts = [f"<h2>{html.escape(heading)}</h2>{_blocks(text)}" for heading, text in sections.items()]
    parts.append("<h2>Figures</h2>")
    for picture in pictures:
        data, caption = base64.b64encode(picture.read_bytes()).decode(), html.escape(CAPTIONS[picture.name])
        image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
        parts.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    parts.append(f"<h2>Runs and their settings</h2>{_blocks(runs)}")
    title = f"Multi-view classification: {html.escape(dataset)}"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><h1>{title}</h1>{''.join(parts)}</body></html>\n"
    )
