"""Persistent directories of Chroma, versions 0.4 to 1.5: what is in them, and taken over into a store, without Chroma.

    import lodestore
    from lodestore import chroma

    print(chroma.collections("chroma"))
    with lodestore.open("docs.store") as store:
        docs = chroma.take("chroma", store, "docs")
        print(docs.search(query)[0].key)

Ids become keys of type str. A payload is JSON with what the record has of "document", "metadata" and "uri"; empty if it has
none. What Chroma has only queued yet comes along, in its order. The format is written down in cli/src/chroma/mod.rs.
"""

from __future__ import annotations

import json
import pickle
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lodestore._errors import CorruptError, InputError, NotFoundError
from lodestore._native import Collection, Store, _take_hnswlib, _vectors

__all__ = ["ChromaCollection", "collections", "take"]

_FILE, _LABELS = "chroma.sqlite3", "index_metadata.pickle"
# Those without which no version is; databases came with 0.4.15, arrays with 1.5.
_TABLES = [
    "collections", "collection_metadata", "segments", "segment_metadata", "embeddings", "embedding_metadata",
    "embeddings_queue", "max_seq_id",
]  # fmt: skip
_LATER = ["databases", "embedding_metadata_array"]
_SPACES = [
    ("keys", "#embedding", "float_list", "vector_index", "config", "space"),
    ("vector_index", "hnsw", "space"),
    ("hnsw", "space"),
    ("hnsw_configuration", "space"),
]
_ADD, _UPDATE, _UPSERT, _DELETE = range(4)


class ChromaCollection(NamedTuple):
    """A collection of Chroma."""

    name: str
    """With the database and a slash in front, if that is not the usual one."""
    dim: int | None
    """None if it has never had a record."""
    metric: str
    """ "l2", "ip" or "cosine"."""


class _Source(NamedTuple):
    shown: ChromaCollection
    id: str
    name: str
    vectors: tuple[str, int | None]
    metadata: tuple[str, int | None]


def collections(directory: str | PathLike[str]) -> list[ChromaCollection]:
    """The collections in a directory of Chroma, by name."""
    with closing(_Database(Path(directory))) as database:
        return [source.shown for source in database.sources()]


def take(
    directory: str | PathLike[str],
    store: Store,
    name: str,
    source: str | None = None,
    progress: Callable[[int, int], object] | None = None,
    **settings: Any,
) -> Collection:
    """Takes a collection of Chroma over into a store, and returns it.

    name: of the new collection, which must be missing or empty. source: of Chroma's; without it the one of that name, or the
    only one. progress: as of Collection.put_many(). settings: more of what Store.collection() takes, such as element or m.
    """
    directory = Path(directory)
    with closing(_Database(directory)) as database:
        chosen = database.choose(source, name)
        ids, matrix, payloads = database.records(chosen)
    docs = store.collection(name, chosen.shown.dim, chosen.shown.metric, str, **settings)  # type: ignore[arg-type]
    if len(docs):
        raise InputError(f"collection '{name}' exists already, with {len(docs)} records")
    docs.put_many(ids, matrix, payloads, progress)
    return docs


class _Data:
    """What an object in a pickle becomes, whatever it was."""

    def __init__(self, *_: object) -> None:
        pass


