mod ascend;
mod errors;
mod families;
mod fusion;
mod source;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// Shells that completions are made for, and how the files are called that they look for.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "mscc.bash"), ("zsh", "_mscc"), ("fish", "mscc.fish")];

/// Write what is made from the source: manual pages, completions, docs/errors.md, parts of docs/families.md, docs/ascend.md and
/// docs/fusion.md.
///
/// Tests fail when these are not current.
#[derive(clap::Args)]
pub struct Args {}

/// Writes all files.
pub fn run(_: &Args) -> anyhow::Result<()> {
    let errors = root().join("docs/errors.md");
    fs::write(&errors, errors::page(&root())?).with_context(|| errors.display().to_string())?;
    let families = root().join("docs/families.md");
    fs::write(&families, families::page(&root())?).with_context(|| families.display().to_string())?;
    let ascend = root().join("docs/ascend.md");
    fs::write(&ascend, ascend::page(&root())?).with_context(|| ascend.display().to_string())?;
    let fusion = root().join("docs/fusion.md");
    fs::write(&fusion, fusion::page(&root())?).with_context(|| fusion.display().to_string())?;
    let tools = root().join("tools/mscc");
    let (man, completions) = (tools.join("man"), tools.join("completions"));
    for dir in [&man, &completions] {
        // What was made of a command that is gone goes too.
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        fs::create_dir(dir).with_context(|| dir.display().to_string())?;
    }
    mscc(&["man", "-o", &man.to_string_lossy()])?;
    for (shell, file) in COMPLETIONS {
        fs::write(completions.join(file), mscc(&["completions", shell])?)?;
    }
    Ok(())
}

/// Standard output of the command line as it is now.
fn mscc(arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(["run", "--quiet", "--package", "mscc", "--"]).args(arguments);
    let output = command.output().context("cannot start cargo")?;
    anyhow::ensure!(
        output.status.success(),
        "mscc {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_families_is_current() {
        let page = families::page(&root()).unwrap();
        let current = fs::read_to_string(root().join("docs/families.md")).unwrap_or_default();
        assert!(page == current, "docs/families.md is not what the source says: run `cargo xtask docs`");
    }

    #[test]
    fn the_page_about_fusion_is_current() {
        let page = fusion::page(&root()).unwrap();
        let current = fs::read_to_string(root().join("docs/fusion.md")).unwrap_or_default();
        assert!(page == current, "docs/fusion.md is not what the source says: run `cargo xtask docs`");
    }

    #[test]
    fn the_page_about_ascend_is_current() {
        let page = ascend::page(&root()).unwrap();
        let current = fs::read_to_string(root().join("docs/ascend.md")).unwrap_or_default();
        assert!(page == current, "docs/ascend.md is not what the source says: run `cargo xtask docs`");
    }

    #[test]
    fn the_page_of_errors_is_current() {
        let page = errors::page(&root()).unwrap();
        let current = fs::read_to_string(root().join("docs/errors.md")).unwrap_or_default();
        assert!(page == current, "docs/errors.md is not what the source says: run `cargo xtask docs`");
    }
}
