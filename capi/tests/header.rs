//! The header is the one that the functions give.

use std::path::Path;

/// `LODESTORE_WRITE_HEADER=1` writes it.
#[test]
fn the_header_is_up_to_date() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).unwrap();
    let mut made = Vec::new();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for module in ["status", "memory", "types", "store", "collection", "search", "named", "batch"] {
        builder = builder.with_src(here.join(format!("src/{module}.rs")));
    }
    builder.generate().unwrap().write(&mut made);
    let (made, path) = (String::from_utf8(made).unwrap(), here.join("include/lodestore.h"));
    if std::env::var_os("LODESTORE_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap();
    assert!(there == made, "include/lodestore.h is old: LODESTORE_WRITE_HEADER=1 cargo test -p lodestore-capi");
    for function in
        ["lodestore_open", "lodestore_search_many", "lodestore_put_named", "lodestore_batch", "lodestore_error_text"]
    {
        assert!(there.contains(&format!("{function}(")), "{function}");
    }
}
