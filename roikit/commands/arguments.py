"""What the words of several commands mean: lists of numbers, models."""

from pathlib import Path

import click

__all__ = ["Place", "limits", "numbers", "source", "words"]


class Place(click.Path):
    """A path that is looked at as click does, or an address, which is looked at when it is read."""

    def convert(self, value, param, ctx):
        from roikit.data.remote import is_address

        return value if is_address(value) else super().convert(value, param, ctx)


def limits(ctx, param, value):
    """Whole numbers with commas between."""
    if value is None:
        return None
    try:
        return tuple(int(n) for n in value.split(","))
    except ValueError:
        raise click.BadParameter("numbers with commas between, say 1,10,200") from None


def numbers(ctx, param, value):
    """Numbers with commas between."""
    if value is None:
        return None
    try:
        return tuple(float(n) for n in value.split(","))
    except ValueError:
        raise click.BadParameter("numbers with commas between, say 0.03,0.05") from None


def words(ctx, param, value):
    """Words with commas between."""
    return None if value is None else tuple(word.strip() for word in value.split(",") if word.strip())


def source(ctx, param, value):
    """A file or folder that is there, an address, or the name of published weights."""
    from roikit.data.remote import is_address

    if not is_address(value) and not Path(value).exists():
        from roikit.models.weights.published import find_published

        try:
            find_published(value)
        except ValueError as error:
            raise click.BadParameter(f"{click.format_filename(value)} is no file or folder; {error}") from None
    return value
