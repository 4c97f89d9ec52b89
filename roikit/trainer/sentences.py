"""What an exception says to a user, in one line."""

import errno

__all__ = ["out_of_memory", "sentence_about", "sentence_of"]

# What torch's allocators say, in a RuntimeError: the CPU's on Linux and on Windows, C++'s own, CUDA's.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc", "out of memory")


# There is no room for what is written.
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def out_of_memory(error):
    """Whether an exception says that memory did not suffice."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError)
                                              and any(words in str(error) for words in _NO_MEMORY))


def sentence_of(error):
    """The text of an exception; of the operating system's own ones, without their numbers."""
    if out_of_memory(error):
        text = " ".join(str(error).split("DefaultCPUAllocator: ")[-1].split())  # without torch's place in its sources
        return f"not enough memory: {text[:200]}" if text else "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        full = error.errno in _FULL and isinstance(error.filename2, (str, bytes))  # of a copy, the one that is written
        name = error.filename2 if full else error.filename
        name = name.decode(errors="replace") if isinstance(name, bytes) else name
        return f"{name}: {error.strerror}" if isinstance(name, str) else error.strerror
    return str(error) or type(error).__name__


def sentence_about(path, error):
    """The text of an exception that a file caused, with the file's path, once."""
    text = sentence_of(error)
    return text if str(path) in text else f"{path}: {text}"
