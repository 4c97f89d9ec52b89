"""The files beside YOLO's annotations that name its classes and its parts: data.yaml, classes.txt, obj.names."""

import os
from pathlib import Path

from roikit.data.records import shown

__all__ = ["class_names", "read_yaml", "yaml_of"]

_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_LISTS = ("classes.txt", "obj.names", "classes.names")
_ABOVE = 3  # the levels of folders above that of the files in which they are looked for


def class_names(folder):
    """The names of classes: from the nearest ``data.yaml`` in the folder or one of the three above it, or else a list.

    Args:
        folder: of the annotations, or a file in it.

    Returns:
        (path of that file, class -> name), or (None, None).

    Raises:
        OSError, ImportError: it cannot be read, or PyYAML is missing.
        ValueError: it is malformed, or describes keypoints, which are not read.
    """
    place = Path(os.path.abspath(folder))
    places = (place, *place.parents[:_ABOVE])
    path = next((found for above in places if (found := yaml_of(above)) is not None), None)
    if path is not None:
        content = read_yaml(path)
        if "kpt_shape" in content:
            raise ValueError(f"{path} is of keypoints (kpt_shape), which are read from COCO's files alone")
        return path, _names(path, content.get("names"), read_yaml(path, as_text=True).get("names"))
    path = next((above / name for above in places for name in _LISTS if (above / name).is_file()), None)
    return path, None if path is None else _listed(path)


def yaml_of(folder):
    """The file in a folder that describes a YOLO data set, or None."""
    return next((Path(folder, name) for name in _YAML if os.path.isfile(Path(folder, name))), None)


def read_yaml(path, *, as_text=False):
    """The mapping that a YAML file holds; with ``as_text``, all its values as they are written, no for False.

    Raises:
        OSError, ImportError: it cannot be read, or PyYAML is missing.
        ValueError: it is not YAML; one that is no mapping is empty.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError(f"roikit.data needs PyYAML to read {path}: pip install 'roikit[train]'") from error
    try:
        content = yaml.load(Path(path).read_bytes(), yaml.BaseLoader if as_text else yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    return content if isinstance(content, dict) else {}


def _names(path, names, written):
    """Class -> name, from a list or a mapping ``names``, and the same as it is written."""
    found = dict(enumerate(names)) if isinstance(names, list) else names
    if isinstance(found, dict):  # a mapping's keys may be quoted
        found = {int(label) if isinstance(label, str) and label.isdecimal() else label: name
                 for label, name in found.items()}
    if not isinstance(found, dict) or not all(type(label) is int and 0 <= label < 2**31 for label in found):
        raise ValueError(f"{path} must have names, a list or a mapping from classes, whole numbers from 0, got "
                         f"{shown(names)}")
    texts = list(written.values()) if isinstance(written, dict) else written
    texts = texts if len(texts) == len(found) else list(found.values())  # of keys written in two ways, say
    return {label: text if isinstance(text, str) else str(name)  # a class called no, or 01, is called so
            for (label, name), text in zip(found.items(), texts, strict=True)}


def _listed(path):
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8: {error}") from None
    while lines and not lines[-1].strip():
        lines.pop()
    return {label: line.strip() or str(label) for label, line in enumerate(lines)}
