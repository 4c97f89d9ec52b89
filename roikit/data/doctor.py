"""Inspects a COCO data set before anything is trained on it, and names each thing that is wrong."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roikit.data.annotations import load_annotations, read_box
from roikit.data.images import open_image, read_image
from roikit.data.segmentation import box_and_area, read_segmentation

__all__ = ["Finding", "Report", "inspect_dataset"]

# How far, in pixels, a box or a polygon may reach over the border or miss the mask unreported: COCO's
# own boxes and polygons are drawn by hand and do so by fractions of a pixel to about two.
_BORDER = 1.0
_AGREEMENT = 2.0
_AGREEMENT_IOU = 0.7


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        kind: what it is, such as "degenerate-box"; findings of one kind read alike.
        severity: "error" (training or evaluation would fail or be wrong), "warning" (an object is left
            out, or is not what it seems) or "note".
        subject: "image 5", "annotation 7 of image 5", "category 3" or "the file".
        sentence: what was found, in words.
    """

    kind: str
    severity: str
    subject: str
    sentence: str

    def __str__(self):
        return f"{self.subject}: {self.sentence}"


@dataclass(frozen=True)
class Report:
    """What `inspect_dataset` found.

    Attributes:
        images, annotations, objects, crowds, categories: how many there are; objects are the annotations
            that are no crowds.
        empty_images: images without a single object.
        most_objects: the largest number of objects in one image. COCO's metric counts no more
            than its limit of detections per image, 100 unless told otherwise.
        findings: tuple of Finding, errors first.
    """

    images: int
    annotations: int
    objects: int
    crowds: int
    categories: int
    empty_images: int
    most_objects: int
    findings: tuple

    @property
    def errors(self):
        """The findings that are errors."""
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def warnings(self):
        """The findings that are warnings."""
        return tuple(f for f in self.findings if f.severity == "warning")

    @property
    def fatal(self):
        """Whether to mend the data set before using it: whether there is an error."""
        return bool(self.errors)

    def text(self, examples=5):
        """A summary to read: counts, then each kind of finding with its first ``examples``."""
        lines = [f"{_count(self.images, 'image')}, {_count(self.objects, 'object')} and "
                 f"{_count(self.crowds, 'crowd')} of {_count(self.categories, 'category')}; "
                 f"{_count(self.empty_images, 'image')} without objects, at most "
                 f"{_count(self.most_objects, 'object')} in an image"]
        kinds = Counter((f.severity, f.kind) for f in self.findings)
        for (severity, kind), number in kinds.items():
            lines.append(f"{severity}: {kind} ({number})")
            same = [f for f in self.findings if (f.severity, f.kind) == (severity, kind)]
            lines += [f"    {finding}" for finding in same[:examples]]
            if number > examples:
                lines.append(f"    and {number - examples} more")
        lines.append("Nothing is wrong." if not self.errors + self.warnings else
                     f"{_count(len(self.errors), 'error')}, {_count(len(self.warnings), 'warning')}")
        return "\n".join(lines)


def inspect_dataset(annotations, images, *, check_pixels=False):
    """Look for everything in a COCO data set that would break training, or quietly spoil it.

    Args:
        annotations: path of the JSON file, or its content as a dict.
        images: folder of the image files.
        check_pixels: decode every image, which finds files that are cut off; without it, only their
            headers are read.

    Returns:
        Report. What is wrong with the data set is a finding, never an exception.

    Raises:
        ImportError: Pillow is missing.
    """
    inspection = _Inspection()
    try:
        content = load_annotations(annotations)
    except (OSError, ValueError) as error:
        inspection.add("unreadable-file", "error", "the file", str(error))
        return inspection.report({"images": [], "annotations": [], "categories": []}, Counter())
    categories = inspection.categories(content["categories"])
    sizes = inspection.images(content["images"], Path(images), check_pixels)
    objects = inspection.annotations(content["annotations"], sizes, categories)
    return inspection.report(content, objects)


