"""``report.html`` in headless Chromium: what the slider, the switches and the keys do. Skipped where there is none."""

import pytest

from roikit.trainer.evaluation import evaluate

from .chromium import opened_page
from .report_case import SCENE, case

for library in ("pycocotools", "PIL"):
    pytest.importorskip(library)

FOUND, KNOWN = (f"document.querySelectorAll('#{side} path').length" for side in ("found", "known"))
WHERE = "document.getElementById('where').textContent"
COUNTS = "document.getElementById('counts').textContent"


def set_to(name, value, event):
    return (f"(() => {{ const e = document.querySelector('{name}'); e.value = '{value}'; "
            f"e.dispatchEvent(new Event('{event}')); }})()")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of the small case with one picture that has a large one beside it."""
    folder = tmp_path_factory.mktemp("report")
    path = case(folder, sizes={2: (700, 500)})
    (folder / "chromium").mkdir()
    with opened_page(path, folder / "chromium") as opened:
        yield opened


@pytest.fixture(autouse=True)
def from_the_start(page):
    """The first picture, and every control as it was."""
    page.value(set_to("#order", "wrong", "change"))
    page.value(set_to("#score", "0.5", "input"))
    page.value("document.querySelectorAll('#classes input').forEach((box) => { box.checked = true; box.onchange(); })")
    page.value("document.activeElement.blur()")


def test_the_slider_changes_the_number_of_outlines(page):
    page.press("ArrowRight")
    assert page.value(WHERE) == "2 of 3: 2.png"
    assert (page.value(FOUND), page.value(KNOWN)) == (1, 1)
    page.value(set_to("#score", "0.3", "input"))
    assert (page.value(FOUND), page.value(KNOWN)) == (2, 1)
    assert page.value(COUNTS) == "2 predicted, 1 of them right; 1 annotated, 0 of them missed"
    page.value(set_to("#score", "0.9", "input"))
    assert (page.value(FOUND), page.value(KNOWN)) == (0, 1)
    assert page.value(COUNTS) == "0 predicted, 0 of them right; 1 annotated, 1 of them missed"
    assert page.value("document.getElementById('least').textContent") == "0.90"


def test_keys_change_the_picture_around_the_end(page):
    seen = []
    for key in ("ArrowRight", "j", "ArrowRight", "ArrowLeft", "k"):
        page.press(key)
        seen.append(page.value(WHERE))
    assert seen == ["2 of 3: 2.png", "3 of 3: 1.png", "1 of 3: 3.png", "3 of 3: 1.png", "2 of 3: 2.png"]
    assert page.value("document.querySelector('#strip [aria-current]').title") == "2.png"


def test_arrows_move_the_slider_where_it_has_the_focus(page):
    page.value("document.getElementById('score').focus()")
    before = page.value(WHERE)
    page.press("ArrowRight")
    assert page.value(WHERE) == before
    assert float(page.value("document.getElementById('score').value")) == pytest.approx(0.51)


def test_buttons_and_the_strip_change_the_picture(page):
    page.value("document.getElementById('next').click()")
    assert page.value(WHERE) == "2 of 3: 2.png"
    page.value("document.getElementById('previous').click()")
    assert page.value(WHERE) == "1 of 3: 3.png"
    page.value("document.querySelectorAll('#strip button')[2].click()")
    assert page.value(WHERE) == "3 of 3: 1.png"


def test_classes_can_be_switched_off(page):
    page.press("ArrowLeft")
    assert (page.value(FOUND), page.value(KNOWN)) == (2, 2)
    page.value("document.querySelector('#classes input').click()")
    assert (page.value(FOUND), page.value(KNOWN)) == (1, 1)
    assert page.value("document.querySelector('#classes label').textContent").strip() == "bolt <b>"


def test_pictures_are_ordered_as_in_the_file_on_request(page):
    page.value(set_to("#order", "place", "change"))
    names = "[...document.querySelectorAll('#strip button')].map((b) => b.title).join()"
    assert page.value(names) == "1.png,2.png,3.png"


def test_objects_tell_whether_they_are_right(page):
    titles = "[...document.querySelectorAll('#pair path title')].map((t) => t.textContent).sort().join('; ')"
    assert page.value(titles) == "bolt <b> 0.75: background; nut: missed"
    page.press("ArrowRight")
    page.value(set_to("#score", "0.3", "input"))
    assert page.value(titles) == "bolt <b> 0.35: found twice; bolt <b> 0.75: right; bolt <b>: right"


def test_outlines_lie_on_their_boxes(page):
    """Image 3's detection is 5 20 8 8 in a picture of 60 x 40."""
    script = ("(() => { const box = (name) => document.querySelector(name).getBoundingClientRect(); "
              "const path = box('#found path'), whole = box('#found image'), k = whole.width / 60; "
              "return [path.left - whole.left, path.top - whole.top, path.width, path.height].map((v) => v / k); })()")
    assert page.value(script) == pytest.approx([5, 20, 8, 8], abs=0.05)


