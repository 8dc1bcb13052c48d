use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// A directory that appears under its name only when it is complete.
///
/// Until then it lies beside the target, in a hidden directory that is removed on failure.
pub struct Staging {
    temporary: TempDir,
    target: PathBuf,
}

impl Staging {
    /// Errors: a target that is not an empty directory, unless `force` is set and it holds a model.
    pub fn new(target: &Path, force: bool) -> anyhow::Result<Staging> {
        // Resolved, so that replacing the target keeps a link to it.
        let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
        let Some(name) = target.file_name() else { bail!("{} cannot be replaced", target.display()) };
        if target.exists() && !is_empty_dir(&target)? {
            if !force {
                bail!("{} is not empty; --force replaces it if it holds a model", target.display());
            }
            if !target.join("config.json").is_file() {
                bail!("{} is not empty and holds no config.json: it is left as it is", target.display());
            }
        }
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            Some(_) | None => Path::new("."),
        };
        let temporary = fs::create_dir_all(parent).and_then(|()| {
            tempfile::Builder::new().prefix(&format!(".{}.", name.to_string_lossy())).tempdir_in(parent)
        });
        let temporary = temporary.with_context(|| format!("cannot write to {}", parent.display()))?;
        let staging = Staging { temporary, target };
        // Within, so that it has the permissions of any directory, which the outer one has not.
        fs::create_dir(staging.path())?;
        Ok(staging)
    }

    /// Where to write.
    pub fn path(&self) -> PathBuf {
        self.temporary.path().join("new")
    }

    /// Gives the directory its name.
    pub fn commit(self) -> anyhow::Result<()> {
        let swap = || {
            if self.target.exists() {
                fs::rename(&self.target, self.temporary.path().join("old"))?;
            }
            fs::rename(self.path(), &self.target)
        };
        swap().with_context(|| format!("cannot replace {}", self.target.display()))
    }
}

fn is_empty_dir(path: &Path) -> anyhow::Result<bool> {
    let mut entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
    Ok(entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_models_and_only_when_told() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("deep/model");
        let write = |force: bool, content: &str| {
            let staging = Staging::new(&target, force)?;
            fs::write(staging.path().join("config.json"), content)?;
            staging.commit()
        };
        write(false, "1").unwrap();
        assert!(write(false, "2").unwrap_err().to_string().contains("--force"));
        write(true, "3").unwrap();
        assert_eq!(fs::read_to_string(target.join("config.json")).unwrap(), "3");

        fs::rename(target.join("config.json"), target.join("thesis.txt")).unwrap();
        assert!(write(true, "4").unwrap_err().to_string().contains("no config.json"));
        fs::remove_file(target.join("thesis.txt")).unwrap();
        write(false, "5").unwrap();
        assert_eq!(fs::read_dir(home.path().join("deep")).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn nothing_stays_of_a_failure() {
        let home = tempfile::tempdir().unwrap();
        let staging = Staging::new(&home.path().join("model"), false).unwrap();
        fs::write(staging.path().join("config.json"), "{}").unwrap();
        drop(staging);
        assert!(is_empty_dir(home.path()).unwrap());
        assert!(Staging::new(Path::new("/"), true).is_err());
    }
}
