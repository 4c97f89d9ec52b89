"""roikit: region-detection kernels and the detectors made of them."""

from roikit._version import __version__

__all__ = ["__version__"]
