"""Files to samples: COCO data sets, transforms, batches, and the doctor that inspects a data set.

Importing this module imports neither torch nor Pillow; each name brings what it needs.
"""

from importlib import import_module
from pathlib import Path

from roikit.data.collate import collate

__all__ = ["CocoDataset", "Finding", "PanopticDataset", "PanopticFile", "Report", "SemanticDataset", "collate",
           "convert_data", "inspect_dataset", "inspect_semantic", "mend_dataset", "nuclei_mini", "read_image",
           "transforms", "write_panoptic"]

_MODULES = {
    "CocoDataset": "coco",
    "Finding": "findings",
    "PanopticDataset": "panoptic",
    "PanopticFile": "semantic",
    "Report": "findings",
    "SemanticDataset": "semantic_dataset",
    "convert_data": "conversion",
    "inspect_dataset": "doctor",
    "inspect_semantic": "semantic_doctor",
    "mend_dataset": "mend",
    "read_image": "images",
    "write_panoptic": "panoptic",
}


def nuclei_mini(split):
    """Paths of the bundled data set: 48 + 16 microscope images of nuclei (BBBC038, CC0).

    Args:
        split: "train" or "val".

    Returns:
        (annotations, images): the path of the COCO file and of its folder of images, as `CocoDataset`
        takes them.

    Raises:
        ValueError: there is no such split.
    """
    if split not in ("train", "val"):
        raise ValueError(f"nuclei_mini: split must be 'train' or 'val', got {split!r}")
    root = Path(__file__).parent / "nuclei_mini"
    return root / "annotations" / f"instances_{split}.json", root / "images" / split


def __getattr__(name):
    if name == "transforms":
        return import_module("roikit.data.transforms")
    if name in _MODULES:
        return getattr(import_module(f"roikit.data.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'roikit.data' has no attribute {name!r}")


def __dir__():
    return __all__
