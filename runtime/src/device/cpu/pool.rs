//! Worker threads that stay between launches.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use super::error::KernelError;
use super::kernel::Split;

/// Threads that run the tasks of one launch after the other.
///
/// The caller takes part, so a pool of one has no thread at all. Idle workers spin for some ten
/// microseconds, then park. Each worker, and the caller, has scratch memory that only grows.
///
/// `run` takes `&mut self`: launches do not overlap, and a task cannot launch.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    scratch: Scratch,
    /// What the tasks of a launch share; grows to the largest need and stays.
    memory: Vec<Line>,
}

/// What a task may fail with.
pub type TaskResult = Result<(), KernelError>;

/// One launch's task: gets the task's number and the scratch memory of the thread it runs on.
pub type Task<'a> = dyn Fn(usize, &mut Scratch) -> TaskResult + Sync + 'a;

struct Worker {
    thread: Thread,
    parked: Arc<AtomicBool>,
    handle: Option<JoinHandle<()>>,
}

/// What the caller and the workers share.
///
/// A launch writes `job`, opens the gate, and raises `epoch`. A worker that sees the new epoch passes the
/// gate (which counts it), takes tasks until none is left, and leaves. The caller then closes the gate and
/// waits for those within only: a worker that comes late finds the gate closed, and nobody waits for it.
struct Shared {
    job: UnsafeCell<Option<Job>>,
    epoch: AtomicUsize,
    gate: AtomicUsize,
    next: AtomicUsize,
    failure: Mutex<Option<(usize, KernelError)>>,
    stop: AtomicBool,
}

#[derive(Clone, Copy)]
struct Job {
    task: *const Task<'static>,
    count: usize,
}

// SAFETY: `job` is written only while the gate is closed and nobody is within, and read only within;
// everything else is atomic or locked.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is used only within the gate, while the task it points to is borrowed by `run`.
unsafe impl Send for Shared {}

const OPEN: usize = 1 << (usize::BITS - 1);
const SPINS: u32 = 1500;

impl Pool {
    /// A pool of `threads` threads in all, the caller's included; at least one.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(None),
            epoch: AtomicUsize::new(0),
            gate: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            failure: Mutex::new(None),
            stop: AtomicBool::new(false),
        });
        let workers = (1..threads).map_while(|index| Worker::start(index, Arc::clone(&shared))).collect();
        Pool { shared, workers, scratch: Scratch::default(), memory: Vec::new() }
    }

    /// Threads that take part, the caller's included. Fewer than asked for if the system gave no more.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs the tasks of a split, each once, and its second tasks after all others.
    ///
    /// Errors: those of [`Pool::run`].
    pub fn run_split(&mut self, split: Split, task: &Task<'_>) -> TaskResult {
        let lines = split.shared_bytes.div_ceil(size_of::<Line>());
        if self.memory.len() < lines {
            self.memory.resize(lines, Line([0; 64]));
        }
        let shared = Address(self.memory.as_mut_ptr().cast());
        let task = |index: usize, scratch: &mut Scratch| {
            scratch.shared = shared;
            task(index, scratch)
        };
        self.run(split.tasks, &task)?;
        self.run(split.second_tasks, &|index, scratch| task(split.tasks + index, scratch))
    }

    /// Runs tasks `0..count`, each once, in no particular order, and waits for all.
    ///
    /// Errors: the one of the lowest-numbered task that failed among those that ran; a panic in a task comes
    /// back as [`KernelError::Panicked`]. After a failure tasks not yet begun are left out.
    pub fn run(&mut self, count: usize, task: &Task<'_>) -> TaskResult {
        if self.workers.is_empty() || count <= 1 {
            return (0..count).try_for_each(|index| guarded(task, index, &mut self.scratch));
        }
        let shared = &*self.shared;
        shared.next.store(0, Ordering::Relaxed);
        // SAFETY: only the lifetime is erased. Workers use the pointer only within the gate, and this
        // function returns only after it is closed and empty.
        let task: &'static Task<'static> =
            unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task) };
        let job = Job { task, count };
        // SAFETY: the gate is closed and empty, so nobody reads the job.
        unsafe { *shared.job.get() = Some(job) };
        shared.gate.store(OPEN, Ordering::Release);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        for worker in &self.workers {
            if worker.parked.load(Ordering::SeqCst) && worker.parked.swap(false, Ordering::SeqCst) {
                worker.thread.unpark();
            }
        }
        shared.take_tasks(job, &mut self.scratch);
        shared.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while shared.gate.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
        match shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        for worker in &mut self.workers {
            worker.thread.unpark();
            if let Some(handle) = worker.handle.take() {
                // A worker catches the panics of its tasks, so there is nothing to pass on.
                let _ = handle.join();
            }
        }
    }
}

impl Worker {
    fn start(index: usize, shared: Arc<Shared>) -> Option<Worker> {
        let parked = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&parked);
        let handle = thread::Builder::new()
            .name(format!("mscc-cpu-{index}"))
            .spawn(move || shared.work(&flag))
            .ok()?;
        Some(Worker { thread: handle.thread().clone(), parked, handle: Some(handle) })
    }
}