class _Unpickler(pickle._Unpickler):
    """Runs nothing of what a pickle names. Not the one in C, which makes room for whatever number a pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        return type("_Data", (_Data,), {})


def _seq_id(value: Any) -> int | None:
    """A number of the queue: an integer, or until 0.6 eight bytes big-endian."""
    if isinstance(value, bytes) and len(value) == 8:
        return int.from_bytes(value, "big")
    if value is None or isinstance(value, int):
        return value
    raise CorruptError(f"{_FILE}: {value!r} is no number of the queue")


class _Database:
    def __init__(self, directory: Path) -> None:
        self.directory, self.path = directory, directory / _FILE
        if not self.path.is_file():
            raise NotFoundError(f"{self.path} is not there: no persistent directory of Chroma")
        self.connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            # Everything as of one moment; and nothing that its schema says is run.
            for _ in self.rows("PRAGMA trusted_schema = OFF"), self.rows("BEGIN"):
                pass
            for table in _TABLES:
                if not self.has(table):
                    raise self.wrong(f"there is no table '{table}'; is it of Chroma 0.4 or later?")
            self.later = [self.has(table) for table in _LATER]
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        self.connection.close()

    def wrong(self, what: str) -> CorruptError:
        return CorruptError(f"{self.path}: {what}")

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        try:
            return self.connection.execute(sql, parameters).fetchall()
        except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
            raise self.wrong(f"the database cannot be read: {error}") from error

    def has(self, table: str) -> bool:
        kinds = self.rows("SELECT type FROM sqlite_schema WHERE name = ?", table)
        if not kinds:
            return False
        if kinds != [("table",)]:
            raise self.wrong(f"'{table}' is {kinds[0][0]}, not a table")
        found = self.rows(f"PRAGMA integrity_check({table})")
        if found != [("ok",)]:
            raise self.wrong(f"the table '{table}' is damaged: {found[0][0] if found else 'it cannot be checked'}")
        return True

    def sources(self) -> list[_Source]:
        columns = {row[1] for row in self.rows("PRAGMA table_info(collections)")}
        settings = [column if column in columns else "NULL" for column in ("config_json_str", "schema_str")]
        database = "(SELECT d.name FROM databases d WHERE d.id = c.database_id)" if self.later[0] else "NULL"
        found = []
        for id, name, dim, config, schema, place in self.rows(
            f"SELECT id, name, dimension, {', '.join(settings)}, {database} FROM collections c ORDER BY name, id"
        ):
            if not isinstance(id, str) or not isinstance(name, str):
                raise self.wrong(f"a collection is called {name!r}")
            if dim is not None and not (isinstance(dim, int) and 1 <= dim <= 65_536):
                raise self.wrong(f"the dimension of the collection '{name}' is {dim}")
            shown = name if place in (None, "default_database") else f"{place}/{name}"
            metric = self.metric(id, name, [config, schema])
            segments = [self.segment(id, name, scope) for scope in ("VECTOR", "METADATA")]
            found.append(_Source(ChromaCollection(shown, dim, metric), id, name, *segments))
        return found

    def metric(self, id: str, name: str, settings: list[Any]) -> str:
        """Its configuration says l2 where nobody has said anything, also where metadata say otherwise."""
        spaces: list[Any] = []
        for text in settings:
            if text is None:
                continue
            try:
                said = json.loads(text)
            except (ValueError, TypeError, RecursionError) as error:
                raise self.wrong(f"the configuration of the collection '{name}' is no JSON") from error
            for place in _SPACES:
                value = said
                for key in place:
                    value = value.get(key) if isinstance(value, dict) else None
                spaces += [value] if isinstance(value, str) and value != "l2" else []
        for sql in (
            "SELECT str_value FROM collection_metadata WHERE collection_id = ? AND key = 'hnsw:space'",
            "SELECT str_value FROM segment_metadata WHERE key = 'hnsw:space' "
            "AND segment_id IN (SELECT id FROM segments WHERE collection = ?)",
        ):
            spaces += [row[0] for row in self.rows(sql, id)]
        metric = spaces[0] if spaces else "l2"
        if metric not in ("l2", "ip", "cosine"):
            raise self.wrong(f"the collection '{name}' has the metric {metric!r}, which is none of Chroma's")
        return str(metric)

    def segment(self, id: str, name: str, scope: str) -> tuple[str, int | None]:
        found = self.rows(
            "SELECT s.id, (SELECT m.seq_id FROM max_seq_id m WHERE m.segment_id = s.id) "
            "FROM segments s WHERE s.collection = ? AND s.scope = ?",
            id, scope,
        )  # fmt: skip
        if len(found) != 1:
            raise self.wrong(f"the collection '{name}' has {len(found)} segments of scope {scope}")
        segment, seen = found[0]
        # It is the name of a directory.
        if not isinstance(segment, str) or not re.fullmatch("[0-9a-fA-F-]+", segment):
            raise self.wrong(f"the segment {segment!r} of the collection '{name}' is no UUID")
        return segment, _seq_id(seen)

    def choose(self, asked: str | None, by_default: str) -> _Source:
        every, wanted = self.sources(), by_default if asked is None else asked
        found = [source for source in every if wanted in (source.name, source.shown.name)]
        if len(found) == 1:
            return found[0]
        if asked is None and not found and len(every) == 1:
            return every[0]
        there = ", ".join(f"'{source.shown.name}'" for source in every) or "none"
        raise NotFoundError(f"{self.path}: {len(found)} collections are called '{wanted}'; there are: {there}")

    def metadata(self, segment: str) -> dict[str, dict[str, Any]]:
        """What the segment of metadata has of each id."""
        found: dict[int, tuple[str, dict[str, Any]]] = {}
        for row, id in self.rows("SELECT id, embedding_id FROM embeddings WHERE segment_id = ?", segment):
            if not isinstance(id, str):
                raise self.wrong(f"row {row} is of the id {id!r}")
            found[row] = (id, {})
        tables = [("embedding_metadata", "m.id"), ("embedding_metadata_array", "m.id, m.rowid")]
        for table, order in tables[: 1 + self.later[1]]:
            for row, key, text, whole, real, flag in self.rows(
                f"SELECT m.id, m.key, m.string_value, m.int_value, m.float_value, m.bool_value FROM {table} m "
                f"JOIN embeddings e ON e.id = m.id WHERE e.segment_id = ? ORDER BY {order}",
                segment,
            ):
                if not isinstance(key, str) or not isinstance(text, (str, type(None))):
                    raise self.wrong(f"row {row} has the metadata {key!r}: {text!r}")
                value = next((one for one in (text, whole, real) if one is not None), None)
                value = bool(flag) if value is None and flag is not None else value
                metadata = found[row][1]
                if table == "embedding_metadata":
                    metadata[key] = value
                elif isinstance(values := metadata.setdefault(key, []), list):
                    values.append(value)
                else:
                    raise self.wrong(f"row {row} has the key '{key}' once alone and once as a list")
        return dict(found.values())

    def index(self, source: _Source) -> tuple[dict[str, NDArray[np.float32]], int | None]:
        """The vectors that Chroma has written into an index, by id, and up to where in the queue that is."""
        segment, seen = source.vectors
        folder = self.directory / segment
        labels_file = folder / _LABELS
        if not labels_file.exists():
            if seen:
                raise self.wrong(f"'{source.name}' has vectors in an index, of which {labels_file} is missing")
            return {}, seen
        try:
            data = _Unpickler(BytesIO(labels_file.read_bytes())).load()
            fields = data if isinstance(data, dict) else vars(data)
            of_ids: dict[str, int] = dict(fields["id_to_label"])
            late = fields.get("max_seq_id")
            if not all(isinstance(id, str) and isinstance(label, int) for id, label in of_ids.items()):
                raise ValueError("an id is no text, or a label no number")
            if len(set(of_ids.values())) != len(of_ids):
                raise ValueError("two ids have one label")
        except OSError:
            raise
        except Exception as error:  # whatever a damaged pickle makes of itself
            raise CorruptError(f"{labels_file}: no list of ids that can be read: {error!r}") from error
        header = (folder / "header.bin").read_bytes()
        if len(header) != 100 or header[:4] != b"\1\0\0\0":
            raise CorruptError(f"{folder / 'header.bin'} is no header of version 1, of 100 bytes")
        count, size = struct.unpack_from("<QQ", header, 4 + 16)
        # In one piece it is a file of hnswlib.
        elements, lists = ((folder / file).read_bytes() for file in ("data_level0.bin", "link_lists.bin"))
        parts = [header[4:], elements[: count * size], lists]
        _, items, labels, deleted = _take_hnswlib(b"".join(parts), source.shown.dim or 0, "l2", "none")
        labels = labels[~deleted]
        vectors = _vectors(items, labels)
        if vectors is None:
            raise CorruptError(f"{folder}: a label without a vector")
        if source.shown.metric == "cosine":
            # They were normalised.
            lengths = (folder / "length.bin").read_bytes()[: 4 * count]
            if len(lengths) != 4 * count:
                raise CorruptError(f"{folder / 'length.bin'} has {len(lengths)} bytes of {count} lengths")
            vectors = vectors * np.frombuffer(lengths, "<f4")[~deleted][:, None]
        places = {label: place for place, label in enumerate(labels.tolist())}
        try:
            found = {id: vectors[places[label]] for id, label in of_ids.items()}
        except (KeyError, TypeError) as error:
            raise CorruptError(f"{labels_file} has the label {error}, which the index does not have") from error
        return found, seen if seen is not None else late if isinstance(late, int) else None

    def queue(self, source: _Source, after: int) -> Iterator[tuple[int, int, str, Any, Any]]:
        """The operations behind one that was seen: number, kind, id, vector, metadata."""
        for seq_id, kind, id, vector, encoding, metadata in self.rows(
            "SELECT seq_id, operation, id, vector, encoding, metadata FROM embeddings_queue "
            "WHERE seq_id > ?1 AND substr(topic, -length(?2) - 1) = '/' || ?2 ORDER BY seq_id",
            after,
            source.id,
        ):
            what = f"operation {seq_id} of the queue"
            if kind not in (_ADD, _UPDATE, _UPSERT, _DELETE):
                raise self.wrong(f"{what} is of kind {kind}")
            if not isinstance(id, str):
                raise self.wrong(f"{what} is of the id {id!r}")
            if vector is not None:
                expected = 4 * (source.shown.dim or 0)
                if not isinstance(vector, bytes) or len(vector) != expected:
                    raise self.wrong(f"{what} has a vector of {len(vector)} bytes, where {expected} are expected")
                if encoding not in ("FLOAT32", "INT32"):
                    raise self.wrong(f"{what} has a vector encoded as {encoding!r}")
                vector = np.frombuffer(vector, "<f4" if encoding == "FLOAT32" else "<i4").astype(np.float32)
            try:
                changed = json.loads(metadata) if metadata is not None else None
            except (ValueError, TypeError, RecursionError) as error:
                raise self.wrong(f"{what} has metadata that are no JSON") from error
            if changed is not None and not isinstance(changed, dict):
                raise self.wrong(f"{what} has metadata that are no JSON object")
            yield seq_id, kind, id, vector, changed or {}

    def records(self, source: _Source) -> tuple[list[str], NDArray[np.float32], list[bytes]]:
        """Ids in their order, vectors, payloads: what the segments have, and after that what is in the queue."""
        if source.shown.dim is None:
            raise self.wrong(f"the collection '{source.shown.name}' has never had a record, so nothing is known of it")
        vectors, last = self.index(source)
        metadata = self.metadata(source.metadata[0])
        seen, seen_of_metadata = last or 0, source.metadata[1] or 0
        for seq_id, kind, id, vector, changed in self.queue(source, min(seen, seen_of_metadata)):

            def applies(there: bool, kind: int = kind) -> bool:
                return kind == _UPSERT or kind != _DELETE and (kind == _ADD) != there

            if seq_id > seen:
                if kind == _DELETE:
                    vectors.pop(id, None)
                elif applies(id in vectors):
                    if vector is not None:
                        vectors[id] = vector
                    elif id not in vectors:
                        raise self.wrong(f"operation {seq_id} of the queue makes '{id}' without a vector")
            if seq_id > seen_of_metadata:
                if kind == _DELETE:
                    metadata.pop(id, None)
                elif applies(id in metadata):
                    # Null takes a key away.
                    merged = metadata.get(id, {}) | changed
                    metadata[id] = {key: value for key, value in merged.items() if value is not None}
        if vectors.keys() != metadata.keys():
            one = min(vectors.keys() ^ metadata.keys())
            what = "a vector, but is none of the records" if one in vectors else "no vector"
            raise self.wrong(f"'{one}' has {what}")
        ids = sorted(vectors, key=lambda id: id.encode())
        matrix = np.array([vectors[id] for id in ids], np.float32).reshape(len(ids), source.shown.dim)
        try:
            return ids, matrix, [_payload(metadata[id]) for id in ids]
        except ValueError as error:
            raise self.wrong(f"metadata are not what a payload of JSON has a place for: {error}") from error


def _payload(metadata: dict[str, Any]) -> bytes:
    payload: dict[str, Any] = {}
    rest = dict(metadata)
    for key, name in (("chroma:document", "document"), ("chroma:uri", "uri")):
        if key in rest:
            payload[name] = rest.pop(key)
    if rest:
        payload["metadata"] = rest
    return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() if payload else b""
