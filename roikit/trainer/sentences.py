"""What an exception says to a user, in one line."""

__all__ = ["out_of_memory", "sentence_about", "sentence_of"]

# What torch's allocators say, in a RuntimeError: the CPU's on Linux and on Windows, C++'s own, CUDA's.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc", "out of memory")


def out_of_memory(error):
    """Whether an exception says that memory did not suffice."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError)
                                              and any(words in str(error) for words in _NO_MEMORY))


def sentence_of(error):
    """The text of an exception; of the operating system's own ones, without their numbers."""
    if out_of_memory(error):
        text = " ".join(str(error).split("DefaultCPUAllocator: ")[-1].split())  # without torch's place in its sources
        return f"not enough memory: {text[:200]}" if text else "not enough memory"
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, (str, bytes)):
        name = error.filename if isinstance(error.filename, str) else error.filename.decode(errors="replace")
        return f"{name}: {error.strerror}"
    return str(error) or type(error).__name__


def sentence_about(path, error):
    """The text of an exception that a file caused, with the file's path, once."""
    text = sentence_of(error)
    return text if str(path) in text else f"{path}: {text}"
