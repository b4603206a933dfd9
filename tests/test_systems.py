"""Systems: which views and branches, on the paper's views and on others."""

from __future__ import annotations

import pytest

from multiview.support.errors import InputError
from multiview.systems import find_system, label, system_names, table_rows
from tests.helpers.paper import BRANCHES, SYSTEMS, TABLE_3, VIEWS


def test_the_papers_six() -> None:
    assert system_names() == SYSTEMS and table_rows() == TABLE_3
    for view in VIEWS:
        system = find_system(view)
        assert (system.views, system.branches, system.scored) == ((view,), (view,), view)
    for name, branches in (("concat", ("multiview",)), ("multiview", BRANCHES)):
        system = find_system(name)
        assert (system.views, system.branches, system.scored) == (VIEWS, branches, "multiview")


def test_any_two_views_and_more() -> None:
    system = find_system("multiview", ["raw", "mel", "raw"])
    assert system.views == ("mel", "raw") and system.branches == ("mel", "raw", "multiview")
    assert find_system("concat", ["cqt", "mel"]).branches == ("multiview",)
    assert find_system("mel", ["mel"]) == find_system("mel")


@pytest.mark.parametrize(
    ("name", "views", "message"),
    [
        ("video", None, "expected a system of mel, gammatone, cqt, raw, concat, multiview; found 'video'"),
        ("multiview", ["mel"], "expected two or more --views for multiview, found mel"),
        ("multiview", ["mel", "video"], "expected a view of mel, gammatone, cqt, raw; found 'video'"),
        ("mel", ["mel", "raw"], "system mel takes its own view, found --views mel,raw"),
    ],
)
def test_what_does_not_go_together_is_named(name: str, views: list | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_system(name, views)


def test_labels() -> None:
    found = [label(row) for row in TABLE_3]
    expected = ["Self-ensemble", "Multi-view", "Late fusion", "Concat. fusion", "Mel", "Gammatone", "CQT", "Raw"]
    assert found == expected and label("other") == "other"
