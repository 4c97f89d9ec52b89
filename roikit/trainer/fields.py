"""Frozen dataclasses from plain data and back, checked against their annotations.

Plain data is what YAML holds: mappings, lists, strings, numbers, booleans, null. What a user wrote without quotes comes
as ``Written``, and the field's annotation decides what it is: `2024` and `photos #2` are text for a field of text.
Nothing here knows any particular configuration.
"""

import dataclasses
import difflib
import os
import types
import typing

from roikit.trainer.written import Written, read_written, written

__all__ = ["ConfigError", "UserPath", "differences", "merge", "parse_overrides", "plain"]

UserPath = typing.Annotated[str, os.PathLike]
"""A path as text: takes ``os.PathLike`` too, and a ``~`` at its start is the home folder."""


class ConfigError(ValueError):
    """A configuration names something unknown or gives it a value of the wrong kind."""


def plain(value):
    """Dataclasses as mappings and tuples as lists, recursively."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def merge(base, changes, where=""):
    """A copy of the dataclass ``base`` with ``changes`` put in.

    Args:
        base: an instance of a dataclass, nested as deep as one likes.
        changes: mapping of field names to plain or ``Written`` values; a nested dataclass takes a
            mapping, and what that mapping leaves out stays as in ``base``.
        where: dotted name of ``base``, for the errors.

    Raises:
        ConfigError: an unknown name (with the nearest known one), a value that does not fit the
            field's annotation, or one that the dataclass itself refuses.
    """
    new = _values(type(base), changes, where, base)
    return _made(lambda: dataclasses.replace(base, **new), where)


def _values(kind, changes, where, base=None):
    """Field name -> value for a dataclass ``kind`` of the mapping ``changes``; ``base`` holds what there is already."""
    if not isinstance(changes, dict):
        raise ConfigError(f"config: {where or 'the configuration'} must be a mapping, "
                          f"got {_came(changes)}")
    hints = typing.get_type_hints(kind, include_extras=True)
    names = [f.name for f in dataclasses.fields(kind) if f.init]
    new = {}
    for key, value in changes.items():
        path = f"{where}.{key}" if where else f"{key}"
        if key not in names:
            raise ConfigError(f"config: unknown key {path}{_nearest(key, names, where)}")
        new[key] = _convert(hints[key], value, path, getattr(base, key, None))
    return new


def _made(make, where):
    try:
        return make()
    except (TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"config: {where or 'the configuration'}: {error}") from error


def _nearest(key, names, where):
    close = difflib.get_close_matches(str(key), names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {f'{where}.' if where else ''}{close[0]}?"
    return f"; known are {', '.join(sorted(names))}"


def _convert(kind, value, where, current=None):
    """``value`` as the annotation ``kind`` wants it; ``current`` is what the field holds now."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any:
        return written(value)
    if kind is UserPath:
        return _convert_path(value, where)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, where, current, kind)
    if origin is typing.Literal:
        return _convert_literal(args, value, where)
    if (short := _short(kind, value)) is not None:
        value = {short: value}
    if isinstance(value, Written) and kind is not str:
        value = _read(value, where)
    if dataclasses.is_dataclass(kind):
        if isinstance(value, kind):
            return value
        return merge(current, value, where) if isinstance(current, kind) else _fresh(kind, value, where)
    if kind is tuple or origin is tuple:
        return _convert_tuple(args, value, where)
    if kind is dict or origin is dict:
        if not isinstance(value, dict):
            raise _wrong("a mapping", value, where)
        keys, values = args or (typing.Any, typing.Any)
        return {_convert(keys, k, where): _convert(values, v, f"{where}.{k}")
                for k, v in value.items()}
    return _convert_scalar(kind, value, where)


def _short(kind, value):
    """The field that a bare value stands for, where a dataclass names one as ``SHORT``; None for any other."""
    if not dataclasses.is_dataclass(kind) or not isinstance(value, (str, os.PathLike)):
        return None
    if isinstance(value, Written) and (value.is_null or _as_mapping(value) is not None):
        return None
    return getattr(kind, "SHORT", None)


def _read(value, where):
    """What ``value`` is as YAML; a list or a mapping keeps its words ``Written``, for its own fields."""
    try:
        found = read_written(value)
        return found.read() if isinstance(found, Written) else found
    except ValueError as error:
        raise ConfigError(f"config: {where}: {str(value)!r} is not a YAML value") from error


def _convert_path(value, where):
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return os.path.expanduser(_convert_scalar(str, value, where))


def _convert_literal(allowed, value, where):
    if isinstance(value, Written):
        text = value.text()
        value = text if text in allowed else written(value)
    if isinstance(value, bool) and not any(isinstance(a, bool) for a in allowed):
        value = "on" if value else "off"  # YAML 1.1 reads the bare words as booleans
    if any(value == a and type(value) is type(a) for a in allowed):
        return value
    raise ConfigError(f"config: {where} must be one of {', '.join(map(str, allowed))}, "
                      f"got {_came(value)}")


