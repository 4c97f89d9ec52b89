"""The weights that others publish: what they are, where, and under which licence.

The table `published.json` holds facts as their authors state them: torchvision's weight enumerations (0.28),
detectron2's model_zoo.py and MODEL_ZOO.md (every R-CNN and Panoptic FPN on ResNet and ResNeXt; not those that need a
file of proposals), mmdetection's metafile.yml (3.3) of the families faster_rcnn, mask_rcnn, cascade_rcnn, htc,
ms_rcnn, dcn, dcnv2 and gn (not those with deformable RoI pooling), and the README of YOLACT's authors. Nothing is
downloaded here.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Published", "find_published", "published", "published_table"]


@dataclass(frozen=True)
class Published:
    """A file of weights that others publish.

    Attributes:
        name: unique here, and the name of its source: torchvision's builder ("maskrcnn_resnet50_fpn"; with the name of
            the weights where they are not the default), detectron2's model zoo
            ("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x"), mmdetection's configuration
            ("htc/htc_r50_fpn_1x_coco"), the file of YOLACT's authors without its suffix ("yolact_base_54_800000").
        source: "torchvision", "detectron2", "mmdetection" or "yolact".
        system: "faster_rcnn", "mask_rcnn", "keypoint_rcnn", "cascade_rcnn", "cascade_mask_rcnn", "htc",
            "mask_scoring_rcnn", "panoptic_fpn", "yolact", "yolact_plus" or "fcn".
        data: what it was trained on, and its figures measured on: "COCO", "LVIS v0.5", "Cityscapes", "PASCAL VOC" or
            "COCO, VOC's classes", the objects of COCO's images that are of PASCAL VOC's 20 classes.
        url: the file, over https.
        digest: the hexadecimal digits with which the file's digest begins, as its name tells; empty where none is
            published, as of YOLACT's: the file is then taken as it comes over https.
        algorithm: of the digest, "sha256" or "md5".
        licence: SPDX identifier of the licence under which the source publishes its weights, or, where it says nothing
            of weights, its code (torchvision, mmdetection).
        box_ap, mask_ap, keypoint_ap: in percent as its authors state them, None where they state none. On COCO's
            val2017, YOLACT's on its test-dev, the mean over IoU 0.50 to 0.95.
        pq: panoptic quality in percent, in the same way.
        miou, pixel_accuracy: of a segmenter, in percent, in the same way.
        size: MiB, None where it is not stated.
    """

    name: str
    source: str
    system: str
    data: str
    url: str
    digest: str
    algorithm: str
    licence: str
    box_ap: float | None = None
    mask_ap: float | None = None
    keypoint_ap: float | None = None
    pq: float | None = None
    miou: float | None = None
    pixel_accuracy: float | None = None
    size: float | None = None

    @property
    def file_name(self) -> str:
        """The last part of the URL, which holds the digest where there is one, and is the file's name in the folder of
        weights."""
        return self.url.rsplit("/", 1)[1]


@functools.cache
def published() -> tuple[Published, ...]:
    """Every file of weights whose model this package builds, by source, then in its source's order."""
    table = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
    return tuple(Published(**row, **table["sources"][row["source"]]) for row in table["weights"])


def published_table(words: str = "") -> str:
    """Lines of name, source, AP, PQ, mIoU and pixel accuracy in percent, MiB and licence, "-" for what is not stated.

    Args:
        words: those entries only that have each of these words in their name, source, system, data or licence, in
            any case.

    Raises:
        ValueError: no entry has them.
    """
    entries = [entry for entry in published() if all(word in " ".join(
        (entry.name, entry.source, entry.system, entry.data, entry.licence)).lower() for word in words.lower().split())]
    if not entries:
        raise ValueError(f"published: no entry has {words!r} in its name, source, system, data or licence")

    def number(value: float | None, digits: int = 1) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    rows = [("name", "source", "data", "box AP", "mask AP", "keypoint AP", "PQ", "mIoU", "pixel accuracy", "MiB",
             "licence")]
    rows += [(entry.name, entry.source, entry.data, number(entry.box_ap), number(entry.mask_ap),
              number(entry.keypoint_ap), number(entry.pq), number(entry.miou), number(entry.pixel_accuracy),
              number(entry.size, 0), entry.licence) for entry in entries]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) if 3 <= place <= 9 else cell.ljust(width)
                               for place, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
                     for row in rows)


def find_published(name: str) -> Published:
    """The entry of that name.

    Raises:
        ValueError: there is none; it says which names are near.
    """
    entries = {entry.name: entry for entry in published()}
    if name in entries:
        return entries[name]
    import difflib

    # A name's last part alone, and another case or "-" for "_", are what one writes by mistake.
    plain = {known: known.lower().replace("-", "_") for known in entries}
    asked = name.lower().replace("-", "_")
    near = [known for known, text in plain.items() if asked and asked in text][:5] or difflib.get_close_matches(
        name, entries, n=3)
    raise ValueError(f"published: {name!r} is no published name" + (
        f"; did you mean {', '.join(near)}?" if near else "; `roikit zoo` lists them"))
