"""`roikit convert`: weights in another library's layout."""

import click

from roikit.commands.arguments import source

__all__ = ["convert"]


@click.command()
@click.argument("source", callback=source)
@click.argument("path", type=click.Path(dir_okay=False))
@click.option("--layout", type=click.Choice(["roikit", "torchvision", "detectron2"]), default="roikit",
              show_default=True, help="Whose names and conventions the file is to have.")
@click.option("--model", metavar="NAME", help="What SOURCE is of, where it does not say so itself.")
def convert(source, path, layout, model):
    """Write a model's weights as another library loads them.

    SOURCE is a checkpoint, exported weights, the folder of a run or a published name; with --model a file of weights of
    roikit, torchvision, detectron2 or mmdetection. A .pkl file of detectron2's layout is a pickle of NumPy arrays.
    """
    from roikit.trainer.converting import convert

    found = convert(source, path, layout=layout, model=model)
    click.echo(f"{click.format_filename(path)}: {len(found.state_dict())} tensors in {layout}'s layout")
