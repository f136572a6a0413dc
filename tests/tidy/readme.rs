//! The README's shell commands, held against what there is.

use super::source::{File, Repo};

/// The commands in the shell blocks of a Markdown text, one string each.
pub(super) fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let (mut fence, mut continued) = (None, false);
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language.trim()) };
            continue;
        }
        if !matches!(fence, Some("sh" | "bash" | "shell" | "console")) {
            continue;
        }
        // In a console block only the lines with a prompt are typed.
        let line = match line.trim().strip_prefix("$ ") {
            Some(typed) => typed,
            None if fence == Some("console") && !continued => continue,
            None => line.trim(),
        };
        let typed = line.split(" #").next().unwrap_or_default().trim();
        let (typed, more) = typed.strip_suffix('\\').map_or((typed, false), |typed| (typed.trim(), true));
        match commands.last_mut() {
            Some(last) if continued => *last = format!("{last} {typed}"),
            _ if typed.is_empty() || typed.starts_with('#') => {}
            _ => commands.push(typed.to_owned()),
        }
        continued = more;
    }
    commands
}

/// Complaints about one command.
pub(super) fn check(repo: &Repo, command: &str) -> Vec<String> {
    let wrong = |what: String| format!("README.md: `{command}`: {what}");
    let words: Vec<_> = command.split_whitespace().skip_while(|word| word.contains('=') || *word == "env").collect();
    let mut complaints = Vec::new();
    for word in &words {
        if repo_path(repo, word) == Some(false) {
            complaints.push(wrong(format!("{word} does not exist")));
        }
    }
    let own: Vec<_> = words.iter().copied().skip_while(|word| *word != "--").skip(1).collect();
    match words.as_slice() {
        ["cargo", rest @ ..] => {
            complaints.extend(rest.windows(2).filter_map(|pair| cargo_option(repo, pair[0], pair[1])).map(wrong));
            if rest.first() == Some(&"run") && !rest.contains(&"--example") && !own.is_empty() {
                complaints.extend(lodestore(repo.file("cli/src/args.rs"), &own).map(wrong));
            }
        }
        [program, rest @ ..] if *program == "lodestore" || program.ends_with("/lodestore") => {
            complaints.extend(lodestore(repo.file("cli/src/args.rs"), rest).map(wrong));
        }
        _ => {}
    }
    complaints
}

/// Whether `word` is a path into one of the repository's folders, and if so whether it exists.
fn repo_path(repo: &Repo, word: &str) -> Option<bool> {
    let path = word.trim_start_matches("./");
    let (folder, _) = path.split_once('/')?;
    let ours = ["benches", "cli", "demo", "docs", "engine", "examples", "fuzz", "python", "src", "tests", "wal", ".ci"];
    ours.contains(&folder).then(|| repo.files.iter().any(|f| f.path == path || f.path.starts_with(&format!("{path}/"))))
}

fn cargo_option(repo: &Repo, option: &str, value: &str) -> Option<String> {
    let manifests = || repo.files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    let named = |name: &str| manifests().any(|file| file.text.contains(&format!("\nname = \"{name}\"")));
    let ends = |end: String| repo.files.iter().any(|file| file.path.ends_with(&end));
    let exists = match option {
        "-p" | "--package" | "--bin" => named(value),
        "--example" => ends(format!("examples/{value}.rs")) || ends(format!("examples/{value}/main.rs")),
        "--bench" => ends(format!("benches/{value}.rs")) || named(value),
        "--test" => named(value),
        "--features" => {
            let name = value.rsplit('/').next().unwrap_or(value);
            manifests().any(|file| file.text.contains(&format!("\n{name} = [")))
        }
        _ => true,
    };
    (!exists).then(|| format!("{option} {value} does not exist"))
}

/// What is wrong with the words after `lodestore`, going by the definition of its arguments.
fn lodestore(definition: &File, words: &[&str]) -> Option<String> {
    let name = words.first()?;
    if name.starts_with('-') {
        return None;
    }
    let code = definition.code();
    let variant: String = name.split('-').map(|part| part[..1].to_uppercase() + &part[1..]).collect();
    let Some(arguments) = code.split(&format!("\n    {variant}(")).nth(1).and_then(|rest| rest.split(')').next())
    else {
        return Some(format!("there is no subcommand {name}"));
    };
    let body = code.split(&format!("struct {arguments} {{")).nth(1)?.split('}').next()?;
    let unknown = words.iter().find(|word| {
        let flag = word.trim_start_matches("--").split('=').next().unwrap_or_default().replace('-', "_");
        word.starts_with("--") && word.len() > 2 && flag != "help" && !body.contains(&format!(" {flag}: "))
    })?;
    Some(format!("lodestore {name} has no {unknown}"))
}

#[test]
fn commands_are_found_and_checked() {
    let text = "```sh\n# a comment\ncargo run --release -- demo   # why\ncargo bench \\\n  -p x\n```\n```rust\nlet x;\n```\n\
                ```console\n$ lodestore info s\nstore s\n```\n";
    assert_eq!(commands(text), ["cargo run --release -- demo", "cargo bench -p x", "lodestore info s"]);

    let repo = Repo::read();
    for good in [
        "cargo test --workspace",
        "cargo run --release -- demo",
        "lodestore import s c --input x.fvecs --ef-construction 9 --metric l2",
        "./target/release/lodestore demo-writer s",
        "cargo build --release -p lodestore-cli",
        "lodestore --help",
        "RUSTFLAGS=-g cargo build",
        ".ci/run",
    ] {
        assert_eq!(check(&repo, good), [""; 0], "{good}");
    }
    for bad in [
        "cargo run --release -- demos",
        "cargo run -p lodestore-no-such -- demo",
        "cargo run --example no_such",
        "cargo test --features no-such",
        "lodestore import s c --inputs x",
        "lodestore info s --k 3",
        "python3 benches/peers/no_such.py",
        "./.ci/no-such",
    ] {
        assert_eq!(check(&repo, bad).len(), 1, "{bad}: {:?}", check(&repo, bad));
    }
}
