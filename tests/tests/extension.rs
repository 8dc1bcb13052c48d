//! What is added touches only the places that ARCHITECTURE.md names.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mscc_tests::data;
use serde::Deserialize;
use serde_json::Value;

/// The recipes that the extension follows, by heading.
const RECIPES: [&str; 4] = ["an op", "a kernel for the CPU", "a rule", "a model family"];

/// What the extension calls the things that recipes have placeholders for.
const NAMES: [(&str, &str); 4] =
    [("<op>", "add_add"), ("<kernel>", "add_add"), ("<rule>", "add_add"), ("<model_type>", "side_by_side")];

/// Paths, from the root of the workspace, and contents.
type Files = BTreeMap<String, Vec<u8>>;

#[test]
#[ignore = "builds a copy of the workspace"]
fn long_an_op_a_rule_and_a_family_are_added_where_architecture_says() {
    let original = workspace();
    let mut extended = original.clone();
    Extension::read().apply(&mut extended);
    let copy = Copy::write(&extended);

    copy.cargo(&["test", "--workspace", "--exclude=mscc-tests", "--no-fail-fast"]);
    copy.cargo(&["test", "--package=mscc-tests", "--test=snapshots", "--test=parity"]);
    copy.cargo(&["build", "--package=mscc", "--package=xtask"]);
    run_model_of_the_family(&copy);

    let afterwards = copy.files();
    let paths: BTreeSet<&String> = original.keys().chain(afterwards.keys()).collect();
    let touched = paths.into_iter().filter(|path| original.get(*path) != afterwards.get(*path));
    let touched: BTreeSet<String> = touched.cloned().collect();
    assert_eq!(touched, named_places(), "left: what was touched; right: what ARCHITECTURE.md names");
}

/// The new op computes the new family's layers, by the new rule, on the new kernel.
fn run_model_of_the_family(copy: &Copy) {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (model, plan) = (path("model"), path("plan.bin"));
    copy.run("xtask", &["make-model", data().join("extension/config.json").to_str().unwrap(), "-o", &model]);
    let fused = copy.run("mscc", &["compile", &model, "--emit", "fused"]);
    assert!(fused.contains(" = add_add "), "{fused}");
    let compiled = copy.run("mscc", &["compile", &model, "-o", &plan, "--json"]);
    let compiled: Value = serde_json::from_str(&compiled).unwrap();
    assert_eq!(compiled["family"], "side_by_side");
    assert!(compiled["rewrites"]["add_add"].as_u64().unwrap() > 0, "{compiled}");
    let run =
        copy.run("mscc", &["run", &plan, "--prompt-ids=1,2,3", "--max-tokens=5", "--ignore-eos", "--json"]);
    let run: Value = serde_json::from_str(&run).unwrap();
    assert_eq!(run["token_ids"].as_array().map(Vec::len), Some(5), "{run}");
}

#[test]
fn the_extension_fits_the_workspace_as_it_is() {
    let original = workspace();
    let mut extended = original.clone();
    Extension::read().apply(&mut extended);
    let touched = extended.iter().filter(|(path, content)| original.get(*path) != Some(*content));
    let touched: BTreeSet<String> = touched.map(|(path, _)| path.clone()).collect();
    assert_eq!(touched, named_places(), "left: what is touched; right: what ARCHITECTURE.md names");
}

