"""YAML whose plain words wait for the field that they are for: 2024 is a number of steps, or the name of a folder."""

import functools

from roikit.trainer.extras import extra

__all__ = ["Written", "read_written", "written"]


class Written(str):
    """A value as the user wrote it, on the command line or in a file, without quotes and not yet read as anything."""

    def text(self):
        """What it is as text: itself, or what its quotes hold where it is one quoted string of YAML."""
        inner = self.strip()
        if len(inner) > 1 and inner[0] == inner[-1] and inner[0] in "'\"":
            try:
                quoted = self.read()
            except ValueError:
                return inner
            return str(quoted) if isinstance(quoted, str) else inner
        return inner

    def read(self):
        """What it is as YAML, with words inside lists and mappings read as well.

        Raises:
            ValueError: it is no YAML.
        """
        return _load(self, extra("yaml", "reading a configuration").SafeLoader)

    @property
    def is_null(self):
        """Whether it stands for no value at all; a tilde is left to whoever asks, because it may be a folder."""
        return self.strip() in ("", "null", "Null", "NULL")


def read_written(text):
    """YAML text or bytes with numbers, booleans and dates kept as ``Written``; null is None, quoted text a str.

    Raises:
        ValueError: it is no YAML.
    """
    return _load(text, _loader())


def _load(text, loader):
    yaml = extra("yaml", "reading a configuration")
    try:
        value = yaml.load(text, Loader=loader)
        _refuse_cycles(value, set(), set())
        return value
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:  # 2024-99-99 is a ValueError, a list as a key a TypeError
        raise ValueError(" ".join(str(error).split())) from error


def _refuse_cycles(value, above, done):
    """YAML's aliases can put a list into itself."""
    if not isinstance(value, (list, dict)) or id(value) in done:
        return
    if id(value) in above:
        raise ValueError("it holds itself")
    for inner in value.values() if isinstance(value, dict) else value:
        _refuse_cycles(inner, above | {id(value)}, done)
    done.add(id(value))


@functools.cache
def _loader():
    yaml = extra("yaml", "reading a configuration")

    class Loader(yaml.SafeLoader):
        pass

    def keep(loader, node):
        return Written(node.value) if node.style is None else yaml.SafeLoader.yaml_constructors[node.tag](loader, node)

    for kind in ("bool", "int", "float", "timestamp"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", keep)
    return Loader


def written(value):
    """Plain data without ``Written``: each is read as YAML."""
    if isinstance(value, Written):
        try:
            return value.read()
        except ValueError:
            return str(value)
    if isinstance(value, dict):
        return {str(k) if isinstance(k, Written) else k: written(v) for k, v in value.items()}
    return [written(v) for v in value] if isinstance(value, list) else value
