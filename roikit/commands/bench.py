"""`roikit bench`: times of the ops."""

import sys

import click

from roikit.commands.arguments import limits
from roikit.commands.memory import memory_switch

__all__ = ["bench"]


def _thread_counts(ctx, param, value):
    counts = limits(ctx, param, value)
    if counts is not None and min(counts) < 1:
        raise click.BadParameter("numbers of threads are 1 or more")
    return counts


@click.command()
@click.argument("ops", nargs=-1, metavar="[OP ...]")
@click.option("--threads", callback=_thread_counts, metavar="1,2",
              help="Numbers of threads to take the table at; default: torch's.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write the rows to this file too.")
@click.option("--chart", "chart_path", type=click.Path(dir_okay=False),
              help="Write a bar chart (PNG); needs matplotlib.")
@click.option("--torchvision-ops", type=click.Path(exists=True, dir_okay=False),
              help="Library that registers torchvision's operators, where its own binary does not load.")
@click.option("--quick", is_flag=True, help="The standard works only, and fewer runs of each.")
@click.option("--scaling", is_flag=True,
              help="Follow time and peak memory as works grow: 8 minutes, 1 with --quick; --chart writes a PNG an op.")
@memory_switch()
def bench(ops, threads, device, json_path, chart_path, torchvision_ops, quick, scaling, keep_memory):
    """Time the ops beside every peer that is installed.

    OP is a page of docs/ops, say `nms` or `roi_align`; without any, all of them. The peers are torchvision,
    detectron2, mmcv and pycocotools. Ends with status 1 if a work fails. Freed memory is kept for all of them alike,
    and --no-keep-memory is how they run in a program that does not ask for that; --scaling, which measures memory too,
    never keeps it.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise ImportError("roikit bench needs torch") from None
    from roikit.bench import run, run_scaling

    given = {"threads": threads, "quick": quick, "torchvision_ops": torchvision_ops, "json_path": json_path,
             "chart_path": chart_path, "say": click.echo}
    if scaling:
        if device != "cpu":
            raise ValueError(f"bench: --scaling follows the CPU's ops, got --device {device}")
        # A peer that fails ends its curve and no more.
        sys.exit(any("failed" in end and end["rival"] == "roikit" for end in run_scaling(ops, **given)["ends"]))
    sys.exit(any("failed" in row for row in run(ops, device=device, keep_memory=keep_memory, **given)["rows"]))
