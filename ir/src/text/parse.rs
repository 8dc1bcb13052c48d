//! Parsing.

use std::collections::HashMap;
use std::ops::Range;

use super::lexer::Lexer;
use crate::attr::{Attr, Float};
use crate::graph::{CacheRef, Graph, Leaf, Sink, Value};
use crate::module::{CacheGroup, CacheKind, CacheTensor, Module};
use crate::ops::OpKind;
use crate::template::Template;
use crate::tensor_type::MAX_RANK;
use crate::{DType, Symbol, SymbolInfo, TensorType};

/// Most caches of a module, names of a statement, attributes of an op: they are searched one by one.
const MAX_LIST: usize = 1024;
/// Most calls of a program: each is followed when the module is verified.
const MAX_CALLS: usize = 4096;

/// Where and why a text is no module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: String,
}

/// Parses a module. Types of ops' results may be left out; where given they must be those inferred.
pub fn parse_module(text: &str) -> Result<Module, ParseError> {
    let mut parser = Parser::new(text)?;
    parser.module()?;
    Ok(parser.module)
}

/// Parses a text that holds one function and nothing else.
pub fn parse_function(text: &str) -> Result<Graph, ParseError> {
    let mut parser = Parser::new(text)?;
    parser.module()?;
    match (parser.module.functions.pop(), parser.module == Module::default()) {
        (Some(function), true) => Ok(function),
        _ => Err(parser.lexer.error("expected one function and nothing else")),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    module: Module,
    functions: HashMap<String, usize>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, ParseError> {
        Ok(Parser { lexer: Lexer::new(text)?, module: Module::default(), functions: HashMap::new() })
    }

    fn module(&mut self) -> Result<(), ParseError> {
        while self.lexer.peek().is_some() {
            let place = self.lexer.place();
            match self.lexer.word()? {
                "module" => {
                    self.module.name = match self.lexer.peek() {
                        Some(b'"') => self.lexer.string()?,
                        _ => self.lexer.word()?.to_owned(),
                    }
                }
                "symbol" => self.list(Self::symbol)?,
                "fact" => self.list(Self::fact)?,
                "cache" => self.cache()?,
                "func" => self.function(place)?,
                "program" => self.program()?,
                other => {
                    let reason =
                        format!("expected module, symbol, fact, cache, func or program, found `{other}`");
                    return Err(self.lexer.error_at(place, reason));
                }
            }
        }
        Ok(())
    }

    /// One or more of what `item` reads, with commas between.
    fn list(&mut self, item: fn(&mut Self) -> Result<(), ParseError>) -> Result<(), ParseError> {
        item(self)?;
        while self.lexer.eat(",") {
            item(self)?;
        }
        Ok(())
    }

    fn fact(&mut self) -> Result<(), ParseError> {
        let lesser = self.lexer.dim()?;
        self.lexer.expect("<=")?;
        let greater = self.lexer.dim()?;
        self.module.symbols.assume_le(lesser, greater);
        Ok(())
    }

    fn symbol(&mut self) -> Result<(), ParseError> {
        let place = self.lexer.place();
        let name = self.lexer.word()?;
        if !Symbol::is_name(name) {
            return Err(self.lexer.error_at(place, format!("`{name}` cannot name a symbol")));
        }
        self.lexer.keyword("in")?;
        let place = self.lexer.place();
        let (min, max) = self.range::<i64>()?;
        if min < 0 || max < min {
            return Err(self.lexer.error_at(place, format!("bounds {min}..{max} are not 0 <= min <= max")));
        }
        let mut likely = max;
        if self.lexer.eat("likely") {
            let place = self.lexer.place();
            likely = self.lexer.integer()?;
            if !(min..=max).contains(&likely) {
                return Err(self.lexer.error_at(place, format!("{likely} is outside {min}..{max}")));
            }
        }
        self.module.symbols.declare(name, SymbolInfo { min, max, likely });
        Ok(())
    }

    fn range<T: std::str::FromStr>(&mut self) -> Result<(T, T), ParseError> {
        let start = self.lexer.integer()?;
        self.lexer.expect("..")?;
        Ok((start, self.lexer.integer()?))
    }

    fn layer_range(&mut self) -> Result<Range<u32>, ParseError> {
        let place = self.lexer.place();
        let start: u32 = self.lexer.integer()?;
        let end = match self.lexer.eat("..") {
            true => self.lexer.integer()?,
            false => start
                .checked_add(1)
                .ok_or_else(|| self.lexer.error_at(place, format!("layer {start} is out of range")))?,
        };
        if end < start {
            return Err(self.lexer.error_at(place, format!("the range {start}..{end} runs backwards")));
        }
        Ok(start..end)
    }

    fn cache(&mut self) -> Result<(), ParseError> {
        let place = self.lexer.place();
        let name = self.lexer.word()?.to_owned();
        if !Symbol::is_name(&name) {
            return Err(self
                .lexer
                .error_at(place, format!("`{name}` cannot name a cache: `P_{name}` is a symbol")));
        }
        if self.module.caches.len() == MAX_LIST {
            return Err(self.lexer.error_at(place, format!("more than {MAX_LIST} caches")));
        }
        if self.module.cache(&name).is_some() {
            return Err(self.lexer.error_at(place, format!("cache `{name}` is declared twice")));
        }
        let place = self.lexer.place();
        let kind = match self.lexer.word()? {
            "full" => CacheKind::Full,
            "window" => CacheKind::Window(self.lexer.integer()?),
            "latent" => CacheKind::Latent,
            other => {
                let reason = format!("expected full, window or latent, found `{other}`");
                return Err(self.lexer.error_at(place, reason));
            }
        };
        self.lexer.keyword("block")?;
        let block_size = self.lexer.integer()?;
        self.lexer.keyword("layers")?;
        self.lexer.expect("[")?;
        let mut layers = Vec::new();
        while !self.lexer.eat("]") {
            layers.push(self.layer_range()?);
            if self.lexer.peek() != Some(b']') {
                self.lexer.expect(",")?;
            }
        }
        self.lexer.expect("{")?;
        let mut tensors = Vec::new();
        loop {
            let name = self.lexer.word()?.to_owned();
            self.lexer.expect(":")?;
            let dtype = self.dtype()?;
            let row = self.lexer.list(|lexer| lexer.integer())?;
            tensors.push(CacheTensor { name, dtype, row });
            if self.lexer.eat("}") {
                break;
            }
            self.lexer.expect(",")?;
        }
        self.module.caches.push(CacheGroup { name, kind, block_size, tensors, layers });
        Ok(())
    }

    fn dtype(&mut self) -> Result<DType, ParseError> {
        let place = self.lexer.place();
        let word = self.lexer.word()?;
        word.parse()
            .map_err(|error: crate::dtype::UnknownDType| self.lexer.error_at(place, error.to_string()))
    }

    fn tensor_type(&mut self) -> Result<TensorType, ParseError> {
        let dtype = self.dtype()?;
        let place = self.lexer.place();
        let shape = self.lexer.list(Lexer::dim)?;
        if shape.len() > MAX_RANK {
            return Err(self
                .lexer
                .error_at(place, format!("{} axes, at most {MAX_RANK} will do", shape.len())));
        }
        Ok(TensorType::new(dtype, shape))
    }

    fn function(&mut self, place: usize) -> Result<(), ParseError> {
        self.lexer.expect("@")?;
        let mut graph = Graph::new(self.lexer.word()?);
        let index = self.module.functions.len();
        if self.functions.insert(graph.name.clone(), index).is_some() {
            return Err(self.lexer.error_at(place, format!("function `@{}` is defined twice", graph.name)));
        }
        self.lexer.expect("{")?;
        while !self.lexer.eat("}") {
            match self.lexer.peek() {
                Some(b'%') => self.node(&mut graph)?,
                _ => self.sink(&mut graph)?,
            }
        }
        self.module.functions.push(graph);
        Ok(())
    }

    fn value(&mut self, graph: &Graph) -> Result<Value, ParseError> {
        let place = self.lexer.place();
        let name = self.lexer.value_name()?;
        graph
            .by_name(name)
            .ok_or_else(|| self.lexer.error_at(place, format!("`%{name}` is not defined above")))
    }

    fn cache_ref(&mut self) -> Result<CacheRef, ParseError> {
        let place = self.lexer.place();
        let word = self.lexer.word()?;
        match word.split_once('.') {
            Some((group, tensor)) => Ok(CacheRef { group: group.to_owned(), tensor: tensor.to_owned() }),
            None => Err(self.lexer.error_at(place, format!("expected GROUP.TENSOR, found `{word}`"))),
        }
    }

    fn template(&mut self) -> Result<Template, ParseError> {
        let place = self.lexer.place();
        let text = self.lexer.string()?;
        Template::new(&text).map_err(|error| self.lexer.error_at(place, error.to_string()))
    }

    fn node(&mut self, graph: &mut Graph) -> Result<(), ParseError> {
        let mut names: Vec<&str> = Vec::new();
        loop {
            let place = self.lexer.place();
            let name = self.lexer.value_name()?;
            if graph.by_name(name).is_some() || names.contains(&name) {
                return Err(self.lexer.error_at(place, format!("`%{name}` is defined twice")));
            }
            if names.len() == MAX_LIST {
                return Err(self.lexer.error_at(place, format!("more than {MAX_LIST} results")));
            }
            names.push(name);
            if !self.lexer.eat(",") {
                break;
            }
        }
        self.lexer.expect("=")?;
        let place = self.lexer.place();
        let word = self.lexer.word()?;
        let leaf = match word {
            "input" => Leaf::Input(self.lexer.word()?.to_owned()),
            "state" => Leaf::State(self.lexer.word()?.to_owned()),
            "cache" => Leaf::Cache(self.cache_ref()?),
            "weight" => Leaf::Weight(self.template()?),
            _ => match OpKind::from_name(word) {
                Some(kind) => return self.op(graph, kind, &names, place),
                None => return Err(self.lexer.error_at(place, format!("unknown op `{word}`"))),
            },
        };
        self.lexer.expect(":")?;
        let ty = self.tensor_type()?;
        if names.len() != 1 {
            return Err(self.lexer.error_at(place, format!("`{word}` gives one value")));
        }
        graph.leaf(leaf, names[0], ty);
        Ok(())
    }

    fn op(
        &mut self,
        graph: &mut Graph,
        kind: OpKind,
        names: &[&str],
        place: usize,
    ) -> Result<(), ParseError> {
        let mut operands = Vec::new();
        if self.lexer.peek() == Some(b'%') {
            operands.push(self.value(graph)?);
            while self.lexer.eat(",") {
                operands.push(self.value(graph)?);
            }
        }
        let attrs = self.attrs()?;
        let op = kind
            .with_attrs(&attrs)
            .map_err(|error| self.lexer.error_at(place, format!("`{}`: {error}", kind.name())))?;
        let results =
            graph.op(op, &operands, names).map_err(|error| self.lexer.error_at(place, error.to_string()))?;
        if results.len() != names.len() {
            let reason =
                format!("`{}` gives {} values, {} are named", kind.name(), results.len(), names.len());
            return Err(self.lexer.error_at(place, reason));
        }
        if self.lexer.eat(":") {
            for (at, value) in results.iter().enumerate() {
                if at > 0 {
                    self.lexer.expect(",")?;
                }
                let place = self.lexer.place();
                let stated = self.tensor_type()?;
                let inferred = graph.ty(*value);
                if stated != *inferred {
                    let reason = format!("`%{}` is {inferred}, not {stated}", names[at]);
                    return Err(self.lexer.error_at(place, reason));
                }
            }
        }
        Ok(())
    }

    fn attrs(&mut self) -> Result<Vec<(String, Attr)>, ParseError> {
        let mut attrs: Vec<(String, Attr)> = Vec::new();
        if !self.lexer.eat("{") {
            return Ok(attrs);
        }
        while !self.lexer.eat("}") {
            if !attrs.is_empty() {
                self.lexer.expect(",")?;
            }
            let place = self.lexer.place();
            let name = self.lexer.word()?.to_owned();
            if attrs.len() == MAX_LIST {
                return Err(self.lexer.error_at(place, format!("more than {MAX_LIST} attributes")));
            }
            if attrs.iter().any(|(other, _)| *other == name) {
                return Err(self.lexer.error_at(place, format!("attribute `{name}` is given twice")));
            }
            self.lexer.expect("=")?;
            attrs.push((name, self.attr()?));
        }
        Ok(attrs)
    }

    fn attr(&mut self) -> Result<Attr, ParseError> {
        let place = self.lexer.place();
        match self.lexer.peek() {
            Some(b'[') => Ok(Attr::Dims(self.lexer.list(Lexer::dim)?)),
            Some(byte) if byte.is_ascii_digit() || byte == b'-' => {
                let number = self.lexer.number()?;
                let bad = || self.lexer.error_at(place, format!("`{number}` is no number in range"));
                if number.contains(['.', 'e', 'E']) {
                    let value: f64 = number.parse().map_err(|_| bad())?;
                    if value.is_finite() { Ok(Attr::Float(Float(value))) } else { Err(bad()) }
                } else {
                    Ok(Attr::Int(number.parse().map_err(|_| bad())?))
                }
            }
            _ => Ok(match self.lexer.word()? {
                "true" => Attr::Bool(true),
                "false" => Attr::Bool(false),
                word => Attr::Name(word.to_owned()),
            }),
        }
    }

    fn sink(&mut self, graph: &mut Graph) -> Result<(), ParseError> {
        let place = self.lexer.place();
        let sink = match self.lexer.word()? {
            "state" => Sink::State(self.lexer.word()?.to_owned()),
            "output" => Sink::Output(self.lexer.word()?.to_owned()),
            "cache" => Sink::Cache(self.cache_ref()?),
            "tap" => Sink::Tap(self.template()?),
            other => {
                let reason = format!("expected `%name = …`, state, output, cache or tap, found `{other}`");
                return Err(self.lexer.error_at(place, reason));
            }
        };
        self.lexer.expect("=")?;
        let value = self.value(graph)?;
        graph.sink(sink, value);
        Ok(())
    }

    fn program(&mut self) -> Result<(), ParseError> {
        self.lexer.expect("{")?;
        while !self.lexer.eat("}") {
            self.lexer.expect("@")?;
            let place = self.lexer.place();
            let name = self.lexer.word()?;
            let function = self.functions.get(name).copied().ok_or_else(|| {
                self.lexer.error_at(place, format!("function `@{name}` is not defined above"))
            })?;
            self.lexer.expect("[")?;
            let layers = self.layer_range()?;
            self.lexer.expect("]")?;
            self.module.call(function, layers);
            if self.module.program.len() > MAX_CALLS {
                return Err(self.lexer.error_at(place, format!("more than {MAX_CALLS} calls")));
            }
        }
        Ok(())
    }
}
