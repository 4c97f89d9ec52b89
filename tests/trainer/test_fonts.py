"""Names beyond ASCII on pictures: with a font that has them, and never as boxes."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from roikit.trainer import draw, fonts

pytest.importorskip("PIL")
matplotlib = pytest.importorskip("matplotlib")
MISSING = "\U0010fffe"


@pytest.fixture
def only_matplotlib(monkeypatch):
    """A machine without a font of its own."""
    _forget()
    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    monkeypatch.setattr(fonts, "_folders", lambda: iter([own]))
    yield own
    monkeypatch.undo()
    _forget()


def _forget():
    fonts._places.cache_clear()
    fonts._place_of.cache_clear()


def shown(font, letter):
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@pytest.mark.parametrize("text", ["Schlüssel", "Гайка 0.93", "Βίδα", "ốc vít", "śruba"])
def test_law_no_letter_is_drawn_as_the_mark_of_a_missing_one(only_matplotlib, text):
    font = fonts.font_of(text, 12)
    assert all(shown(font, c) != shown(font, MISSING) for c in text if c != " ")


def test_contract_ascii_keeps_pillows_own_font(only_matplotlib):
    from PIL import ImageFont

    assert fonts.font_of("bolt 0.50", 12).getname() == ImageFont.load_default(12).getname()


def test_contract_the_machines_fonts_are_searched(only_matplotlib, tmp_path, monkeypatch):
    shutil.copy(only_matplotlib / "DejaVuSans.ttf", tmp_path / "some.TTF")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr(fonts, "_folders", lambda: iter([tmp_path, tmp_path / "none"]))
    assert fonts.font_of("Гайка", 12).path == str(tmp_path / "some.TTF")


def test_contract_a_font_of_last_resort_has_no_letters(only_matplotlib):
    assert fonts.font_of("螺栓", 12) is None


def test_contract_letters_that_no_font_has_give_way_to_plain_ones_or_the_id(monkeypatch):
    _forget()
    monkeypatch.setattr(fonts, "_folders", lambda: iter([]))
    try:
        names = {1: "Schlüssel", 2: "螺栓", 7: "bolt"}
        text = {i: draw._label({"category_id": i, "score": 0.5}, names)[0] for i in names}
        assert text == {1: "Schlussel 0.50", 2: "2 0.50", 7: "bolt 0.50"}
        assert draw._label({"category_id": 3}, names)[0] == "3"
        assert draw._label({"category_id": 2}, {2: "螺栓"})[0] == ""
    finally:
        monkeypatch.undo()
        _forget()


def test_law_two_names_beyond_ascii_are_drawn_differently(only_matplotlib):
    image = np.full((60, 90, 3), 100, np.uint8)
    names = {1: "Гайка", 2: "Болты"}
    pictures = [draw.draw_objects(image, [{"bbox": [5, 20, 60, 30], "category_id": i}], names, about=90) for i in names]
    assert (pictures[0] != pictures[1]).any()
