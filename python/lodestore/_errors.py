"""Everything that a call of this package can complain of. Each message says what was given and what was expected."""


class Error(RuntimeError):
    """What all errors of this package derive from."""


class InputError(Error, ValueError):
    """A value that is refused: a number that is not finite, a setting out of its range, a key below 0; or a write to what
    was opened with read_only. Nothing has changed."""


class DimensionError(InputError):
    """An array of another shape than is needed, or rows of another number than there are keys."""


class NotFoundError(Error, LookupError):
    """There is no such collection, or no store in that directory."""


class ClosedError(Error):
    """The store was closed."""


class LockedError(Error):
    """The store is open elsewhere, in this process or another. The message names the holder; or, of read_only, says what
    else keeps it from being opened."""


class CorruptError(Error):
    """A file is not what was written there, or of a newer format. The message names file and offset."""


class StaleError(Error):
    """What a store opened with read_only looks at is not kept any more, since another writer has come. refresh() goes on."""


class StorageError(Error):
    """The file system refused, or the disk is full, or the store takes no more writes after an earlier failure."""


# Tracebacks name the package.
for _class in (Error, *Error.__subclasses__(), DimensionError):
    _class.__module__ = "lodestore"
del _class
