//! The loop: many inputs, on several threads, watched.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Target;
use crate::random::Random;

/// How long and on what a target is run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// Number of the first input; input `n` is the same in every campaign.
    pub seed: u64,
    /// Most executions, if given.
    pub runs: Option<u64>,
    /// Longest time, if given. One of the two must be.
    pub time: Option<Duration>,
    /// Threads.
    pub threads: usize,
    /// Longest time of one execution.
    pub patience: Duration,
    /// Most memory that the process may come to use, in bytes, where the system tells.
    pub memory: u64,
}

/// What a campaign has done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Inputs that were run.
    pub executions: u64,
    /// How long that took.
    pub time: Duration,
    /// How they ended.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Most memory that the process has used, in bytes, where the system tells.
    pub peak_bytes: Option<u64>,
}

/// An input that a target did not survive.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Number of the input.
    pub seed: u64,
    /// The input.
    pub input: Vec<u8>,
    /// What happened.
    pub problem: String,
}

impl Default for Campaign {
    fn default() -> Self {
        Campaign {
            seed: 0,
            runs: None,
            time: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            patience: Duration::from_secs(20),
            memory: 4 << 30,
        }
    }
}

impl Report {
    /// Executions in a second.
    pub fn rate(&self) -> f64 {
        self.executions as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (count, seconds) = (self.executions, self.time.as_secs_f64());
        write!(f, "{count} executions in {seconds:.0} s, {:.0}/s", self.rate())?;
        if let Some(bytes) = self.peak_bytes {
            write!(f, ", at most {} MiB", bytes >> 20)?;
        }
        for (outcome, times) in &self.outcomes {
            write!(f, "\n{times:>10} {:>5.1}% {outcome}", 100.0 * *times as f64 / count.max(1) as f64)?;
        }
        Ok(())
    }
}

/// What threads and their watch share.
struct Shared {
    target: &'static Target,
    seeds: Vec<Vec<u8>>,
    campaign: Campaign,
    start: Instant,
    next: AtomicU64,
    outcomes: Mutex<BTreeMap<&'static str, u64>>,
    failure: Mutex<Option<Failure>>,
    /// What each thread is at, since when.
    current: Vec<Mutex<Option<(Instant, u64)>>>,
}

/// Runs one input.
///
/// Errors: the panic's message.
pub fn execute(target: &Target, input: &[u8]) -> Result<&'static str, String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        format!("panicked: {}", text.unwrap_or("without a message"))
    })
}

/// Runs a target on seeds and mutations of them.
///
/// Errors: the first input that panicked, took longer than it may, or made the process use more memory than it may.
/// A thread that hangs is left behind.
pub fn run(target: &'static Target, campaign: Campaign) -> Result<Report, Failure> {
    assert!(campaign.runs.is_some() || campaign.time.is_some(), "a campaign ends");
    let shared = Arc::new(Shared {
        target,
        seeds: (target.seeds)(),
        campaign,
        start: Instant::now(),
        next: AtomicU64::new(0),
        outcomes: Mutex::default(),
        failure: Mutex::default(),
        current: (0..campaign.threads.max(1)).map(|_| Mutex::default()).collect(),
    });
    let threads: Vec<_> = (0..shared.current.len())
        .map(|index| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work(index))
        })
        .collect();
    while !threads.iter().all(|thread| thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(20));
        if let Some(failure) = shared.watch() {
            return Err(failure);
        }
    }
    let time = shared.start.elapsed();
    if let Some(failure) = lock(&shared.failure).take() {
        return Err(failure);
    }
    let outcomes = lock(&shared.outcomes).clone();
    Ok(Report { executions: outcomes.values().sum(), time, outcomes, peak_bytes: peak_bytes() })
}

impl Shared {
    fn work(&self, thread: usize) {
        let mut outcomes = BTreeMap::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let over = self.campaign.runs.is_some_and(|runs| number >= runs)
                || self.campaign.time.is_some_and(|time| self.start.elapsed() >= time);
            if over || lock(&self.failure).is_some() {
                break;
            }
            let seed = self.campaign.seed.wrapping_add(number);
            let input = self.input(seed);
            *lock(&self.current[thread]) = Some((Instant::now(), seed));
            let outcome = execute(self.target, &input);
            *lock(&self.current[thread]) = None;
            match outcome {
                Ok(outcome) => *outcomes.entry(outcome).or_insert(0u64) += 1,
                Err(problem) => *lock(&self.failure) = Some(Failure { seed, input, problem }),
            }
        }
        let mut all = lock(&self.outcomes);
        outcomes.into_iter().for_each(|(outcome, times)| *all.entry(outcome).or_insert(0) += times);
    }

    fn input(&self, seed: u64) -> Vec<u8> {
        // The seeds themselves come first.
        match usize::try_from(seed).ok().and_then(|at| self.seeds.get(at)) {
            Some(seed) => seed.clone(),
            None => (self.target.mutate)(&mut Random::new(seed), &self.seeds),
        }
    }

    fn watch(&self) -> Option<Failure> {
        let Campaign { patience, memory, .. } = self.campaign;
        let over = peak_bytes().filter(|bytes| *bytes > memory);
        for current in &self.current {
            let Some((since, seed)) = *lock(current) else { continue };
            let problem = match over {
                Some(bytes) => format!("the process uses {} MiB, at or soon before this input", bytes >> 20),
                None if since.elapsed() > patience => format!("not done after {} s", patience.as_secs()),
                None => continue,
            };
            return Some(Failure { seed, input: self.input(seed), problem });
        }
        None
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most memory that this process has had at once, in bytes, where the system tells.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    static TARGET: Target = Target {
        name: "test",
        about: "",
        seeds: || vec![b"seed".to_vec()],
        mutate: crate::bytes::draw,
        run: |input| {
            assert!(input[0] != 77, "seventy-seven");
            if input[0] == 78 {
                std::thread::sleep(Duration::from_secs(2));
            }
            if input == b"seed" { "a seed" } else { "drawn" }
        },
    };

    #[test]
    fn panics_and_hangs_are_found_and_found_again() {
        let campaign = Campaign { runs: Some(8), threads: 2, ..Campaign::default() };
        let report = run(&TARGET, Campaign { seed: 0, ..campaign }).unwrap();
        assert_eq!((report.executions, report.outcomes["a seed"]), (8, 1));
        let patience = Duration::from_millis(300);
        let mut found = Vec::new();
        for seed in (0..).step_by(2000).take(4) {
            let campaign = Campaign { seed, runs: Some(2000), patience, ..campaign };
            if let Err(failure) = run(&TARGET, campaign) {
                assert!(
                    failure.input[0] == 77 || failure.problem.contains("not done"),
                    "{}",
                    failure.problem
                );
                found.push(failure);
            }
        }
        assert!(!found.is_empty());
        let panicked = found.iter().find(|failure| failure.input[0] == 77);
        let again =
            panicked.map(|failure| run(&TARGET, Campaign { seed: failure.seed, runs: Some(1), ..campaign }));
        assert!(again.is_none_or(|again| again.unwrap_err().problem.contains("seventy-seven")));
    }
}