def _fresh(kind, value, where):
    """A dataclass ``kind`` from a mapping; fields without a default must be in it."""
    required = [f.name for f in dataclasses.fields(kind)
                if f.init and f.default is f.default_factory is dataclasses.MISSING]
    if not required:
        return merge(_made(kind, where), value, where)
    new = _values(kind, value, where)
    missing = [name for name in required if name not in new]
    if missing:
        raise ConfigError(f"config: {where} must be given as a whole, and lacks {', '.join(missing)}")
    return _made(lambda: kind(**new), where)


def _convert_union(kinds, value, where, current, whole):
    if type(None) in kinds and (value is None or _is_null(value, kinds)):
        return None
    classes = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    if len(classes) > 1:
        return _convert(_meant(classes, value, where, current), value, where, current)
    errors = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _convert(kind, value, where, current)
        except ConfigError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    raise _wrong(_name(whole), value, where)


def _meant(classes, value, where, current):
    """Of several dataclasses the one that ``value`` is of: a mapping's ``kind`` says so, or else what there is now."""
    if type(value) in classes:
        return type(value)
    if isinstance(value, Written):
        value = _read(value, where)
    if not isinstance(value, dict) or "kind" not in value:
        return type(current) if type(current) in classes else classes[0]
    known = {name: each for each in classes for name in typing.get_args(typing.get_type_hints(each).get("kind"))}
    return known[_convert_literal(tuple(known), value["kind"], f"{where}.kind")]


def _is_null(value, kinds):
    return isinstance(value, Written) and (value.is_null or value.strip() == "~" and UserPath not in kinds)


def _convert_tuple(args, value, where):
    if not isinstance(value, (list, tuple)):
        raise _wrong("a list", value, where)
    if not args:
        return tuple(value)
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise ConfigError(f"config: {where} must have {len(args)} entries, got {len(value)}")
    return tuple(_convert(a, v, f"{where}[{i}]")
                 for i, (a, v) in enumerate(zip(args, value, strict=True)))


def _convert_scalar(kind, value, where):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float:
        if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
            try:
                return float(value)
            except ValueError:
                raise _wrong("a number", value, where) from None
        if number:
            return float(value)
        raise _wrong("a number", value, where)
    if kind is int:
        if isinstance(value, int) and number:
            return value
        raise _wrong("a whole number", value, where)
    words = {bool: "true or false", str: "a string", type(None): "null"}
    if kind is str and isinstance(value, Written) and value.strip():
        return value.text()
    if kind in words:
        if isinstance(value, kind) and not isinstance(value, Written):
            return value
        raise _wrong(words[kind], value, where)
    if isinstance(value, kind):
        return value
    raise _wrong(_name(kind), value, where)


def _wrong(wanted, value, where):
    return ConfigError(f"config: {where} must be {wanted}, got {_came(value)}")


def _came(value):
    value = written(value)
    return "null" if value is None else f"{value!r} ({type(value).__name__})"


def _name(kind):
    if kind is type(None):
        return "null"
    plain_words = {int: "a whole number", float: "a number", str: "a string"}
    if kind in plain_words:
        return plain_words[kind]
    args = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(str, args))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(_name(a) for a in args)
    return getattr(kind, "__name__", str(kind)) if not args else str(kind).replace("typing.", "")


def parse_overrides(overrides, kind=None):
    """``["optimizer.lr=0.01", ...]`` as a nested mapping for ``merge``, which reads each value as its field wants it.

    Args:
        overrides: list of str.
        kind: the dataclass that they are for, which tells what a bare value stands for beside other fields.

    Raises:
        ConfigError: no ``=``, an empty name, or two overrides that cannot both hold.
    """
    tree = {}
    for item in overrides:
        path, equals, text = item.partition("=")
        parts = path.strip().split(".")
        if not equals or not all(parts):
            raise ConfigError(f"config: an override must read dotted.key=value, got {item!r}")
        change = Written(text)
        if (short := _short(_kind_of(kind, parts), change)) is not None:
            parts.append(short)
        for part in reversed(parts):
            change = {part: change}
        if not _put(tree, change):
            raise ConfigError(f"config: override {item!r} contradicts an earlier one")
    return tree


def _kind_of(kind, parts):
    """The annotation of a field of dataclasses in dataclasses; None where there is none of that name."""
    for part in parts:
        if not dataclasses.is_dataclass(kind):
            return None
        kind = typing.get_type_hints(kind, include_extras=True).get(part.strip())
    return kind


def _put(tree, change):
    """Put nested mappings into others, the later value last; False where one holds a value and the other a mapping."""
    for key, new in change.items():
        old = tree.get(key)
        if isinstance(old, dict) != isinstance(new, dict) and key in tree:
            # left={width: 1} is a mapping, too, beside left.rate=2
            old, new = _as_mapping(old), _as_mapping(new)
            if old is None or new is None:
                return False
            tree[key] = old
        if isinstance(old, dict):
            if not _put(old, new):
                return False
        else:
            tree[key] = new
    return True


def _as_mapping(value):
    if isinstance(value, Written):
        try:
            value = read_written(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def differences(old, new, where=""):
    """Lines ``key: old -> new`` of two pieces of plain data."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in [*old, *(k for k in new if k not in old)]:
            path = f"{where}.{key}" if where else str(key)
            lines += differences(old.get(key), new.get(key), path)
        return lines
    return [] if old == new else [f"{where}: {old} -> {new}"]