class _Inspection:
    """The findings so far, and the walk over each list of the file."""

    def __init__(self):
        self.findings = []

    def add(self, kind, severity, subject, sentence):
        self.findings.append(Finding(kind, severity, subject, sentence))

    def report(self, content, objects):
        order = {"error": 0, "warning": 1, "note": 2}
        crowds = sum(isinstance(a, dict) and bool(a.get("iscrowd")) for a in content["annotations"])
        return Report(
            images=len(content["images"]), annotations=len(content["annotations"]),
            objects=len(content["annotations"]) - crowds, crowds=crowds,
            categories=len(content["categories"]),
            empty_images=len(content["images"]) - len(objects),
            most_objects=max(objects.values(), default=0),
            findings=tuple(sorted(self.findings, key=lambda f: order[f.severity])))

    def records(self, records, what, fields):
        """The records of one list that have an id of their own and the fields that they need."""
        seen = set()
        for place, record in enumerate(records):
            if not isinstance(record, dict):
                self.add("malformed-record", "error", f"{what} at place {place}",
                         f"a record must be a dict, got {type(record).__name__}")
                continue
            number = record.get("id")
            subject = f"{what} {number}"
            if isinstance(number, bool) or not isinstance(number, int):
                self.add("malformed-id", "error", f"{what} at place {place}",
                         f"its id must be a whole number, got {number!r}")
                continue
            if number in seen:
                self.add(f"duplicate-{what}-id", "error", subject, "its id occurs more than once")
                continue
            seen.add(number)
            missing = [field for field in fields if record.get(field) is None]
            if missing:
                self.add("missing-field", "error", subject, f"it has no {' and no '.join(missing)}")
                continue
            yield subject, record

    def categories(self, records):
        ids = {record["id"] for _, record in self.records(records, "category", ())}
        if 0 in ids:
            self.add("category-id-zero", "note", "category 0",
                     "its id is 0, which is the background's label in models; roikit gives it label 1")
        if ids and ids != set(range(min(ids), max(ids) + 1)):
            self.add("category-id-gaps", "note", "the file",
                     f"its {len(ids)} category ids lie in {min(ids)}..{max(ids)} with gaps; labels are "
                     f"1..{len(ids)} and results get the original ids")
        return ids

    def images(self, records, folder, check_pixels):
        """Sizes (height, width) by image id, as the annotation file states them."""
        sizes, files = {}, {}
        for subject, record in self.records(records, "image", ("file_name", "height", "width")):
            height, width, name = record["height"], record["width"], record["file_name"]
            if not all(isinstance(n, int) and n > 0 for n in (height, width)):
                self.add("malformed-size", "error", subject,
                         f"its height and width must be whole numbers from 1, got {height!r} and "
                         f"{width!r}")
                continue
            sizes[record["id"]] = (height, width)
            if not isinstance(name, str):
                self.add("missing-image", "error", subject,
                         f"its file_name must be a string, got {name!r}")
                continue
            if name in files:
                self.add("duplicate-file", "warning", subject,
                         f"its file {name} is that of image {files[name]} too")
                continue
            files[name] = record["id"]
            self.image_file(subject, folder / name, height, width, check_pixels)
        return sizes

    def image_file(self, subject, path, height, width, check_pixels):
        try:
            found_width, found_height, orientation = open_image(path)
            if check_pixels:
                read_image(path)
        except FileNotFoundError:
            self.add("missing-image", "error", subject, f"there is no file {path.name}")
            return
        except (OSError, ValueError) as error:
            self.add("broken-image", "error", subject, str(error).removeprefix("read_image: "))
            return
        if (found_height, found_width) != (height, width):
            self.add("size-mismatch", "error", subject,
                     f"{path.name} is {found_width}x{found_height} pixels, the annotation file says "
                     f"{width}x{height}")
        if orientation != 1:
            self.add("exif-orientation", "warning", subject,
                     f"{path.name} asks viewers to turn it (EXIF orientation {orientation}); roikit and "
                     "COCO's tools take the pixels as stored, so its annotations must be made on those")

    def annotations(self, records, sizes, categories):
        """The number of objects by image id; images without any are not in it."""
        objects, used, bare = Counter(), set(), 0
        records = list(self.records(records, "annotation", ("image_id", "category_id")))
        has_masks = any(record.get("segmentation") for _, record in records)
        for subject, record in records:
            subject = f"{subject} of image {record['image_id']}"
            if not all(isinstance(record[field], int) for field in ("image_id", "category_id")):
                self.add("malformed-id", "error", subject,
                         f"its image and category ids must be whole numbers, got "
                         f"{record['image_id']!r} and {record['category_id']!r}")
                continue
            if record["category_id"] not in categories:
                self.add("unknown-category-id", "error", subject,
                         f"categories does not list its category id {record['category_id']!r}")
            if record["image_id"] not in sizes:
                self.add("unknown-image-id", "warning", subject,
                         "images does not list its image, so it is left out")
                continue
            if not record.get("iscrowd"):
                objects[record["image_id"]] += 1
                used.add(record["category_id"])
            bare += not record.get("segmentation")
            self.object(subject, record, *sizes[record["image_id"]], has_masks)
        for number in sorted(categories - used):
            self.add("unused-category", "note", f"category {number}", "no object belongs to it")
        if not objects:
            self.add("no-objects", "error", "the file", "no image has an object to learn")
        for field in ("area", "iscrowd"):
            without = sum(record.get(field) is None for _, record in records)
            if without:
                self.add(f"no-{field}", "note", "the file",
                         f"{_count(without, 'annotation')} without {field}, which pycocotools needs to "
                         "evaluate")
        if bare and not has_masks:
            self.add("no-masks", "note", "the file", "no annotation has a mask: fit for boxes alone")
        return objects

    def object(self, subject, record, height, width, has_masks):
        """Compare one annotation's box and mask with the image and with each other."""
        area = record.get("area", 0)
        if isinstance(area, bool) or not isinstance(area, (int, float, type(None))):
            self.add("malformed-area", "error", subject, f"its area must be a number, got {area!r}")
        mask_box = None
        if record.get("segmentation"):
            mask_box = self.mask(subject, record["segmentation"], height, width)
        elif has_masks:
            self.add("missing-mask", "warning", subject,
                     "it has no mask while others do, so it is left out")
        if not record.get("bbox"):
            if mask_box is None and not record.get("segmentation"):
                self.add("missing-box", "warning", subject,
                         "it has neither box nor mask, so it is left out")
            return
        try:
            box = read_box(record["bbox"])
        except ValueError as error:
            self.add("malformed-box", "error", subject, str(error))
            return
        shown = f"{[float(v) for v in box]} (x1, y1, x2, y2)"
        if not np.isfinite(box).all() or not (box[2] > box[0] and box[3] > box[1]):
            self.add("degenerate-box", "warning", subject,
                     f"its box {shown} has no area, so it is left out")
            return
        inside = np.clip(box, 0, [width, height, width, height])
        if not (inside[2] > inside[0] and inside[3] > inside[1]):
            self.add("box-outside", "warning", subject,
                     f"its box {shown} is outside the {width}x{height} image, so it is left out")
            return
        if np.abs(box - inside).max() > _BORDER:
            self.add("box-over-border", "warning", subject,
                     f"its box {shown} reaches over the border of the {width}x{height} image and is cut")
        if mask_box is not None and not _agree(inside, mask_box):
            self.add("box-mask-disagreement", "warning", subject,
                     f"its box {shown} is not around its mask, which spans {list(mask_box)}")

    def mask(self, subject, segmentation, height, width):
        """The tight box of a mask; None when it has no pixel or cannot be read."""
        try:
            mask = read_segmentation(segmentation, height, width)
            box, area = box_and_area(mask, height, width)
        except ValueError as error:
            self.add("malformed-segmentation", "error", subject, str(error))
            return None
        over = 0
        if isinstance(mask, list):
            points = np.concatenate([ring.reshape(-1, 2) for ring in mask])
            over = max(-points.min(), (points - [width, height]).max())
        if not area:
            self.add("mask-outside" if over > 0 else "empty-mask", "warning", subject,
                     f"its mask is outside the {width}x{height} image, so it is left out" if over > 0
                     else "its mask has no pixel, so it is left out")
            return None
        if over > _BORDER:
            self.add("mask-over-border", "warning", subject,
                     f"its mask reaches {over:g} pixels over the border of the {width}x{height} image")
        return tuple(float(v) for v in box)


def _agree(box, other):
    """Whether two boxes are the same but for the freedom that hand-made annotations take."""
    if np.abs(box - other).max() <= _AGREEMENT:
        return True
    w = min(box[2], other[2]) - max(box[0], other[0])
    h = min(box[3], other[3]) - max(box[1], other[1])
    if w <= 0 or h <= 0:
        return False
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return w * h / (sum(areas) - w * h) >= _AGREEMENT_IOU


def _count(number, noun):
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}"
