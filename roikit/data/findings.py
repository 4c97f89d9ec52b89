"""What the doctor hands back: findings, and the report that holds them."""

from collections import Counter
from dataclasses import dataclass

__all__ = ["Finding", "Report", "counted", "os_sentence"]

# What many findings of a kind come to, for one and for several.
_HEADINGS = {
    "degenerate-box": ("box has no area", "boxes have no area"),
    "missing-mask": ("object has no mask while others have one", "objects have no mask while others have one"),
    "line": ("object has polygons of two points, which have no area",
             "objects have polygons of two points, which have no area"),
    "empty-mask": ("mask has no pixel", "masks have no pixel"),
    "missing-box": ("object has neither box nor mask", "objects have neither box nor mask"),
    "box-outside": ("box is outside its image", "boxes are outside their images"),
    "box-mask-disagreement": ("box is not around its mask", "boxes are not around their masks"),
    "size-mismatch": ("image has another size than the file says; `roikit doctor --mend` scales its annotations or "
                      "writes its size, where coordinates show which",
                      "images have another size than the file says; `roikit doctor --mend` scales their annotations or "
                      "writes their sizes, where coordinates show which"),
    "malformed-segmentation": ("mask that cannot be read: write polygons or an RLE of the image's size",
                               "masks that cannot be read: write polygons or RLEs of the images' sizes"),
    "malformed-box": ("box that cannot be read: write x, y, width, height",
                      "boxes that cannot be read: write x, y, width, height"),
    "malformed-area": ("area that cannot be read: leave it out, and it is counted",
                       "areas that cannot be read: leave them out, and they are counted"),
    "malformed-iscrowd": ("iscrowd that is neither 0 nor 1: write 0 for one object",
                          "iscrowd that are neither 0 nor 1: write 0 for one object"),
    "malformed-id": ("id is no whole number; `roikit doctor --mend` numbers images and categories anew",
                     "ids are no whole numbers; `roikit doctor --mend` numbers images and categories anew"),
    "duplicate-object": ("object is in the file twice", "objects are in the file twice"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        kind: what it is, such as "degenerate-box"; findings of one kind read alike.
        severity: "error" (training or evaluation would fail or be wrong), "warning" (an object is left
            out, or is not what it seems) or "note".
        subject: "image 5", "annotation 7 of image 5", "category 3", "the file" or "the images", their folder.
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
        empty_images: images without a single object; None where some records are so faulty that nobody can tell.
        most_objects: the largest number of objects in one image. COCO's metric counts no more
            than its limit of detections per image, 100 unless told otherwise.
        findings: tuple of Finding, errors first.
    """

    images: int
    annotations: int
    objects: int
    crowds: int
    categories: int
    empty_images: int | None
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
        lines = [f"{counted(self.images, 'image')}, {counted(self.objects, 'object')} and "
                 f"{counted(self.crowds, 'crowd')} of {counted(self.categories, 'category')}"]
        if self.empty_images is not None:
            lines[0] += (f"; {counted(self.empty_images, 'image')} without objects, at most "
                         f"{counted(self.most_objects, 'object')} in an image")
        kinds = Counter((f.severity, f.kind) for f in self.findings)
        for (severity, kind), number in kinds.items():
            lines.append(f"{severity}: {kind} ({number})" + _heading(kind, number))
            same = [f for f in self.findings if (f.severity, f.kind) == (severity, kind)]
            lines += [f"    {finding}" for finding in same[:examples]]
            if number > examples:
                lines.append(f"    and {number - examples} more")
        lines.append("Nothing is wrong." if not self.errors + self.warnings else
                     f"{counted(len(self.errors), 'error')}, {counted(len(self.warnings), 'warning')}")
        return "\n".join(lines)


def _heading(kind, number):
    if kind == "duplicate-annotation-id":
        return ": annotation ids occur more than once"
    words = _HEADINGS.get(kind)
    return f": {number} {words[number != 1]}" if words else ""


def counted(number, noun):
    """A number and its noun, in the plural but for 1; what follows the noun, as in "object without a pixel", stays."""
    place = min((found for word in (" without ", " of ") if (found := noun.find(word)) > 0), default=len(noun))
    noun, rest = noun[:place], noun[place:]
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number} {noun if number == 1 else plural}{rest}"


def os_sentence(error):
    """The text of an exception; of the operating system's own ones the file's name and the reason, without a number."""
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str):
        return f"{error.filename}: {error.strerror}"
    return str(error)
