//! Damaged and odd inputs, as a user would meet them: what `mscc` says of each and how it ends.
//!
//! A case is a name and a change to a small model that works. Each group of cases has one snapshot that lists name,
//! exit code and message; read it as the user who did that to their model. What no case may do is checked for all of
//! them by [`failing`]: crash, hang, write to standard output before it fails, or leave anything behind.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod config;
mod files;
mod generation;
mod index;
mod kill;
mod model;
mod oddities;
mod plan;
mod prompts;
mod tokenizer;
mod weights;
mod yaml;

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::{Model, Outcome};

/// What is done to the model, by name.
type Case = (&'static str, fn(&Model));

const COMPILE: &[&str] = &["compile", "model", "-o", "plan.bin"];
const RUN_TEXT: &[&str] = &["run", "model", "--prompt", "a b", "--max-tokens", "1", "--ignore-eos"];

/// What `mscc` says where it has to refuse the model: exit code 2, nothing on standard output, nothing changed.
fn refused(args: &[&str], cases: &[Case]) -> String {
    failing(2, Model::mscc, args, cases)
}

/// As [`refused`], with another exit code or another way to call `mscc`.
fn failing(code: i32, mscc: fn(&Model, &[&str]) -> Outcome, args: &[&str], cases: &[Case]) -> String {
    listed(cases, |change| {
        let model = Model::new();
        change(&model);
        let before = model.tree();
        let outcome = mscc(&model, args);
        let problem = if outcome.code != code {
            "does not end as it should"
        } else if !outcome.stdout.is_empty() {
            "writes to standard output before it fails"
        } else if !outcome.stderr.starts_with("error: ") {
            "says no error first"
        } else if model.tree() != before {
            "leaves something behind"
        } else {
            return Ok(outcome);
        };
        Err(format!("{problem}: {outcome:?}"))
    })
}

/// What `mscc` says where the model has to work: it is compiled, the plan runs, and its tokens are those of the model as
/// it was.
fn accepted(cases: &[Case]) -> String {
    let expected = tokens(&Model::new()).unwrap().0;
    listed(cases, |change| {
        let model = Model::new();
        change(&model);
        let (tokens, outcome) = tokens(&model)?;
        if tokens == expected { Ok(outcome) } else { Err(format!("{tokens}, expected {expected}")) }
    })
}

/// The tokens of a plan, and what was said when it was compiled.
fn tokens(model: &Model) -> Result<(String, Outcome), String> {
    let compiled = model.mscc(COMPILE);
    if compiled.code != 0 || !compiled.stdout.is_empty() {
        return Err(format!("is not compiled: {compiled:?}"));
    }
    let args = ["run", "plan.bin", "--prompt-ids", "1,2", "--max-tokens", "8", "--ignore-eos"];
    let ran = model.mscc(&args);
    // Ids where there is no tokenizer, which is the same for both that are compared.
    if ran.code != 0 { Err(format!("does not run: {ran:?}")) } else { Ok((ran.stdout, compiled)) }
}

/// Runs all cases on two threads and lists what came of each, in their order.
fn listed(cases: &[Case], run: impl Fn(fn(&Model)) -> Result<Outcome, String> + Sync) -> String {
    let outcomes: Vec<Mutex<Option<Result<Outcome, String>>>> =
        cases.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let (_, change) = cases.get(at)?;
        *outcomes[at].lock().unwrap() = Some(run(*change));
        Some(())
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| while work().is_some() {});
        }
    });
    let (mut text, mut problems) = (String::new(), String::new());
    for ((name, _), outcome) in cases.iter().zip(outcomes) {
        match outcome.into_inner().unwrap().unwrap() {
            Ok(outcome) => text.push_str(&entry(name, &outcome)),
            Err(problem) => writeln!(problems, "{name}: {problem}").unwrap(),
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
    text
}

/// What a snapshot shows of a case: all but the list of families and the nearest one, so that a new family does not
/// change what is said of damage.
fn entry(name: &str, outcome: &Outcome) -> String {
    let lists = ["; known are ", "; `mscc models "];
    let cut = |line: &str| lists.iter().find_map(|list| Some((line.split_once(list)?.0.to_owned(), *list)));
    let lines = outcome.stderr.lines().map(|line| match cut(line) {
        Some((message, list)) => format!("    {message}{list}…\n"),
        None => match line.trim_start().strip_prefix("the nearest is ").and_then(|rest| rest.split_once(','))
        {
            Some((family, _)) => format!("    {}\n", line.replace(family, "…")),
            None => format!("    {line}\n"),
        },
    });
    format!("{name} → {}\n{}\n", outcome.code, lines.collect::<String>())
}
