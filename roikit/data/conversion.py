"""A data set of any layout as one COCO file, or in another layout."""

import json
import os
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from roikit.data.annotations import load_annotations
from roikit.data.findings import counted
from roikit.data.layouts import Source, find_source, layout_of, parts_of
from roikit.data.mend import refuse_device, with_folder
from roikit.data.records import names_of
from roikit.data.remote import local_path, require_path
from roikit.data.sound import require_sound, with_boxes_read
from roikit.data.writers import WRITERS, write_layout
from roikit.errors import RoikitWarning, naming

__all__ = ["COCO", "Conversion", "convert_data", "sources_of"]

COCO = "coco"


@dataclass(frozen=True)
class Conversion:
    """What `convert_data` did.

    Attributes:
        out: path written to.
        sources: what was read, `roikit.data.layouts.Source` each.
        images, objects, categories: how many were read.
        lost: what the layout has no way to say -> how many.
        images_folder: the folder that file names are relative to.
    """

    out: Path
    sources: tuple
    images: int
    objects: int
    categories: int
    lost: Counter
    images_folder: Path

    def text(self):
        """The above in a few lines."""
        lines = [f"{source.annotations}: {source.layout}, images in {source.images}" for source in self.sources]
        categories = f"{self.categories} {'category' if self.categories == 1 else 'categories'}"
        lines.append(f"{self.out}: {counted(self.images, 'image')}, {counted(self.objects, 'object')} of {categories}; "
                     f"file names are relative to {self.images_folder}")
        lines += [f"left out, for the layout has no way to say it: {counted(number, what)}"
                  for what, number in self.lost.items()]
        return "\n".join(lines)


def sources_of(path, part=None, images=None):
    """The annotations and images of a data set, in whatever layout.

    Args:
        path: a file or folder.
        part: "train", "val" or "test", the part to take of a data set that has parts; None for all of it.
        images: folder of the images; None for the one that belongs to the annotations, or if it is not found and the
            annotations tell the images' sizes, for theirs.

    Returns:
        tuple of Source, without repetition.

    Raises:
        OSError: a file cannot be read, or the images are not found.
        ValueError: the layout is unknown, or there is no such part.
    """
    path = local_path(path)
    parts = parts_of(path)
    if part is not None and part not in parts:
        raise ValueError(f"{os.fspath(path)} has no part {part}: it has {', '.join(parts) or 'none'}")
    paths = [one for name, some in parts.items() if part in (None, name) for one in some] or [Path(path)]
    return tuple(dict.fromkeys(_source(one, images) for one in paths))


def _source(path, images):
    layout, annotations = layout_of(path)
    if images is not None:
        return Source(layout.name, annotations, Path(local_path(images)))
    try:
        return find_source(path)
    except FileNotFoundError:
        if not layout.is_sized:
            raise
    return Source(layout.name, annotations, annotations if annotations.is_dir() else annotations.parent)


def convert_data(source, out, *, part=None, images=None, layout=COCO, copy=True):
    """Write a data set of any layout as a COCO file, or in another layout.

    Args:
        source: path of annotations, or of a folder with annotations and images, in a layout of `roikit.data.layouts`.
        out: path of the JSON file; or for another layout of a folder, which must be empty or not there yet.
        part: "train", "val" or "test"; None for all parts together.
        images: folder of the images; None for the one that belongs to the annotations.
        layout: "coco", or a name of `roikit.data.writers.WRITERS`.
        copy: whether another layout has copies of the images.

    Returns:
        Conversion.

    Raises:
        OSError: a file cannot be read or written, or the images are not found.
        ValueError: the layout is unknown, an annotation is malformed, or as `write_layout`; the text names the file.
    """
    if layout != COCO and layout not in WRITERS:
        raise ValueError(f"convert_data: layout must be one of {', '.join((COCO, *WRITERS))}, got {layout}")
    out = Path(require_path(out))
    sources = sources_of(source, part, images)
    contents = [_content(one) for one in sources]
    folder = Path(os.path.commonpath([os.path.abspath(one.images) for one in sources]))
    content = contents[0] if len(contents) == 1 else _together(contents, sources, folder)
    folder = sources[0].images if len(contents) == 1 else folder
    if layout == COCO:
        lost = Counter()
        _write(out, content, folder)
    else:
        lost = write_layout(layout, content, folder, out, copy=copy)
        folder = out / WRITERS[layout].IMAGES if copy else folder
    counts = (len(content[key]) for key in ("images", "annotations", "categories"))
    return Conversion(out, sources, *counts, lost, folder)


def _content(source):
    """What a data set has, when it is sound, with boxes as COCO has them; crowds and lines stay what they are."""
    content = load_annotations(source.annotations, images=source.images, large=None)
    name = f"convert_data: {os.fspath(source.annotations)}"
    require_sound(content, name)
    content, told = with_boxes_read(content, name, ("all-crowds", "lines"))
    for sentence in told:
        warnings.warn(f"{name}: {sentence}", RoikitWarning, stacklevel=4)
    return content


def _together(contents, sources, folder):
    """Several contents as one: categories of one name are one, ids are new, file names are relative to ``folder``."""
    names = list(dict.fromkeys(name for content in contents for name in names_of(content["categories"])))
    same = all(content["categories"] == contents[0]["categories"] for content in contents)
    categories = contents[0]["categories"] if same else [{"id": number, "name": name}
                                                         for number, name in enumerate(names, start=1)]
    images, annotations = [], []
    for content, source in zip(contents, sources, strict=True):
        numbers = {c["id"]: c["id"] if same else names.index(name) + 1
                   for c, name in zip(content["categories"], names_of(content["categories"]), strict=True)}
        ids = {}
        for record in content["images"]:
            ids[record["id"]] = len(images) + 1
            path = os.path.abspath(Path(source.images, record["file_name"]))
            name = Path(os.path.relpath(path, folder)).as_posix()
            images.append({**record, "id": len(images) + 1, "file_name": name})
        for item in content["annotations"]:
            annotations.append({**item, "id": len(annotations) + 1, "image_id": ids.get(item["image_id"]),
                                "category_id": numbers.get(item["category_id"], item["category_id"])})
    return {"images": images, "categories": categories, "annotations": annotations}


def _write(out, content, folder):
    """A COCO file that says where its images are, relative to itself."""
    refuse_device(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(with_folder(content, out, folder))
    whole = out.with_name(f".{out.name}.part")
    try:
        with naming(out):
            whole.write_text(text, encoding="utf-8")
        os.replace(whole, out)
    finally:
        whole.unlink(missing_ok=True)
