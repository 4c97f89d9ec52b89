"""The command line: the group of the commands, which `roikit.commands` holds, and what becomes of errors."""

import sys
import warnings

import click

import roikit
from roikit.commands.bench import bench
from roikit.commands.convert import convert
from roikit.commands.convert_data import convert_data
from roikit.commands.doctor import doctor
from roikit.commands.evaluate import evaluate
from roikit.commands.export import export
from roikit.commands.lists import info, presets, zoo
from roikit.commands.predict import predict
from roikit.commands.quantize import quantize
from roikit.commands.train import train
from roikit.commands.verify import verify
from roikit.errors import BackendError, RoikitWarning
from roikit.trainer.sentences import out_of_memory, sentence_of

__all__ = ["main"]


class _Group(click.Group):
    """Turns the errors that a user can mend into one line; --traceback shows where they arose."""

    def invoke(self, ctx):
        if ctx.params["traceback"]:
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            click.echo(str(stop) or "stopped", err=True)
            sys.exit(130)
        except BrokenPipeError:
            raise  # click ends in silence where the reader of its output has gone
        except (ValueError, OSError, ImportError, ArithmeticError, BackendError) as error:
            raise click.ClickException(sentence_of(error)) from error
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise click.ClickException(sentence_of(error)) from error


def _warned(message, category, filename, lineno, file=None, line=None):
    if issubclass(category, RoikitWarning):
        click.echo(f"warning: {message}", err=True)
    else:
        click.echo(warnings.formatwarning(message, category, filename, lineno, line), err=True,
                   nl=False)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--traceback", is_flag=True, help="Show where an error arose.")
@click.version_option(roikit.__version__, prog_name="roikit")
def main(traceback):
    """Region-detection kernels and the detectors made of them."""
    warnings.showwarning = _warned


for _command in (info, doctor, convert_data, train, presets, zoo, evaluate, predict, quantize, convert, export, bench,
                 verify):
    main.add_command(_command)


if __name__ == "__main__":
    main()
