"""The random changes of training images that a configuration asks for."""

from roikit.data import transforms
from roikit.trainer.fields import ConfigError
from roikit.trainer.skipping import Skipping

__all__ = ["augmented"]


def augmented(dataset, config, *, objects=True):
    """The training data set with the random changes of a ``TrainConfig``, which take other images from itself.

    Args:
        objects: whether its samples have objects.

    Raises:
        ConfigError: they need masks, which the data set has not.
    """
    change = config.augment
    if objects and not dataset.has_masks:
        if change.copy_paste:
            raise ConfigError("config: augment.copy_paste needs masks, by which objects are pasted, and the training "
                              "data have none; augment.copy_paste=0 does without")
        if change.degrees and not dataset.has_rotated_boxes:
            raise ConfigError("config: augment.degrees needs masks, from which the boxes of turned objects follow, and "
                              "the training data have none; augment.rotate turns by quarters without")
    source = Skipping(dataset) if config.data.on_error == "skip" else dataset
    dataset.transform = transforms.Compose(tuple(_steps(change, source)))
    return dataset


def _steps(config, source):
    still = [transforms.PerImageNormalize()] if config.per_image_normalize else []
    steps = list(still)
    if config.mosaic:
        steps.append(transforms.Mosaic(config.mosaic, source, transforms.Compose(tuple(still))))
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
        steps.append(transforms.RandomRotation(config.degrees))
    if config.copy_paste:  # last: the other image changes as this one does, by its own draws
        steps.append(transforms.CopyPaste(config.copy_paste, source, transforms.Compose(tuple(steps))))
    return steps
