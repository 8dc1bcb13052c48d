//! The rules that the repository keeps about itself.
//!
//! | rule                                              | test                                         |
//! |---------------------------------------------------|----------------------------------------------|
//! | which crate may use which                         | `arrows_between_crates_point_one_way`        |
//! | what a service embeds stays small                 | `the_runtime_pulls_in_no_compiler`           |
//! | crates with few users, so that they can be replaced | `some_dependencies_have_few_users`           |
//! | every op and rule is registered                   | `every_op_is_registered`, `every_rule_is_...` |
//! | a family is a short description, and no code knows of it | `families_are_short`, `no_family_is_named_in_code` |
//! | libraries do not print                            | `libraries_do_not_print`                     |
//! | nothing is half done                              | `nothing_is_left_to_do`                      |
//! | where things lie                                  | `the_top_level_is_the_fixed_layout`          |
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mscc_ir::ops::OpKind;
use mscc_models::{Family, families};
use serde_json::Value;

/// Folder, crate, and which of ours it may use. Tests that need more belong in `tests/`.
const CRATES: [(&str, &str, &[&str]); 12] = [
    ("ir", "mscc-ir", &[]),
    ("models/checkpoint", "mscc-checkpoint", &[]),
    ("models", "mscc-models", &["mscc-ir", "mscc-checkpoint"]),
    ("patterns", "mscc-patterns", &["mscc-ir"]),
    ("compiler", "mscc-compiler", &["mscc-ir", "mscc-models", "mscc-checkpoint", "mscc-patterns"]),
    ("runtime/text", "mscc-text", &[]),
    ("runtime", "mscc-runtime", &["mscc-ir", "mscc-checkpoint", "mscc-text"]),
    ("tools/report", "mscc-report", &["mscc-ir"]),
    ("tools/fuzz", "mscc-fuzz", ANY),
    ("tools/mscc", "mscc", ANY),
    ("tools/xtask", "xtask", ANY),
    ("tests", "mscc-tests", ANY),
];

/// All libraries.
const ANY: &[&str] = &[
    "mscc-ir",
    "mscc-models",
    "mscc-checkpoint",
    "mscc-patterns",
    "mscc-compiler",
    "mscc-runtime",
    "mscc-text",
    "mscc-report",
];

/// Dependencies that few crates have, so that replacing them touches nothing else.
const FEW_USERS: [(&str, &[&str]); 8] = [
    ("egg", &["mscc-compiler"]),
    ("bincode", &["mscc-ir"]),
    ("tokenizers", &["mscc-text"]),
    ("minijinja", &["mscc-report", "mscc-text"]),
    ("prost", &["mscc-report"]),
    ("cranelift-jit", &["mscc-runtime"]),
    ("cranelift-codegen", &["mscc-runtime"]),
    ("clap_complete", &["mscc"]),
];

/// What may lie at the top, beside what starts with a dot and is listed in `HIDDEN`.
const TOP_LEVEL: [&str; 19] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "compiler",
    "deny.toml",
    "docs",
    "ir",
    "models",
    "patterns",
    "runtime",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "target",
    "tests",
    "tools",
];

const HIDDEN: [&str; 6] = [".cargo", ".ci", ".config", ".git", ".github", ".gitignore"];

