"""Inspects a COCO data set before anything is trained on it, and names each thing that is wrong."""

from collections import Counter

import numpy as np

from roikit.data.alike_findings import alike_findings
from roikit.data.annotations import (
    MalformedField,
    NoCategories,
    has_mask,
    load_annotations,
    read_box,
    read_object,
)
from roikit.data.causes import agreeing, boxes_in_place, causes_of
from roikit.data.findings import Finding, Report, counted, os_sentence
from roikit.data.fit_findings import fit_findings
from roikit.data.image_findings import image_findings
from roikit.data.image_folder import ImageFolder
from roikit.data.instances import is_wrong_area
from roikit.data.keypoint_findings import keypoint_findings
from roikit.data.records import count_of_crowds, crowds_sentence, fault_of, named_twice, repeated_sentence, usable_id
from roikit.data.repeated import repeated_objects
from roikit.data.rotated import has_rotated_box
from roikit.data.rotated_findings import rotated_findings
from roikit.data.segmentation import box_and_area, read_segmentation
from roikit.data.semantic_findings import semantic_findings
from roikit.data.store.named import NamedRecords, counted_ids, settled, to_look_at
from roikit.data.store.records import Records

__all__ = ["Inspection", "inspect_dataset"]

# How far, in pixels, a box or a polygon may reach over the border unreported: COCO's own are drawn by hand.
_BORDER = 1.0
# So many annotations of categories that are not listed are each named.
_NAMED = 5
_FEWEST_WRONG = 3
# What some call the masks of objects.
_MASK_FIELDS = ("polygon", "polygons", "mask", "segments", "rle", "points")
# Of a class with fewer objects little is learnt.
_FEW = 10


def inspect_dataset(annotations, images, *, check_pixels=False, keypoints=True, semantic=None, semantic_classes=None,
                    check_labels=False, beside=None, fit=None, progress=None):
    """Look for everything in a COCO data set that would break training, or quietly spoil it.

    Args:
        annotations: path of the JSON file, or its content as a dict; or of a folder of DOTA's text files, or YOLO's for
            oriented boxes.
        images: folder of the image files.
        check_pixels: decode every image; without it, only their headers are read, and the pixels of those that may be
            refused: float and 32-bit ones, PNG and JPEG files that do not end as such files do; of semantic labels, the
            pixels of 256 images.
        keypoints: look at keypoints, too; False where they are not to be learnt.
        semantic: folder of PNG label maps, or COCO panoptic file, to look at as well.
        semantic_classes: the number of values 0..C that a folder's label maps may have beside 255; None for any.
        check_labels: decode every label map, not those of 256 images alone.
        beside: (annotations, images) of the other of two parts, train and val, to look whether they share images; the
            files are compared by their bytes, and with ``check_pixels`` the pictures by what they show.
        fit: `ModelFit` of the model that is to learn from it; None for any.
        progress: function of "images" or "objects" and a sequence of these, that gives them on one after the other and
            may show how far it is; None for none.

    Returns:
        Report. What is wrong with the data set is a finding, never an exception.

    Raises:
        ImportError: Pillow is missing.
    """
    inspection, taken = Inspection(progress), Counter()
    try:
        folder = ImageFolder(images)
    except OSError as error:  # of an address that cannot be reached
        inspection.add("missing-folder", "error", "the images", os_sentence(error))
        return inspection.report({"images": [], "annotations": [], "categories": []}, Counter())
    try:
        content = load_annotations(annotations, images=folder, taken=taken)
    except (OSError, ValueError) as error:
        inspection.add("no-categories" if isinstance(error, NoCategories) else "unreadable-file", "error", "the file",
                       os_sentence(error))
        return inspection.report({"images": [], "annotations": [], "categories": []}, Counter())
    if taken:
        inspection.add("taken", "note", "the file", taken_sentence(taken))
    categories = inspection.categories(content["categories"])
    sizes = inspection.images(content["images"], folder, check_pixels)
    for finding in alike_findings(_names(content), folder, _other_part(beside), check_pixels):
        inspection.add(*finding)
    objects = inspection.annotations(content, sizes, categories, keypoints, fit, folder)
    if semantic is not None:
        sound = [record for record in sizes.values() if record is not None]
        for finding in semantic_findings(semantic, semantic_classes, sound,
                                         check_pixels=check_pixels or check_labels):
            inspection.add(*finding)
    return inspection.report(content, objects)


def _names(content):
    """The file names that a content lists, each once."""
    return list(dict.fromkeys(r["file_name"] for r in content["images"]
                              if isinstance(r, dict) and isinstance(r.get("file_name"), str) and r["file_name"]))


