"""Images that EXIF has viewers turn, and annotations that were made on the turned picture."""

from roikit.data.images import open_image
from roikit.data.remote import bring_below

__all__ = ["is_swapped", "is_turned", "turned_sentence"]

# Headers of so many images tell whether a data set is one of turned photographs; each takes some 0.1 ms.
_LOOKED_AT = 64


def is_turned(header, record):
    """Whether the record of an image has the size of the picture that viewers show, and the pixels are stored turned.

    Args:
        header: of `roikit.data.images.open_image`.
        record: image record with ``height`` and ``width``.
    """
    shown, stored = (record["width"], record["height"]), (header.width, header.height)
    # Orientations from 5 on turn by 90 degrees.
    return header.orientation >= 5 and shown != stored and shown == stored[::-1]


def is_swapped(header, record):
    """Whether the record of an image has its width for its height, and no viewer turns it; see `is_turned`."""
    shown, stored = (record["width"], record["height"]), (header.width, header.height)
    return header.orientation == 1 and shown != stored and shown == stored[::-1]


def turned_sentence(records, folder):
    """What to say where images are turned, by EXIF or in the file; None where of 64 images evenly chosen none is.

    Args:
        records: list of sound image records.
        folder: ImageFolder.
    """
    every = -(-len(records) // _LOOKED_AT)
    looked_at = [record for record in records[::every or 1] if folder.holds(record["file_name"])]
    bring_below(folder.path, [record["file_name"] for record in looked_at])
    for record in looked_at:
        try:
            header = open_image(folder.path / record["file_name"])
        except (OSError, ValueError):
            continue  # whoever asks for the image is told
        if is_turned(header, record):
            return (f"image {record['id']}: the file is turned by EXIF: {record['file_name']} has "
                    f"{header.width}x{header.height} pixels and orientation {header.orientation}, and its annotations "
                    f"were made on the picture of {record['width']}x{record['height']} that viewers show, where roikit "
                    "and COCO's tools take the pixels as stored; `roikit doctor --mend` turns the annotations")
        if is_swapped(header, record):
            return (f"image {record['id']}: width and height are swapped: {record['file_name']} is "
                    f"{header.width}x{header.height} pixels, the annotation file says "
                    f"{record['width']}x{record['height']}; `roikit doctor --mend` writes the file's size, where the "
                    "coordinates fit it")
    return None
