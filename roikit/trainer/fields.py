"""Frozen dataclasses from plain data and back, checked against their annotations.

Plain data is what YAML holds: mappings, lists, strings, numbers, booleans, null. Nothing here
knows any particular configuration.
"""

import dataclasses
import difflib
import types
import typing

from roikit.trainer.extras import extra

__all__ = ["ConfigError", "differences", "merge", "parse_overrides", "plain"]


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
        changes: mapping of field names to plain values; a nested dataclass takes a mapping, and
            what that mapping leaves out stays as in ``base``.
        where: dotted name of ``base``, for the errors.

    Raises:
        ConfigError: an unknown name (with the nearest known one), a value that does not fit the
            field's annotation, or one that the dataclass itself refuses.
    """
    if not isinstance(changes, dict):
        raise ConfigError(f"config: {where or 'the configuration'} must be a mapping, "
                          f"got {_came(changes)}")
    hints = typing.get_type_hints(type(base))
    names = [f.name for f in dataclasses.fields(base) if f.init]
    new = {}
    for key, value in changes.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in names:
            raise ConfigError(f"config: unknown key {path}{_nearest(key, names, where)}")
        new[key] = _convert(hints[key], value, path, getattr(base, key))
    try:
        return dataclasses.replace(base, **new)
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
        return value
    if dataclasses.is_dataclass(kind):
        if isinstance(value, kind):
            return value
        return merge(current if isinstance(current, kind) else _fresh(kind, where), value, where)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, where, current, kind)
    if origin is typing.Literal:
        if isinstance(value, bool) and not any(isinstance(a, bool) for a in args):
            value = "on" if value else "off"  # YAML 1.1 reads the bare words as booleans
        if any(value == a and type(value) is type(a) for a in args):
            return value
        raise ConfigError(f"config: {where} must be one of {', '.join(map(str, args))}, "
                          f"got {_came(value)}")
    if kind is tuple or origin is tuple:
        return _convert_tuple(args, value, where)
    if kind is dict or origin is dict:
        if not isinstance(value, dict):
            raise _wrong("a mapping", value, where)
        keys, values = args or (typing.Any, typing.Any)
        return {_convert(keys, k, where): _convert(values, v, f"{where}.{k}")
                for k, v in value.items()}
    return _convert_scalar(kind, value, where)


def _fresh(kind, where):
    try:
        return kind()
    except TypeError as error:
        raise ConfigError(f"config: {where} must be given as a whole: {error}") from error


def _convert_union(kinds, value, where, current, whole):
    if value is None and type(None) in kinds:
        return None
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
    if kind in words:
        if isinstance(value, kind):
            return value
        raise _wrong(words[kind], value, where)
    if isinstance(value, kind):
        return value
    raise _wrong(_name(kind), value, where)


def _wrong(wanted, value, where):
    return ConfigError(f"config: {where} must be {wanted}, got {_came(value)}")


def _came(value):
    return "null" if value is None else f"{value!r} ({type(value).__name__})"


def _name(kind):
    if kind is type(None):
        return "null"
    args = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(_name(a) for a in args)
    return getattr(kind, "__name__", str(kind)) if not args else str(kind).replace("typing.", "")


def parse_overrides(overrides):
    """``["optimizer.lr=0.01", ...]`` as a nested mapping; each value is read as YAML.

    Raises:
        ConfigError: no ``=``, an empty name, or two overrides that cannot both hold.
    """
    tree = {}
    for item in overrides:
        path, equals, text = item.partition("=")
        parts = path.strip().split(".")
        if not equals or not all(parts):
            raise ConfigError(f"config: an override must read dotted.key=value, got {item!r}")
        yaml = extra("yaml", "reading a configuration")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"config: {path}: {text!r} is not a YAML value") from error
        node = tree
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ConfigError(f"config: override {item!r} contradicts an earlier one")
        if isinstance(node.get(parts[-1]), dict) and not isinstance(value, dict):
            raise ConfigError(f"config: override {item!r} contradicts an earlier one")
        node[parts[-1]] = value
    return tree


def differences(old, new, where=""):
    """Lines ``key: old -> new`` of two pieces of plain data."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in [*old, *(k for k in new if k not in old)]:
            path = f"{where}.{key}" if where else str(key)
            lines += differences(old.get(key), new.get(key), path)
        return lines
    return [] if old == new else [f"{where}: {old} -> {new}"]
