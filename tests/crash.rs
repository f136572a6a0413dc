//! The whole store under crashes: at every step that reaches the disk, while recovering, and at random.

use crate::support::model::Rng;
use faulty::Mutant;
use lodestore::Durability;
use lodestore_wal::disk::CrashMode;
use machine::{Machine, Setup, Wrong};
use model::{Op, State};
use program::{Counts, Program};

mod faulty;
mod machine;
mod model;
mod program;

/// How the lights go out, and by which seed.
const CRASHES: [(CrashMode, u64); 5] = [
    (CrashMode::PowerLoss, 1),
    (CrashMode::PowerLoss, 2),
    (CrashMode::KeepNothing, 0),
    (CrashMode::KeepAll, 0),
    (CrashMode::ProcessKill, 0),
];

fn every_durable_step(durability: Durability) {
    lodestore_wal::log::fix_salt(0);
    let (setup, script) = (Setup::new(durability), model::script());
    let mut whole = Machine::new(setup, 1);
    whole.run(&script).unwrap();
    whole.recover().unwrap();
    let mut whole = Machine::new(setup, 1);
    whole.run(&script).unwrap();
    let steps = whole.sim.steps();
    for step in 1..=steps {
        let mut machine = Machine::new(setup, step);
        machine.sim.crash_at(step);
        // Closing tells nobody of a catalogue that could not save what lets it open faster.
        let _ = machine.run(&script);
        assert!(machine.sim.is_crashed(), "step {step} of {steps} was not reached");
        for (mode, seed) in CRASHES {
            let mut machine = machine.rebooted(mode, seed);
            if let Err(wrong) = machine.recover() {
                panic!("{durability:?}, step {step} of {steps}, {mode:?} {seed}: {wrong}");
            }
        }
    }
    println!("{durability:?}: {} crashes at {steps} steps", steps * CRASHES.len() as u64);
}

#[test]
fn every_durable_step_of_a_synced_store() {
    every_durable_step(Durability::Sync);
}

#[test]
fn every_durable_step_of_a_buffered_store() {
    every_durable_step(Durability::Buffered);
}

/// The number that an environment variable holds.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Crashes at a step of the script, then again and again while the store is opened.
fn crash_while_recovering(seed: u64, script: &[Op], steps: u64) -> Result<Counts, Wrong> {
    let mut rng = Rng::new(seed);
    let durability = if seed.is_multiple_of(2) { Durability::Sync } else { Durability::Buffered };
    let mut machine = Machine::new(Setup::new(durability), seed);
    machine.sim.crash_at(rng.within(30..steps));
    let _ = machine.run(script);
    let mut counts = Counts { crashes: 1, ..Counts::default() };
    for _ in 0..rng.within(2..5) {
        let (mode, _) = CRASHES[rng.within(0..CRASHES.len() as u64) as usize];
        machine.reboot(mode, rng.next());
        // Recovery takes some seventy steps or, with nothing to replay, a dozen. A store that has opened is killed.
        let steps = [8, 16, 60][rng.within(0..3) as usize];
        machine.sim.crash_at(1 + rng.within(0..steps));
        let live = machine.open();
        counts.crashes += 1;
        counts.in_recovery += u64::from(machine.sim.is_crashed());
        if !machine.sim.is_crashed() {
            machine.sim.crash_at(u64::MAX);
            let live = live.map_err(|error| error.to_string())?;
            machine.settle(&live)?;
            // Dropping it closes it no more.
            machine.sim.crash_at(1);
        }
    }
    let (mode, pick) = CRASHES[rng.within(0..CRASHES.len() as u64) as usize];
    machine.reboot(mode, pick);
    machine.recover()?;
    Ok(counts)
}

#[test]
fn crashes_while_recovering_from_crashes() {
    lodestore_wal::log::fix_salt(0);
    let script = model::script();
    let mut whole = Machine::new(Setup::new(Durability::Buffered), 1);
    whole.run(&script).unwrap();
    let steps = whole.sim.steps();
    let mut counts = Counts::default();
    let first = number("LODESTORE_SEED", 1);
    for seed in first..first + number("LODESTORE_CRASH_PROGRAMS", 2000) {
        match crash_while_recovering(seed, &script, steps) {
            Ok(more) => counts += more,
            Err(wrong) => panic!("{wrong}\n{}", replay("crashes_while_recovering", seed)),
        }
    }
    println!("{} crashes, {} of them while opening", counts.crashes, counts.in_recovery);
    assert!(counts.in_recovery * 2 >= counts.crashes, "{counts:?}");
}

/// How to see a failure again.
fn replay(test: &str, seed: u64) -> String {
    format!("replay: LODESTORE_SEED={seed} LODESTORE_CRASH_PROGRAMS=1 cargo test --test integration {test}")
}

