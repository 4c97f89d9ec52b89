"""Weights of one library as a file of another, and models that a file or a name stands for."""

import re
from pathlib import Path

from roikit.data.remote import local_path, require_path
from roikit.models import load_checkpoint, save_checkpoint
from roikit.models.weights.files import read_state
from roikit.models.weights.published_model import named_model
from roikit.trainer.trained import is_published, load_trained

__all__ = ["convert"]

# The class logits' biases, of the first stage where there are several; of an FCN those of the pixels.
_LOGITS = re.compile(r"(cls_score|fc_cls|(^|\.)classifier\.4)\.bias$")


def convert(source, path, *, layout="roikit", model=None):
    """Write the weights of a model in the layout of a library.

    Args:
        source: a file that the trainer wrote, the folder of a run, or a published name, which is downloaded; with
            ``model`` a file of weights of roikit, torchvision, detectron2 or mmdetection.
        path: the file to write, on this machine; with the suffix ``.pkl`` detectron2's layout is a pickle of NumPy
            arrays.
        layout: "roikit", "torchvision" or "detectron2".
        model: which model the file is of: a published name or another configuration of detectron2 or mmdetection. The
            number of classes is the file's.

    Returns:
        the model.

    Raises:
        ValueError: ``path`` is an address; the file does not say what model it is of and none is named; it is of
            another one; or the library of the layout has no such model, with the field of the configuration that stands
            in the way.
        FileNotFoundError: no such file or name.
    """
    path, source = require_path(path), local_path(source, texts=False)
    if model is not None:
        found = named_model(model, num_classes=_classes_in(source))
        load_checkpoint(found, source)
    elif is_published(source) or Path(source).is_dir():
        found = load_trained(source, "cpu").model
    else:
        try:
            found = load_trained(source, "cpu").model
        except ValueError as error:
            raise ValueError(f"convert: {source} does not say which model it is of; name it with model (--model), as "
                             f"`roikit zoo` lists them ({error})") from error
    save_checkpoint(found, path, layout)
    return found


def _classes_in(path):
    """How many classes a file's model tells apart, with the background."""
    return next((len(value) for name, value in read_state(path).items()
                 if _LOGITS.search(name) and value.ndim == 1), 91)
