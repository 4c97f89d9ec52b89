"""Files that are given for COCO's and are something else: what they seem to be, and what to do."""

import json
from collections.abc import Sequence

__all__ = ["not_json", "refuse_repeated_list", "seeming"]

_MEANT = "a COCO file is one JSON object with the lists images, annotations and categories"
# What the first entry of a list has, and what such a list is.
_LISTS = (
    ({"image_id", "score"}, "it seems to be a file of results, which has no images: give the annotations"),
    ({"file_name", "annotations"}, "it seems to be detectron2's list of dicts: write it with "
     "detectron2.data.datasets.convert_to_coco_json"),
    ({"filename", "ann"}, "it seems to be MMDetection's middle format: write it as COCO's"),
    ({"image", "annotations"}, "it seems to be CreateML's file: export the data as COCO"),
    ({"data", "annotations"}, "it seems to be Label Studio's own export: export it as COCO"),
    ({"data", "completions"}, "it seems to be Label Studio's own export: export it as COCO"),
    ({"images", "annotations"}, "it has a list around COCO's object: take it away"),
    ({"segmentation", "predicted_iou"}, "it seems to be what SAM's generator of masks gives for one image: put such "
     "lists into a COCO file beside images and categories, each mask with an image_id and a category_id"),
    ({"image_id", "category_id"}, "it is a list of annotations alone: put it into a COCO file beside images and "
     "categories"),
)
_OBJECTS = (
    ({"_via_img_metadata"}, "it seems to be a project of VIA: export the annotations as COCO"),
    ({"metainfo", "data_list"}, "it seems to be MMDetection's own format: write it as COCO's"),
    ({"shapes"}, "it seems to be labelme's file of one image: give its folder"),
    ({"objects", "size"}, "it seems to be Supervisely's file of one image: export the project as COCO"),
    ({"item", "annotations"}, "it seems to be V7 Darwin's file of one image: export the data as COCO"),
    ({"items", "categories"}, "it seems to be Datumaro's file: convert it with `datum convert -f coco_instances`"),
    ({"image", "annotations"}, "it seems to be a file of SA-1B, of one image and no categories: join such files to one "
     "COCO file, each annotation with an image_id and a category_id"),
    ({"videos", "annotations"}, "it seems to be YouTube-VIS' file of videos: write each frame as an image, and its "
     "objects as annotations"),
    ({"assets"}, "it seems to be VoTT's file: export the project as Pascal VOC"),
    ({"features"}, "it seems to be GeoJSON: write its polygons as COCO's, in pixels of the images"),
)
_ANNOTATIONS = (
    ("segments_info", "it seems to be a COCO panoptic file, which is for panoptic models: give the instances' file"),
    ("caption", "it seems to be a file of captions: give the instances' file"),
)


def seeming(content):
    """What the content of a JSON file seems to be in place of COCO's instances, and what to do; or None.

    Args:
        content: of any kind.
    """
    if isinstance(content, list):
        first = content[0] if content else None
        return _known(first.keys(), _LISTS) if isinstance(first, dict) else None
    if not isinstance(content, dict):
        return None
    annotations = content.get("annotations")
    first = annotations[0] if isinstance(annotations, Sequence) and not isinstance(annotations, str) and len(
        annotations) else None
    if isinstance(first, dict) and "category_id" not in first:
        found = next((words for key, words in _ANNOTATIONS if key in first), None)
        if found is not None:
            return found
    if isinstance(content.get("images"), list) and isinstance(annotations, Sequence):
        return None
    if (found := _known(content.keys(), _OBJECTS)) is not None:
        return found
    inner = next(iter(content.values()), None)
    if isinstance(inner, dict) and {"filename", "regions"} <= inner.keys():
        return "it seems to be VIA's file: export the annotations as COCO"
    if isinstance(inner, dict) and {"images", "annotations"} <= inner.keys():
        return f"its lists are below {next(iter(content))!r}: take that away, for {_MEANT}"
    return next((f"{key!r} must be a list of dicts, each with its id, got {type(content[key]).__name__}"
                 for key in ("images", "annotations", "categories") if isinstance(content.get(key), dict)), None)


def _known(keys, table):
    return next((words for needed, words in table if needed <= keys), None)


def refuse_repeated_list(data, path):
    """Refuse a file that has a list of annotations twice, as two that were put together have, of which JSON keeps one.

    Args:
        data: bytes of the file, which are JSON.
        path: of the file, for the sentence.

    Raises:
        ValueError: it has.
    """
    if data.count(b'"annotations"') < 2:
        return

    def pairs(found):
        if sum(key == "annotations" and isinstance(value, list) for key, value in found) > 1:
            raise ValueError(f"{path} has the list 'annotations' twice, of which the last counts: join them")
        return dict(found)

    json.loads(data, object_pairs_hook=pairs)


def not_json(data, error):
    """Why bytes are no JSON, for a sentence that begins with the file's name."""
    if not data.strip():
        return "is not JSON: it is empty"
    if data[:2] == b"\x1f\x8b":
        return "is packed by gzip: unpack it"
    if data[:2] == b"PK":
        return "is a ZIP file: unpack it"
    if data[:1] == b"\x80":
        return f"is a pickle of Python's, not JSON: {_MEANT}"
    if isinstance(error, UnicodeDecodeError):
        return f"is not JSON: it must be text in UTF-8: {error}"
    if _is_lines(data):
        return f"has a JSON value on each line: {_MEANT}"
    return f"is not JSON: {error}"


def _is_lines(data):
    lines = [line for line in data[:1 << 20].splitlines() if line.strip()][:2]
    try:
        return len(lines) == 2 and all(isinstance(json.loads(line), dict) for line in lines)
    except (ValueError, RecursionError):
        return False
