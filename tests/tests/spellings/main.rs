//! Fusion whatever the spelling: the same model written in many ways gives the same launches, and what only looks alike
//! is left alone.
//!
//! `tests/data/spellings` has a file for each form, with spellings that fuse and some that must not. Each is compiled and
//! run, as it is and after random compositions of edits that an author could make (`edits.rs`). What is right is decided by
//! running both graphs on the reference interpreter, what is fused by what is launched.
#![allow(clippy::unwrap_used)]

mod edits;
mod form;
mod launches;
mod run;

use mscc_ir::reference::Sampler;

use edits::Edited;
use form::{Case, Form};
use launches::{kinds, likeness};

/// Most edits of a composition.
const MAX_EDITS: u64 = 6;

/// Compiles a case and runs it before and after; gives what is launched.
fn check_case(form: &Form, case: &Case) -> (String, u64) {
    let fused = form.fuse(&case.graph).unwrap_or_else(|error| panic!("{}: {error}", case.place));
    run::assert_same(form, &case.graph, &fused, &case.place);
    run::assert_rounds_no_more(form, &case.graph, &fused, &case.place);
    (kinds(&fused), likeness(&fused))
}

fn check_form(name: &str, compositions: u64) {
    let form = Form::read(name);
    assert!(form.fusing.len() >= 20, "{name}: {} spellings", form.fusing.len());
    let mut wrong = Vec::new();
    let mut likenesses = Vec::new();
    for case in form.fusing.iter().chain(&form.others) {
        let (kinds, likeness) = check_case(&form, case);
        likenesses.push(likeness);
        if kinds != case.launches {
            wrong.push(format!("{}\n  launches {kinds}\n  expected {}", case.place, case.launches));
        }
    }
    assert!(wrong.is_empty(), "{} of {name}:\n{}", wrong.len(), wrong.join("\n"));
    for case in &form.others {
        let made = case.launches.split(' ').any(|kind| form.makes.iter().any(|made| made == kind));
        assert!(!made || case.is_another, "{}: is said to fuse", case.place);
    }
    let likenesses = likenesses.split_at(form.fusing.len());
    compose(&form, &form.fusing, likenesses.0, compositions);
    compose(&form, &form.others, likenesses.1, compositions);
}

/// Edits cases at random: all must launch what they did before, and compute it.
fn compose(form: &Form, cases: &[Case], likenesses: &[u64], compositions: u64) {
    let mut wrong = Vec::new();
    for seed in 0..compositions {
        let at = seed as usize % cases.len();
        let case = &cases[at];
        let mut sampler = Sampler::new(seed);
        let mut edited = Edited::new(&case.graph);
        for _ in 0..1 + sampler.below(MAX_EDITS) {
            edited.edit(&mut sampler);
        }
        let place = format!("{}, seed {seed}: {}", case.place, edited.done.join(", "));
        let fused = match form.fuse(&edited.graph) {
            Ok(fused) => fused,
            Err(error) => panic!("{place}: {error}"),
        };
        run::assert_same_as_base(form, &case.graph, &edited, &fused, &place);
        if likeness(&fused) != likenesses[at] {
            let text = match wrong.is_empty() {
                true => format!(
                    "\n{}{}",
                    mscc_ir::text::print_function(&edited.graph),
                    mscc_ir::text::print_function(&fused)
                ),
                false => String::new(),
            };
            wrong.push(format!("{place}\n  launches {}\n  expected {}{text}", kinds(&fused), case.launches));
        }
    }
    assert!(wrong.is_empty(), "{} of {compositions}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Compositions of each form, of spellings that fuse and again of those that do not.
const COMPOSITIONS: u64 = 500;

macro_rules! forms {
    ($($form:ident),* $(,)?) => {
        $(#[test]
        fn $form() {
            check_form(stringify!($form), COMPOSITIONS);
        })*

        /// No file without a test.
        #[test]
        fn every_form_has_a_test() {
            let mut files: Vec<String> = std::fs::read_dir(form::folder())
                .unwrap()
                .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            files.sort();
            assert_eq!(files, [$(stringify!($form)),*]);
        }
    };
}

forms! {
    add_rms_norm,
    gate_up,
    init_routing,
    kv_norm_rope_write,
    mla_absorb,
    qkv,
    router,
    swiglu,
    transpose_batch_matmul,
    unpermute,
}
