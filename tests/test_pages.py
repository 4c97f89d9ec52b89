"""The pages say of every op what the table says; where they do not, the command that writes them is named."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tables(tmp_path):
    """docs/tables.py as a module, over a copy of the pages that it writes."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs/tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for page in module.PAGES:
        (tmp_path / page).write_text((ROOT / "docs" / page).read_text())
    module.DOCS = tmp_path
    return module


def test_the_pages_are_those_that_the_table_gives(tables):
    assert not (pages := [path.name for path in tables.out_of_date()]), f"{pages}: run {tables.COMMAND}"


@pytest.mark.parametrize("page, row", [
    ("index.md", "| [roi_warp](ops/roi_warp.md) | `roi_warp` |\n"), ("verify.md", ", no-plus-one, cells-at-centres"),
    ("verify.md", ", a keypoint 1e-4 pixels"), ("conventions.md", ", roi_warp, mask_paste"),
])
def test_what_is_missing_on_a_page_is_told_and_written(tables, page, row, capsys):
    path = tables.DOCS / page
    text = path.read_text()
    assert text.count(row) == 1
    path.write_text(text.replace(row, ""))
    assert tables.main([]) == 1
    assert capsys.readouterr().out == f"docs/{page}: out of date, {tables.COMMAND} writes it\n"
    assert tables.main(["--write"]) == 0 and path.read_text() == text


def test_a_page_without_its_marks_is_an_error(tables):
    path = tables.DOCS / "index.md"
    path.write_text(path.read_text().replace("<!-- ops ends -->", ""))
    with pytest.raises(ValueError, match=r"a page must have <!-- ops: .* and <!-- ops ends --> once, found 0"):
        tables.out_of_date()


def test_the_floors_are_drawn_as_the_sources_are():
    spec = importlib.util.spec_from_file_location("floors", ROOT / "docs/images" / "floors.py")
    floors = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(floors)
    stale = [name for name, text in floors.figures().items() if text != (ROOT / "docs/images" / name).read_text()]
    assert not stale, f"{stale} of docs/images are not what the sources are: run python docs/images/floors.py"
