"""torchvision.ops.misc, as far as roikit has it."""

from roikit.models import FrozenBatchNorm2d

__all__ = ["FrozenBatchNorm2d"]
