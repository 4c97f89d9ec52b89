"""What may fail without costing a training: evaluations, pictures, curves, logs. It is told at once and in the end."""

import contextlib
import warnings

from roikit.errors import RoikitWarning
from roikit.trainer.sentences import sentence_of

__all__ = ["Failures", "IncompleteRun", "on_first", "sentence", "telling"]


class IncompleteRun(RuntimeError):
    """The training is done and its weights are saved, but something beside it failed.

    Attributes:
        failures: part of the run -> sentence, in the order in which they came.
        metrics: what is in ``metrics.json``.
    """

    def __init__(self, text, failures=None, metrics=None):
        super().__init__(text)
        self.failures, self.metrics = failures or {}, metrics or {}


def sentence(error):
    """An exception as one line, as a user is told it."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    if text.startswith("Caught ") and "Original Traceback" in text:  # torch's way to tell of a worker's
        text = text.splitlines()[-1].strip().removeprefix(f"{type(error).__name__}: ")
    elif isinstance(error, KeyError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else sentence_of(error)
    text = " ".join(text.split())
    told = isinstance(error, (ValueError, OSError, ImportError)) and text
    text = text if told else f"{type(error).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= 600 else f"{text[:600]} ..."


@contextlib.contextmanager
def telling(what):
    """Makes a ValueError that says what an exception inside is about, "the val part" say.

    Those of the file system, and libraries that are not installed, say enough themselves.
    """
    try:
        yield
    except (OSError, ImportError):
        raise
    except Exception as error:  # files hold what nobody thought of
        raise ValueError(f"train: {what} cannot be used: {sentence(error)}") from error


class Failures:
    """Runs the parts of a run that it can do without, and remembers those that failed.

    Args:
        process: ``Process``; each of several has its own ``Failures``.
        say: called with a line of text.
    """

    def __init__(self, process, say):
        self._process, self._say = process, say
        self._failed, self._first = {}, None

    def attempt(self, part, work, *args):
        """``work(*args)`` on this process alone, or None where it raised an ``Exception``.

        The failure is kept under the name ``part``, and only the first of a name is said. A library that is not
        installed makes a warning and no failure.
        """
        try:
            return work(*args)
        except ImportError as error:
            warnings.warn(str(error), RoikitWarning, stacklevel=2)
        except Exception as error:
            self.note(part, sentence(error), error)
        return None

    def together(self, part, work, *args):
        """``work(*args)`` on every process; None on all of them where it raised on any.

        ``work`` must not wait for other processes: one that failed would not come.
        """
        result, raised = None, None
        try:
            result = work(*args)
        except Exception as error:
            raised = error
        told = [text for text in self._process.gather(raised and sentence(raised)) if text is not None]
        if not told:
            return result
        self.note(part, told[0], raised)
        return None

    def note(self, part, text, error=None):
        """Keep the failure of a part and say it, unless that part has failed before."""
        if part not in self._failed:
            self._say(f"{part} failed, the run goes on: {text}")
            self._failed[part] = text
        self._first = self._first or error

    def raise_if_any(self, kept, metrics):
        """Raise on every process if there was a failure on the first one, which has them all.

        Args:
            kept: what is told about the training itself.
            metrics: for the attribute of the error.

        Raises:
            IncompleteRun: with the first failure as its cause.
        """
        failed = self._process.share_first(self._failed)
        if failed:
            parts = "; ".join(f"{part} failed: {text}" for part, text in failed.items())
            raise IncompleteRun(f"train: {kept}, but {parts}", failed, metrics) from self._first


def on_first(process, work, *args):
    """``work(*args)`` of the first process, on every process.

    Raises:
        Exception: what it raised there; a ValueError of the same text on the others.
    """
    result, raised = None, None
    if process.first:
        try:
            result = work(*args)
        except Exception as error:
            raised = error
    result, told = process.share_first((result, raised and sentence(raised)))
    if raised is not None:
        raise raised
    if told is not None:
        raise ValueError(told)
    return result
