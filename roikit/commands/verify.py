"""`roikit verify`: a function beside the reference."""

import json
import sys
from pathlib import Path

import click

__all__ = ["verify"]


@click.command()
@click.argument("function", required=False, metavar="[MODULE:FUNCTION]")
@click.option("--op", help="The op that the function claims to be, say nms or roi_align.")
@click.option("--self", "own", is_flag=True, help="Check roikit's own kernels and ops instead.")
@click.option("--cases", type=click.IntRange(1), help="Cases a function; default 10000, and 1000 with --self.")
@click.option("--arrays", type=click.Choice(["auto", "torch", "numpy"]), default="auto", show_default=True,
              help="What the function takes; auto finds out by trying.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--seed", default=0, show_default=True, help="The same seed draws the same cases.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write the report to this file too.")
def verify(function, op, own, cases, arrays, device, seed, json_path):
    """Compare a function with the reference and say which convention it follows.

    MODULE:FUNCTION takes torch tensors or NumPy arrays in the order of roikit's op. Needs hypothesis. Ends with status
    0 if it agrees, 1 if it differs, 2 if it could not be checked.
    """
    if own == (function is not None) or own == (op is not None):
        raise click.UsageError("give MODULE:FUNCTION and --op NAME, or --self alone")
    try:
        from roikit.testing import check, check_floors

        if own:
            reports = check_floors(cases=cases or 1_000, device=device, seed=seed, say=lambda r: click.echo(r.line()))
            for report in reports:
                if not report.agrees:
                    click.echo("\n" + report.text())
        else:
            reports = [check(function, op, cases=cases or 10_000, arrays=arrays, device=device, seed=seed)]
            click.echo(reports[0].text())
    except (ImportError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    if json_path:
        found = [report.as_dict() for report in reports]
        try:
            Path(json_path).write_text(json.dumps(found if own else found[0], indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"verify: cannot write {json_path}: {error.strerror}") from error
    sys.exit(0 if all(report.agrees for report in reports) else 1)
