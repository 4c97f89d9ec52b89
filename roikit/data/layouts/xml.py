"""XML files of annotations: their root, numbers and texts, with sentences that name the file."""

import math
import os
import xml.etree.ElementTree as tree

from roikit.data.records import shown

__all__ = ["first_tag", "number_in", "parsed", "text_in"]


def parsed(path, tag):
    """The root element of a file, which must be called ``tag``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not XML, or its root is called otherwise.
    """
    try:
        with open(path, "rb") as file:
            root = tree.parse(file).getroot()
    except (tree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)} is not XML: {error}") from None
    if root.tag != tag:
        raise ValueError(f"{os.fspath(path)}: its root must be <{tag}>, got <{root.tag}>")
    return root


def first_tag(path):
    """The name of the root element; None where it cannot be read or is no XML."""
    try:
        with open(path, "rb") as file:
            for _, element in tree.iterparse(file, ("start",)):
                return element.tag
    except (OSError, tree.ParseError, LookupError, ValueError):
        pass
    return None


def text_in(element, name, default=None):
    """The text of a child, without blanks around it; ``default`` where there is none."""
    found = element.findtext(name)
    return default if found is None or not found.strip() else found.strip()


def number_in(values, name, place):
    """A finite number by name from a mapping, or the text of a child of an element.

    Raises:
        ValueError: it is missing or none; the text names ``place``.
    """
    text = values.get(name) if isinstance(values, dict) else text_in(values, name)
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{place}: {name} must be a finite number, got {shown(text)}")
    return number
