//! Every file name of a store, built and parsed in this one place.
//!
//! Names are relative to the store's directory and use `/`.
//!
//! ```text
//! LOCK  SUPER  heads  catalog.redb
//! wal/NNNNNNNN.wal      log files
//! ckpt/NNNNNNNN.pgs     page images of a checkpoint
//! c/<id>/{meta,vectors,codes,ids,keys,links,upper,tombs,sums}   one collection
//! c/<id>.<generation>/                                          the same, once compacted: generations count from 0, the bare id
//! c/<id>.recall         what was measured of a collection's recall
//! readers/NN            seats of readers in other processes; readers/session says whether they are still valid
//! *.tmp                 being written; removed at open
//! ```
//!
//! Of a directory of backups:
//!
//! ```text
//! LOCK
//! NNNNNNNN.blocks       blocks that a backup has added
//! NNNNNNNN.backup       what a backup consists of; it exists once this does
//! ```

/// Held locked while the store is open for writing; never removed.
pub const LOCK: &str = "LOCK";
/// The two slots that name the last checkpoint.
pub const SUPER: &str = "SUPER";
/// Per-collection counters, checkpointed like pages.
pub const HEADS: &str = "heads";
/// Keys, payloads and the list of collections.
pub const CATALOG: &str = "catalog.redb";
/// Directory of the log.
pub const WAL_DIR: &str = "wal";
/// Directory of the checkpoint files.
pub const CKPT_DIR: &str = "ckpt";
/// Directory of the collections.
pub const COLLECTIONS_DIR: &str = "c";
/// Directory of the seats of readers in other processes.
pub const READERS_DIR: &str = "readers";
/// Changed by a writer that cannot vouch for what readers see.
pub const SESSION: &str = "readers/session";
/// The ending of a file that is not finished yet.
pub const TMP: &str = ".tmp";

/// A file of one collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Geometry, written once at creation.
    Meta,
    /// Vectors, write-once slots.
    Vectors,
    /// Codes of the vectors, write-once slots; of a collection that has them.
    Codes,
    /// Keys, LSNs, levels and vector checksums, write-once slots.
    Ids,
    /// Keys that are not numbers, appended; of a collection that has them.
    Keys,
    /// Level-0 link lists.
    Links,
    /// Link lists of the levels above 0.
    Upper,
    /// Tombstone bits.
    Tombs,
    /// Checksums of the pages of links, upper and tombs.
    Sums,
}

impl Part {
    /// All that slots are in; codes and keys only of a collection that has them.
    pub const SEGMENTS: [Part; 8] =
        [Part::Vectors, Part::Codes, Part::Ids, Part::Keys, Part::Links, Part::Upper, Part::Tombs, Part::Sums];

    /// The file's name within its collection's directory.
    pub fn name(self) -> &'static str {
        match self {
            Part::Meta => "meta",
            Part::Vectors => "vectors",
            Part::Codes => "codes",
            Part::Ids => "ids",
            Part::Keys => "keys",
            Part::Links => "links",
            Part::Upper => "upper",
            Part::Tombs => "tombs",
            Part::Sums => "sums",
        }
    }
}

/// `wal/00000042.wal`
pub fn wal(no: u64) -> String {
    format!("{WAL_DIR}/{}", wal_entry(no))
}

/// `00000042.wal`, the name within [`WAL_DIR`].
pub fn wal_entry(no: u64) -> String {
    format!("{no:08}.wal")
}

/// The number of a log file from its name within [`WAL_DIR`]; `None` for anything else.
pub fn parse_wal(entry: &str) -> Option<u64> {
    number(entry, ".wal").filter(|&no| wal_entry(no) == entry)
}

/// `ckpt/00000007.pgs`
pub fn ckpt(no: u64) -> String {
    format!("{CKPT_DIR}/{}", ckpt_entry(no))
}

/// `00000007.pgs`, the name within [`CKPT_DIR`].
pub fn ckpt_entry(no: u64) -> String {
    format!("{no:08}.pgs")
}

/// The number of a checkpoint file from its name within [`CKPT_DIR`]; `None` for anything else.
pub fn parse_ckpt(entry: &str) -> Option<u64> {
    number(entry, ".pgs").filter(|&no| ckpt_entry(no) == entry)
}

/// `c/3`, of generation 1 `c/3.1`
pub fn collection_dir(id: u32, generation: u32) -> String {
    match generation {
        0 => format!("{COLLECTIONS_DIR}/{id}"),
        _ => format!("{COLLECTIONS_DIR}/{id}.{generation}"),
    }
}

/// The number and the generation of a collection from the path of its directory; `None` for anything else.
pub fn parse_collection_dir(path: &str) -> Option<(u32, u32)> {
    let name = path.strip_prefix(COLLECTIONS_DIR)?.strip_prefix('/')?;
    let (id, generation) = name.split_once('.').unwrap_or((name, "0"));
    let (id, generation) = (id.parse().ok()?, generation.parse().ok()?);
    (collection_dir(id, generation) == path).then_some((id, generation))
}

