"""From images to one normalised batch."""

from dataclasses import dataclass

from roikit.models.configs.checks import require

__all__ = ["ImageConfig"]


@dataclass(frozen=True)
class ImageConfig:
    """From images in [0, 1] to one normalised batch.

    Args:
        mean, std: one number a channel, in the image's own range [0, 1].
        min_size: the shorter side after resizing, in pixels; when training one of several is
            drawn for every image, otherwise the last one counts.
        max_size: the longer side after resizing is at most this many pixels.
        size_divisible: the batch is padded with zeros at the right and the bottom to a multiple.
        resize_in_training: False takes training images and targets as they come, for a data
            pipeline that has resized them already.
        resize: False takes all images as large as they are, those of evaluation too.
        keep_aspect: False resizes both sides to `min_size`, whatever the image's shape.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    min_size: tuple[int, ...] = (800,)
    max_size: int = 1333
    size_divisible: int = 32
    resize_in_training: bool = True
    resize: bool = True
    keep_aspect: bool = True

    def __post_init__(self) -> None:
        require(len(self.mean) == len(self.std) > 0,
                 f"ImageConfig: mean and std must have one number a channel, "
                 f"got {self.mean} and {self.std}")
        require(all(s > 0 for s in self.std), f"ImageConfig: std must be positive, got {self.std}")
        require(len(self.min_size) > 0 and all(s > 0 for s in self.min_size),
                 f"ImageConfig: min_size must hold positive sizes, got {self.min_size}")
        require(self.max_size > 0, f"ImageConfig: max_size must be positive, got {self.max_size}")
        require(self.size_divisible > 0,
                 f"ImageConfig: size_divisible must be positive, got {self.size_divisible}")
