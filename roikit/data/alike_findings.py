"""What the doctor finds of images that are there twice, in a part of a data set or in two of its parts."""

from roikit.data.alike import nearly_alike, same_content
from roikit.data.findings import counted

__all__ = ["alike_findings"]

# Each picture is compared with each other one, which takes the square of the time.
_MOST = 5000


def alike_findings(names, folder, beside, check_pixels):
    """Look for images that are there twice.

    Args:
        names: list of file names in the folder, of the part that is looked at.
        folder: ImageFolder.
        beside: the same two of another part, or None.
        check_pixels: compare the pictures as well, not only the bytes of the files.

    Yields:
        (kind, severity, subject, sentence) of each finding.
    """
    other = [] if beside is None else beside[0]
    paths = [folder.path / name for name in names] + [beside[1].path / name for name in other]
    groups = same_content(paths)
    yield from _told([(i, j) for group in groups for i in group for j in group if i < j], names, other,
                     "same-content", "have the same content", "share", "warning")
    if not check_pixels:
        return
    if len(paths) > _MOST:
        yield ("near-duplicates", "note", "the images",
               f"pictures that look alike are looked for among {_MOST} images at most, and there are {len(paths)}")
        return
    same = {(i, j) for group in groups for i in group for j in group}
    yield from _told([pair for pair in nearly_alike(paths) if pair not in same], names, other, "near-duplicates",
                     "look nearly alike", "have nearly the same picture in", "warning")


def _told(pairs, names, other, kind, alike, share, severity):
    """Findings about pairs of places in both lists of names, one of those within and one of those across."""
    called = [*names, *other]
    within = [(i, j) for i, j in pairs if j < len(names)]
    across = [(i, j) for i, j in pairs if i < len(names) <= j]
    if within:
        images = len({place for pair in within for place in pair})
        yield (kind, severity, "the images", f"{counted(images, 'image')} {alike} as another one, such as "
               f"{called[within[0][0]]} and {called[within[0][1]]}")
    if across:
        images = len({i for i, _ in across})
        example = " and ".join(dict.fromkeys(called[place] for place in across[0]))
        yield (f"shared-{kind}", severity, "the images", f"train and val {share} {counted(images, 'image')}, such as "
               f"{example}: figures on what was learnt are too good")
