//! All rows of the catalogue as bytes: to write them into another file.

use super::{
    COLLECTIONS, Catalog, MARKS, META, POSTINGS, RECORDS, UUID, damaged, database, failed, guarded, make_durable,
    postings, unsealed,
};
use crate::backend::Backend;
use crate::error::{Error, Result};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableHandle, WriteTransaction};

/// A table, by the type of its keys. Its place in [`TABLES`] stands for it in backups.
#[derive(Clone, Copy)]
enum Table {
    Text(TableDefinition<'static, &'static str, &'static [u8]>),
    Bytes(TableDefinition<'static, &'static [u8], &'static [u8]>),
}

/// The place of [`META`] among them.
pub(super) const META_NUMBER: u8 = 0;
/// Every table there is.
const TABLES: [Table; 5] =
    [Table::Text(META), Table::Text(COLLECTIONS), Table::Bytes(RECORDS), Table::Bytes(MARKS), Table::Bytes(POSTINGS)];

impl Table {
    fn name(&self) -> String {
        match self {
            Table::Text(table) => table.name().to_owned(),
            Table::Bytes(table) => table.name().to_owned(),
        }
    }
}

/// The rows of a catalogue as they were at one moment.
pub(crate) struct Snapshot(ReadTransaction);

/// Receives rows: the number of the table, key, value.
pub(crate) type RowSink<'a> = dyn FnMut(u8, &[u8], &[u8]) -> Result<()> + 'a;

/// A row's checksum must be right before it is written elsewhere. The store's identity has none.
fn check(table: Table, key: &[u8], value: &[u8]) -> Result<()> {
    match table {
        Table::Text(table) if table.name() == META.name() && key == UUID.as_bytes() => Ok(()),
        Table::Bytes(table) if table.name() == POSTINGS.name() => postings::check(key, value),
        _ => unsealed(key, value).map(drop),
    }
}

impl Catalog {
    /// Applies what is staged, and keeps the rows as they are then. Says up to which LSN they go.
    pub(crate) fn rows(&self) -> Result<(u64, Snapshot)> {
        let applied = self.apply()?;
        let _applying = self.applying.lock();
        let db = self.db.read();
        let db = db.as_ref().ok_or(Error::Closed)?;
        guarded(|| Ok((applied, Snapshot(db.begin_read().map_err(failed)?))))
    }

    /// Makes a catalogue of the rows that `fill` passes on, durably.
    ///
    /// # Errors
    /// Those of `fill`; of the disk; [`Error::Corrupt`] for rows that no catalogue has.
    pub(crate) fn create_of(backend: Backend, fill: impl FnOnce(&mut RowSink<'_>) -> Result<()>) -> Result<()> {
        let poison = backend.poison().clone();
        let made = guarded(|| {
            let db = database(backend)?;
            let mut txn = db.begin_write().map_err(failed)?;
            make_durable(&mut txn)?;
            // All but those of marks and tags, which not every catalogue has.
            for table in &TABLES[..3] {
                match *table {
                    Table::Text(table) => drop(txn.open_table(table).map_err(failed)?),
                    Table::Bytes(table) => drop(txn.open_table(table).map_err(failed)?),
                }
            }
            let mut batch = Batch { txn: &txn, table: 0, rows: Vec::new(), bytes: 0 };
            fill(&mut |table, key, value| batch.add(table, key, value))?;
            batch.flush()?;
            txn.commit().map_err(failed)
        });
        // What redb writes after the first failure only says that there was one.
        if let Some(full) = poison.no_space() {
            return Err(full.into());
        }
        made?;
        Ok(poison.check()?)
    }
}

/// Rows that are written together: opening a table for each would cost more than the row.
struct Batch<'a> {
    txn: &'a WriteTransaction,
    table: u8,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Batch<'_> {
    fn add(&mut self, number: u8, key: &[u8], value: &[u8]) -> Result<()> {
        const MOST: usize = 4 << 20;
        let no = || damaged(format!("a row of table {number}, of which there is none"));
        let table = *TABLES.get(usize::from(number)).ok_or_else(no)?;
        check(table, key, value)?;
        if number != self.table || self.bytes > MOST {
            self.flush()?;
            self.table = number;
        }
        self.bytes += key.len() + value.len();
        self.rows.push((key.to_vec(), value.to_vec()));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        match TABLES[usize::from(self.table)] {
            Table::Text(definition) => {
                let mut table = self.txn.open_table(definition).map_err(failed)?;
                for (key, value) in rows {
                    let key = std::str::from_utf8(&key).map_err(|_| damaged("a name that is not UTF-8"))?;
                    table.insert(key, value.as_slice()).map_err(failed)?;
                }
            }
            Table::Bytes(definition) => {
                let mut table = self.txn.open_table(definition).map_err(failed)?;
                for (key, value) in rows {
                    table.insert(key.as_slice(), value.as_slice()).map_err(failed)?;
                }
            }
        }
        Ok(())
    }
}

impl Snapshot {
    /// Passes on all rows, table by table, in the order of their keys.
    ///
    /// # Errors
    /// Those of `to`; [`Error::Corrupt`] if a row is damaged.
    pub(crate) fn for_each(&self, to: &mut RowSink<'_>) -> Result<()> {
        guarded(|| {
            let mut there = Vec::new();
            for table in self.0.list_tables().map_err(failed)? {
                there.push(table.name().to_owned());
                if !TABLES.iter().any(|known| known.name() == table.name()) {
                    return Err(damaged(format!(
                        "there is a table '{}', which this build does not know",
                        table.name()
                    )));
                }
            }
            for (number, table) in (0..).zip(TABLES).filter(|(_, table)| there.contains(&table.name())) {
                match table {
                    Table::Text(definition) => {
                        for row in self.0.open_table(definition).map_err(failed)?.iter().map_err(failed)? {
                            let (key, value) = row.map_err(failed)?;
                            check(table, key.value().as_bytes(), value.value())?;
                            to(number, key.value().as_bytes(), value.value())?;
                        }
                    }
                    Table::Bytes(definition) => {
                        for row in self.0.open_table(definition).map_err(failed)?.iter().map_err(failed)? {
                            let (key, value) = row.map_err(failed)?;
                            check(table, key.value(), value.value())?;
                            to(number, key.value(), value.value())?;
                        }
                    }
                }
            }
            Ok(())
        })
    }
}
