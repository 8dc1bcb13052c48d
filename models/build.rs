//! Lists the family files, so that adding one takes no other change.

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("families");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    let mut list = format!("const FILES: [(&str, &str); {}] = [\n", files.len());
    for path in &files {
        let name = path.file_name().ok_or("a file has a name")?.to_str().ok_or("names are UTF-8")?;
        writeln!(list, "    ({:?}, include_str!({path:?})),", format!("families/{name}"))?;
    }
    list.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("families.rs"), list)?;
    Ok(())
}
