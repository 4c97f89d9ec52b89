"""Which files a path, a folder, a pattern or a list of those stands for, and what each is called."""

import glob
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from roikit.data.remote import is_address, local_path, local_paths, mirror_of_results

__all__ = ["PictureFiles", "find_pictures", "overlay_names", "refuse_to_replace"]

# Formats of pixels that Pillow decodes by itself; it hands PostScript and the like to other programs.
ENDINGS = frozenset((
    ".apng", ".avif", ".bmp", ".dds", ".dib", ".fits", ".gif", ".icns", ".ico", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc",
    ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi",
    ".sgi", ".tga", ".tif", ".tiff", ".webp"))


@dataclass
class PictureFiles:
    """What was found.

    Attributes:
        op: who asks, with whose name errors begin.
        paths: the files in order, each once.
        names: what each is called: its path relative to the folder that was given, with "/" between the parts; a file
            given by itself has its own name, and so has one that lies outside, as ``../a.png`` of a list. Where two
            would be called the same, the folders above them go before.
        passed: kind of file that is no picture, say ".txt" -> how many are in the folders.
        closed: (path, OSError) of folders that could not be read, and of files of a list that are not there.
    """

    op: str = "predict"
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


def find_pictures(images, *, leave_out=None, op="predict"):
    """The picture files that ``images`` stands for.

    Args:
        images: a file, which is taken whatever its name; a folder, whose pictures and those of the folders in it are
            taken in the order of their paths; a pattern such as ``photos/**/*.jpg``, where no file has that name; a
            text file (``.txt``) with a path or an address on each line, from its own folder or else from the current
            one; the address of one of these; or a list of those.
        leave_out: a folder that is not entered, such as the one that the results go to.
        op: with whose name errors begin.

    Raises:
        FileNotFoundError: there is none of them, or a folder or a pattern has no pictures.
        OSError, ValueError: a list cannot be read.
    """
    found, roots, leave_out = PictureFiles(op), {}, mirror_of_results(leave_out)
    items = list(images) if isinstance(images, (list, tuple)) else [images]
    for item in items:
        try:
            path = Path(local_path(item))
        except OSError as error:
            if len(items) == 1:
                raise
            found.closed.append((item, error))
            continue
        if path.is_dir():
            inside = _pictures_of(path, leave_out, found)
        elif path.suffix.lower() == ".txt" and path.is_file():
            inside = _listed(path, found)
        elif path.exists():
            inside = [(path, path.parent)]
        elif glob.has_magic(str(path)):
            inside = _matching(str(path), leave_out, found)
        else:
            error = FileNotFoundError(f"{found.op}: {path} does not exist")
            if len(items) == 1:
                raise error
            found.closed.append((path, error))
            continue
        for file, root in inside:
            if ".." in file.relative_to(root).parts:  # its results would be beside those of the others, not among them
                root = file.parent
            roots.setdefault(os.path.abspath(file), (file, root))
    if not roots:
        raise FileNotFoundError(f"{found.op}: there is no image to look at" if not found.closed else
                                str(found.closed[0][1]) + f" (one of {len(found.closed)})" * (len(found.closed) > 1))
    found.paths = [path for path, _ in roots.values()]
    found.names = _names(list(roots.values()))
    return found


def _pictures_of(folder, leave_out, found):
    """The pictures of a folder, in the order of their paths, each with the folder."""
    inside = sorted(_walk(folder, leave_out, found), key=lambda path: path.parts)
    if not inside:
        raise FileNotFoundError(f"{found.op}: {folder} has no images ({', '.join(sorted(ENDINGS))})")
    return [(path, folder) for path in inside]


def _matching(pattern, leave_out, found):
    """The pictures that a pattern stands for, each with the folder above its first star."""
    left = None if leave_out is None else Path(os.path.realpath(leave_out))
    parts = Path(pattern).parts
    plain = next(k for k, part in enumerate(parts) if glob.has_magic(part))
    root, inside = Path(*parts[:plain]), []
    for path in sorted(map(Path, glob.glob(pattern, recursive=True)), key=lambda path: path.parts):
        if path.is_dir() or left is not None and left in Path(os.path.realpath(path)).parents:
            continue
        ending = path.suffix.lower()
        if ending in ENDINGS:
            inside.append((path, root))
        else:
            found.passed[ending or "without an ending"] += 1
    if not inside:
        raise FileNotFoundError(f"{found.op}: no image is called as {pattern} says")
    return inside


def _listed(path, found):
    """The files that a text file lists, each with the folder that its line starts from."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{found.op}: {path} must be a list of images, a path on each line, and is no text in "
                         "UTF-8") from None
    inside, lines = [], list(filter(None, map(str.strip, lines)))
    addresses = list(filter(is_address, lines))
    brought = dict(zip(addresses, local_paths(addresses), strict=True))
    for line in lines:
        if isinstance(brought.get(line), Exception):
            found.closed.append((line, brought[line]))
            continue
        if line in brought:
            inside.append((brought[line], brought[line].parent))
            continue
        name = Path(line.replace("\\", "/"))
        places = [(root / name, root) for root in (path.parent, Path()) if (root / name).is_file()]
        if not places:
            found.closed.append((name, FileNotFoundError(f"{found.op}: {name}, which {path} lists, does not exist")))
        elif name.is_absolute():
            inside.append((name, name.parent))
        else:
            inside.append(places[0])
    if not inside and not found.closed:
        raise FileNotFoundError(f"{found.op}: {path} lists no image")
    return inside


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


def refuse_to_replace(paths, out, names, kinds):
    """Refuse to write pictures where images are, or to write two in one place.

    Args:
        paths: of the images.
        out: folder.
        names: of `overlay_names`.
        kinds: what a kind of picture is called -> the folder below ``out`` in which each has its name.

    Raises:
        ValueError: a picture would replace an image, or another picture.
    """
    own, written = {os.path.realpath(path) for path in paths}, {}
    for kind, folder in kinds.items():
        for name in names:
            path = Path(out, folder, name)
            if os.path.realpath(path) in own:
                raise ValueError(f"predict: the {kind} {path} would replace an image; give another folder for the "
                                 "results")
            other = written.setdefault(str(path).casefold(), kind)
            if other != kind:
                raise ValueError(f"predict: {path} would be the {other} of one image and the {kind} of another; write "
                                 "the two kinds into folders of their own")
