//! The table of aclnn calls against what is documented of the operators, and what it refuses.
#![allow(clippy::unwrap_used)]

mod facts {
    //! The documented operators.

    use std::collections::BTreeMap;
    use std::path::Path;

    use mscc_ir::kernels::ascend::Family;
    use serde::Deserialize;
    use serde::de::{DeserializeOwned, IgnoredAny};

    #[derive(Deserialize)]
    pub struct Document {
        pub ops: Vec<Entry>,
    }

    #[derive(Deserialize)]
    pub struct Entry {
        pub name: String,
        pub in_cann_8_1: bool,
        pub primary_kernel: PrimaryKernel,
        pub products: BTreeMap<String, Option<bool>>,
        #[serde(default)]
        pub product_conflict: Vec<String>,
        pub params: Vec<Param>,
        #[serde(default)]
        pub constraints: Vec<String>,
        pub source: Vec<String>,
    }

    #[derive(Deserialize)]
    pub struct PrimaryKernel {
        pub dir: String,
        pub socs_in_8_1_ops_info: Vec<String>,
    }

    #[derive(Deserialize)]
    pub struct Param {
        pub name: String,
        #[serde(rename = "type")]
        pub c_type: String,
        pub role: String,
        #[serde(default)]
        pub dtypes: Vec<String>,
        pub rank: Option<Rank>,
        pub noncontiguous: Option<bool>,
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    pub enum Rank {
        Number(usize),
        Text(String),
    }

    impl Rank {
        /// Whether it is given by shapes, of elements however they are stored.
        pub fn is_shape(&self) -> bool {
            matches!(self, Rank::Text(text) if text.contains('('))
        }

        /// The axes of each shape in parentheses, which may hold sizes in parentheses.
        fn shapes(text: &str) -> Vec<usize> {
            let (mut depth, mut ranks) = (0, Vec::new());
            for letter in text.chars() {
                match letter {
                    '(' => {
                        depth += 1;
                        if depth == 1 {
                            ranks.push(1);
                        }
                    }
                    ')' => depth -= 1,
                    ',' if depth == 1 => *ranks.last_mut().unwrap() += 1,
                    _ => {}
                }
            }
            ranks
        }

        /// The ranks that are meant: `2`, `1-8`, `0,3,4`, or shapes in parentheses.
        pub fn ranks(&self) -> Vec<usize> {
            let text = match self {
                Rank::Number(rank) => return vec![*rank],
                Rank::Text(text) => text,
            };
            if self.is_shape() {
                return Self::shapes(text);
            }
            let parts = text.split(',').map(|part| match part.trim().split_once('-') {
                Some((least, most)) => least.parse().unwrap()..=most.parse().unwrap(),
                None => part.trim().parse().unwrap()..=part.trim().parse().unwrap(),
            });
            parts.flatten().collect()
        }
    }

    #[derive(Deserialize)]
    pub struct Registry {
        pub kernels: BTreeMap<String, Kernel>,
    }

    #[derive(Deserialize)]
    pub struct Kernel {
        pub ascend910b: Option<OfSoc>,
        pub ascend910_93: Option<OfSoc>,
        pub ascend310p: Option<OfSoc>,
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    pub enum OfSoc {
        /// `same as ascend910b`
        Same(String),
        Own(Rows),
    }

    #[derive(Deserialize)]
    pub struct Rows {
        pub inputs: Vec<IgnoredAny>,
        pub outputs: Vec<IgnoredAny>,
        pub dtype_rows: Vec<String>,
        pub rows_total: usize,
    }

    impl Kernel {
        pub fn on(&self, family: Family) -> Option<&Rows> {
            let own = match family {
                Family::A2 => &self.ascend910b,
                Family::A3 => &self.ascend910_93,
                Family::P310 => &self.ascend310p,
            };
            match own.as_ref()? {
                OfSoc::Own(rows) => Some(rows),
                OfSoc::Same(same) => {
                    assert_eq!(same, "same as ascend910b");
                    self.on(Family::A2)
                }
            }
        }
    }

    impl Entry {
        /// Whether documents or the registry say that it runs there.
        pub fn runs_on(&self, family: Family) -> bool {
            let (product, soc) = match family {
                Family::A2 => ("A2_910B", "ascend910b"),
                Family::A3 => ("A3_910C", "ascend910_93"),
                Family::P310 => ("310P", "ascend310p"),
            };
            self.products.get(product) == Some(&Some(true))
                || self.product_conflict.iter().any(|other| other == product)
                || self.primary_kernel.socs_in_8_1_ops_info.iter().any(|other| other == soc)
        }
    }

