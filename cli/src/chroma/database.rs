//! `chroma.sqlite3`: which collections there are, and what its tables hold of one.

use std::path::{Path, PathBuf};

use lodestore::Metric;
use rusqlite::{
    Connection, OpenFlags, Row,
    config::DbConfig,
    limits::Limit,
    types::{FromSql, FromSqlError, FromSqlResult, Type, ValueRef},
};
use serde_json::{Map, Value};

use super::error::ChromaError;

pub(super) const FILE: &str = "chroma.sqlite3";
/// In metadata what belongs to the record itself.
const DOCUMENT: &str = "chroma:document";
const URI: &str = "chroma:uri";
/// Bytes of a value: a crafted table could make up larger ones than there is memory.
const LARGEST: i32 = 256 << 20;
/// Where a collection is if nobody says otherwise.
const DATABASE: &str = "default_database";

/// Those without which no version is.
const TABLES: [&str; 8] = [
    "collections",
    "collection_metadata",
    "segments",
    "segment_metadata",
    "embeddings",
    "embedding_metadata",
    "embeddings_queue",
    "max_seq_id",
];
/// From 0.4.15, and from 1.5 on.
const LATER_TABLES: [&str; 2] = ["databases", "embedding_metadata_array"];

pub(super) type Result<T> = std::result::Result<T, ChromaError>;

pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
    later: [bool; LATER_TABLES.len()],
}

/// A collection as the database describes it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: String,
    pub(super) name: String,
    /// With the database in front, if that is another than usual.
    pub(super) full_name: String,
    /// None until a record is put.
    pub(super) dim: Option<usize>,
    pub(super) metric: Metric,
    pub(super) vectors: Segment,
    pub(super) metadata: Segment,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: String,
    /// The last operation of the queue that it has seen, if the database says so.
    pub(super) max_seq_id: Option<u64>,
}

/// An operation of the queue.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) seq_id: u64,
    pub(super) kind: i64,
    pub(super) id: String,
    pub(super) vector: Option<Vec<u8>>,
    pub(super) encoding: Option<String>,
    pub(super) metadata: Option<String>,
}

/// A number of the queue: an integer, or until 0.6 eight bytes big-endian.
struct SeqId(u64);

