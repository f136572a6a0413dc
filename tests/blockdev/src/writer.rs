//! The process that writes: it says before each operation that it begins, and after it how it ended, and waits each time
//! until that was heard. So whoever listens knows what was on the device at that moment.

use crate::Result;
use crate::program::{Op, carry_out, open, ops, ops_with_large_ones, state, states};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

fn say(line: &str) -> Result<()> {
    println!("{line}");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.is_empty() { Err("nobody listens".into()) } else { Ok(()) }
}

/// What a process does that is to be killed for its memory. `pace`: KiB a second that it fills beside.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Job {
    Write { pace: u64 },
    Open { pace: u64 },
}

/// Fills memory until the process ends.
fn fill(pace: u64) {
    std::thread::spawn(move || {
        let mut filled = Vec::new();
        loop {
            filled.push(vec![1u8; (pace << 10) as usize / 500]);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    });
}

/// Does what [`Job`] says.
pub(crate) fn work(job: Job, directory: &Path, seed: u64) -> Result<()> {
    let (Job::Write { pace } | Job::Open { pace }) = job;
    if pace > 0 {
        fill(pace);
    }
    match job {
        Job::Write { .. } => write_all(directory, &ops_with_large_ones(seed)),
        Job::Open { .. } => {
            let (store, _) = open(directory)?;
            say("open")?;
            store.checkpoint()?;
            // What a reader would do; closing is for those who live.
            store.verify()?;
            say("end")
        }
    }
}

/// Carries out the operations of `seed`.
pub(crate) fn write(directory: &Path, seed: u64) -> Result<()> {
    write_all(directory, &ops(seed))
}

fn write_all(directory: &Path, ops: &[Op]) -> Result<()> {
    let (store, docs) = open(directory)?;
    say("open")?;
    for (n, op) in ops.iter().enumerate() {
        say(&format!("begin {}", n + 1))?;
        match carry_out(&store, &docs, op) {
            Ok(()) => say(&format!("done {}", n + 1))?,
            Err(error) => {
                let then = carry_out(&store, &docs, &ops[0]);
                let found = state(&docs)?;
                let readable = [n, n + 1].iter().any(|&n| states(ops)[n] == found);
                let then = then.map_or_else(|error| error.to_string(), |()| "it went on".into());
                say(&format!("failed {} readable {readable}: {error}; then: {then}", n + 1))?;
                return Ok(());
            }
        }
    }
    say("end")
}

/// That process, from outside.
pub(crate) struct Writer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    answers: ChildStdin,
}

impl Writer {
    pub(crate) fn start(directory: &Path, seed: u64) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        Self::of(command.arg("write").arg(directory).arg(seed.to_string()))
    }

    /// Within a control group, from its first moment on.
    pub(crate) fn within(group: &Path, directory: &Path, seed: u64, job: Job) -> Result<Self> {
        let (name, pace) = match job {
            Job::Write { pace } => ("fill-and-write", pace),
            Job::Open { pace } => ("fill-and-open", pace),
        };
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#]).arg(group);
        command.arg(std::env::current_exe()?).arg(name).arg(directory).args([seed.to_string(), pace.to_string()]);
        Self::of(&mut command)
    }

    fn of(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdout, answers) = (child.stdout.take(), child.stdin.take());
        let lines = BufReader::new(stdout.ok_or("no output")?).lines();
        Ok(Self { child, lines, answers: answers.ok_or("no input")? })
    }

    /// What it says next, while it waits for [`go_on`](Self::go_on).
    pub(crate) fn hear(&mut self) -> Result<String> {
        Ok(self.lines.next().ok_or("the writer ended")??)
    }

    pub(crate) fn go_on(&mut self) -> Result<()> {
        Ok(self.answers.write_all(b"\n")?)
    }

    /// How it ended, once it has.
    pub(crate) fn wait(mut self) -> Result<ExitStatus> {
        drop(self.answers);
        Ok(self.child.wait()?)
    }

    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}