    pub fn read<T: DeserializeOwned>(name: &str) -> T {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ascend").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut options = serde_saphyr::Options::default();
        options.budget = None;
        serde_saphyr::from_str_with_options(&text, options).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

use std::collections::BTreeMap;
use std::fmt::Write as _;

use facts::{Document, Entry, Param, Registry};
use mscc_ir::kernels::ascend::{
    AclnnDecl, DECLS, Family, Format, Instance, Since, Source, TensorOf, TensorSource,
};
use mscc_ir::{DType, Dim, TensorType};

/// Rows that documents newer than the registry have.
const NEWER_ROWS: [(&str, &str); 1] = [("moe_finalize_routing", "bf16 i32 bf16 f32 -> bf16")];

fn entries() -> BTreeMap<String, Entry> {
    let document: Document = facts::read("aclnn_ops.yaml");
    document.ops.into_iter().map(|entry| (entry.name.clone(), entry)).collect()
}

#[test]
fn declarations_are_as_documented() {
    let entries = entries();
    let registry: Registry = facts::read("kernel_registry_8_1.yaml");
    let mut differences = Vec::new();
    for decl in DECLS {
        let mut of_this = Differences { decl: decl.name, found: Vec::new() };
        match entries.get(decl.entry) {
            None => of_this.found.push(format!("no entry {}", decl.entry)),
            Some(entry) => {
                of_this.signature(decl, entry);
                of_this.tensors(decl, entry);
                of_this.families(decl, entry);
                of_this.registry(decl, entry, &registry);
            }
        }
        differences.extend(of_this.found.into_iter().map(|found| format!("{}: {found}", of_this.decl)));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

struct Differences {
    decl: &'static str,
    found: Vec<String>,
}

impl Differences {
    fn signature(&mut self, decl: &AclnnDecl, entry: &Entry) {
        let own: Vec<String> =
            decl.args.iter().map(|arg| format!("{} {}", arg.ty.c_name(), arg.name)).collect();
        // The last two are the workspace's size and the executor.
        let params = &entry.params[..entry.params.len() - 2];
        let c_type = |param: &Param| param.c_type.replace("const ", "").replace(' ', "");
        let documented: Vec<String> =
            params.iter().map(|param| format!("{} {}", c_type(param), param.name)).collect();
        for at in 0..own.len().max(documented.len()) {
            let (own, documented) = (own.get(at), documented.get(at));
            if own != documented {
                self.found.push(format!("argument {at} is {own:?}, documented {documented:?}"));
            }
        }
        if (decl.since == Since::Cann81) != entry.in_cann_8_1 {
            self.found.push(format!("is {:?}, in CANN 8.1 is {}", decl.since, entry.in_cann_8_1));
        }
        if !entry.source.iter().any(|source| source == decl.source) {
            self.found.push(format!("source is {}, documented {:?}", decl.source, entry.source));
        }
    }

    fn tensors(&mut self, decl: &AclnnDecl, entry: &Entry) {
        for (column, (at, tensor)) in tensors(decl).enumerate() {
            let Some(param) = entry.params.get(at) else { continue };
            for row in decl.dtypes {
                let cell = row.types.split_whitespace().filter(|cell| *cell != "->").nth(column);
                let Some(cell) = cell else {
                    self.found.push(format!("`{}` has no type for {}", row.types, param.name));
                    continue;
                };
                if !param.dtypes.is_empty() && !param.dtypes.iter().any(|dtype| dtype == cell) {
                    self.found.push(format!("{} as {cell}, documented {:?}", param.name, param.dtypes));
                }
            }
            if tensor.strided && param.noncontiguous == Some(false) {
                self.found.push(format!("{} may be strided, documented is that it is not", param.name));
            }
            self.rank(decl, at, &tensor, param);
        }
        for (arg, param) in decl.args.iter().zip(&entry.params) {
            if matches!(arg.source, Source::Null) && matches!(param.role.as_str(), "output" | "inout") {
                self.found.push(format!("{} is null, documented as {}", param.name, param.role));
            }
        }
    }

    fn rank(&mut self, decl: &AclnnDecl, at: usize, tensor: &TensorSource, param: &Param) {
        let (Some(rank), Some((own, seen))) = (&param.rank, &decl.parsed.shapes[at]) else { return };
        let (ranks, pattern) = (rank.ranks(), seen.as_ref().unwrap_or(own));
        let stored = if tensor.format == Format::Nz && !rank.is_shape() { 2 } else { 0 };
        let named = pattern.num_named() + stored;
        let has = |limit: String| decl.limits.iter().any(|own| own.rule == limit);
        if !pattern.is_open() {
            if !ranks.contains(&named) {
                self.found.push(format!("{} has {named} axes, documented {ranks:?}", param.name));
            }
            return;
        }
        let (least, most) = (*ranks.iter().min().unwrap(), *ranks.iter().max().unwrap());
        if named < least && !has(format!("axes >= {least}")) {
            self.found.push(format!("{} may have {named} axes, documented {least} at least", param.name));
        }
        if !has(format!("axes <= {most}")) {
            self.found.push(format!("{} may have any axes, documented {most} at most", param.name));
        }
    }

    fn families(&mut self, decl: &AclnnDecl, entry: &Entry) {
        for family in Family::ALL {
            if runs_on(decl, family) && !entry.runs_on(family) {
                self.found.push(format!("runs on {}, documented is that it does not", family.name()));
            }
        }
    }

    /// Rows of kernels whose inputs and outputs are those of the entry; other entries cast around their kernels.
    fn registry(&mut self, decl: &AclnnDecl, entry: &Entry, registry: &Registry) {
        let plain = |name: &str| name.replace('_', "").to_lowercase();
        let dir = plain(&entry.primary_kernel.dir);
        let Some(kernel) = registry.kernels.iter().find(|(name, _)| plain(name) == dir) else { return };
        let is_input = |param: &&Param| !matches!(param.role.as_str(), "output" | "optional_output");
        let handles: Vec<&Param> =
            entry.params.iter().filter(|param| param.c_type.contains("aclTensor")).collect();
        let inputs = handles.iter().copied().filter(is_input).count();
        let is_output = |param: &&Param| !matches!(param.role.as_str(), "input" | "optional_input");
        let outputs = handles.iter().copied().filter(is_output).count();
        for family in Family::ALL {
            let Some(rows) = kernel.1.on(family) else { continue };
            let listed_whole = rows.rows_total == rows.dtype_rows.len() && !rows.dtype_rows.is_empty();
            if !listed_whole || rows.inputs.len() != inputs || rows.outputs.len() != outputs {
                continue;
            }
            for (text, (socs, own)) in decl.dtypes.iter().zip(&decl.parsed.rows) {
                if !socs.has(family) || NEWER_ROWS.contains(&(decl.name, text.types)) {
                    continue;
                }
                let expected = columns(decl, entry, own);
                let fits = |row: &String| {
                    let cells = row.split_whitespace().filter(|cell| *cell != "->");
                    cells.zip(&expected).all(|(cell, own)| own.as_ref().is_none_or(|own| own == cell))
                };
                if !rows.dtype_rows.iter().any(fits) {
                    let expected: Vec<&str> =
                        expected.iter().map(|cell| cell.as_deref().unwrap_or("_")).collect();
                    let expected = expected.join(" ");
                    self.found.push(format!(
                        "{expected} on {}, registered {:?}",
                        family.name(),
                        rows.dtype_rows
                    ));
                }
            }
        }
    }
}

/// The columns of the registry that a row of a declaration fills: inputs, then outputs, those written in place in both.
fn columns(decl: &AclnnDecl, entry: &Entry, row: &[Option<DType>]) -> Vec<Option<String>> {
    let mut cells = row.iter();
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for (arg, param) in decl.args.iter().zip(&entry.params) {
        if !param.c_type.contains("aclTensor") {
            continue;
        }
        let cell = match arg.source {
            Source::Tensor(_) => cells.next().unwrap().map(|dtype| dtype.to_string()),
            _ => None,
        };
        match param.role.as_str() {
            "input" | "optional_input" => inputs.push(cell),
            "output" | "optional_output" => outputs.push(cell),
            _ => {
                inputs.push(cell.clone());
                outputs.push(cell);
            }
        }
    }
    inputs.into_iter().chain(outputs).collect()
}

fn tensors(decl: &AclnnDecl) -> impl Iterator<Item = (usize, TensorSource)> {
    decl.args.iter().enumerate().filter_map(|(at, arg)| match arg.source {
        Source::Tensor(tensor) => Some((at, tensor)),
        _ => None,
    })
}

fn runs_on(decl: &AclnnDecl, family: Family) -> bool {
    decl.parsed.rows.iter().any(|(socs, _)| socs.has(family))
}

/// A use that is refused.
struct Refused {
    instance: Instance,
    families: Vec<&'static str>,
}

/// Illegal uses of a declaration, by the refusal quoted: beyond each limit, of another element type or rank, on
/// another device.
fn refusals(decl: &AclnnDecl) -> Vec<(String, Refused)> {
    let mut refusals: Vec<(String, Refused)> = Vec::new();
    let mut add = |instance: Instance, family: Family, rule: Option<&str>| {
        let violations = decl.bind(instance.usage(family)).unwrap_err();
        let quoted = match rule {
            Some(rule) => violations.iter().find(|violation| violation.rule == rule),
            None => violations.first(),
        };
        let quoted = quoted.unwrap_or_else(|| panic!("{}: {rule:?} is not among {violations:?}", decl.name));
        let text = quoted.to_string().replace(&format!(" on {}", family.name()), "");
        match refusals.iter_mut().find(|(known, _)| *known == text) {
            Some((_, refused)) => refused.families.push(family.name()),
            None => refusals.push((text, Refused { instance, families: vec![family.name()] })),
        }
    };
    for family in Family::ALL {
        let Some(legal) = decl.example(family, &[]) else {
            let other = Family::ALL.iter().find_map(|other| decl.example(*other, &[])).unwrap();
            add(other, family, None);
            continue;
        };
        for (rule, instance) in decl.illegal(family) {
            add(instance.unwrap(), family, Some(&rule));
        }
        for other in with_other_type(&legal).into_iter().chain(with_other_rank(decl, &legal, family)) {
            add(other, family, None);
        }
    }
    refusals
}

/// The same with floats of 64 bits, which no call takes.
fn with_other_type(legal: &Instance) -> Option<Instance> {
    let wide = |ty: &TensorType| if ty.dtype.is_float() { ty.with_dtype(DType::F64) } else { ty.clone() };
    let operands: Vec<TensorType> = legal.operands.iter().map(wide).collect();
    let results = legal.op.infer(&operands).ok()?;
    (operands != legal.operands).then(|| Instance { operands, results, ..legal.clone() })
}

/// The same with an axis of one more, if the op has such a use and the call has not.
fn with_other_rank(decl: &AclnnDecl, legal: &Instance, family: Family) -> Option<Instance> {
    let count = legal.operands.len();
    let changes = (0..count).map(|at| at..at + 1).chain([0..count, 0..count.min(2), 1..count]);
    let mut instances = changes.filter_map(|changed| {
        let mut operands = legal.operands.clone();
        for ty in &mut operands[changed] {
            let shape = [Dim::ONE].iter().chain(&ty.shape).cloned().collect::<Vec<_>>();
            *ty = TensorType::new(ty.dtype, shape);
        }
        let results = legal.op.infer(&operands).ok()?;
        Some(Instance { operands, results, ..legal.clone() })
    });
    instances.find(|instance| decl.bind(instance.usage(family)).is_err())
}

#[test]
fn what_breaks_a_rule_is_refused_with_the_rule() {
    let mut text = String::new();
    let mut count = 0;
    for decl in DECLS {
        for (refusal, Refused { instance, families }) in refusals(decl) {
            count += 1;
            let operands: Vec<String> = instance.operands.iter().map(TensorType::to_string).collect();
            let attrs = instance.op.attrs();
            let attrs: Vec<String> = attrs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let attrs = if attrs.is_empty() { String::new() } else { format!(" {{{}}}", attrs.join(", ")) };
            let steps = instance.symbols.iter().map(|(symbol, info)| format!(", {symbol} to {}", info.max));
            let steps: String = steps.collect();
            let op = instance.op.kind().name();
            writeln!(text, "{} on {}{steps}", decl.name, families.join(", ")).unwrap();
            writeln!(text, "  {op} {}{attrs}", operands.join(", ")).unwrap();
            writeln!(text, "  {refusal}\n").unwrap();
        }
    }
    assert!(count >= 60, "{count} cases");
    insta::assert_snapshot!("ascend_refused", text);
}

#[test]
fn rules_that_are_encoded_are_counted() {
    let entries = entries();
    let mut text = String::from("entry | ways | types | shapes | limits | unchecked | documented\n");
    let mut by_entry: BTreeMap<&str, Vec<&AclnnDecl>> = BTreeMap::new();
    for decl in DECLS {
        by_entry.entry(decl.entry).or_default().push(decl);
    }
    for (entry, decls) in by_entry {
        let sum = |count: &dyn Fn(&AclnnDecl) -> usize| decls.iter().map(|decl| count(decl)).sum::<usize>();
        let rows = sum(&|decl| decl.dtypes.len());
        let is_of_op = |tensor: &TensorSource| {
            matches!(
                tensor.of,
                TensorOf::Operand(_) | TensorOf::InOut(_) | TensorOf::Result(_) | TensorOf::All
            )
        };
        let shapes = sum(&|decl| tensors(decl).filter(|(_, tensor)| is_of_op(tensor)).count());
        let limits = sum(&|decl| decl.limits.len() + decl.only.len());
        let unchecked = sum(&|decl| decl.unchecked.len());
        let documented = entries[entry].constraints.len();
        let ways = decls.len();
        writeln!(text, "{entry} | {ways} | {rows} | {shapes} | {limits} | {unchecked} | {documented}")
            .unwrap();
    }
    insta::assert_snapshot!("ascend_rules", text);
}
