"""Calls anybody's function on NumPy cases: finds it, learns what arguments and arrays it takes, brings results back."""

import importlib
import inspect
import sys
import warnings
from dataclasses import dataclass, field

import numpy as np

__all__ = ["CannotCheck", "Raised", "Subject", "find_function", "subject_of"]


class CannotCheck(ValueError):
    """What was asked for cannot be checked; the text says why."""


@dataclass(frozen=True)
class Raised:
    """The result of a call that raised."""

    text: str


def find_function(spec):
    """The function that "package.module:function" names; the working folder is searched, too."""
    module, colon, name = spec.partition(":")
    if not (module and colon and name):
        raise CannotCheck(f"verify: the function must be named MODULE:FUNCTION, got {spec!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        thing = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever the module does at its import
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise CannotCheck(f"verify: cannot import {module}: {kind}{error}") from error
    for part in name.split("."):
        if not hasattr(thing, part):
            raise CannotCheck(f"verify: {module} has no {name}")
        thing = getattr(thing, part)
    if not callable(thing):
        raise CannotCheck(f"verify: {spec} is not callable")
    return thing


@dataclass(frozen=True)
class Subject:
    """A function, and how it is called.

    Attributes:
        function: takes arrays of ``arrays``.
        op: which op it claims to be.
        arrays: "torch" or "numpy".
        device: torch's.
        fixed: options that the function does not take, and the reference's default for each.
        by_name: options that are passed by name.
    """

    function: object
    op: object
    arrays: str
    device: str = "cpu"
    fixed: dict = field(default_factory=dict)
    by_name: tuple = ()

    def case(self, drawn):
        """The case with the options that the function does not take at their defaults."""
        return {name: self.fixed.get(name, value) for name, value in drawn.items()}

    def arguments(self, case):
        """Arguments by place, and by name."""
        given = {name: value for name, value in case.items() if name not in self.fixed}
        return ([value for name, value in given.items() if name not in self.by_name],
                {name: value for name, value in given.items() if name in self.by_name})

    def raw(self, case):
        """What the function gives; ``Raised`` where it raises. It gets copies of its own."""
        places, names = self.arguments(case)
        try:
            return self.function(*[self.sent(v) for v in places], **{k: self.sent(v) for k, v in names.items()})
        except (Exception, SystemExit) as error:  # anything at all is an answer here
            return Raised(f"{type(error).__name__}: {error}")

    def __call__(self, case):
        """What the function gives, as NumPy; ``Raised`` where it raises, or where NumPy cannot hold what it gives."""
        result = self.raw(case)
        try:
            return _received(result)
        except (RuntimeError, TypeError) as error:
            return Raised(f"{type(error).__name__}: {error}")

    def sent(self, value):
        if isinstance(value, np.ndarray):
            copy = value.copy(order="K")
            if self.arrays == "numpy":
                return copy
            import torch

            return torch.from_numpy(copy).to(self.device)
        if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            return [self.sent(part) for part in value]
        return dict(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value


def _received(result):
    if isinstance(result, (tuple, list)):
        kind = list if isinstance(result, list) else tuple
        return kind(_received(part) for part in result)
    if hasattr(result, "detach"):
        result = result.detach().cpu()
        return (result.float() if str(result.dtype) == "torch.bfloat16" else result).numpy()
    return np.asarray(result) if isinstance(result, (np.generic, bool, int, float)) else result


def _taken(function, op, names):
    """(options that the function does not take, options that go by name).

    Options after the reference's required arguments may be missing; where a signature cannot be read, all are taken.
    """
    defaults = {p.name: p.default for p in inspect.signature(op.reference).parameters.values()
                if p.default is not p.empty}
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return {}, tuple(names[op.positional:])
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        listed = set(names)
    else:
        listed = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    room = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    room = len(names) if any(p.kind is p.VAR_POSITIONAL for p in parameters) else room
    keyword_only = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    fixed, by_name = {}, []
    for place, name in enumerate(names):
        by_place = place < op.positional and place < room and name not in keyword_only and not by_name
        if by_place:
            continue
        if name in listed:
            by_name.append(name)
        elif name in defaults:
            fixed[name] = defaults[name]
        else:
            raise CannotCheck(f"verify: {op.name} must take {', '.join(names)}; the function has no place for {name}")
    return fixed, tuple(by_name)


def subject_of(function, op, example, arrays="auto", device="cpu"):
    """The function ready to be called; tries both kinds of arrays where ``arrays`` is "auto".

    Args:
        function: anybody's.
        op: of ``judged``.
        example: an ordinary case, to try it on.
        arrays: "auto", "torch" or "numpy".
        device: "cpu", or "cuda" for torch.

    Raises:
        CannotCheck: arrays that are not there, or a function that takes neither.
    """
    if arrays not in ("auto", "torch", "numpy"):
        raise CannotCheck(f"verify: arrays must be auto, torch or numpy, got {arrays!r}")
    if device != "cpu" and arrays == "numpy":
        raise CannotCheck(f"verify: NumPy arrays are on the CPU, got device {device!r}")
    fixed, by_name = _taken(function, op, list(example))
    torch = _torch(device) if arrays == "torch" or (arrays == "auto" and op.arrays) else None
    if arrays == "torch" and torch is None or device != "cpu" and torch is None:
        raise CannotCheck("verify: torch is not installed")
    kinds = (["torch"] if torch is not None else []) + (["numpy"] if device == "cpu" else [])
    subjects = [Subject(function, op, kind, device, fixed, by_name)
                for kind in (kinds if arrays == "auto" else [arrays])]
    if len(subjects) == 1:
        return subjects[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's about tensors
        results = [subject.raw(subject.case(example)) for subject in subjects]
    if all(isinstance(result, Raised) for result in results):
        tried = "; ".join(f"{s.arrays}: {r.text}" for s, r in zip(subjects, results, strict=True))
        raise CannotCheck(f"verify: the function takes neither torch nor NumPy arrays for an ordinary case ({tried})")
    # A NumPy function may swallow tensors; it does not answer with them.
    answers = results[0][0] if isinstance(results[0], (tuple, list)) and results[0] else results[0]
    return subjects[0 if isinstance(results[1], Raised) or hasattr(answers, "detach") else 1]


def _torch(device):
    try:
        import torch
    except ImportError:
        return None
    if device == "cuda" and not torch.cuda.is_available():
        raise CannotCheck("verify: there is no CUDA device")
    return torch