impl FromSql for SeqId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Integer(number) => Ok(Self(number.try_into().map_err(|_| FromSqlError::OutOfRange(number))?)),
            ValueRef::Blob(bytes) => match bytes.try_into() {
                Ok(bytes) => Ok(Self(u64::from_be_bytes(bytes))),
                Err(_) => Err(FromSqlError::InvalidBlobSize { expected_size: 8, blob_size: bytes.len() }),
            },
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl Database {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let fail = |what| move |source| ChromaError::Sqlite { path: directory.join(FILE), what, source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(fail("it does not open"))?;
        let opened = || -> rusqlite::Result<()> {
            // Nothing that its schema says is run.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LARGEST)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            // Everything as of one moment, though Chroma may be at work.
            connection.execute_batch("BEGIN")
        };
        opened().map_err(fail("it does not open"))?;
        let mut database = Self { connection, path, later: Default::default() };
        for table in TABLES {
            if !database.has_table(table)? {
                return Err(database.damaged(format!("there is no table '{table}'; is it of Chroma 0.4 or later?")));
            }
        }
        for (at, table) in LATER_TABLES.iter().enumerate() {
            database.later[at] = database.has_table(table)?;
        }
        Ok(database)
    }

    pub(super) fn damaged(&self, what: impl Into<String>) -> ChromaError {
        ChromaError::Damaged { path: self.path.clone(), what: what.into() }
    }

    /// Whether there is a table of that name, and all of it is whole.
    fn has_table(&self, table: &str) -> Result<bool> {
        let kinds = self.rows("SELECT type FROM sqlite_schema WHERE name = ?1", [table], |row| row.get::<_, String>(0));
        match &kinds?[..] {
            [] => return Ok(false),
            [kind] if kind == "table" => {}
            other => return Err(self.damaged(format!("'{table}' is {}, not a table", other.join(" and ")))),
        }
        let found = self.rows(&format!("PRAGMA integrity_check({table})"), [], |row| row.get::<_, String>(0))?;
        match &found[..] {
            [all] if all == "ok" => Ok(true),
            [first, ..] => Err(self.damaged(format!("the table '{table}' is damaged: {first}"))),
            [] => Err(self.damaged(format!("the table '{table}' cannot be checked"))),
        }
    }

    fn rows<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let all =
            || -> rusqlite::Result<Vec<T>> { self.connection.prepare(sql)?.query_map(parameters, read)?.collect() };
        all().map_err(|source| ChromaError::Sqlite {
            path: self.path.clone(),
            what: "a table is not as expected",
            source,
        })
    }

    /// The collection asked for, or the one of a name, or the only one.
    pub(super) fn choose(&self, asked: Option<&str>, by_default: &str) -> Result<Source> {
        let mut all = self.collections()?;
        let wanted = asked.unwrap_or(by_default);
        let is = |source: &&Source| source.full_name == wanted || source.name == wanted;
        let asked = match (all.iter().filter(is).count(), asked) {
            (1, _) => return Ok(all.swap_remove(all.iter().position(|source| is(&source)).unwrap_or(0))),
            (0, None) if all.len() == 1 => return Ok(all.remove(0)),
            (0, Some(asked)) => format!("there is no collection '{asked}'"),
            (0, None) => format!("there are {} collections, none of them '{wanted}'", all.len()),
            (several, _) => format!("{several} collections are called '{wanted}'"),
        };
        let there: Vec<_> = all.iter().map(|source| format!("'{}'", source.full_name)).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        Err(ChromaError::Which { path: self.path.clone(), asked, there })
    }

    fn collections(&self) -> Result<Vec<Source>> {
        let columns =
            self.rows("SELECT name FROM pragma_table_info('collections')", [], |row| row.get::<_, String>(0))?;
        let column =
            |name: &str| if columns.iter().any(|column| column == name) { name.to_owned() } else { "NULL".into() };
        let (config, schema) = (column("config_json_str"), column("schema_str"));
        let database = match self.later[0] {
            true => "(SELECT d.name FROM databases d WHERE d.id = c.database_id)",
            false => "NULL",
        };
        let sql =
            format!("SELECT id, name, dimension, {config}, {schema}, {database} FROM collections c ORDER BY name, id");
        let read = |row: &Row<'_>| {
            let (id, name, dim): (String, String, Option<i64>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (config, schema): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
            Ok((id, name, dim, [config, schema], row.get::<_, Option<String>>(5)?))
        };
        let mut all = Vec::new();
        for (id, name, dim, settings, database) in self.rows(&sql, [], read)? {
            let dim = match dim {
                None => None,
                Some(dim @ 1..=65_536) => Some(dim as usize),
                Some(dim) => return Err(self.damaged(format!("the dimension of the collection '{name}' is {dim}"))),
            };
            let full_name = match database {
                Some(database) if database != DATABASE => format!("{database}/{name}"),
                _ => name.clone(),
            };
            let metric = self.metric(&id, &name, &settings)?;
            let (vectors, metadata) = (self.segment(&id, &name, "VECTOR")?, self.segment(&id, &name, "METADATA")?);
            all.push(Source { id, name, full_name, dim, metric, vectors, metadata });
        }
        Ok(all)
    }

    /// Its configuration says l2 where nobody has said anything, also where metadata say otherwise.
    fn metric(&self, id: &str, name: &str, settings: &[Option<String>; 2]) -> Result<Metric> {
        let mut spaces = Vec::new();
        for settings in settings.iter().flatten() {
            let Ok(settings) = serde_json::from_str::<Value>(settings) else {
                return Err(self.damaged(format!("the configuration of the collection '{name}' is no JSON")));
            };
            let places = [
                "/keys/#embedding/float_list/vector_index/config/space",
                "/vector_index/hnsw/space",
                "/hnsw/space",
                "/hnsw_configuration/space",
            ];
            spaces.extend(places.iter().filter_map(|place| settings.pointer(place)?.as_str().map(str::to_owned)));
        }
        spaces.retain(|space| space != "l2");
        for sql in [
            "SELECT str_value FROM collection_metadata WHERE collection_id = ?1 AND key = 'hnsw:space'",
            "SELECT str_value FROM segment_metadata WHERE key = 'hnsw:space' \
                AND segment_id IN (SELECT id FROM segments WHERE collection = ?1)",
        ] {
            spaces.extend(self.rows(sql, [id], |row| row.get::<_, String>(0))?);
        }
        match spaces.first().map_or("l2", |space| space) {
            "l2" => Ok(Metric::L2),
            "ip" => Ok(Metric::InnerProduct),
            "cosine" => Ok(Metric::Cosine),
            other => {
                Err(self
                    .damaged(format!("the collection '{name}' has the metric '{other}', which is none of Chroma's")))
            }
        }
    }

    fn segment(&self, collection: &str, name: &str, scope: &str) -> Result<Segment> {
        let sql = "SELECT s.id, (SELECT m.seq_id FROM max_seq_id m WHERE m.segment_id = s.id) \
            FROM segments s WHERE s.collection = ?1 AND s.scope = ?2";
        let read = |row: &Row<'_>| {
            Ok(Segment { id: row.get(0)?, max_seq_id: row.get::<_, Option<SeqId>>(1)?.map(|SeqId(number)| number) })
        };
        let mut found = self.rows(sql, [collection, scope], read)?;
        match (found.pop(), found.len()) {
            // It is the name of a directory.
            (Some(one), 0) if one.id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') => Ok(one),
            (Some(one), 0) => {
                Err(self.damaged(format!("the segment {:?} of the collection '{name}' is no UUID", one.id)))
            }
            (_, several) => {
                let what = format!("the collection '{name}' has {several} segments more than one of scope {scope}");
                Err(self.damaged(if several == 0 {
                    format!("the collection '{name}' has no segment of scope {scope}")
                } else {
                    what
                }))
            }
        }
    }

    /// Ids that the segment of metadata has, and what it has of each.
    pub(super) fn metadata(&self, segment: &Segment) -> Result<Vec<(String, Map<String, Value>)>> {
        let mut all = self.rows(
            "SELECT id, embedding_id FROM embeddings WHERE segment_id = ?1 ORDER BY id",
            [&segment.id],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, Map::new())),
        )?;
        let columns = "m.id, m.key, m.string_value, m.int_value, m.float_value, m.bool_value";
        let mut tables = vec![("embedding_metadata", "m.id")];
        if self.later[1] {
            tables.push(("embedding_metadata_array", "m.id, m.rowid"));
        }
        for (table, order) in tables {
            let is_array = table != "embedding_metadata";
            let sql = format!(
                "SELECT {columns} FROM {table} m JOIN embeddings e ON e.id = m.id WHERE e.segment_id = ?1 ORDER BY {order}"
            );
            let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, value(row)?));
            let mut at = 0;
            for (of, key, value) in self.rows(&sql, [&segment.id], read)? {
                while all.get(at).is_some_and(|(id, ..)| *id < of) {
                    at += 1;
                }
                let Some((_, _, metadata)) = all.get_mut(at).filter(|(id, ..)| *id == of) else { continue };
                if !is_array {
                    metadata.insert(key, value);
                    continue;
                }
                match metadata.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new())) {
                    Value::Array(values) => values.push(value),
                    _ => {
                        return Err(self.damaged(format!("row {of} has the key '{key}' once alone and once as a list")));
                    }
                }
            }
        }
        Ok(all.into_iter().map(|(_, id, metadata)| (id, metadata)).collect())
    }

    /// The operations of a collection behind one that was seen, in their order; each is given to `each`.
    pub(super) fn queue(
        &self,
        source: &Source,
        after: u64,
        mut each: impl FnMut(Operation) -> Result<()>,
    ) -> Result<()> {
        let fail =
            |source| ChromaError::Sqlite { path: self.path.clone(), what: "the queue is not as expected", source };
        // A topic ends with the collection's id.
        let sql = "SELECT seq_id, operation, id, vector, encoding, metadata FROM embeddings_queue \
            WHERE seq_id > ?1 AND substr(topic, -length(?2) - 1) = '/' || ?2 ORDER BY seq_id";
        let mut statement = self.connection.prepare(sql).map_err(fail)?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let mut rows = statement.query((after, &source.id)).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let read = || -> rusqlite::Result<Operation> {
                let SeqId(seq_id) = row.get(0)?;
                let (kind, id, vector) = (row.get(1)?, row.get(2)?, row.get(3)?);
                Ok(Operation { seq_id, kind, id, vector, encoding: row.get(4)?, metadata: row.get(5)? })
            };
            each(read().map_err(fail)?)?;
        }
        Ok(())
    }
}

