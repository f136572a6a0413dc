//! Runs the tests that are written in Python, with the extension that Cargo has built beside this test.

use std::path::Path;
use std::process::Command;

#[test]
fn the_tests_in_python_pass() {
    let this = std::env::current_exe().expect("a test has a path");
    let name = format!("{}lodestore_python{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let extension = this.parent().expect("a test is in a folder").join(name);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("test.py");
    // CPython has no other name on any system that lodestore is tested on.
    let status = Command::new("python3").arg(script).arg("--extension").arg(&extension).status();
    let status = status.unwrap_or_else(|error| {
        panic!("the tests of the Python package need python3, 3.10 or newer, with venv: install it ({error})")
    });
    assert!(status.success(), "python/test.py: {status}");
}
