"""Everything that a call of this package can complain of. Each message says what was given and what was expected."""


class Error(RuntimeError):
    """What all errors of this package derive from."""


class InputError(Error, ValueError):
    """A value that is refused: a number that is not finite, a setting out of its range, a key below 0. Nothing has
    changed."""


class DimensionError(InputError):
    """An array of another shape than is needed, or rows of another number than there are keys."""


class NotFoundError(Error, LookupError):
    """There is no such collection, or no store in that directory."""


class ClosedError(Error):
    """The store was closed."""


class LockedError(Error):
    """The store is open elsewhere, in this process or another. The message names the holder."""


class CorruptError(Error):
    """A file is not what was written there, or of a newer format. The message names file and offset."""


class StorageError(Error):
    """The file system refused, or the disk is full, or the store takes no more writes after an earlier failure."""


# Tracebacks name the package.
for _class in (Error, InputError, DimensionError, NotFoundError, ClosedError, LockedError, CorruptError, StorageError):
    _class.__module__ = "lodestore"
del _class
