//! What can be typed.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use lodestore::{Durability, KeyType, VerifyLevel};

pub(crate) use crate::values::{CodesArg, ElementArg, MetricArg};
use crate::values::{durability, size};

const EXAMPLES: &str = "\
Examples:
  lodestore import words.store words --input words.fvecs --metric cosine
  lodestore search words.store words --queries queries.npy --k 10 --ef 100
  lodestore get words.store words 42
  lodestore verify words.store
  lodestore demo";

/// An embedded, crash-safe vector store: keys to vectors and payloads, nearest-neighbour search
#[derive(Debug, Parser)]
#[command(name = "lodestore", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put the rows of a vector file into a collection
    Import(ImportArgs),
    /// Write the records of a collection: their vectors into one file, keys and payloads into another. Those marked as
    /// deleted are left out
    Export(ExportArgs),
    /// Make a collection of an index of another library, with its graph: nothing is built again
    ImportIndex(ImportIndexArgs),
    /// Write a collection, with its graph, as an index of hnswlib
    ExportIndex(ExportIndexArgs),
    /// Search a collection with every row of a query file; report recall, speed and latency
    Search(SearchArgs),
    /// Print one record
    Get(GetArgs),
    /// Store one record, replacing what the key held
    Put(PutArgs),
    /// Remove one record
    Remove(RemoveArgs),
    /// Mark one record as deleted: nothing finds it until it is unmarked
    Mark(MarkArgs),
    /// Bring a record back that was marked as deleted
    Unmark(MarkArgs),
    /// Print the keys of a collection in their order, one a line
    Keys(KeysArgs),
    /// Show the collections of a store and what they take up
    Info(InspectArgs),
    /// Check every checksum and graph invariant; exit status 1 if anything is damaged, 130 if stopped by Ctrl-C
    Verify(VerifyArgs),
    /// Save what is whole in a damaged store into a new one; exit status 1 if anything was lost or cannot be read
    Repair(RepairArgs),
    /// Compare searches with exact search on stored vectors: recall, and the ef that it takes
    Recall(RecallArgs),
    /// Write everything the log holds into its place, so that the next open replays nothing
    Checkpoint(CheckpointArgs),
    /// Write the live records into new files, without what was removed and replaced, and mend the graph
    Compact(CompactArgs),
    /// Back up a store: what has changed since the last backup in that directory, verified when written
    Backup(BackupArgs),
    /// List the backups in a directory; exit status 1 if one is damaged
    Backups(BackupsArgs),
    /// Make a store of a backup, in a new directory
    Restore(RestoreArgs),
    /// See it work: build a store of real texts, search by meaning, kill a writer, lose nothing
    Demo(DemoArgs),
    /// The process that the demo kills
    #[command(hide = true)]
    DemoWriter(DemoWriterArgs),
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ReadingArgs {
    /// Read the last checkpoint and change nothing, also while another process has the store open
    #[arg(long)]
    pub(crate) read_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The store's directory; made when missing
    pub(crate) store: PathBuf,
    /// The collection's name; made when missing
    pub(crate) collection: String,
    /// The vectors: .fvecs, .bvecs or .npy (2-D; f4, f8, f2, i1 or u1); row N gets the key N
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// The rows' keys instead, one a line, as many as there are rows
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    /// The rows' keys, payloads and tags instead, a JSON object a line, as `export` writes them
    #[arg(long, value_name = "FILE", conflicts_with = "keys")]
    pub(crate) records: Option<PathBuf>,
    /// What keys are: u64, u128, uuid, str or bytes [default for a new collection: u64, with --keys str, with
    /// --records what the first one is]
    #[arg(long, value_name = "TYPE")]
    pub(crate) key: Option<KeyType>,
    /// How distance is measured; needed to make a collection, unless of bits
    #[arg(long)]
    pub(crate) metric: Option<MetricArg>,
    /// What the numbers are kept as; those of the file must fit [default for a new collection: f32, with hamming bits]
    #[arg(long)]
    pub(crate) element: Option<ElementArg>,
    /// Import at most this many rows
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Leave out the first rows of the file, to go on where an import stopped
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) skip: u64,
    /// Neighbours a record keeps in the graph [default for a new collection: 16]
    #[arg(long, value_name = "M")]
    pub(crate) m: Option<usize>,
    /// Candidates weighed when a record is linked [default for a new collection: 128]
    #[arg(long, value_name = "N")]
    pub(crate) ef_construction: Option<usize>,
    /// What searches compare before the exact vectors [default for a new collection: auto]
    #[arg(long)]
    pub(crate) codes: Option<CodesArg>,
    /// Seed of the graph's levels
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Threads that link records [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// When a batch counts as stored: `sync` (on disk), `every:MS`, `buffered`
    #[arg(long, value_name = "LEVEL", default_value = "sync", value_parser = durability)]
    pub(crate) durability: Durability,
    /// How much memory the store may take for itself, such as 512MiB or 2GiB [default: no budget]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<u64>,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportIndexArgs {
    /// The store's directory; made when missing
    pub(crate) store: PathBuf,
    /// The collection's name; it must be missing or empty
    pub(crate) collection: String,
    /// The index: a file of hnswlib or Voyager, a persistent directory of Chroma (records and all), or that of a segment in it
    #[arg(long, value_name = "PATH")]
    pub(crate) input: PathBuf,
    /// What it is of [default: what it looks like]
    #[arg(long)]
    pub(crate) format: Option<IndexFormat>,
    /// Of a directory of Chroma: its collection [default: the one of the same name, or the only one]
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// How distance is measured: only Voyager's files and directories of Chroma say so
    #[arg(long)]
    pub(crate) metric: Option<MetricArg>,
    /// Components of a vector: hnswlib's exact index does not say; others must have as many
    #[arg(long, value_name = "N")]
    pub(crate) dim: Option<usize>,
    /// What hnswlib's vectors are of: f32 or u8
    #[arg(long, default_value = "f32")]
    pub(crate) element: ElementArg,
    /// What searches compare before the exact vectors [default: auto]
    #[arg(long)]
    pub(crate) codes: Option<CodesArg>,
    /// Leave records that no walk through the graph reaches unreachable, instead of linking them
    #[arg(long)]
    pub(crate) as_is: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// The file of vectors to write, .npy, .fvecs or .bvecs, in the order of the keys; one that is there is replaced
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The file of keys, payloads and tags to write, a JSON object a line: `key`, `payload`, `tags`, and where it is needed
    /// `key_type` and `payload_encoding`, which is hex
    #[arg(long, value_name = "FILE")]
    pub(crate) records: Option<PathBuf>,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExportIndexArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// The file to write; one that is there is replaced
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Write an exact index (BFIndex) instead of one with a graph (Index)
    #[arg(long)]
    pub(crate) exact: bool,
    /// Leave room for so many elements in all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_elements: u64,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IndexFormat {
    /// hnswlib's Index
    Hnswlib,
    /// hnswlib's BFIndex; its records are linked here
    HnswlibExact,
    /// Voyager, format 0 or 1
    Voyager,
    /// The directory of Chroma's segment, with header.bin
    Chroma,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// The queries: .fvecs, .bvecs or .npy
    #[arg(long, value_name = "FILE")]
    pub(crate) queries: PathBuf,
    /// The true nearest keys of each query, nearest first, to measure recall
    #[arg(long, value_name = "FILE.ivecs")]
    pub(crate) groundtruth: Option<PathBuf>,
    /// Neighbours to find for each query
    #[arg(long, default_value = "10")]
    pub(crate) k: NonZeroUsize,
    /// Candidates kept while searching: more is slower and finds more of the true neighbours
    #[arg(long, default_value = "64")]
    pub(crate) ef: NonZeroUsize,
    /// End a search before `ef` once what comes next is farther than this many times the k-th nearest found
    #[arg(long, value_name = "RATIO")]
    pub(crate) stop_beyond: Option<f32>,
    /// Find only records with such tags: FIELD=VALUE, FIELD=ONE|OTHER, also != < <= > >=, ^= for how it begins, FIELD for any;
    /// given several times, all must hold
    #[arg(long = "tag", value_name = "CONDITION")]
    pub(crate) tags: Vec<String>,
    /// Answer all queries in calls of many instead of one at a time: without latencies
    #[arg(long)]
    pub(crate) batch: bool,
    /// Threads that search
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) threads: NonZeroUsize,
    /// Use at most this many queries
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Read what searches walk through into memory at the start, in huge pages where the system grants them
    #[arg(long)]
    pub(crate) resident: bool,
    /// As --resident, and also put what estimates the distances of a node's neighbours together in memory
    #[arg(long)]
    pub(crate) packed: bool,
    /// How much memory the store may take for itself, such as 512MiB or 2GiB [default: no budget]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<u64>,
    /// Run all queries once untimed beforehand, so that pages read for the first time do not count
    #[arg(long)]
    pub(crate) warmup: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RecallArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// Stored vectors to search for
    #[arg(long, value_name = "N", default_value = "200")]
    pub(crate) samples: NonZeroUsize,
    /// Neighbours to find for each
    #[arg(long, default_value = "10")]
    pub(crate) k: NonZeroUsize,
    /// Draw other vectors
    #[arg(long, default_value = "0")]
    pub(crate) seed: u64,
    /// Show what was measured last instead of measuring
    #[arg(long, conflicts_with_all = ["samples", "k", "seed"])]
    pub(crate) last: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// The record's key; of bytes that are no text 0x and hexadecimal digits
    pub(crate) key: String,
    /// Print the record, with its whole vector, as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The collection's name; it must exist
    pub(crate) collection: String,
    /// The record's key; of bytes that are no text 0x and hexadecimal digits
    pub(crate) key: String,
    /// Numbers with commas between them, or a file of one row (.fvecs, .bvecs, .npy)
    #[arg(long, value_name = "FILE_OR_LIST", allow_hyphen_values = true)]
    pub(crate) vector: String,
    /// Text to keep with the vector
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    pub(crate) payload: String,
    /// A tag of the record, a number or text; may be given several times
    #[arg(long = "tag", value_name = "FIELD=VALUE")]
    pub(crate) tags: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// The record's key; of bytes that are no text 0x and hexadecimal digits
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// Only those that begin with this; of strings and bytes
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,
    /// From this key on
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    pub(crate) from: Option<String>,
    /// Up to this key, which is not printed
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    pub(crate) to: Option<String>,
    /// From the last to the first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Print each as a JSON value
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MarkArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// The record's key; of bytes that are no text 0x and hexadecimal digits
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Say instead what of each collection fits into so much memory, and what searches would read from the disk
    #[arg(long, requires = "memory")]
    pub(crate) plan: bool,
    /// With --plan: how much memory, such as 8GiB
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "plan")]
    pub(crate) memory: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Look for what is left of a key instead, in catalogue, slots and log; exit status 1 if anything is
    #[arg(long, value_name = "KEY")]
    pub(crate) absent: Option<String>,
    /// With --absent: in this collection only; needed unless the key is a number of 64 bits
    #[arg(long, value_name = "NAME", requires = "absent")]
    pub(crate) collection: Option<String>,
    /// How much to look at: `headers`, `checksums` (every byte), `graph` (links, keys, counters), or `full`, which is all
    #[arg(long, value_name = "LEVEL", default_value = "full", conflicts_with = "absent")]
    pub(crate) level: VerifyLevel,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// The damaged store's directory, which is left as it is
    pub(crate) store: PathBuf,
    /// The new store's directory: missing or empty
    #[arg(long, value_name = "NEW")]
    pub(crate) to: PathBuf,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompactArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The collection's name [default: all]
    pub(crate) collection: Option<String>,
    /// Leave nothing of what was removed or replaced in any file of the store
    #[arg(long)]
    pub(crate) erase: bool,
    /// Measure recall before and after, with this many stored vectors
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) samples: usize,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The directory of its backups; made when missing
    #[arg(value_name = "BACKUPS")]
    pub(crate) to: PathBuf,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BackupsArgs {
    /// The directory of the backups
    #[arg(value_name = "BACKUPS")]
    pub(crate) from: PathBuf,
    /// Read every block and compare it with its hash
    #[arg(long)]
    pub(crate) verify: bool,
    /// Print them as one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The directory of the backups
    #[arg(value_name = "BACKUPS")]
    pub(crate) from: PathBuf,
    /// The new store's directory; empty or not there
    #[arg(value_name = "STORE")]
    pub(crate) to: PathBuf,
    /// Which backup [default: the newest]
    #[arg(long, value_name = "N")]
    pub(crate) number: Option<u64>,
    /// Print the backup as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep the demo's store in this directory, which must be empty or missing [default: a temporary one]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoWriterArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