/// The one of the four columns that has something.
fn value(row: &Row<'_>) -> rusqlite::Result<Value> {
    if let Some(text) = row.get::<_, Option<String>>(2)? {
        return Ok(text.into());
    }
    if let Some(number) = row.get::<_, Option<i64>>(3)? {
        return Ok(number.into());
    }
    if let Some(number) = row.get::<_, Option<f64>>(4)? {
        // JSON has no others.
        let finite = number.is_finite().then(|| number.into());
        return finite.ok_or_else(|| {
            let what = format!("metadata have the number {number}, which a payload of JSON has no place for");
            rusqlite::Error::FromSqlConversionFailure(4, Type::Real, what.into())
        });
    }
    Ok(row.get::<_, Option<i64>>(5)?.map_or(Value::Null, |number| (number != 0).into()))
}

/// What a record's payload is to be.
pub(super) fn payload(mut metadata: Map<String, Value>) -> Vec<u8> {
    let mut payload = Map::new();
    for (key, name) in [(DOCUMENT, "document"), (URI, "uri")] {
        if let Some(value) = metadata.remove(key) {
            payload.insert(name.to_owned(), value);
        }
    }
    if !metadata.is_empty() {
        payload.insert("metadata".to_owned(), metadata.into());
    }
    if payload.is_empty() { Vec::new() } else { Value::from(payload).to_string().into_bytes() }
}
