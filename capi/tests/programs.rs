//! C and C++ programs, compiled with the compilers that there are, linked with both libraries, and run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Cargo has put the libraries: beside this test.
fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// A compiler: what the variable names, or one of the usual ones.
fn compiler(variable: &str, usual: &[&str]) -> String {
    let given = std::env::var(variable).ok();
    let runs = |name: &str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = given.into_iter().chain(usual.iter().map(|name| (*name).to_owned())).find(|name| runs(name));
    found.unwrap_or_else(|| panic!("no compiler among {usual:?}; {variable} may name one"))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn the_example_in_cpp_runs() {
    let (dir, here) = (tempfile::tempdir().unwrap(), Path::new(env!("CARGO_MANIFEST_DIR")));
    let (libraries, program) = (libraries(), dir.path().join("readme"));
    let mut compile = Command::new(compiler("CXX", &["c++", "g++", "clang++"]));
    compile.args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pthread", "-I"]).arg(here.join("include"));
    compile.arg(here.join("examples/readme.cpp")).arg("-L").arg(&libraries).arg("-llodestore_capi");
    compile.arg(format!("-Wl,-rpath,{}", libraries.display()));
    run(compile.arg("-o").arg(&program));
    let said = run(Command::new(&program).arg(dir.path()));
    println!("{said}");
    assert!(said.ends_with("ok\n"), "{said}");
}

/// A program in C with the static library.
fn c_program(name: &str, arguments: &[&Path]) {
    let (dir, here) = (tempfile::tempdir().unwrap(), Path::new(env!("CARGO_MANIFEST_DIR")));
    let program = dir.path().join(name);
    let mut compile = Command::new(compiler("CC", &["cc", "gcc", "clang"]));
    compile.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"]).arg(here.join("include"));
    compile.arg(here.join("tests").join(name).with_extension("c")).arg(libraries().join("liblodestore_capi.a"));
    compile.args(["-lpthread", "-ldl", "-lm", "-lgcc_s", "-lutil", "-lrt"]);
    run(compile.arg("-o").arg(&program));
    assert_eq!(run(Command::new(&program).args(arguments)), "ok\n");
}

#[test]
fn callers_are_told_of_their_mistakes() {
    c_program("mistakes", &[]);
}

#[test]
fn names_batches_and_readers() {
    let dir = tempfile::tempdir().unwrap();
    c_program("names", &[&dir.path().join("store")]);
}
