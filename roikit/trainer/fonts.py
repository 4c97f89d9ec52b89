"""Fonts that have the letters of a text: Pillow's own, the machine's, or the one that matplotlib brings."""

import importlib.util
import os
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path

from roikit.trainer.extras import extra

__all__ = ["font_of", "plain_text"]

# Tried first, in this order: fonts of one width of line for many scripts, by the names of their files.
FIRST = ("dejavusans", "notosans-regular", "segoeui", "arialunicode", "arial unicode", "notosanscjk-regular",
         "notosanscjksc-regular", "notosanssc-regular", "sourcehansans-regular", "pingfang", "hiragino sans gb", "msyh",
         "yugothm", "meiryo", "malgun", "applesdgothicneo", "wqy-microhei", "wqy-zenhei", "droidsansfallback",
         "unifont")
MOST = 400  # further fonts that are tried for a text; a machine of a designer has thousands


def font_of(text, size):
    """A font that has every letter of a text.

    Args:
        text: what is to be drawn.
        size: pixels.

    Returns:
        a font of ``PIL.ImageFont``; None where no font of this machine has all of them.
    """
    letters = "".join(sorted({c for c in text if not c.isspace()}))
    place = "" if letters.isascii() else _place_of(letters)
    return None if place is None else _font(place, size)


def plain_text(text):
    """The text in ASCII where that leaves its letters what they are but for accents; None where it does not."""
    parts = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in parts if not unicodedata.combining(c))
    return bare if bare.isascii() else None


@lru_cache(maxsize=64)
def _font(place, size):
    fonts = extra("PIL.ImageFont", "drawing")
    return fonts.truetype(place, size) if place else fonts.load_default(size)


@lru_cache(maxsize=1024)
def _place_of(letters):
    """The first font that has the letters: "" for Pillow's own, a path, or None."""
    for place in ("", *_places()):
        try:
            if _has(_font(place, 16), letters):
                return place
        except (OSError, ValueError):  # of bitmaps of one size, or broken
            continue
    return None


def _has(font, letters):
    """Whether a font has letters: one that it lacks is drawn as its mark for that, as a code for no letter is."""
    missing = _drawn(font, "\U0010fffe")
    return all(_drawn(font, letter) != missing for letter in letters)


def _drawn(font, letter):
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@lru_cache(maxsize=1)
def _places():
    """Paths of the fonts of this machine, those that are tried first before the others."""
    found = {}
    for folder in _folders():
        for place, _, files in os.walk(folder):
            for name in sorted(files):
                stem, ending = os.path.splitext(name.lower())
                # Fonts of last resort have a box with the script's sign for every letter there is.
                if ending in (".ttf", ".ttc", ".otf") and not stem.startswith("lastresort"):
                    found.setdefault(stem, os.path.join(place, name))
    first = [found.pop(stem) for stem in FIRST if stem in found]
    return tuple(first + [found[stem] for stem in sorted(found)][:MOST])


def _folders():
    home = Path.home() if os.path.expanduser("~") != "~" else Path()
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts")
        yield home / "AppData/Local/Microsoft/Windows/Fonts"
    elif sys.platform == "darwin":
        yield from (home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts"))
    else:
        yield from (home / ".fonts", home / ".local/share/fonts")
        yield from (Path("/usr/local/share/fonts"), Path("/usr/share/fonts"))
    brought = importlib.util.find_spec("matplotlib")
    if brought is not None and brought.origin is not None:
        yield Path(brought.origin).parent / "mpl-data/fonts/ttf"
