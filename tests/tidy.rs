//! The rules of the house, kept by a test: each rule is a function from files to complaints, and each is also run on
//! a small bad sample, so that a rule that has gone blind fails too.

mod readme;
mod rules;
mod source;

use source::{File, Repo};

/// The only files that may hold `unsafe`; one that holds none must leave the list.
const UNSAFE: &[&str] = &[
    "wal/src/map.rs",
    // Tests that read and write through the maps.
    "wal/src/disk/suite.rs",
    "engine/src/view.rs",
    "engine/src/kernel/mod.rs",
    "engine/src/kernel/avx2.rs",
    "engine/src/kernel/avx512.rs",
    "engine/src/kernel/neon.rs",
    "engine/src/kernel/lookups.rs",
    // The edge to C.
    "capi/src/memory.rs",
    "capi/src/status.rs",
    "capi/src/store.rs",
    "capi/src/collection.rs",
    "capi/src/search.rs",
    "capi/src/named.rs",
    "capi/src/batch.rs",
];

/// The crates, lowest first: root file, and the workspace crates that it may name.
const CRATES: &[(&str, &[&str])] = &[
    ("wal/src/lib.rs", &[]),
    ("engine/src/lib.rs", &["lodestore_wal"]),
    ("src/lib.rs", &["lodestore_wal", "lodestore_engine"]),
    ("cli/src/main.rs", &["lodestore"]),
    ("python/src/lib.rs", &["lodestore"]),
    ("capi/src/lib.rs", &["lodestore"]),
];

fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n  {}\n", complaints.join("\n  "));
}

fn rust(repo: &Repo) -> impl Iterator<Item = &File> {
    repo.files.iter().filter(|file| file.path.ends_with(".rs"))
}

#[test]
fn crates_name_only_lower_crates() {
    let repo = Repo::read();
    for (root, allowed) in CRATES {
        none(rules::crates(repo.under(root), allowed));
        let manifest = root.replace("src/lib.rs", "Cargo.toml").replace("src/main.rs", "Cargo.toml");
        none(rules::dependencies(repo.file(&manifest), allowed));
    }
}

#[test]
fn modules_name_only_modules_above_their_own() {
    let repo = Repo::read();
    for (root, _) in CRATES {
        none(rules::modules(repo.file(root), repo.under(root)));
    }
}

#[test]
fn files_stay_short() {
    let repo = Repo::read();
    none(
        repo.files
            .iter()
            .filter(|f| f.path.ends_with(".rs") || f.path.ends_with(".py"))
            .flat_map(rules::length)
            .collect(),
    );
}

#[test]
fn unsafe_stays_in_its_files() {
    none(rules::unsafe_code(rust(&Repo::read()), UNSAFE));
}

#[test]
fn nothing_is_left_for_later() {
    none(rust(&Repo::read()).flat_map(rules::leftovers).collect());
}

#[test]
fn every_member_declares_the_lints() {
    let repo = Repo::read();
    let manifests: Vec<_> = rules::members(repo.file("Cargo.toml")).iter().map(|path| repo.file(path)).collect();
    assert!(manifests.len() >= 4, "the workspace has {} members", manifests.len());
    none(manifests.into_iter().flat_map(rules::lints).collect());
}

#[test]
fn nothing_points_out_of_the_repository() {
    none(Repo::read().files.iter().flat_map(rules::outside).collect());
}

#[test]
fn the_commands_of_the_readme_exist() {
    let repo = Repo::read();
    let commands = readme::commands(&repo.file("README.md").text);
    assert!(
        commands.iter().any(|c| c == "cargo test --workspace"),
        "the README gives the command that passes all tests"
    );
    let demo = |c: &String| c.starts_with("cargo run") && c.ends_with("-- demo");
    assert!(commands.iter().any(demo), "the README gives the command that runs the demo");
    let ci = &repo.file(".ci/run").text;
    assert!(ci.contains("cargo test --workspace\n"), ".ci/run runs the README's tests");
    none(commands.iter().flat_map(|command| readme::check(&repo, command)).collect());
}