#[test]
fn random_programs() {
    lodestore_wal::log::fix_salt(0);
    let first = number("LODESTORE_SEED", 1);
    let mut counts = Counts::default();
    for seed in first..first + number("LODESTORE_CRASH_PROGRAMS", 300) {
        let mut program = Program::new(seed, Program::setup(seed));
        if let Err(wrong) = program.run() {
            let story = program.story.join("\n");
            panic!("{story}\nseed {seed}: {wrong}\n{}", replay("random_programs", seed));
        }
        counts += program.counts;
    }
    println!("{counts:?}");
}

/// Crashes, recovers, does what is left of the program, and leaves the very graph that it would have left otherwise.
fn same_graph_as_a_twin(seed: u64, ops: &[Op]) -> Result<(), Wrong> {
    let mut rng = Rng::new(seed);
    let durability = if seed.is_multiple_of(2) { Durability::Sync } else { Durability::Buffered };
    // When slots become free depends on when checkpoints are taken, and recovery takes one.
    let setup = Setup { maintenance: false, ..Setup::new(durability) };
    let mut twin = Machine::new(setup, seed);
    twin.run(ops).map_err(|error| format!("the twin: {error}"))?;
    let mut machine = Machine::new(setup, seed);
    machine.sim.crash_at(rng.within(60..twin.sim.steps()));
    let _ = machine.run(ops);
    let (mode, pick) = CRASHES[rng.within(0..CRASHES.len() as u64) as usize];
    machine.reboot(mode, pick + seed);
    let live = machine.open().map_err(|error| error.to_string())?;
    machine.settle(&live)?;
    drop(live);
    let mut done = State::new();
    let mut left = ops;
    while done != *machine.history.now() {
        let (op, rest) = left.split_first().ok_or("the store holds what the program never made")?;
        done = op.act(&done).unwrap_or(done);
        left = rest;
    }
    machine.run(left).map_err(|error| format!("after the crash: {error}"))?;
    for ((name, got), (_, expected)) in machine.graphs().iter().zip(twin.graphs()) {
        if *got != expected {
            let at = got.iter().zip(&expected).position(|(a, b)| a != b);
            return Err(format!(
                "{name} differs from the twin's at byte {at:?} ({mode:?}, {} operations left)",
                left.len()
            ));
        }
    }
    Ok(())
}

#[test]
fn recovery_makes_the_graph_that_would_have_been() {
    lodestore_wal::log::fix_salt(0);
    let first = number("LODESTORE_SEED", 1);
    for seed in first..first + number("LODESTORE_CRASH_PROGRAMS", 150) {
        let make = &mut model::Maker::new(seed);
        let mut ops = vec![Op::Create(0), Op::Create(1)];
        for key in (0..model::KEYS).step_by(4) {
            ops.extend([make.put(0, key), make.put(1, key), make.put_many(0, key + 1..key + 4)]);
            ops.push(make.batch(&[(1, key + 1), (0, key), (1, key + 2), (1, key), (0, key + 1)]));
            if key % 12 == 8 {
                ops.push(Op::Checkpoint);
            }
        }
        if let Err(wrong) = same_graph_as_a_twin(seed, &ops) {
            panic!("{wrong}\n{}", replay("recovery_makes_the_graph", seed));
        }
    }
}

/// Every duty that must not be neglected, and how many programs may pass before it is noticed.
#[test]
fn neglected_duties_are_noticed() {
    lodestore_wal::log::fix_salt(0);
    let mutants = [
        Mutant::Sync("wal/", ".wal"),
        Mutant::Sync("ckpt/", ".pgs"),
        Mutant::Sync("c/", "vectors"),
        Mutant::Sync("c/", "codes"),
        Mutant::Sync("c/", "ids"),
        Mutant::Sync("c/", "keys"),
        Mutant::Sync("c/", "links"),
        Mutant::Sync("c/", "tombs"),
        Mutant::Sync("", "heads"),
        Mutant::Sync("", "catalog.redb"),
        Mutant::Sync("", "SUPER"),
        Mutant::SyncDir("wal"),
        Mutant::SyncDir("ckpt"),
        Mutant::SyncDir("c"),
    ];
    let mut unnoticed = Vec::new();
    for mutant in mutants {
        let noticed = (1..=400).find_map(|seed| {
            let setup = Setup { mutant, ..Program::setup(seed) };
            let run = || Program::new(seed, setup).run().err();
            // A panic is not what the store should do, and a sign all the same.
            let run = std::panic::catch_unwind(run).unwrap_or_else(|_| Some("a panic".into()));
            run.map(|wrong| (seed, wrong))
        });
        match noticed {
            Some((seed, wrong)) => println!("{mutant:?} is noticed by program {seed}: {wrong:.150}"),
            None => unnoticed.push(mutant),
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
