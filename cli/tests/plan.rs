//! `lodestore info --plan`, and budgets, of the real binary.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const ROWS: u32 = 300;
const DIM: u32 = 40;

fn run(dir: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lodestore")).args(line.split_whitespace()).current_dir(dir).output().unwrap()
}

fn ok(dir: &Path, line: &str) -> String {
    let output = run(dir, line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_plan_says_what_fits_and_what_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = Vec::new();
    for row in 0..ROWS {
        file.extend(DIM.to_le_bytes());
        // Numbers that are all over the place, and always the same.
        let component = |at: u32| (row * DIM + at).wrapping_mul(2_654_435_761) as f32;
        file.extend((0..DIM).flat_map(|at| component(at).to_le_bytes()));
    }
    std::fs::write(dir.path().join("base.fvecs"), file).unwrap();
    ok(dir.path(), "import store docs --input base.fvecs --metric l2 --memory 64MiB");
    let plan = |size: &str| -> Value {
        serde_json::from_str(&ok(dir.path(), &format!("info store --plan --memory {size} --json"))).unwrap()
    };
    let of = |plan: &Value, what: &str| plan["collections"][0][what].as_f64().unwrap();

    let all = plan("1GiB");
    assert_eq!((&all["memory"], &all["fits"], of(&all, "reads")), (&(1u64 << 30).into(), &"all".into(), 0.0));
    assert!(of(&all, "distances") > 10.0 && of(&all, "reranked") >= 10.0, "{all}");
    let twice = 2 * all["hot"].as_u64().unwrap();
    let hot = plan(&twice.to_string());
    assert_eq!((&hot["fits"], of(&hot, "reads")), (&"hot".into(), of(&hot, "reranked")));
    let part = plan("4KiB");
    assert!(part["fits"] == "part" && of(&part, "reads") > of(&part, "hops"), "{part}");
    assert!(ok(dir.path(), "info store --plan --memory 4KiB").contains("docs: 300 records"));

    let usage = run(dir.path(), "info store --plan");
    assert_eq!(usage.status.code(), Some(2), "without a size there is no plan");
    let small = run(dir.path(), "search store docs --queries base.fvecs --memory 1MiB");
    assert!(small.status.code() == Some(1) && String::from_utf8_lossy(&small.stderr).contains("32 MiB"));
}
