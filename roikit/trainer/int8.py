"""A trained model on 8-bit integers: calibrated on pictures, and found again beside its weights."""

import warnings
from dataclasses import replace
from pathlib import Path

from roikit.data.findings import counted
from roikit.data.pictures import open_picture
from roikit.data.remote import address_of, is_address, local_path
from roikit.errors import RoikitWarning
from roikit.models import InferenceRanges, measure_ranges, prepare_for_inference
from roikit.trainer.folders import writable_folder
from roikit.trainer.picture_files import find_pictures
from roikit.trainer.sentences import sentence_about
from roikit.trainer.trained import image_preparation, load_trained

__all__ = ["in_int8", "quantize", "ranges_file"]


def ranges_file(weights):
    """Where the ranges of the model of a file of weights are: beside it, ``best.int8.json`` for ``best.pt``."""
    return Path(weights).with_suffix(".int8.json")


def quantize(source, images, *, most=64, upright=True, max_pixels=None, on_error=None, progress=None):
    """Look at pictures to prepare a trained model for 8-bit integers, with which ``int8=True`` then runs it.

    Args:
        source: checkpoint, exported weights, the folder of a run, or the name of published weights.
        images: pictures such as are to come, as `roikit.predict` takes them: files, folders, patterns, lists.
        most: so many are looked at, evenly spread over those given where there are more.
        upright, max_pixels: as `roikit.predict` has them.
        on_error: called with the path and the exception for each image that cannot be read; without it, each is a
            RoikitWarning. The others are gone on with.
        progress: called with the number of images done, and of all.

    Returns:
        Path of the file that was written, beside the weights.

    Raises:
        FileNotFoundError: no such file, or a folder without images.
        OSError: none of the images can be read, or the file cannot be written.
        ValueError: the source is an address, or its model cannot be prepared; ``most`` is below 1.
    """
    if most < 1:
        raise ValueError(f"quantize: most must be at least 1, got {most}")
    if is_address(source):
        raise ValueError(f"quantize: the source must be on this machine, where the ranges are written, got {source}")
    files = find_pictures(images, op="quantize")
    failed = _warn if on_error is None else on_error
    for path, error in files.closed:
        failed(path, error)
    count = min(most, len(files.paths))
    paths = [files.paths[k * len(files.paths) // count] for k in range(count)]
    trained = load_trained(source, "cpu")
    path = ranges_file(trained.path)
    writable_folder(path.parent, "quantize")
    prepare, unread = image_preparation(trained.config), []

    def shown(looked):
        if progress is not None:
            progress(looked + len(unread), count)

    def tensors():
        for looked, path in enumerate(paths):
            try:
                image = prepare(open_picture(path, windows=False, upright=upright, max_pixels=max_pixels).whole())
            except (OSError, ValueError, MemoryError) as error:
                unread.append(path)
                failed(path, error)
                shown(looked + 1 - len(unread))
            else:
                yield image
        if len(unread) == count:
            raise OSError(f"quantize: none of the {counted(count, 'image')} could be read")

    shown(0)
    try:
        ranges = measure_ranges(trained.model, tensors(), on_image=shown)
    except TypeError as error:  # a model of other parts than roikit's
        raise ValueError(f"quantize: {error}") from None
    ranges.save(path)
    return path


def in_int8(trained):
    """A `Trained` whose model is on 8-bit integers.

    Raises:
        FileNotFoundError: `quantize` was not called for these weights.
        ValueError: the model is not on the CPU, or the ranges are of another model or other weights.
        BackendError: the processor has neither VNNI nor AMX.
    """
    if trained.device.type != "cpu":
        raise ValueError(f"int8 is for a CPU, and the model is on {trained.device}: ask for the device cpu")
    path = ranges_file(trained.path)
    if (address := address_of(path)) is not None:
        try:
            local_path(address)
        except FileNotFoundError:
            raise FileNotFoundError(f"there is nothing at {address}: `roikit quantize` writes it beside weights that "
                                    "are on this machine") from None
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: `roikit quantize {trained.path} --images FOLDER` writes it")
    ranges = InferenceRanges.load(path)
    try:
        model = prepare_for_inference(trained.model, "int8", ranges=ranges)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return replace(trained, model=model, config=replace(trained.config, run=replace(trained.config.run, amp="off")))


def _warn(path, error):
    warnings.warn(f"quantize: {sentence_about(path, error)}", RoikitWarning, stacklevel=3)