#[test]
fn architecture_names_places_that_are_there() {
    let files = workspace();
    let text = architecture();
    let mut missing = Vec::new();
    let mut count = 0;
    for span in code_spans(&text).filter(|span| is_path(span)) {
        count += 1;
        let (folder, is_whole) = match span.split_once('<') {
            Some((folder, _)) => (folder, false),
            None => (span, !span.ends_with('/')),
        };
        let fits = |path: &String| match is_whole {
            true => path == folder || path.ends_with(&format!("/{folder}")),
            false => path.starts_with(folder) || path.contains(&format!("/{folder}")),
        };
        if !files.keys().any(fits) {
            missing.push(span);
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:#?}");
    assert!(count > 100, "only {count} paths were recognised");
}

/// Files to add and lines to insert.
struct Extension {
    files: Files,
    edits: Vec<Edit>,
}

/// Lines to insert before the one line of a file that reads so.
#[derive(Deserialize)]
struct Edit {
    path: String,
    before: String,
    insert: Vec<String>,
}

impl Extension {
    fn read() -> Extension {
        let folder = data().join("extension");
        let mut files = Files::new();
        read_folder(&folder.join("files"), "", &mut files);
        let edits = serde_json::from_slice(&fs::read(folder.join("edits.json")).unwrap()).unwrap();
        Extension { files, edits }
    }

    fn apply(self, workspace: &mut Files) {
        for (path, content) in self.files {
            let before = workspace.insert(path.clone(), content);
            assert!(before.is_none(), "{path} is there already");
        }
        for Edit { path, before, insert } in self.edits {
            let content = workspace.get_mut(&path).unwrap_or_else(|| panic!("there is no {path}"));
            let text = String::from_utf8(std::mem::take(content)).unwrap();
            let places = text.lines().filter(|line| *line == before).count();
            assert_eq!(places, 1, "{path} has so many lines that read {before:?}; adapt edits.json");
            for line in text.lines() {
                let inserted = if line == before { insert.as_slice() } else { &[] };
                for line in inserted.iter().map(String::as_str).chain([line]) {
                    content.extend_from_slice(line.as_bytes());
                    content.push(b'\n');
                }
            }
        }
    }
}

/// A copy of the workspace that is kept from run to run, so that only what changed is built again.
struct Copy {
    root: PathBuf,
    programs: PathBuf,
}

impl Copy {
    fn write(files: &Files) -> Copy {
        let build = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned();
        let root = build.join("extension/workspace");
        // Its own target folder: cargo cannot tell the copy's crates from the workspace's in a shared one.
        let copy = Copy { programs: build.join("extension/target"), root };
        for stray in copy.files().keys().filter(|path| !files.contains_key(*path)) {
            fs::remove_file(copy.root.join(stray)).unwrap();
        }
        for (path, content) in files {
            let path = copy.root.join(path);
            if fs::read(&path).ok().as_ref() != Some(content) {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, content).unwrap();
            }
        }
        copy
    }

    fn files(&self) -> Files {
        let mut files = Files::new();
        read_folder(&self.root, "", &mut files);
        files
    }

    fn cargo(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO"));
        command.args(arguments).args(["--offline", "--locked", "--quiet"]);
        command.env("CARGO_TARGET_DIR", &self.programs);
        self.output(command.env("INSTA_UPDATE", "no"));
    }

    /// Runs a program that was built; gives what it prints.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let program = self.programs.join("debug").join(program);
        self.output(Command::new(program).args(arguments))
    }

    fn output(&self, command: &mut Command) -> String {
        let output = command.current_dir(&self.root).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

/// The files of the workspace that git knows or would add.
fn workspace() -> Files {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let list = list.output().unwrap();
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let paths = list.stdout.split(|byte| *byte == 0).map(|path| String::from_utf8(path.to_vec()).unwrap());
    paths.filter_map(|path| Some((path.clone(), fs::read(root().join(&path)).ok()?))).collect()
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read_folder(&entry.path(), &format!("{path}/"), files);
        } else {
            files.insert(path, fs::read(entry.path()).unwrap());
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The places that the recipes name, with the extension's names: the path at the start of each numbered item.
fn named_places() -> BTreeSet<String> {
    let text = architecture();
    let mut places = BTreeSet::new();
    for recipe in RECIPES {
        let heading = format!("\n### … {recipe}\n");
        let (_, section) = text.split_once(&heading).unwrap_or_else(|| panic!("no recipe for {recipe}"));
        let section = section.split("\n##").next().unwrap();
        let items = section.lines().filter_map(|line| {
            let (number, item) = line.split_once(". `")?;
            number.parse::<u32>().ok()?;
            Some(item.split_once('`')?.0.to_owned())
        });
        let before = places.len();
        places.extend(items.map(|place| {
            NAMES.iter().fold(place, |place, (placeholder, name)| place.replace(placeholder, name))
        }));
        assert!(places.len() > before, "the recipe for {recipe} names no place of its own");
    }
    places
}

/// What stands between backticks, outside of blocks of code.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2))
}

/// Whether a code span is a path in the workspace.
fn is_path(span: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "/._-<>".contains(c);
    let known =
        ["rs", "md", "rule", "toml", "yaml"].iter().any(|ending| span.ends_with(&format!(".{ending}")));
    span.chars().all(plain) && span != "model.yaml" && (known || span.ends_with('/') || span.contains(".rs"))
}
