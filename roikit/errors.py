"""What roikit raises and warns, and the names of files in what the operating system raises.

    TypeError                    an argument of the wrong kind or dtype
    ValueError                   an argument of the wrong value or shape
    IndexError                   a batch index outside the input
    RuntimeError
      BackendError               this build of roikit, or this machine, lacks what the call needs
      CudaError                  a kernel could not be launched
    UserWarning
      RoikitWarning              something that a user should look at
"""

import contextlib
import os

__all__ = ["BackendError", "CudaError", "RoikitWarning", "naming"]


class BackendError(RuntimeError):
    """What the call needs is not there: kernels for a device, roikit's CUDA module, bfloat16 in this processor."""


class CudaError(RuntimeError):
    """A CUDA kernel could not be launched; the text names the op and CUDA's own reason."""


class RoikitWarning(UserWarning):
    """Something that a user should look at; nothing was changed on their behalf."""


@contextlib.contextmanager
def naming(path):
    """Gives an OSError inside the name of the file that is written, which the system tells of opening one alone.

    A RuntimeError that came of such an OSError, as torch's writer of archives raises, becomes it.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__ or error.__context__
        if isinstance(reason, OSError) and reason.filename is None and reason.strerror:
            raise OSError(reason.errno, reason.strerror, os.fspath(path)) from error
        raise
