//! The whole store under crashes: at every step that reaches the disk, while recovering, and at random.

use crate::support::model::Rng;
use faulty::Mutant;
use lodestore::Durability;
use lodestore_wal::disk::CrashMode;
use machine::{Machine, Setup, Wrong};
use model::{Op, State};
use parking_lot::Mutex;
use program::{Counts, Program};
use std::sync::atomic::{AtomicU64, Ordering};

mod backups;
mod faulty;
mod machine;
mod model;
mod program;

/// How the lights go out at a step.
fn crash(rng: &mut Rng) -> CrashMode {
    CrashMode::ALL[rng.below(CrashMode::ALL.len())]
}

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
        for mode in CrashMode::ALL {
            let mut machine = machine.rebooted(mode, step);
            if let Err(wrong) = machine.recover() {
                panic!("{durability:?}, step {step} of {steps}, {mode:?}: {wrong}");
            }
        }
    }
    println!("{durability:?}: {} crashes at {steps} steps", steps * CrashMode::ALL.len() as u64);
}

#[test]
fn every_durable_step_of_a_synced_store() {
    every_durable_step(Durability::Sync);
}

#[test]
fn every_durable_step_of_a_buffered_store() {
    every_durable_step(Durability::Buffered);
}

/// Programs of a short run.
const PROGRAMS: u64 = 300;
/// What a short run comes to, at least; half of it in recovery.
const POINTS: u64 = 10_000;

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
        let mode = crash(&mut rng);
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
    let mode = crash(&mut rng);
    machine.reboot(mode, rng.next());
    counts.restored += machine.recover()?;
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
    println!("{counts}");
    assert!(counts.in_recovery * 2 >= counts.crashes, "{counts:?}");
}

/// A cleanly closed store that is opened again and again, each time until the process or the power ends, without ever
/// being written to.
#[test]
fn openings_of_a_closed_store_that_are_cut_short() {
    lodestore_wal::log::fix_salt(0);
    let mut closed = Machine::new(Setup::new(Durability::Sync), 1);
    closed.run(&[Op::Create(0), model::Maker::new(1).put(0, 3)]).unwrap();
    for (first, second, seed) in (1..10).flat_map(|a| (1..10).flat_map(move |b| (0..6).map(move |seed| (a, b, seed)))) {
        let mut machine = closed.rebooted(CrashMode::KeepAll, seed);
        for (step, mode) in [(first, CrashMode::ProcessKill), (second, CrashMode::PowerLoss)] {
            machine.sim.crash_at(step);
            drop(machine.open());
            machine.reboot(mode, seed);
        }
        if let Err(wrong) = machine.recover() {
            panic!("killed at step {first}, no power at step {second}, {seed}: {wrong}");
        }
    }
}

/// How to see a failure again.
fn replay(test: &str, seed: u64) -> String {
    format!("replay: LODESTORE_SEED={seed} LODESTORE_CRASH_PROGRAMS=1 cargo test --test integration {test}")
}

/// Runs the program of a seed.
fn run_program(seed: u64, setup: Setup) -> Result<Counts, (Counts, Wrong)> {
    let mut program = Program::new(seed, setup);
    match program.run() {
        Ok(()) => Ok(program.counts),
        Err(wrong) => {
            let story = program.story.join("\n");
            let wrong = format!("{story}\nseed {seed}: {wrong}\n{}", replay("random_programs", seed));
            Err((program.counts, wrong))
        }
    }
}

/// `LODESTORE_CRASH_PROGRAMS` programs, or as many as meet `LODESTORE_CRASH_POINTS`, by all cores then.
#[test]
fn random_programs() {
    lodestore_wal::log::fix_salt(0);
    let first = number("LODESTORE_SEED", 1);
    let points = number("LODESTORE_CRASH_POINTS", 0);
    let programs = if points > 0 { u64::MAX - first } else { number("LODESTORE_CRASH_PROGRAMS", PROGRAMS) };
    let threads = if points > 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    let began = std::time::Instant::now();
    let (next, done) = (AtomicU64::new(first), Mutex::new((0u64, Counts::default())));
    let told = || {
        let (programs, counts) = &*done.lock();
        println!("{programs} programs from seed {first}, {counts}, {:.0?}", began.elapsed());
    };
    std::thread::scope(|scope| {
        let work = || loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + programs || points > 0 && done.lock().1.crashes >= points {
                break;
            }
            let setup = Setup { payloads: true, backups: true, ..Program::setup(seed) };
            let counts = run_program(seed, setup).unwrap_or_else(|(_, wrong)| panic!("{wrong}"));
            let mut done = done.lock();
            done.0 += 1;
            done.1 += counts;
            if done.0.is_multiple_of(100) && points > 0 {
                drop(done);
                told();
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    told();
    let (_, counts) = *done.lock();
    assert!(counts.in_recovery * 2 >= counts.crashes || counts.crashes < 1000, "{counts}");
    assert!(counts.crashes >= POINTS || programs < PROGRAMS, "{counts}");
}

/// The first program that goes wrong, before so many crash points are met: what the tests of mutants ask for.
pub(crate) fn hunt(points: u64) -> (u64, u64, Option<Wrong>) {
    lodestore_wal::log::fix_salt(0);
    let mut counts = Counts::default();
    let mut seed = 0;
    while counts.crashes < points {
        seed += 1;
        let run = std::panic::AssertUnwindSafe(|| run_program(seed, Program::setup(seed)));
        match std::panic::catch_unwind(run) {
            Ok(Ok(more)) => counts += more,
            Ok(Err((more, wrong))) => {
                let wrong = wrong.lines().find(|line| line.starts_with("seed ")).unwrap_or_default().to_owned();
                counts += more;
                return (counts.crashes, seed, Some(wrong));
            }
            // Not what the store should do, and a sign all the same.
            Err(_) => return (counts.crashes, seed, Some(format!("seed {seed}: a panic"))),
        }
    }
    (counts.crashes, seed, None)
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
    let mode = crash(&mut rng);
    machine.reboot(mode, rng.next());
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

/// Duties towards single files that must not be neglected (`tests/mutants.rs` has those of the protocol), and how many programs may pass before it is noticed.
#[test]
fn neglected_duties_are_noticed() {
    lodestore_wal::log::fix_salt(0);
    let mutants = [
        Mutant::Sync("c/", "vectors"),
        Mutant::Sync("c/", "codes"),
        Mutant::Sync("c/", "ids"),
        Mutant::Sync("c/", "keys"),
        Mutant::Sync("c/", "links"),
        Mutant::Sync("c/", "tombs"),
        Mutant::Sync("", "SUPER"),
        Mutant::Sync("", "heads"),
        Mutant::Sync("", "catalog.redb"),
        Mutant::SyncDir("c"),
        Mutant::Sync("backups/", "blocks"),
        Mutant::Sync("backups/", "backup.tmp"),
        Mutant::SyncDir("backups"),
    ];
    let mut unnoticed = Vec::new();
    for mutant in mutants {
        let noticed = (1..=400).find_map(|seed| {
            let backups = format!("{mutant:?}").contains("backups");
            let setup = Setup { mutant, backups, ..Program::setup(seed) };
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
