"""The rules that several configurations share."""

from collections.abc import Iterable

__all__ = ["all_positive", "at_least", "fraction", "one_of", "positive", "require", "weights"]


def require(condition: bool, text: str) -> None:
    """ValueError with the text unless the condition holds."""
    if not condition:
        raise ValueError(text)


def one_of(owner: str, name: str, value: object, allowed: tuple[object, ...]) -> None:
    require(value in allowed, f"{owner}: {name} must be one of {', '.join(map(str, allowed))}, got {value!r}")


def fraction(owner: str, name: str, value: float) -> None:
    require(0.0 <= value <= 1.0, f"{owner}: {name} must be between 0 and 1, got {value}")


def positive(owner: str, name: str, value: float) -> None:
    require(value > 0, f"{owner}: {name} must be positive, got {value}")


def all_positive(owner: str, name: str, values: Iterable[float]) -> None:
    require(all(value > 0 for value in values), f"{owner}: {name} must hold positive numbers, got {values}")


def at_least(owner: str, name: str, value: float, least: float) -> None:
    require(value >= least, f"{owner}: {name} must be at least {least}, got {value}")


def weights(owner: str, values: tuple[float, ...]) -> None:
    """Factors of deltas, four of an upright box and five of a rotated one."""
    require(len(values) in (4, 5) and min(values) > 0,
            f"{owner}: regression_weights must be four positive numbers, or five for rotated boxes, got {values}")
