"""What roikit raises and warns.

    TypeError                    an argument of the wrong kind or dtype
    ValueError                   an argument of the wrong value or shape
    IndexError                   a batch index outside the input
    RuntimeError
      BackendError               this build of roikit, or this machine, lacks what the call needs
      CudaError                  a kernel could not be launched
    UserWarning
      RoikitWarning              something that a user should look at
"""

__all__ = ["BackendError", "CudaError", "RoikitWarning"]


class BackendError(RuntimeError):
    """What the call needs is not there: kernels for a device, roikit's CUDA module, bfloat16 in this processor."""


class CudaError(RuntimeError):
    """A CUDA kernel could not be launched; the text names the op and CUDA's own reason."""


class RoikitWarning(UserWarning):
    """Something that a user should look at; nothing was changed on their behalf."""
