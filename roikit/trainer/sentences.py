"""What an exception says to a user, in one line."""

__all__ = ["sentence_about", "sentence_of"]


def sentence_of(error):
    """The text of an exception; of the operating system's own ones, without their numbers."""
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, (str, bytes)):
        name = error.filename if isinstance(error.filename, str) else error.filename.decode(errors="replace")
        return f"{name}: {error.strerror}"
    return str(error) or type(error).__name__


def sentence_about(path, error):
    """The text of an exception that a file caused, with the file's path, once."""
    text = sentence_of(error)
    return text if str(path) in text else f"{path}: {text}"
