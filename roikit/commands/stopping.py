"""How a command over many files ends: stopped from outside, or with files that failed."""

import contextlib
import signal

import click

from roikit.trainer.sentences import sentence_about

__all__ = ["Failures", "terminated_as_interrupted"]


@contextlib.contextmanager
def terminated_as_interrupted():
    """SIGTERM, which schedulers and containers send, ends the work as Ctrl-C does, so that what was found is kept."""
    def stop(number, frame):
        raise KeyboardInterrupt("terminated")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Failures:
    """Names each file that failed and ends the command with status 1 if there were any.

    Args:
        say: called with a line of text; default: standard error.
    """

    def __init__(self, say=None):
        self.count = 0
        self._say = say or (lambda text: click.echo(text, err=True))

    def __call__(self, path, error):
        self.count += 1
        self._say(click.format_filename(sentence_about(path, error)))

    def add_those_of_others(self, process):
        """Count those of several processes together; every process must call this. None is this one alone."""
        if process is not None:
            self.count = sum(process.gather(self.count))

    def end(self):
        """End the command with status 1 if there were any."""
        if self.count:
            raise click.ClickException(f"{self.count} of the files could not be used; each is named above")
