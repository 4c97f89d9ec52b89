"""What a check found: as an object, as text and as JSON, with the smallest failing case as code to paste."""

import sys
from dataclasses import dataclass

import numpy as np

import roikit
from roikit.testing.calling import Raised

__all__ = ["Convention", "Failure", "Report", "code"]


@dataclass(frozen=True)
class Convention:
    """A convention by name and in words."""

    name: str
    sentence: str


@dataclass(frozen=True)
class Failure:
    """The smallest case on which the function is not the reference.

    Attributes:
        case: name -> value of every argument, options that the function does not take included.
        got: the function's result in NumPy, or ``Raised``.
        expected: the reference's.
        reason: how they differ, in words.
        snippet: code that shows it.
    """

    case: dict
    got: object
    expected: object
    reason: str
    snippet: str


@dataclass(frozen=True)
class Report:
    """The verdict on one function.

    Attributes:
        function: its name, MODULE:FUNCTION where that is known.
        op, arrays, device, seed: what was checked, with what.
        cases: how many cases were compared before the verdict.
        options: arguments that the function does not take, with the values they were held at.
        verdict: "agrees", "differs", or "unsteady" where one input had two answers.
        conventions: those that explain every case; the reference's own where it agrees.
        ordinary: where none does, those that explain every ordinary case (no empty, NaN, reversed or huge input).
        failure: the smallest failing case; None where it agrees.
        simd: the level that roikit's own kernels ran at; None for other functions.
    """

    function: str
    op: str
    arrays: str
    device: str
    seed: int
    cases: int
    options: dict
    verdict: str
    conventions: tuple[Convention, ...] = ()
    ordinary: tuple[Convention, ...] = ()
    failure: Failure | None = None
    simd: str | None = None

    @property
    def agrees(self):
        return self.verdict == "agrees"

    def line(self):
        """The verdict in one line."""
        names = ", ".join(c.name for c in self.conventions if not self.agrees)
        level = f" ({self.simd})" if self.simd else ""
        return f"{self.verdict:9} {self.cases:>6,} cases  {self.function}{level}" + (f": {names}" if names else "")

    def text(self):
        """The report as people read it."""
        where = f"{self.arrays} arrays" + (f" on {self.device}" if self.device != "cpu" else "")
        lines = [f"{self.function} as {self.op} ({where}, seed {self.seed})"]
        if self.options:
            held = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
            lines.append(f"  not taken by the function, held at: {held}")
        if self.agrees:
            lines += [f"AGREES with the reference on {self.cases:,} cases.",
                      *(f"  {c.name}: {c.sentence}" for c in self.conventions)]
            return "\n".join(lines)
        if self.verdict == "unsteady":
            lines.append("DIFFERS: the same input gave different answers.")
        else:
            lines.append(f"DIFFERS from the reference, first on case {self.cases:,}.")
        lines += self._explained()
        if self.failure:
            lines += ["Smallest failing case:", "", *("    " + line if line else "" for line in
                                                      self.failure.snippet.splitlines()), ""]
            lines.append(f"  {self.failure.reason}")
        return "\n".join(lines)

    def _explained(self):
        if self.conventions:
            head = "It follows another convention:" if len(self.conventions) == 1 else (
                "It follows one of these conventions, which no case told apart:")
            return [head, *(f"  {c.name}: {c.sentence}" for c in self.conventions)]
        lines = ["No convention known here explains all cases."]
        if self.ordinary:
            lines += ["On ordinary input (no empty, NaN, reversed or huge boxes) it follows:",
                      *(f"  {c.name}: {c.sentence}" for c in self.ordinary)]
        return lines

    def as_dict(self):
        """The report for JSON: arrays are written as code."""
        def listed(conventions):
            return [{"name": c.name, "sentence": c.sentence} for c in conventions]

        failure = self.failure and {
            "inputs": {name: code(value) for name, value in self.failure.case.items()}, "got": shown(self.failure.got),
            "expected": shown(self.failure.expected), "reason": self.failure.reason, "snippet": self.failure.snippet}
        return {"roikit": roikit.__version__, "function": self.function, "op": self.op, "arrays": self.arrays,
                "device": self.device, "simd": self.simd, "seed": self.seed, "cases": self.cases,
                "options": {name: code(value) for name, value in self.options.items()}, "verdict": self.verdict,
                "conventions": listed(self.conventions), "ordinary": listed(self.ordinary), "failure": failure}


def code(value, send=""):
    """A value as Python code; ``send`` wraps arrays, say in torch.from_numpy."""
    if isinstance(value, np.ndarray):
        if value.size == 0:
            text = f"np.zeros({value.shape}, np.{value.dtype.name})"
        else:
            with np.printoptions(threshold=sys.maxsize, floatmode="unique", linewidth=100, suppress=False):
                rows = np.array2string(value, separator=", ", prefix="np.array(").splitlines()
            numbers = "\n".join(row for row in rows if row.strip())
            name = "bool_" if value.dtype == bool else value.dtype.name
            text = f"np.array({numbers}, np.{name})"
        return f"{send}({text})" if send else text
    if isinstance(value, list):
        return "[" + ", ".join(code(part, send) for part in value) + "]"
    return repr(value)


def shown(value):
    """A result as code, or the error that came instead."""
    if isinstance(value, Raised):
        return value.text
    if isinstance(value, tuple):
        return "(" + ", ".join(shown(part) for part in value) + ")"
    return code(value)


def snippet(subject, function, case, got, expected):
    """Code that calls the function on a case and prints both results."""
    lines = ["import numpy as np"]
    words = "".join(shown(part) for part in (*case.values(), got, expected))
    if "nan" in words or "inf" in words:
        lines.append("from numpy import inf, nan")
    torch = subject.arrays == "torch" and any(isinstance(v, (np.ndarray, list)) for v in case.values())
    if torch:
        lines.append("import torch")
    module, colon, name = function.partition(":")
    root = name.split(".")[0]
    lines += [f"from {module} import {root}" if colon else f"# {function} is the function under check", ""]
    send = "torch.from_numpy" if torch else ""
    device = f".to({subject.device!r})" if torch and subject.device != "cpu" else ""
    for argument, value in case.items():
        if argument not in subject.fixed:
            text = code(value, send)
            lines.append(f"{argument} = {text}" + (device if isinstance(value, np.ndarray) else ""))
    places, by_name = subject.arguments({argument: argument for argument in case})
    call = ", ".join([*places, *(f"{k}={k}" for k in by_name)])
    lines.append(f"got = {name if colon else 'function'}({call})")
    for label, value in (("got", got), ("expected", expected)):
        first, *rest = shown(value).splitlines() or [""]
        lines += [f"# {label + ':':10}{first}", *("#           " + line for line in rest)]
    return "\n".join(lines)