impl Shared {
    fn work(&self, parked: &AtomicBool) {
        let mut scratch = Scratch::default();
        let mut seen = 0;
        loop {
            seen = self.await_epoch(seen, parked);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let entered = self
                .gate
                .try_update(Ordering::Acquire, Ordering::Relaxed, |gate| (gate & OPEN != 0).then(|| gate + 1))
                .is_ok();
            if entered {
                // SAFETY: within the gate the job is not written.
                if let Some(job) = unsafe { *self.job.get() } {
                    self.take_tasks(job, &mut scratch);
                }
                self.gate.fetch_sub(1, Ordering::Release);
            }
        }
    }

    fn await_epoch(&self, seen: usize, parked: &AtomicBool) -> usize {
        for _ in 0..SPINS {
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch != seen {
                return epoch;
            }
            std::hint::spin_loop();
        }
        loop {
            // The flag goes up before the epoch is read, the caller raises the epoch before it reads the
            // flag: one of the two sees the other.
            parked.store(true, Ordering::SeqCst);
            let epoch = self.epoch.load(Ordering::SeqCst);
            if epoch != seen {
                parked.store(false, Ordering::SeqCst);
                return epoch;
            }
            thread::park();
        }
    }

    fn take_tasks(&self, job: Job, scratch: &mut Scratch) {
        // SAFETY: `run` keeps the task borrowed until everyone who can reach it has left.
        let task = unsafe { &*job.task };
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= job.count {
                return;
            }
            if let Err(error) = guarded(task, index, scratch) {
                self.next.store(job.count, Ordering::Relaxed);
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                if failure.as_ref().is_none_or(|(first, _)| index < *first) {
                    *failure = Some((index, error));
                }
            }
        }
    }
}

fn guarded(task: &Task<'_>, index: usize, scratch: &mut Scratch) -> TaskResult {
    catch_unwind(AssertUnwindSafe(|| task(index, scratch)))
        .unwrap_or_else(|panic| Err(KernelError::Panicked { message: panic_message(&*panic) }))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "no message".to_owned(),
    }
}

/// Memory of one thread, reused by all launches; grows to the largest need and stays.
#[derive(Default)]
pub struct Scratch {
    lines: Vec<Line>,
    /// Set for each task.
    shared: Address,
}

#[derive(Clone, Copy)]
struct Address(*mut u8);

// SAFETY: an address is a plain number; who reads or writes there vouches for it.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

impl Default for Address {
    fn default() -> Self {
        Address(std::ptr::null_mut())
    }
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "only its size and alignment count")] [u8; 64]);

impl Scratch {
    /// The memory that the tasks of a launch share: [`Split::shared_bytes`], aligned to 64, initialised with anything.
    pub(crate) fn shared(&self) -> *mut u8 {
        self.shared.0
    }

    /// Areas of the given sizes in bytes, each aligned to 64. Initialised, but with anything.
    pub(crate) fn areas<const N: usize>(&mut self, bytes: [usize; N]) -> [*mut u8; N] {
        let lines = |bytes: usize| bytes.div_ceil(64);
        let total = bytes.iter().map(|&bytes| lines(bytes)).sum();
        if self.lines.len() < total {
            self.lines.resize(total, Line([0; 64]));
        }
        let base = self.lines.as_mut_ptr();
        let mut at = 0;
        bytes.map(|bytes| {
            // SAFETY: `at` stays within the `total` lines that the vector has.
            let area = unsafe { base.add(at) }.cast::<u8>();
            at += lines(bytes);
            area
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_for_any_number_of_threads() {
        for threads in 1..=4 {
            let mut pool = Pool::new(threads);
            for count in [0, 1, 2, 7, 100] {
                let counters: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                for _ in 0..50 {
                    pool.run(count, &|task, _| {
                        counters[task].fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    })
                    .unwrap();
                }
                assert!(counters.iter().all(|counter| counter.load(Ordering::Relaxed) == 50));
            }
        }
    }

    #[test]
    fn parked_workers_wake() {
        let mut pool = Pool::new(3);
        for _ in 0..3 {
            thread::sleep(std::time::Duration::from_millis(20));
            let sum = AtomicUsize::new(0);
            pool.run(64, &|task, _| {
                sum.fetch_add(task, Ordering::Relaxed);
                Ok(())
            })
            .unwrap();
            assert_eq!(sum.into_inner(), 64 * 63 / 2);
        }
    }

    #[test]
    fn panics_come_back_as_errors_and_the_pool_lives_on() {
        for threads in 1..=3 {
            let mut pool = Pool::new(threads);
            for _ in 0..20 {
                let result = pool.run(8, &|task, _| {
                    assert!(task != 5, "task five");
                    Ok(())
                });
                assert!(
                    matches!(&result, Err(KernelError::Panicked { message }) if message.contains("task five")),
                    "{result:?}"
                );
                assert_eq!(pool.run(8, &|_, _| Ok(())), Ok(()));
            }
        }
    }

    #[test]
    fn scratch_areas_are_aligned_and_apart() {
        let mut scratch = Scratch::default();
        let [a, b, c] = scratch.areas([1, 65, 3]);
        assert_eq!([a.addr() % 64, b.addr() % 64, c.addr() % 64], [0; 3]);
        assert_eq!((b.addr() - a.addr(), c.addr() - b.addr()), (64, 128));
    }
}
