"""The table of classes beside label images, ``objects.csv``: file name, value, class."""

import csv
from pathlib import Path

__all__ = ["COLUMNS", "TABLE", "read_classes"]

TABLE, COLUMNS = "objects.csv", ("file_name", "value", "class")


def read_classes(folder):
    """What the table of a folder of label images tells.

    Returns:
        dict (file name relative to the folder, value) -> name of the class; empty where there is no table, or one of
        other columns.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is malformed; the text names it.
    """
    path = Path(folder, TABLE)
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            rows = list(csv.reader(file))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} must be a table in UTF-8 with commas between: {error}") from None
    if not rows or tuple(rows[0]) != COLUMNS:
        return {}
    found = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 3 or not row[1].isdecimal():
            raise ValueError(f"{path}, line {number}: it must be a file name, a value and a class, got {row}")
        found[row[0], int(row[1])] = row[2]
    return found
