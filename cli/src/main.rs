//! The `lodestore` command.
//!
//! Modules stand bottom-up: a file names only modules above its own in this list.

mod values;
mod args;
mod output;
mod formats;
mod progress;
mod stop;
mod tags;
mod whole;
mod open;
mod keys;
mod export;
mod import;
mod chroma;
mod index;
mod search;
mod recall;
mod compact;
mod records;
mod plan;
mod inspect;
mod backup;
mod verify;
mod repair;
mod demo;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        // A reader that went away (`lodestore info x | head -1`) has what it wanted.
        Err(error) if output::reader_went_away(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", output::one_sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Import(args) => import::run(&args),
        Command::ImportIndex(args) => index::import(&args),
        Command::ExportIndex(args) => index::export(&args),
        Command::Export(args) => export::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Get(args) => records::get(&args),
        Command::Put(args) => records::put(&args),
        Command::Remove(args) => records::remove(&args),
        Command::Mark(args) => records::mark(&args),
        Command::Unmark(args) => records::unmark(&args),
        Command::Keys(args) => records::keys(&args),
        Command::Info(args) => inspect::info(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Repair(args) => repair::run(&args),
        Command::Recall(args) => recall::run(&args),
        Command::Checkpoint(args) => inspect::checkpoint(&args),
        Command::Compact(args) => compact::run(&args),
        Command::Backup(args) => backup::make(&args),
        Command::Backups(args) => backup::list(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Demo(args) => demo::run(&args),
        Command::DemoWriter(args) => demo::write_until_killed(&args.store),
    }
}