def test_keys_come_nearer_and_go_back_on_both_sides(page):
    views = "[...document.querySelectorAll('#pair svg')].map((s) => s.getAttribute('viewBox'))"
    page.press("+")
    assert page.value(views) == ["6 4 48 32"] * 2
    page.press("0")
    assert page.value(views) == ["0 0 60 40"] * 2
    page.press("+")
    page.press("j")
    assert page.value(views) == ["0 0 700 500"] * 2


def test_a_large_picture_lies_over_its_thumbnail(page):
    page.press("ArrowRight")
    hrefs = page.value("[...document.querySelectorAll('#found image')].map((i) => i.getAttribute('href').slice(0, 21))")
    assert hrefs == ["data:image/jpeg;base6", "report_images/000001."]


def test_curves_tables_and_the_chosen_iou_are_there(page):
    rows = page.value("document.querySelectorAll('#table tbody tr').length")
    assert rows == 2 and page.value("document.querySelectorAll('#precision polyline').length") == 3
    matrix = "[...document.querySelectorAll('#confusion td')].map((c) => c.textContent).join(' ')"
    assert page.value(matrix) == "2 · · · 1 1 1 · ·"
    page.value(set_to("#confusion select", "9", "change"))
    assert page.value("document.querySelector('#confusion select').selectedOptions[0].text") == "0.95"
    kinds = ("[...document.querySelectorAll('#errors tbody tr')]"
             ".map((r) => r.cells[0].textContent + r.cells[2].textContent)")
    assert page.value(kinds) == ["classification0", "localisation0", "both0", "duplicate1", "background1", "missed1"]


def test_a_head_sorts_its_table(page):
    names = "[...document.querySelectorAll('#table tbody tr')].map((r) => r.cells[0].textContent).join()"
    before = page.value(names)
    page.value("document.querySelector('#table th').click()")
    page.value("document.querySelector('#table th').click()")
    first = page.value(names)
    page.value("document.querySelector('#table th').click()")
    assert {before, first, page.value(names)} == {"bolt <b>,nut", "nut,bolt <b>"}


def test_light_and_dark_are_different_and_readable(page):
    colours = "['backgroundColor', 'color'].map((n) => getComputedStyle(document.body)[n]).join()"
    seen = []
    for dark in (False, True):
        page.dark(dark)
        seen.append(page.value(colours))
    page.dark(False)
    page.value("document.getElementById('theme').click()")
    assert page.value(colours) == seen[1] != seen[0]
    page.value("document.getElementById('theme').click()")
    assert page.value(colours) == seen[0]


def test_law_the_page_asks_for_its_own_files_alone_and_complains_of_nothing(page):
    for _ in SCENE:
        page.press("ArrowRight")
    page.value("1")
    assert page.complaints == []
    assert {url.partition(":")[0] for url in page.asked} <= {"file", "data"}


def test_a_thousand_pictures(tmp_path):
    scene = {k: SCENE[1 + k % 3] for k in range(1, 1001)}
    path = case(tmp_path, scene=scene)
    (tmp_path / "chromium").mkdir()
    with opened_page(path, tmp_path / "chromium") as page:
        assert page.value("document.querySelectorAll('#strip button').length") == 1000
        page.press("ArrowLeft")
        assert page.value(WHERE).startswith("1000 of 1000: ")
        assert page.value(FOUND) > 0
    assert page.complaints == []


def test_a_page_of_annotations_without_a_category_complains_of_nothing(tmp_path):
    evaluate([], {"images": [{"id": 1, "file_name": "1.png", "height": 9, "width": 9}], "annotations": [],
                  "categories": []}, out=tmp_path / "out")
    (tmp_path / "chromium").mkdir()
    with opened_page(tmp_path / "out" / "report.html", tmp_path / "chromium") as page:
        assert page.value("document.querySelectorAll('#table tbody tr').length") == 0
    assert page.complaints == []
