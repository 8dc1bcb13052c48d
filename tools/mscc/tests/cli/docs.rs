//! What is made from the command line's own description is current.

use crate::*;

const ADVICE: &str = "run `cargo xtask docs`";

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn manual_pages_are_current() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("man")).unwrap();
    bench.ok(&["man", "-o", "man"]);
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).map(|entries| entries.map(|entry| entry.unwrap().file_name()));
        let mut names: Vec<_> = entries.unwrap().map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let made = names(&bench.path("man"));
    assert_eq!(made, names(&dir("man")), "{ADVICE}");
    for name in made {
        let page = bench.read(&format!("man/{name}"));
        assert!(page == std::fs::read(dir("man").join(&name)).unwrap(), "{name}: {ADVICE}");
        let command = name.strip_prefix("mscc-").and_then(|name| name.strip_suffix(".1")).unwrap_or("mscc");
        assert_eq!(bench.ok(&["man", command]).as_bytes(), page);
    }
    assert!(
        bench.fails(2, &["man", "serve"]).contains("there is no command `serve`: expected one of compile, ")
    );
}

#[test]
fn completions_are_current() {
    let bench = Bench::new();
    for (shell, file) in [("bash", "mscc.bash"), ("zsh", "_mscc"), ("fish", "mscc.fish")] {
        let current = std::fs::read_to_string(dir("completions").join(file)).unwrap_or_default();
        assert!(bench.ok(&["completions", shell]) == current, "{file}: {ADVICE}");
    }
}