def _other_part(beside):
    """Names and folder of another part; None where there is none, or none that can be read, which is not at issue."""
    if beside is None:
        return None
    try:
        folder = ImageFolder(beside[1])
        return _names(load_annotations(beside[0], images=folder)), folder
    except (OSError, ValueError):
        return None


def taken_sentence(taken):
    """One line about the Counter of `load_annotations`: what was taken for what it means."""
    return "taken for what it means: " + ", ".join(f"{words} ({count})" for words, count in sorted(taken.items()))


class Inspection:
    """The findings so far, and the walk over each list of the file.

    A record that is faulty is one finding, and those that refer to it are none: they are its consequences.
    """

    def __init__(self, progress=None):
        self.progress = (lambda _, items: items) if progress is None else progress
        self.findings = []
        self.unread = 0  # annotations of which nothing can be said, as an error found says
        self.nameless = False  # whether a category has no id, so that others cannot be told to be unknown
        self.unplaced = False  # whether some images, or annotations' images, cannot be told

    def add(self, kind, severity, subject, sentence):
        self.findings.append(Finding(kind, severity, subject, sentence))

    def report(self, content, objects):
        order = {"error": 0, "warning": 1, "note": 2}
        crowds = count_of_crowds(content["annotations"])
        return Report(
            images=len(content["images"]), annotations=len(content["annotations"]),
            objects=len(content["annotations"]) - crowds, crowds=crowds,
            categories=len(content["categories"]),
            empty_images=None if self.unplaced else len(content["images"]) - len(objects),
            most_objects=max(objects.values(), default=0),
            findings=tuple(sorted(self.findings, key=lambda f: order[f.severity])))

    def records(self, records, what):
        """The sound ones among the image or category records by their ids; None for one that is faulty."""
        found, repeated = {}, set()
        for place, record in enumerate(records):
            number = record.get("id") if isinstance(record, dict) else None
            usable = usable_id(number)
            subject = f"{what} {number}" if usable else f"{what} at place {place}"
            if usable and number in found:
                if subject not in repeated:
                    same = [r for r in records if isinstance(r, dict) and r.get("id") == number]
                    self.add(f"duplicate-{what}-id", "error", subject, repeated_sentence(same, what))
                    repeated.add(subject)
                self.unplaced |= what == "image"
                continue
            fault = fault_of(record, what)
            if fault is not None:
                self.add(fault[0], "error", subject, fault[1])
                self.unplaced |= what == "image"
            if type(number) in (int, float, str):  # others may have no hash
                found[number] = record if fault is None else None
        return found

    def categories(self, records):
        """The ids that the categories list, in whatever form they do."""
        listed = self.records(records, "category")
        self.nameless = any(not isinstance(record, dict) or record.get("id") is None for record in records)
        sound = [record for record in listed.values() if record is not None]
        ids = {record["id"] for record in sound}
        if 0 in ids:
            self.add("category-id-zero", "note", "category 0",
                     "its id is 0, which is the background's label in models; roikit gives it label 1")
        if ids and max(ids) - min(ids) >= len(ids):
            self.add("category-id-gaps", "note", "the file",
                     f"its {len(ids)} category ids lie in {min(ids)}..{max(ids)} with gaps; labels are "
                     f"1..{len(ids)} and results get the original ids")
        for sentence in named_twice(sound):
            self.add("duplicate-category-name", "warning", "the file", sentence)
        return listed

    def images(self, records, folder, check_pixels):
        """The records by image id, None for those that are faulty."""
        listed = self.records(records, "image")
        for finding in image_findings(listed, folder, check_pixels, self.progress):
            self.add(*finding)
        return listed

    def annotations(self, content, images, categories, keypoints, fit, folder):
        """The number of objects by image id; images without any are not in it."""
        sound = self.sound_annotations(content["annotations"], images, categories)
        objects, classes = Counter(), Counter()
        for _, record in sound:
            if record["iscrowd"] != 1:
                objects[record["image_id"]] += 1
                classes[record["category_id"]] += 1
        self.classes(classes, categories)
        records = sound.records if isinstance(sound, NamedRecords) else [record for _, record in sound]
        for place in repeated_objects(records):
            self.add("duplicate-object", "warning", sound[place][0], "it is another annotation again")
        has_masks = any(has_mask(record) for _, record in sound)
        if sound and not has_masks:
            other = next((field for field in _MASK_FIELDS if any(record.get(field) for _, record in sound)), None)
            self.add("no-masks", "note", "the file", "no annotation has a mask: fit for boxes alone"
                     + (f"; the field {other!r} is not read, COCO calls it 'segmentation'" if other else ""))
        causes = {cause.kind: cause for cause in causes_of(content)}
        strangers = [f for f in self.findings if f.kind == "unknown-category-id"]
        if len(strangers) > _NAMED:  # their cause says it once
            self.findings = [f for f in self.findings if f.kind != "unknown-category-id"]
        else:
            causes.pop("unknown-category-id", None)
        for cause in causes.values():
            self.add(cause.kind, "warning" if cause.learnable else "error", "the file", cause.sentence)
        crowds = crowds_sentence(content["annotations"])
        if crowds and "all-crowds" not in causes:
            self.add("many-crowds", "warning" if objects else "error", "the file", crowds)
        if causes.keys() & {"fractions", "lines", "other-masks", "outside"} or any(
                cause.kind == "other-boxes" and cause.reading is None for cause in causes.values()):
            return objects  # what can be said of each object follows from the cause
        if "other-boxes" in causes:
            read = boxes_in_place({"annotations": [record for _, record in sound]}, causes["other-boxes"].reading)
            sound = list(zip([subject for subject, _ in sound], read["annotations"], strict=True))
        if keypoints:
            known = [record for record in categories.values() if record is not None]
            for finding in keypoint_findings(known, sound, images):
                self.add(*finding)
        for finding in rotated_findings(sound, images):
            self.add(*finding)
        for finding in () if fit is None else fit_findings(sound, images, fit):
            self.add(*finding)
        self.wrong = []
        missing = {number for number, record in images.items() if record is not None
                   and not folder.holds(record["file_name"])}
        missing = missing if len(missing) < len(images) else set()  # which is an error of its own
        kept = 0
        for subject, record in self.to_judge(sound, images, has_masks):
            image = images[record["image_id"]]
            if image is None:
                self.unread += 1
            elif subject is None:  # its columns show that it is sound
                kept += record["iscrowd"] != 1 and record["image_id"] not in missing
            else:
                learnt = self.object(subject, record, image["height"], image["width"], has_masks)
                kept += learnt and record["image_id"] not in missing
        self.areas(self.wrong, len(sound))
        if not kept and not self.unread and not (crowds and not objects):
            self.add("no-objects", "error", "the file",
                     "no image has an object to learn" + (": all are left out" if objects else ""))
        return objects

    def classes(self, counts, categories):
        """Findings about classes of none and of few objects; ``counts`` are those of the objects by category id."""
        for number, record in categories.items():
            if counts and record is not None and number not in counts:
                self.add("unused-category", "note", f"category {number}", f"category {number} has no objects")
        few = [(count, number) for number, count in counts.items() if count < _FEW and number in categories]
        if few:
            named = ", ".join(f"category {number} ({count})" for count, number in sorted(few)[:10])
            self.add("few-objects", "note", "the file", f"{counted(len(few), 'category')} with fewer than {_FEW} "
                     f"objects, too few to learn from: {named}{' and more' if len(few) > 10 else ''}")

    def to_judge(self, sound, images, has_masks):
        """(subject, record) of the sound annotations; of columns, None for the subject where these show no fault."""
        if not isinstance(sound, NamedRecords):
            yield from self.progress("objects", sound)
            return
        settled_parts = settled(sound.records, images, has_masks, _BORDER)
        clean = (known for _, part in settled_parts for known in part.tolist())
        for known, (subject, record) in zip(clean, self.progress("objects", sound), strict=True):
            yield None if known else subject, record

    def sound_annotations(self, records, images, categories):
        """(subject, record) of the annotations of listed images, with ids that can be read, as a sequence."""
        if isinstance(records, Records):
            odd = to_look_at(records, images, categories).tolist()
            wanted = np.ones(len(records), bool)
            wanted[[place for place in odd if self.subject(place, records[place], images, categories) is None]] = False
            sound, ids = NamedRecords(records.where(wanted)), counted_ids(records)
        else:
            subjects = [self.subject(place, record, images, categories) for place, record in enumerate(records)]
            sound = [pair for pair in zip(subjects, records, strict=True) if pair[0] is not None]
            ids = Counter(number for record in records if isinstance(record, dict)
                          and usable_id(number := record.get("id"))).items()
        for number, count in ids:
            if count > 1:
                self.add("duplicate-annotation-id", "warning", f"annotation {number}",
                         f"its id occurs {count} times; roikit does not need it, other tools do")
        return sound

    def subject(self, place, record, images, categories):
        """What an annotation is called; None for one whose ids cannot be read, or whose image is not listed."""
        number = record.get("id") if isinstance(record, dict) else None
        subject = f"annotation {number}" if usable_id(number) else f"annotation at place {place}"
        fault = fault_of(record, "annotation")
        if fault is not None:
            self.unread, self.unplaced = self.unread + 1, True
            if not _refers_to_a_faulty_one(record, images, categories):
                self.add(fault[0], "error", subject, fault[1])
            return None
        subject = f"{subject} of image {record['image_id']}"
        if record["category_id"] not in categories and not self.nameless:
            self.add("unknown-category-id", "error", subject,
                     f"categories does not list its category id {record['category_id']}")
        if record["image_id"] not in images:
            self.add("unknown-image-id", "warning", subject, "images does not list its image, so it is left out")
            return None
        return subject

    def object(self, subject, record, height, width, has_masks):
        """Compare one annotation's box and mask with the image and with each other; whether it is left to learn."""
        try:
            found = read_object(record, height, width, masks=has_masks)
        except MalformedField as error:
            self.unread += 1
            if error.field != "rbox":  # which is named already
                self.add(f"malformed-{error.field}", "error", subject, str(error))
            return False
        box = read_box(record["bbox"]) if record.get("bbox") else None
        shown = None if box is None else f"{[float(v) for v in box]} (x1, y1, x2, y2)"
        if isinstance(found, str):
            if box is None and has_rotated_box(record) and not has_mask(record):
                return False  # for its rotated box, which is named already
            self.left_out(subject, found, record, shown, height, width)
            return False
        if record.get("area") is not None and is_wrong_area(found.area, found.box):
            self.wrong.append(subject)
        if box is not None and np.abs(box - found.box).max() > _BORDER:
            self.add("box-over-border", "warning", subject,
                     f"its box {shown} reaches over the border of the {width}x{height} image and is cut")
        if found.mask is None:
            return not found.crowd
        over = _over_border(found.mask, height, width)
        if over > _BORDER:
            self.add("mask-over-border", "warning", subject,
                     f"its mask reaches {over:g} pixels over the border of the {width}x{height} image")
        mask_box = tuple(float(v) for v in box_and_area(found.mask, height, width)[0])
        if box is not None and not agreeing(found.box, np.array(mask_box)):
            self.add("box-mask-disagreement", "warning", subject,
                     f"its box {shown} is not around its mask, which spans {list(mask_box)}")
        return not found.crowd

    def areas(self, wrong, count):
        """The one finding about areas that are wrong; ``wrong`` are the subjects of these of ``count`` objects."""
        if len(wrong) >= _FEWEST_WRONG:
            self.add("wrong-area", "warning", "the file", f"the area of {len(wrong)} of {count} objects is larger than "
                     f"their boxes, or less than a pixel, the first of which is {wrong[0]}: figures of small and large "
                     "objects go by it; `roikit doctor --mend` counts it anew")

    def left_out(self, subject, reason, record, box, height, width):
        """The finding for each of the reasons of `read_object`."""
        image = f"the {width}x{height} image"
        if reason == "without a mask":
            kind, sentence = "missing-mask", "it has no mask while others do"
        elif reason == "with a polygon of two points":
            kind, sentence = "line", "its polygons have one or two points and so no area"
        elif reason == "without a box":
            kind, sentence = "missing-box", "it has neither box nor mask"
        elif reason == "with a box without area":
            kind, sentence = "degenerate-box", f"its box {box} has no area"
        elif reason == "with a box outside the image":
            kind, sentence = "box-outside", f"its box {box} is outside {image}"
        elif _over_border(read_segmentation(record["segmentation"], height, width), height, width) > 0:
            kind, sentence = "mask-outside", f"its mask is outside {image}"
        else:
            kind, sentence = "empty-mask", "its mask has no pixel"
        self.add(kind, "warning", subject, f"{sentence}, so it is left out")


def _refers_to_a_faulty_one(record, images, categories):
    """Whether an annotation's id that cannot be read is that of an image or category with the same fault."""
    if not isinstance(record, dict):
        return False
    for number, listed in ((record.get("image_id"), images), (record.get("category_id"), categories)):
        if not usable_id(number):
            return type(number) in (int, float, str) and number in listed
    return False


def _over_border(mask, height, width):
    """How many pixels a mask's polygons reach over the border of the image; 0 or less where they do not."""
    if isinstance(mask, dict):
        return 0
    points = np.concatenate([ring.reshape(-1, 2) for ring in mask])
    return max(-points.min(), (points - [width, height]).max())
