//! Every protocol holds, and breaks when a part of it is left out: a model that cannot fail proves nothing.

use lodestore_models::group_commit::Beside;
use lodestore_models::sync::{Without, leave_out};
use lodestore_models::{flight, group_commit, publish, readers, reuse, unlink};
use std::process::Command;

/// Which broken protocol a child process is to run: loom's own clean-up after a failure may abort the process.
const BROKEN: &str = "LODESTORE_MODEL_BROKEN";

fn without(what: Without, model: impl FnOnce()) {
    leave_out(Some(what));
    model();
}

/// Protocols that must be found to be broken.
const ALL_BROKEN: &[(&str, fn())] = &[
    ("readers looked for before the slot is unlinked", || readers::outwait(true)),
    ("readers without fences", || without(Without::Fences, || readers::outwait(false))),
    ("a link before the vector", || publish::put(publish::Wrong::LinkedFirst)),
    ("a link without order", || publish::put(publish::Wrong::Relaxed)),
    ("a link before the node's own list", || publish::put(publish::Wrong::ListLast)),
    ("a tombstone gone before the vector is there", || publish::put(publish::Wrong::RevivedFirst)),
    ("a sweep that begins while others write", || unlink::begin(unlink::Wrong::NoGate)),
    ("a list that takes back what is being unlinked", || unlink::give_back(unlink::Wrong::NotAsked)),
    ("a list that asks in the wrong order", || unlink::give_back(unlink::Wrong::AskedInReverse)),
    ("a sweep that ends in the wrong order", || unlink::give_back(unlink::Wrong::CeasesFirst)),
    ("a search that asks too late whether any are dead", || unlink::search(true)),
    ("a slot used before it is durable", || reuse::use_again(reuse::Wrong::NotDurable)),
    ("a slot used while an insert may look at it", || reuse::use_again(reuse::Wrong::NoGate)),
    ("a slot used while a search may look at it", || reuse::use_again(reuse::Wrong::NotCounted)),
    ("a write that does not wait for another", || flight::replace(false)),
    ("a write that is not woken", || without(Without::Notices, || flight::replace(true))),
    ("a commit that is not woken", || without(Without::Notices, || group_commit::commit(Beside::Nothing))),
];

#[test]
#[ignore = "run by the next one, once for each"]
fn one_broken() {
    let name = std::env::var(BROKEN).expect("which");
    ALL_BROKEN.iter().find(|(broken, _)| *broken == name).expect("one of them").1();
}

#[test]
fn what_is_broken_is_found() {
    for (name, _) in ALL_BROKEN {
        let mut child = Command::new(std::env::current_exe().expect("this test"));
        child.args(["one_broken", "--exact", "--ignored", "--nocapture"]).env(BROKEN, name).env("RUST_BACKTRACE", "0");
        let output = child.output().expect("a child process");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("panicked at"), "not found: {name}; {said}");
        let reason = said.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
        println!("{name}: {}", reason.unwrap_or_default());
    }
}

#[test]
fn a_slot_is_written_anew_when_its_readers_are_gone() {
    readers::outwait(false);
}

#[test]
fn a_slot_is_written_before_it_is_found() {
    publish::put(publish::Wrong::Nothing);
}

#[test]
fn nothing_links_to_a_free_slot() {
    unlink::begin(unlink::Wrong::Nothing);
    unlink::give_back(unlink::Wrong::Nothing);
    unlink::search(false);
}

#[test]
fn a_slot_is_used_again_when_it_is_unlinked_durably_and_left() {
    reuse::use_again(reuse::Wrong::Nothing);
}

#[test]
fn who_replaces_what_is_being_put_comes_after_it() {
    flight::replace(true);
}

#[test]
fn what_is_acknowledged_is_durable() {
    group_commit::commit(Beside::Nothing);
    group_commit::commit(Beside::PowerLoss);
}

#[test]
fn what_is_acknowledged_is_durable_though_a_sync_fails() {
    group_commit::commit(Beside::FailedSync);
}
