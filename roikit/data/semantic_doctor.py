"""Inspects images and label maps before a class for each pixel is learnt from them."""

from collections import Counter
from dataclasses import replace

from roikit.data.doctor import Inspection, inspect_dataset
from roikit.data.findings import Finding, os_sentence
from roikit.data.image_folder import ImageFolder
from roikit.data.semantic_dataset import semantic_content
from roikit.data.semantic_findings import semantic_findings

__all__ = ["inspect_semantic"]

# Findings about the file that say something of its objects.
_OF_OBJECTS = ("no-objects", "no-masks", "all-crowds", "many-crowds", "fractions", "lines", "other-boxes",
               "few-objects", "taken", "unused-category")


def inspect_semantic(images, annotations=None, semantic=None, *, classes=None, check_pixels=False):
    """Look for everything that would break training a segmenter; arguments are those of `SemanticDataset`.

    Every label map is decoded, for only its pixels tell whether all of them are classes.

    Args:
        images: folder of the images.
        annotations: COCO file, or its content, or None.
        semantic: folder of PNG label maps, or COCO panoptic file, or None for the masks of ``annotations``.
        classes: the number of values 0..C - 1 that a folder's label maps may have beside 255; None for any.
        check_pixels: decode every image, as for `inspect_dataset`.

    Returns:
        Report. What is wrong is a finding, never an exception.
    """
    if annotations is not None:
        report = inspect_dataset(annotations, images, check_pixels=check_pixels, keypoints=False, semantic=semantic,
                                 semantic_classes=classes, check_labels=True)
        return _needing_masks(report) if semantic is None else _about_maps(report)
    inspection = Inspection()
    try:
        content = semantic_content(semantic, images)
    except (OSError, ValueError) as error:
        inspection.add("unreadable-semantic", "error", "the semantic labels",
                       os_sentence(error).removeprefix("semantic: "))
        return inspection.report({"images": [], "annotations": [], "categories": []}, Counter())
    records = [{"height": 1, "width": 1, **record} for record in content["images"]]  # unread ones are told as broken
    sound = [record for record in inspection.images(records, ImageFolder(images), check_pixels).values()
             if record is not None]
    broken = {finding.subject for finding in inspection.findings if finding.severity == "error"}
    for finding in semantic_findings(semantic, classes, [r for r in sound if f"image {r['id']}" not in broken],
                                     check_pixels=True):
        inspection.add(*finding)
    return replace(inspection.report(content, Counter()), empty_images=None)


def _needing_masks(report):
    """What is a note where boxes are learnt is an error here."""
    return replace(report, findings=tuple(sorted(
        (Finding("no-masks", "error", f.subject, "no annotation has a mask, and masks are what is learnt")
         if f.kind == "no-masks" else f for f in report.findings), key=lambda f: f.severity != "error")))


def _about_maps(report):
    """Without the findings about objects, which are not looked at."""
    return replace(report, findings=tuple(f for f in report.findings if not f.subject.startswith("annotation")
                                          and f.kind not in _OF_OBJECTS))
