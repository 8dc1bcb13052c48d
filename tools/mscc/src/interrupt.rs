//! Ctrl-C: what runs ends, and leaves no temporary files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::leftovers;

/// How many there are who end what runs when asked to.
static LISTENING: AtomicUsize = AtomicUsize::new(0);
static REQUESTED: AtomicBool = AtomicBool::new(false);
/// Files to be removed if the program ends before its time.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// From now on, Ctrl-C (SIGINT) asks whoever [listens](listen) to end; if nobody does, or at the second time, the
/// program ends. SIGTERM ends it at once.
#[cfg(unix)]
pub fn watch() -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("mscc-signals".into()).spawn(move || {
        for signal in signals.forever() {
            let asked = signal == SIGINT && LISTENING.load(Ordering::SeqCst) > 0;
            if !asked || REQUESTED.swap(true, Ordering::SeqCst) {
                leave(128 + signal);
            }
        }
    })?;
    Ok(())
}

/// The system ends the program.
#[cfg(not(unix))]
pub fn watch() -> std::io::Result<()> {
    Ok(())
}

/// Until dropped, Ctrl-C is for the holder, who looks at [`requested`]. One who listens within hears also what came before.
pub fn listen() -> Listening {
    if LISTENING.load(Ordering::SeqCst) == 0 {
        REQUESTED.store(false, Ordering::SeqCst);
    }
    LISTENING.fetch_add(1, Ordering::SeqCst);
    Listening(())
}

/// Whether the one who listens should end what runs.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Somebody listens to Ctrl-C.
pub struct Listening(());

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Creates a file that does not outlive an interrupted program, unless it is [kept](keep).
pub fn create_temporary(path: &Path) -> std::io::Result<File> {
    let mut files = temporary();
    let file = leftovers::create(path)?;
    files.push(path.to_owned());
    Ok(file)
}

/// Takes a file off the list: it was renamed or removed.
pub fn keep(path: &Path) {
    temporary().retain(|other| other != path);
}

/// Ends the program. The lock is held until the end, so that no file is created behind its back.
#[cfg(unix)]
fn leave(code: i32) -> ! {
    let files = temporary();
    for file in files.iter() {
        // One that cannot be removed stays; there is nobody left to tell.
        let _ = std::fs::remove_file(file);
    }
    std::process::exit(code)
}

fn temporary() -> MutexGuard<'static, Vec<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}
