"""Numbers in the forms that files and programs give them: NumPy's, text, whole floats; and what each shows."""

import math
import re
from collections.abc import Mapping
from operator import is_

__all__ = ["number", "plain", "whole_number"]

_LEAVES = frozenset({int, float, str, bool, type(None), bytes})
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,18}(?:\.0*)?\s*")
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\s*")


def plain(value):
    """The value with Python's numbers and lists for NumPy's; itself where there is nothing to change."""
    kind = type(value)
    if kind in _LEAVES:
        return value
    if kind is list:
        if _LEAVES.issuperset(map(type, value)):
            return value
        found = [plain(one) for one in value]
        return value if all(map(is_, found, value)) else found
    if kind is dict:
        changed = {key: found for key, one in value.items()
                   if type(one) not in _LEAVES and (found := plain(one)) is not one}
        return {**value, **changed} if changed else value
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, str):  # NumPy's text
        return str(value)
    if hasattr(value, "tolist"):
        found = value.tolist()
        return plain(found) if isinstance(found, list) else found
    return value


def whole_number(value):
    """The int that a value shows, such as 7.0 or "7" does; the value itself where it shows none."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is str and _WHOLE.fullmatch(value):
        return int(value.partition(".")[0])
    return value


def number(value):
    """The int or float that a value shows, such as "7.5" does; None where it shows none, or no finite one."""
    if type(value) is str and _NUMBER.fullmatch(value):
        value = whole_number(value)
        value = float(value) if type(value) is str else value
    if type(value) is int or type(value) is float and math.isfinite(value):
        return value
    return None