/// `c/3/links`, of generation 1 `c/3.1/links`
pub fn part(id: u32, generation: u32, part: Part) -> String {
    format!("{}/{}", collection_dir(id, generation), part.name())
}

/// The collection, the generation and the part of a file from its path; `None` for anything else.
pub fn parse_part(path: &str) -> Option<(u32, u32, Part)> {
    let (dir, name) = path.rsplit_once('/')?;
    let (id, generation) = parse_collection_dir(dir)?;
    let part = Part::SEGMENTS.into_iter().chain([Part::Meta]).find(|part| part.name() == name)?;
    Some((id, generation, part))
}

/// `00000003.backup`
pub fn backup(no: u64) -> String {
    format!("{no:08}.backup")
}

/// The number of a backup from the name of its file; `None` for anything else.
pub fn parse_backup(entry: &str) -> Option<u64> {
    number(entry, ".backup").filter(|&no| backup(no) == entry)
}

/// `00000003.blocks`
pub fn blocks(no: u64) -> String {
    format!("{no:08}.blocks")
}

/// The number of a backup from the name of the file of its blocks; `None` for anything else.
pub fn parse_blocks(entry: &str) -> Option<u64> {
    number(entry, ".blocks").filter(|&no| blocks(no) == entry)
}

/// `c/3.recall`
pub fn recall(id: u32) -> String {
    format!("{COLLECTIONS_DIR}/{id}.recall")
}

/// The collection of a file of measured recall from its path; `None` for anything else.
pub fn parse_recall(path: &str) -> Option<u32> {
    let id = path.strip_prefix(COLLECTIONS_DIR)?.strip_prefix('/')?.strip_suffix(".recall")?.parse().ok()?;
    (recall(id) == path).then_some(id)
}

/// `readers/07`
pub fn seat(no: usize) -> String {
    format!("{READERS_DIR}/{no:02}")
}

/// The number of a seat from the name of its file within [`READERS_DIR`]; `None` for anything else.
pub fn parse_seat(entry: &str) -> Option<usize> {
    let no = entry.parse().ok()?;
    (seat(no) == format!("{READERS_DIR}/{entry}")).then_some(no)
}

/// The name a file has until it is complete.
pub fn tmp(name: &str) -> String {
    format!("{name}{TMP}")
}

/// The directory that holds `name`; `""` is the store's own.
pub fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn number(entry: &str, ending: &str) -> Option<u64> {
    let digits = entry.strip_suffix(ending)?;
    if digits.len() < 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_names_round_trip_and_nothing_else_parses() {
        for no in [0, 1, 42, 99_999_999, 100_000_000, u64::MAX] {
            assert_eq!(parse_wal(&wal_entry(no)), Some(no));
            assert_eq!(parse_ckpt(&ckpt_entry(no)), Some(no));
            assert_eq!(parse_backup(&backup(no)), Some(no));
            assert_eq!(parse_blocks(&blocks(no)), Some(no));
        }
        for bad in
            ["", ".wal", "1.wal", "0000001x.wal", "000000001.wal", "00000001.pgs", "+0000001.wal", "00000001.wal.tmp"]
        {
            assert_eq!(parse_wal(bad), None, "{bad}");
        }
        for id in [0, 7, u32::MAX] {
            assert_eq!(parse_recall(&recall(id)), Some(id));
        }
        for bad in ["c/.recall", "c/07.recall", "c/7.recall.tmp", "7.recall", "c/7.1", "c/4294967296.recall"] {
            assert_eq!(parse_recall(bad), None, "{bad}");
        }
        for no in [0, 9, 10, 100] {
            assert_eq!(parse_seat(seat(no).strip_prefix("readers/").unwrap()), Some(no));
        }
        for bad in ["", "7", "007", "session", "+7", "7 "] {
            assert_eq!(parse_seat(bad), None, "{bad}");
        }
        for of in [(0, 0), (u32::MAX, 0), (7, 1), (7, u32::MAX)] {
            assert_eq!(parse_collection_dir(&collection_dir(of.0, of.1)), Some(of));
        }
        assert_eq!(part(3, 0, Part::Links), "c/3/links");
        assert_eq!(part(3, 12, Part::Links), "c/3.12/links");
        for of in Part::SEGMENTS.into_iter().chain([Part::Meta]) {
            assert_eq!(parse_part(&part(3, 12, of)), Some((3, 12, of)));
        }
        for bad in ["c/3/", "c/3/linksx", "c/3/../links", "c/03/links", "/c/3/links", "links", "c/3/links/"] {
            assert_eq!(parse_part(bad), None, "{bad}");
        }
        for bad in [
            &recall(3),
            "c",
            "c/",
            "c/+3",
            "c/03",
            "c/x",
            "c/3/links",
            "ckpt/3",
            "c/4294967296",
            "c/3.0",
            "c/3.",
            "c/3.1.2",
        ] {
            assert_eq!(parse_collection_dir(bad), None, "{bad}");
        }
        assert_eq!(parent("c/3/links"), "c/3");
        assert_eq!(parent("SUPER"), "");
    }
}
