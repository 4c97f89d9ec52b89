"""`roikit train`."""

from pathlib import Path

import click

import roikit
from roikit.commands.arguments import Place
from roikit.commands.memory import keeps_memory

__all__ = ["train"]


@click.command()
@click.argument("words", nargs=-1, metavar="[PRESET_OR_YAML] [dotted.key=value ...]")
@click.option("--out", type=Place(file_okay=False),
              help="Folder of the run; default runs/NAME, numbered if it exists.")
@click.option("--resume", is_flag=True,
              help="Go on from the last checkpoint in --out; start where there is none.")
@click.option("--show-config", is_flag=True, help="Print the whole configuration and stop.")
@keeps_memory
def train(words, out, resume, show_config):
    """Train a detector, or a segmenter.

    PRESET_OR_YAML is a preset (`roikit presets` lists them) or a YAML file; words with "=" put
    values in, say `optimizer.lr=0.01 schedule.steps=500 data.train.images=path`. With --resume it
    may be left out. Under torchrun: `torchrun --nproc-per-node 2 -m roikit train ...`.

    What fails beside the training itself (an evaluation, a picture) is told, and it then ends with status 1.
    """
    names = [w for w in words if "=" not in w or Path(w).is_file()]
    overrides = [w for w in words if w not in names]
    if len(names) > 1:
        raise click.UsageError(f"one preset or YAML file, got {', '.join(names)}")
    if not names and not resume:
        raise click.UsageError("name a preset or a YAML file; `roikit presets` lists the presets")
    source = names[0] if names else None
    if show_config:
        from roikit.trainer.config import config_text, load_config

        click.echo(config_text(load_config(source or f"{out or '.'}/config.yaml", overrides)), nl=False)
        return
    from roikit.trainer import IncompleteRun

    try:
        roikit.train(source, overrides, out=out, resume=resume)
    except IncompleteRun as error:
        if click.get_current_context().find_root().params["traceback"]:
            raise
        raise click.ClickException(str(error)) from error
