//! Parsing.

mod function;

use std::collections::HashMap;
use std::ops::Range;

use super::lexer::Lexer;
use crate::graph::Graph;
use crate::module::{CacheGroup, CacheKind, CacheTensor, Module};
use crate::tensor_type::MAX_RANK;
use crate::{DType, Symbol, SymbolInfo, TensorType};

/// Most caches of a module, names of a statement, attributes of an op: they are searched one by one.
const MAX_LIST: usize = 1024;
/// Most calls of a program: each is followed when the module is verified.
const MAX_CALLS: usize = 4096;

/// Where and why a text is no module.
///
/// What to do: mend that line; docs/ir.md describes the text.
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

/// Parses attributes as they stand behind an op, `{eps=1e-6, trans_b=true}`.
pub fn parse_attrs(text: &str) -> Result<Vec<(String, crate::attr::Attr)>, ParseError> {
    let mut parser = Parser::new(text)?;
    let attrs = parser.attrs()?;
    if parser.lexer.peek().is_none() { Ok(attrs) } else { Err(parser.lexer.error("expected the end")) }
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
