"""What the doctor finds wrong with the semantic labels of a data set."""

from roikit.data.findings import os_sentence
from roikit.data.images import open_image
from roikit.data.semantic import open_semantic

__all__ = ["semantic_findings"]

# Decoding a map takes some milliseconds: of so many images the pixels are looked at unless all are asked for.
_SAMPLED = 256


def semantic_findings(path, classes, images, *, check_pixels):
    """Look at the label map of each image.

    Args:
        path: folder of PNG label maps, or COCO panoptic file.
        classes: of a folder, the number of values 0..C beside 255; None for any.
        images: list of sound image records.
        check_pixels: decode every map; without it, headers are read, and the pixels of 256 images evenly chosen.

    Yields:
        (kind, severity, subject, sentence) of each finding.
    """
    try:
        reader = open_semantic(path, classes)
    except (OSError, ValueError) as error:
        yield "unreadable-semantic", "error", "the semantic labels", os_sentence(error)
        return
    every = 1 if check_pixels else -(-len(images) // _SAMPLED)
    for place, record in enumerate(images):
        subject = f"image {record['id']}"
        try:
            found = reader.file(record["id"], record["file_name"])
            header = open_image(found)
        except FileNotFoundError as error:
            yield "missing-semantic", "error", subject, _words(error)
            continue
        except (OSError, ValueError) as error:
            yield "broken-semantic", "error", subject, _words(error)
            continue
        height, width = record["height"], record["width"]
        if (header.height, header.width) != (height, width):
            yield ("semantic-size", "error", subject,
                   f"its label map {found} is {header.width}x{header.height} pixels, the image {width}x{height}")
        elif place % every == 0:
            try:
                if hasattr(reader, "faults"):
                    for kind, sentence in reader.faults(record["id"], height, width):
                        yield kind, "warning" if kind == "segment-area" else "error", subject, sentence
                else:
                    reader.labels(record["id"], record["file_name"], height, width)
            except OSError as error:
                yield "broken-semantic", "error", subject, _words(error)
            except ValueError as error:
                yield "semantic-label", "error", subject, _words(error)


def _words(error):
    for name in ("read_image: ", "read_labels: ", "semantic: "):
        error = str(error).removeprefix(name)
    return error
