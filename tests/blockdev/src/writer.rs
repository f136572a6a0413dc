//! The process that writes: it says before each operation that it begins, and after it how it ended, and waits each time
//! until that was heard. So whoever listens knows what was on the device at that moment.

use crate::Result;
use crate::program::{carry_out, open, ops, state, states};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

fn say(line: &str) -> Result<()> {
    println!("{line}");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.is_empty() { Err("nobody listens".into()) } else { Ok(()) }
}

/// Carries out the operations of `seed`.
pub(crate) fn write(directory: &Path, seed: u64) -> Result<()> {
    let ops = ops(seed);
    let (store, docs) = open(directory)?;
    say("open")?;
    for (n, op) in ops.iter().enumerate() {
        say(&format!("begin {}", n + 1))?;
        match carry_out(&store, &docs, op) {
            Ok(()) => say(&format!("done {}", n + 1))?,
            Err(error) => {
                let then = carry_out(&store, &docs, &ops[0]);
                let found = state(&docs)?;
                let readable = [n, n + 1].iter().any(|&n| states(&ops)[n] == found);
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
        let mut child = Command::new(std::env::current_exe()?)
            .arg("write")
            .arg(directory)
            .arg(seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
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

    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}
