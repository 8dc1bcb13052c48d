//! Files of spellings.
//!
//! ```text
//! target cpu
//! makes add_rms_norm            what must not occur in cases that do not fuse
//! sizes T=3
//! symbol T in 1..64 likely 8    and other parts of a module
//! given                         what every case may use
//!   state %x: f32[T, 16]
//!
//! fuses to add_rms_norm         kinds of ops launched, sorted
//!
//! # what is special
//! %h = add %x, %r
//! ..
//!
//! does not fuse
//!
//! # what is wrong
//! # launches: add rms_norm
//! %h = ..
//! ```
//!
//! A case may say its own launches; without a sink it gives `state y = %y`. `# another: ..` says that the form itself
//! occurs, but is another one.

use std::path::PathBuf;

use mscc_compiler::Target;
use mscc_compiler::passes::{self, Pass};
use mscc_ir::text::parse_module;
use mscc_ir::{Graph, Module, Symbol};
use mscc_patterns::{Rule, builtin};

/// A file of spellings.
pub struct Form {
    pub target: Target,
    pub rules: Vec<Rule>,
    /// Kinds of ops that must not occur where nothing fuses.
    pub makes: Vec<String>,
    /// Cases that fuse.
    pub fusing: Vec<Case>,
    /// Cases that do not.
    pub others: Vec<Case>,
    /// Symbols and caches, no functions.
    module: Module,
    sizes: Vec<(String, i64)>,
}

/// A spelling.
pub struct Case {
    /// File, line and comment.
    pub place: String,
    pub graph: Graph,
    /// Kinds of ops launched, sorted, with a blank between.
    pub launches: String,
    /// Whether the form occurs and is another one.
    pub is_another: bool,
}

/// Where the files are.
pub fn folder() -> PathBuf {
    mscc_tests::data().join("spellings")
}

impl Form {
    /// Reads `tests/data/spellings/<name>.txt`.
    pub fn read(name: &str) -> Form {
        let path = folder().join(format!("{name}.txt"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut form = Form {
            target: Target::cpu(),
            rules: builtin().unwrap(),
            makes: Vec::new(),
            fusing: Vec::new(),
            others: Vec::new(),
            module: Module::default(),
            sizes: Vec::new(),
        };
        let (mut header, mut given) = (String::new(), String::new());
        let (mut fuses, mut launches) = (true, String::new());
        let mut first_line = 1;
        for (index, block) in text.split("\n\n").enumerate() {
            let line = first_line;
            first_line += block.matches('\n').count() + 2;
            if index == 0 {
                form.header(block, &mut header, &mut given);
                let module = format!("module {name}\n{header}");
                form.module = parse_module(&module).unwrap_or_else(|error| panic!("{name}: {error}"));
                continue;
            }
            if let Some(kinds) = block.trim().strip_prefix("fuses to ") {
                (fuses, launches) = (true, kinds.to_owned());
            } else if block.trim() == "does not fuse" {
                (fuses, launches) = (false, String::new());
            } else if !block.trim().is_empty() {
                let case = form.case(name, line, block, &header, &given, &launches);
                if fuses { form.fusing.push(case) } else { form.others.push(case) }
            }
        }
        form
    }

    fn header(&mut self, block: &str, header: &mut String, given: &mut String) {
        for line in block.lines().filter(|line| !line.starts_with('#')) {
            let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
            let rest = rest.trim();
            match key {
                "target" => self.target = Target::by_name(rest).unwrap(),
                "makes" => self.makes = rest.split(' ').map(str::to_owned).collect(),
                "sizes" => {
                    let size = |size: &str| {
                        let (name, size) = size.split_once('=').unwrap();
                        (name.to_owned(), size.parse().unwrap())
                    };
                    self.sizes = rest.split(' ').map(size).collect();
                }
                "given" => {}
                "" => *given += &format!("{line}\n"),
                _ => *header += &format!("{line}\n"),
            }
        }
    }

    fn case(&self, name: &str, line: usize, block: &str, header: &str, given: &str, launches: &str) -> Case {
        let comments: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("# ")).collect();
        let place = format!("{name}.txt:{line}: {}", comments.first().unwrap_or(&"?"));
        let said = |key: &str| comments.iter().find_map(|comment| comment.strip_prefix(key));
        let launches = said("launches: ").unwrap_or(launches).to_owned();
        let sink = block.lines().any(|line| !line.starts_with(['#', '%']) && line.contains(" = %"));
        let sink = if sink { "" } else { "state y = %y" };
        let body: Vec<&str> = block.lines().filter(|line| !line.starts_with('#')).collect();
        let text = format!("module m\n{header}func @f {{\n{given}\n{}\n{sink}\n}}\n", body.join("\n"));
        let mut module = parse_module(&text).unwrap_or_else(|error| panic!("{place}: {error}\n{text}"));
        let graph = without_dead_leaves(&module.functions.remove(0));
        Case { place, graph, launches, is_another: said("another: ").is_some() }
    }

    /// The function after the passes that fuse.
    pub fn fuse(&self, graph: &Graph) -> Result<Graph, String> {
        let module = Module { functions: vec![graph.clone()], ..self.module.clone() };
        let (mut fused, reports) = passes::run(&module, &[Pass::Fuse], &self.rules, &self.target)
            .map_err(|error| error.to_string())?;
        let diagnostics: Vec<String> = reports
            .iter()
            .flat_map(|report| &report.diagnostics)
            .map(|diagnostic| format!("{diagnostic:?}"))
            .collect();
        if diagnostics.is_empty() { Ok(fused.functions.remove(0)) } else { Err(diagnostics.join("; ")) }
    }

    /// The size with which a symbol is run.
    pub fn size(&self, symbol: &Symbol) -> Option<i64> {
        self.sizes.iter().find(|(name, _)| name == symbol.name()).map(|(_, size)| *size)
    }
}

/// The function without leaves that nothing reads.
fn without_dead_leaves(graph: &Graph) -> Graph {
    let users = graph.users();
    let mut out = Graph::new(&graph.name);
    let mut rebuild = passes::rebuild::Rebuild::new(graph);
    for (id, node) in graph.nodes() {
        let sunk = graph.sinks().iter().any(|(_, value)| value.node == id);
        if node.op().is_some() || sunk || !users[id.index()].is_empty() {
            rebuild.copy(&mut out, id);
        }
    }
    for (sink, value) in graph.sinks() {
        out.sink(sink.clone(), rebuild.mapped(*value));
    }
    out
}
