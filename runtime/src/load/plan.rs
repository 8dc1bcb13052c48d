//! Plans from files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use mscc_ir::plan::Plan;
use mscc_ir::plan::container::{ContainerError, MAX_PLAN_BYTES, decode};

use crate::error::RuntimeError;

/// Reads a plan and checks all of it.
///
/// Errors: a file that cannot be read or is longer than [`MAX_PLAN_BYTES`]; one that is no plan of this version, is
/// damaged, or breaks a rule in a field, which the error names.
pub fn read_plan(path: &Path) -> Result<Plan, RuntimeError> {
    let unreadable = |source| RuntimeError::Read { path: path.to_owned(), source };
    let unfit = |source| RuntimeError::Plan { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // Asked before opening, since opening a pipe would wait for its other end.
    let kind = std::fs::metadata(path).map_err(unreadable)?;
    if !kind.is_file() && !kind.is_dir() {
        return Err(unreadable(std::io::Error::other("it is a pipe or a device")));
    }
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_PLAN_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_PLAN_BYTES {
        return Err(unfit(ContainerError::Damaged(format!("it is longer than {MAX_PLAN_BYTES} bytes"))));
    }
    decode(&bytes).map_err(unfit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.bin");
        let error = read_plan(&path).unwrap_err();
        assert!(
            matches!(error, RuntimeError::Read { .. }) && error.to_string().contains("plan.bin"),
            "{error}"
        );
        std::fs::write(&path, b"not a plan").unwrap();
        let error = read_plan(&path).unwrap_err();
        assert!(error.to_string().contains("plan.bin: this is no mscc plan"), "{error}");
    }
}
