"""The rules that several configurations share."""

__all__ = ["fraction", "one_of", "positive", "require"]


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
