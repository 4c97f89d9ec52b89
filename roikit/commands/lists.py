"""`roikit info`, `roikit presets`, `roikit zoo`: what there is."""

import click

import roikit

__all__ = ["info", "presets", "zoo"]


@click.command()
def info():
    """Print how this roikit was built and what it finds here."""
    roikit.show_config()


@click.command()
def presets():
    """List the configurations inside the package: name, parameters, what each is."""
    from roikit.trainer.preset_list import list_presets, preset_table

    click.echo(preset_table(list_presets()))


@click.command()
@click.argument("words", nargs=-1, metavar="[FILTER ...]")
def zoo(words):
    """List the weights that others publish, with their AP and licence.

    FILTER is words that name, source, system, data or licence must have, say `mask_rcnn x101` or `detectron2 keypoint`.
    Nothing is downloaded.
    """
    from roikit.models.weights.published import published_table

    click.echo(published_table(" ".join(words)))
