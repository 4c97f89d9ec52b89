"""What the doctor finds wrong with the keypoints of an annotation file."""

from roikit.data.findings import counted
from roikit.data.keypoints import read_keypoints, skeleton_of

__all__ = ["keypoint_findings"]

# How far, in pixels, a keypoint may lie over the border unreported, as in the doctor's other checks.
_BORDER = 1.0


def keypoint_findings(categories, annotations, images):
    """Look at the keypoints that categories name and annotations have.

    Args:
        categories: list of sound category records.
        annotations: (subject, record) of sound annotations of listed images.
        images: image id -> record, None for one that is faulty.

    Yields:
        (kind, severity, subject, sentence) of each finding.
    """
    skeletons, faulty = {}, set()
    for category in categories:
        try:
            skeleton = skeleton_of(category)
        except ValueError as error:
            faulty.add(category["id"])
            yield "malformed-skeleton", "error", f"category {category['id']}", str(error)
            continue
        if skeleton is None:
            continue
        first = next(iter(skeletons), None)
        if first is not None and skeletons[first].names != skeleton.names:
            yield ("different-keypoints", "error", f"category {category['id']}",
                   f"its keypoints are not those of category {first}, and a model has the same for all")
        skeletons[category["id"]] = skeleton
    nameless = without = 0
    for subject, record in annotations:
        skeleton = skeletons.get(record["category_id"])
        if skeleton is None:
            nameless += bool(record.get("keypoints")) and record["category_id"] not in faulty
            continue
        try:
            points = read_keypoints(record.get("keypoints"), len(skeleton.names))
        except ValueError as error:
            yield "malformed-keypoints", "error", subject, str(error)
            continue
        labelled = points[points[:, 2] > 0]
        without += not len(labelled) and not record["iscrowd"]
        stated = record.get("num_keypoints")
        if stated is not None and stated != len(labelled):
            yield ("keypoint-count", "warning", subject,
                   f"its num_keypoints is {stated}, and {len(labelled)} are labelled, which count")
        image = images[record["image_id"]]
        if image is not None and len(labelled):
            over = max(-labelled[:, :2].min(), (labelled[:, :2] - [image["width"], image["height"]]).max())
            if over > _BORDER:
                yield ("keypoint-over-border", "warning", subject,
                       f"a keypoint lies {over:g} pixels over the border of the image")
    if nameless:
        yield ("nameless-keypoints", "note", "the file",
               f"{counted(nameless, 'annotation')} with keypoints of a category that names none, so they are not read")
    if without:
        yield ("without-keypoints", "note", "the file",
               f"{counted(without, 'object')} of categories with keypoints without one that is labelled")
