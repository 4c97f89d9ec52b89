"""Which files a path, a folder or a list of those stands for, and what each is called."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

__all__ = ["PictureFiles", "find_pictures", "overlay_names"]

# Formats of pixels that Pillow decodes by itself; it hands PostScript and the like to other programs.
ENDINGS = frozenset((
    ".apng", ".avif", ".bmp", ".dds", ".dib", ".fits", ".gif", ".icns", ".ico", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc",
    ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi",
    ".sgi", ".tga", ".tif", ".tiff", ".webp"))


@dataclass
class PictureFiles:
    """What was found.

    Attributes:
        paths: the files in order, each once.
        names: what each is called: its path relative to the folder that was given, with "/" between the parts; a file
            given by itself has its own name. Where two would be called the same, the folders above them go before.
        passed: kind of file that is no picture, say ".txt" -> how many are in the folders.
        closed: (path, OSError) of folders that could not be read.
    """

    paths: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    passed: Counter = field(default_factory=Counter)
    closed: list[tuple[Path, OSError]] = field(default_factory=list)

    def passed_text(self):
        """What was passed over, in one line."""
        kinds = [f"{count} {kind}" for kind, count in self.passed.most_common()]
        more = f" and {len(kinds) - 8} kinds more" if len(kinds) > 8 else ""
        kinds = ", ".join(kinds[:8]) + more
        return f"passed over what is no picture by its name: {kinds}"


def find_pictures(images, *, leave_out=None):
    """The picture files that ``images`` stands for.

    Args:
        images: a file, which is taken whatever its name; a folder, whose pictures and those of the folders in it are
            taken in the order of their paths; or a list of those.
        leave_out: a folder that is not entered, such as the one that the results go to.

    Raises:
        FileNotFoundError: there is no such file, or a folder has no pictures.
    """
    found, roots = PictureFiles(), {}
    for item in images if isinstance(images, (list, tuple)) else [images]:
        path = Path(item)
        if path.is_dir():
            inside = sorted(_walk(path, leave_out, found), key=lambda p: p.parts)
            if not inside:
                raise FileNotFoundError(f"predict: {path} has no images ({', '.join(sorted(ENDINGS))})")
        elif path.exists():
            inside = [path]
        else:
            raise FileNotFoundError(f"predict: {path} does not exist")
        for file in inside:
            roots.setdefault(os.path.abspath(file), (file, path if path.is_dir() else path.parent))
    found.paths = [path for path, _ in roots.values()]
    found.names = _names(list(roots.values()))
    return found


def _walk(folder, leave_out, found):
    """Pictures below a folder; links to folders are followed, each folder is entered once."""
    left = None if leave_out is None else os.path.realpath(leave_out)
    entered = {os.path.realpath(folder)}

    def note(error):
        found.closed.append((Path(error.filename), error))

    for place, folders, files in os.walk(folder, followlinks=True, onerror=note):
        inside = []
        for name in folders:
            real = os.path.realpath(os.path.join(place, name))
            if name.startswith("."):
                found.passed["hidden"] += 1
            elif real != left and real not in entered:
                entered.add(real)
                inside.append(name)
        folders[:] = inside
        for name in files:
            ending = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                found.passed["hidden"] += 1
            elif ending not in ENDINGS:
                found.passed[ending or "without an ending"] += 1
            else:
                yield Path(place, name)


def _names(pairs):
    names = [path.relative_to(root).as_posix() for path, root in pairs]
    for parts in range(1, 1 + max((len(os.path.abspath(root).split(os.sep)) for _, root in pairs), default=0)):
        twice = {name for name, count in Counter(names).items() if count > 1}
        if not twice:
            break
        for k, (path, root) in enumerate(pairs):
            if names[k] in twice:
                above = PurePosixPath(Path(os.path.abspath(root)).as_posix()).parts[1:][-parts:]
                names[k] = "/".join([*above, path.relative_to(root).as_posix()])
    return names


def overlay_names(names):
    """A relative ``.png`` path for each name, no two alike where case does not count."""
    taken, found = set(), []
    for number, name in enumerate(names, start=1):
        stem = str(PurePosixPath(name).with_suffix(""))
        place = stem
        while place.casefold() in taken:
            place = f"{place}-{number}"
        taken.add(place.casefold())
        found.append(f"{place}.png")
    return found
