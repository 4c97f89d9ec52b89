"""The random changes of training images that a configuration asks for."""

from roikit.data import transforms
from roikit.data.mixing import CopyPaste, Mosaic
from roikit.data.rotation import RandomRotation
from roikit.trainer.fields import ConfigError

__all__ = ["augmented"]


def augmented(dataset, config, *, objects=True):
    """The training data set with the random changes of an ``AugmentConfig``, which take other images from itself.

    Args:
        objects: whether its samples have objects.

    Raises:
        ConfigError: they need masks, which the data set has not.
    """
    if objects and not dataset.has_masks:
        if config.copy_paste:
            raise ConfigError("config: augment.copy_paste needs masks, by which objects are pasted, and the training data "
                              "have none")
        if config.degrees and not dataset.has_rotated_boxes:
            raise ConfigError("config: augment.degrees needs masks, from which the boxes of turned objects follow, and "
                              "the training data have none; augment.rotate turns by quarters without")
    dataset.transform = transforms.Compose(tuple(_steps(config, dataset)))
    return dataset


def _steps(config, dataset):
    still = [transforms.PerImageNormalize()] if config.per_image_normalize else []
    steps = list(still)
    if config.mosaic:
        steps.append(Mosaic(config.mosaic, dataset, transforms.Compose(tuple(still))))
    if config.crop is not None:
        steps.append(transforms.RandomScaleCrop(config.crop, config.scale or (1.0, 1.0), of=config.scale_of))
    if config.brightness or config.contrast:
        steps.append(transforms.BrightnessContrast(config.brightness, config.contrast))
    if config.flip:
        steps.append(transforms.HorizontalFlip(config.flip))
    if config.vertical_flip:
        steps.append(transforms.VerticalFlip(config.vertical_flip))
    if config.rotate:
        steps.append(transforms.Rotate90())
    if config.degrees:
        steps.append(RandomRotation(config.degrees))
    if config.copy_paste:  # last: the other image changes as this one does, by its own draws
        steps.append(CopyPaste(config.copy_paste, dataset, transforms.Compose(tuple(steps))))
    return steps
