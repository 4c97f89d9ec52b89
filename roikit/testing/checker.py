"""Checks anybody's function against the reference and says which convention it follows. Needs hypothesis."""

import functools
import warnings

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.errors import Flaky

from roikit.testing.arguments import cases as cases_of
from roikit.testing.calling import CannotCheck, Raised, find_function, subject_of
from roikit.testing.judged import JUDGED, difference
from roikit.testing.report import Convention, Failure, Report, snippet

__all__ = ["check"]

ASKED = 200  # cases that conventions are compared on, half of them ordinary


class _Differs(Exception):
    pass


def check(function, op, *, cases=10_000, arrays="auto", device="cpu", seed=0, smallest=True):
    """Compare a function with the reference on drawn cases.

    Args:
        function: a callable, or "package.module:function". It takes the arguments of roikit's op of that name in their
            order; trailing options that it does not take are held at their defaults.
        op: the name of the op, see ``roikit.testing.judged``.
        cases: how many to draw.
        arrays: "auto" (found out by trying), "torch" or "numpy".
        device: "cpu" or "cuda".
        seed: the same seed draws the same cases.
        smallest: look for the smallest failing case; False reports the first, which takes a fraction of the time.

    Returns:
        a ``Report``.

    Raises:
        CannotCheck (a ValueError): an unknown op, a function that cannot be found or called.
    """
    if op not in JUDGED:
        raise CannotCheck(f"verify: op must be one of {', '.join(JUDGED)}, got {op!r}")
    if cases < 1:
        raise CannotCheck(f"verify: cases must be at least 1, got {cases}")
    name = function if isinstance(function, str) else _name(function)
    function = find_function(function) if isinstance(function, str) else function
    op = JUDGED[op]
    example = _drawn(op.name, 1, seed, awkward=False)[-1]
    subject = subject_of(function, op, example, arrays, device)
    verdict, compared, failing = _search(subject, op, cases, seed, smallest)
    found = {"function": name, "op": op.name, "arrays": subject.arrays, "device": device, "seed": seed,
             "cases": compared, "options": subject.fixed, "verdict": verdict}
    if failing is None:
        own = Convention("reference", op.sentence)
        return Report(**found, conventions=(own,) if verdict == "agrees" else ())
    case, got, expected, reason = failing
    failure = Failure(case, got, expected, reason, snippet(subject, name, case, got, expected))
    if verdict == "unsteady":
        return Report(**found, failure=failure)
    return Report(**found, **_conventions(subject, op, case, min(cases, ASKED), seed), failure=failure)


def _name(function):
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if module and name and "<" not in name and module != "__main__":
        return f"{module}:{name}"
    return name or type(function).__name__


def _run(body, strategy, count, seed, shrink):
    """Give the body ``count`` cases of the strategy; what the body raises is shrunk first if ``shrink``."""
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    rules = settings(max_examples=count, database=None, deadline=None, phases=phases, report_multiple_bugs=False,
                     print_blob=False, verbosity=Verbosity.quiet, suppress_health_check=list(HealthCheck))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the function, of whatever it divides by
        hypothesis.seed(seed)(rules(given(strategy)(lambda drawn: body(drawn))))()


@functools.lru_cache(maxsize=64)  # drawing costs more than judging, and the next function of this op wants the same
def _drawn(op, count, seed, awkward):
    drawn = []
    _run(drawn.append, cases_of(op, awkward), count, seed, shrink=False)
    return tuple(drawn)


def _reason(op, case, got, expected):
    if isinstance(got, Raised):
        return f"it raised {got.text}"
    return difference(got, expected, op.tolerance(case, expected) if op.tolerance else None)


def _search(subject, op, count, seed, smallest):
    """Verdict, number of cases until it fell, and (case, got, expected, reason) of the one shown."""
    state = {"compared": 0, "failing": None}

    def body(drawn):
        case = subject.case(drawn)
        if state["failing"] is None:
            state["compared"] += 1
        got, expected = subject(case), op.reference(**case)
        reason = _reason(op, case, got, expected)
        if reason:
            state["failing"] = case, got, expected, reason
            raise _Differs

    try:
        _run(body, cases_of(op.name), count, seed, shrink=smallest)
    except _Differs:
        return "differs", state["compared"], state["failing"]
    except Flaky:
        return "unsteady", state["compared"], state["failing"]
    return "agrees", state["compared"], None


def _conventions(subject, op, smallest, count, seed):
    """The conventions that explain all cases; where there are none, those that explain all ordinary ones."""
    half = max(count // 2, 1)
    ordinary = [subject.case(drawn) for drawn in _drawn(op.name, half, seed, awkward=False)]
    awkward = [smallest, *(subject.case(drawn) for drawn in _drawn(op.name, half, seed, awkward=True))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, rest = ([(case, subject(case)) for case in part] for part in (ordinary, awkward))
        kept = _simplest(op, subject, [*rest, *plain])
        if kept:
            return {"conventions": kept}
        reference = all(_reason(op, case, got, op.reference(**case)) is None for case, got in plain)
        own = (Convention("reference", op.sentence),)
        return {"ordinary": own if reference else _simplest(op, subject, plain)}


def _simplest(op, subject, answered):
    """The variants of the fewest parts that explain every answer."""
    for parts in sorted({variant.parts for variant in op.variants}):
        kept = tuple(Convention(v.name, v.sentence) for v in op.variants
                     if v.parts == parts and (v.needs is None or v.needs not in subject.fixed)
                     and _explains(v, op, answered))
        if kept:
            return kept
    return ()


def _explains(variant, op, answered):
    for case, got in answered:
        if isinstance(got, Raised):
            return False
        expected = variant.expected(case, got)
        if difference(got, expected, op.tolerance(case, expected) if op.tolerance else None):
            return False
    return True


