"""What the doctor finds wrong with the image files of an annotation file."""

import os
import warnings

from roikit.data.image_folder import missing_sentence
from roikit.data.images import open_image, read_image
from roikit.data.remote import bring_below
from roikit.data.turned import is_swapped, is_turned

__all__ = ["image_findings"]


def image_findings(images, folder, check_pixels, progress):
    """Look at the file of each image.

    Args:
        images: image id -> record of `load_annotations`, None for one that is faulty.
        folder: ImageFolder.
        check_pixels: decode every image; without it, those that only their pixels can clear.
        progress: as that of `inspect_dataset`, not None.

    Yields:
        (kind, severity, subject, sentence) of each finding.
    """
    if not os.path.isdir(folder.path):
        yield "missing-folder", "error", "the images", f"there is no folder {folder.path}"
        return
    sound = {number: record for number, record in images.items() if record is not None}
    bring_below(folder.path, [name for record in sound.values() if "\0" not in (name := record["file_name"])])
    missing, files, turned, swapped, asking = [], {}, [], [], []
    with warnings.catch_warnings():
        # Large images are findings here.
        warnings.filterwarnings("ignore", "Image size .* exceeds limit", RuntimeWarning)
        for number, record in progress("images", list(sound.items())):
            subject, name = f"image {number}", record["file_name"]
            if name in files:
                yield ("duplicate-file", "warning", subject, f"its file {name} is that of image {files[name]} too")
                continue
            files[name] = number
            if "\0" in name:  # no file is called so
                missing.append((number, name))
                continue
            try:
                header = open_image(folder.path / name)
            except FileNotFoundError:
                missing.append((number, name))
                continue
            except (OSError, ValueError) as error:
                yield ("broken-image" if isinstance(error, OSError) else "too-large-image", "error", subject,
                       str(error).removeprefix("read_image: "))
                continue
            if is_turned(header, record):
                turned.append((number, record, header))
            elif is_swapped(header, record):
                swapped.append((number, record, header))
            elif (header.height, header.width) == (record["height"], record["width"]):
                asking += [(number, name, header)] if header.orientation != 1 else []
            else:
                yield ("size-mismatch", "error", subject, f"{name} is {header.width}x{header.height} pixels, the "
                       f"annotation file says {record['width']}x{record['height']}")
            if header.large:
                yield ("large-image", "warning", subject, f"{name} has {header.width}x{header.height} pixels, so many "
                       "that Pillow warns of it; all are decoded each time")
            if check_pixels or header.doubtful:
                yield from _pixels(subject, folder.path / name)
    if turned:
        yield _turned(turned, len(files))
    if asking:
        yield _asking(asking)
    if swapped:
        number, record, header = swapped[0]
        yield ("size-mismatch", "error", f"image {number}" if len(swapped) == 1 else "the images",
               f"width and height are swapped in {len(swapped)} of {len(files)} records: {record['file_name']} is "
               f"{header.width}x{header.height} pixels, the annotation file says {record['width']}x{record['height']}; "
               "`roikit doctor --mend` writes the file's size, where the coordinates fit it")
    if missing:
        yield _missing(missing, len(files), folder)


def _asking(asking):
    number, name, header = asking[0]
    what = f"{name} asks" if len(asking) == 1 else f"{len(asking)} images ask"
    first = "" if len(asking) == 1 else f", the first of which is {name}"
    it = "it" if len(asking) == 1 else "them"
    return ("exif-orientation", "warning", f"image {number}" if len(asking) == 1 else "the images",
            f"{what} viewers to turn {it} (EXIF orientation {header.orientation}{first}); roikit and COCO's tools take "
            f"the pixels as stored, so {'its' if len(asking) == 1 else 'their'} annotations must be made on those")


def _pixels(subject, path):
    try:
        read_image(path)
    except (OSError, ValueError) as error:
        yield ("broken-image" if isinstance(error, OSError) else "pixel-range", "error", subject,
               str(error).removeprefix("read_image: "))


def _turned(turned, count):
    number, record, header = turned[0]
    more = f" of {len(turned)} of {count} images, the first of which" if len(turned) > 1 else ", which"
    return ("exif-orientation", "error", f"image {number}" if len(turned) == 1 else "the images",
            f"the file is turned by EXIF{more} is {record['file_name']}: {header.width}x{header.height} pixels and "
            f"orientation {header.orientation}, where the annotation file has the {record['width']}x{record['height']} "
            "that viewers show; `roikit doctor --mend` turns the annotations, for roikit and COCO's tools take the "
            "pixels as stored")


def _missing(missing, count, folder):
    names = [name for _, name in missing]
    subject = f"image {missing[0][0]}" if len(missing) == 1 else "the images"
    sentence = missing_sentence(names, count)
    if shared := [name for name in names if folder.find(name) is not None]:
        sentence += (f"; {len(shared)} could be a file that another image has as well, such as "
                     f"{folder.find(shared[0])[0]!r} for {shared[0]!r}: give the folder above, or complete the names")
    elif several := next(((name, found) for name in names if (found := folder.likely(name))), None):
        sentence += f"; {several[0]} could be {' or '.join(several[1][:3])}: write into file_name which it is"
    if len(missing) == count:
        return "missing-image", "error", subject, f"{sentence}; is {folder.path} the folder of these images?"
    return ("missing-image", "warning", subject,
            f"{sentence}; {'it is' if len(missing) == 1 else 'they are'} left out")