#[test]
fn arrows_between_crates_point_one_way() {
    let manifests = manifests();
    let folders: BTreeMap<_, _> = manifests.iter().map(|crate_| (&*crate_.name, &*crate_.folder)).collect();
    let expected: BTreeMap<_, _> = CRATES.iter().map(|(folder, name, _)| (*name, *folder)).collect();
    assert_eq!(folders, expected, "the crates of the workspace are those of `CRATES`");
    let mut wrong = Vec::new();
    for (_, name, allowed) in CRATES {
        let used = &manifests.iter().find(|crate_| crate_.name == name).unwrap().dependencies;
        let ours = used.iter().filter(|used| expected.contains_key(used.as_str()));
        wrong.extend(
            ours.filter(|used| !allowed.contains(&&***used)).map(|used| format!("{name} uses {used}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn some_dependencies_have_few_users() {
    let manifests = manifests();
    for (dependency, expected) in FEW_USERS {
        let users = manifests.iter().filter(|crate_| crate_.dependencies.contains(dependency));
        let users: BTreeSet<_> = users.map(|crate_| crate_.name.as_str()).collect();
        assert_eq!(users, expected.iter().copied().collect(), "users of {dependency}");
    }
}

#[test]
fn the_runtime_pulls_in_no_compiler() {
    let tree =
        cargo(&["tree", "--offline", "--package=mscc-runtime", "--edges=normal,build", "--prefix=none"]);
    let pulled: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(pulled.contains("mscc-ir"), "{tree}");
    for banned in ["egg", "clap", "indicatif", "mscc-compiler", "mscc-patterns", "mscc-models"] {
        assert!(!pulled.contains(banned), "mscc-runtime pulls in {banned}");
    }
}

#[test]
fn every_op_is_registered() {
    let mut defined = BTreeSet::new();
    for path in files(&root().join("ir/src/ops"), "rs") {
        if fs::read_to_string(&path).unwrap().contains("impl OpDef for ") {
            defined.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    let registered: BTreeSet<String> = OpKind::ALL.iter().map(|kind| kind.name().to_owned()).collect();
    assert_eq!(
        defined, registered,
        "a file of `ir/src/ops` defines the op of its name, and `define_ops!` lists it"
    );
}

#[test]
fn every_rule_is_registered() {
    let files = files(&root().join("patterns/rules"), "rule");
    let files: BTreeSet<_> = files.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    let rules = mscc_patterns::builtin().unwrap();
    let rules: BTreeSet<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert!(!rules.is_empty());
    assert_eq!(files, rules, "a file of `patterns/rules` holds the rule of its name, and the build finds it");
}

#[test]
fn families_are_short() {
    let mut totals = Vec::new();
    for family in families::builtin() {
        let text = families::text(&family.model_type).unwrap();
        let others = || families::builtin().iter().filter(|other| other.model_type != family.model_type);
        let (mut lines, mut own) = (text.lines().count(), BTreeSet::new());
        for filling in family.fillings() {
            let block = filling.block.name;
            let source = fs::read_to_string(root().join(format!("models/src/blocks/{block}.rs"))).unwrap();
            let code = || source.lines().filter(|line| !line.trim_start().starts_with("//"));
            let of_others = || others().flat_map(Family::fillings).filter(|other| other.block.name == block);
            if of_others().next().is_none() && own.insert(block) {
                lines += code().count();
                continue;
            }
            for option in filling.options() {
                if !of_others().any(|other| other.options().any(|other| other == option))
                    && own.insert(option)
                {
                    // Where it is declared and read, and what that does.
                    lines += 3 * code().filter(|line| line.contains(&format!("\"{option}\""))).count();
                }
            }
        }
        println!("{:<16} {lines:>3} lines, of its own: {own:?}", family.model_type);
        totals.push(lines);
    }
    totals.sort_unstable();
    let median = totals[totals.len() / 2];
    println!("median {median}");
    assert!(median < 80, "{median}");
}

#[test]
fn no_family_is_named_in_code() {
    let names: Vec<&str> = families::builtin().iter().map(|family| family.model_type.as_str()).collect();
    let mut found = Vec::new();
    // Fuzzing begins with fixtures, which are named for families.
    let crates = CRATES.iter().filter(|(folder, ..)| *folder != "tools/fuzz");
    for path in crates.flat_map(|(folder, ..)| files(&root().join(folder).join("src"), "rs")) {
        let place = path.display().to_string();
        if place.contains("/../tests/") || place.ends_with("tests.rs") || place.contains("/tests/") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for line in code.lines().map(|line| line.split("//").next().unwrap_or_default()) {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            found
                .extend(words.any(|word| names.contains(&word)).then(|| format!("{place}: {}", line.trim())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn libraries_do_not_print() {
    let libraries = CRATES.iter().filter(|(folder, ..)| !folder.starts_with("tools") && *folder != "tests");
    let sources = libraries.flat_map(|(folder, ..)| files(&root().join(folder).join("src"), "rs"));
    let calls = ["print", "println", "eprint", "eprintln", "dbg"].map(|name| format!("{name}!("));
    let found = occurrences(sources, &calls);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_is_left_to_do() {
    let sources = CRATES.iter().flat_map(|(folder, ..)| files(&root().join(folder), "rs"));
    let calls = ["todo", "unimplemented"].map(|name| format!("{name}!("));
    let found = occurrences(sources, &calls);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_top_level_is_the_fixed_layout() {
    let entries =
        fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let other: Vec<_> =
        entries.filter(|name| !TOP_LEVEL.contains(&&**name) && !HIDDEN.contains(&&**name)).collect();
    assert!(other.is_empty(), "not part of the layout: {other:?}");
}

/// A member of the workspace.
struct Manifest {
    name: String,
    folder: String,
    /// Names of what it uses in any way, its tests and build script included.
    dependencies: BTreeSet<String>,
}

fn manifests() -> Vec<Manifest> {
    let metadata = cargo(&["metadata", "--offline", "--no-deps", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let top = Path::new(metadata["workspace_root"].as_str().unwrap());
    let packages = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let folder = text(&package["manifest_path"]);
        let folder = Path::new(&folder).parent().unwrap().strip_prefix(top).unwrap();
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        Manifest {
            name: text(&package["name"]),
            folder: folder.to_str().unwrap().replace('\\', "/"),
            dependencies: dependencies.map(|dependency| text(&dependency["name"])).collect(),
        }
    });
    packages.collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files of an extension in a folder and those within.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry, extension));
        } else if entry.extension().is_some_and(|other| other == extension) {
            found.push(entry);
        }
    }
    found
}

/// Lines of code that hold one of the words.
fn occurrences(sources: impl Iterator<Item = PathBuf>, words: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let holds = |word: &String| {
                code.match_indices(word.as_str()).any(|(at, _)| {
                    !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
                })
            };
            if words.iter().any(holds) {
                found.insert(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    found
}
