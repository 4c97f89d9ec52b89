"""Samples of one batch side by side: images of different sizes are not stacked."""

__all__ = ["collate"]


def collate(batch):
    """Turn a list of (image, target) pairs into the lists that the models take.

    Args:
        batch: list of pairs (image (3, H, W) tensor, target dict), as a data set gives them.

    Returns:
        (images, targets): two lists of the batch's length.
    """
    return [image for image, _ in batch], [target for _, target in batch]
