//! Parsing of functions.

use super::super::lexer::Lexer;
use super::{MAX_LIST, ParseError, Parser};
use crate::attr::{Attr, Float};
use crate::graph::{CacheRef, Graph, Leaf, Sink, Value};
use crate::ops::OpKind;
use crate::template::Template;
use crate::text::MAX_PREFIX_BYTES;

impl<'a> Parser<'a> {
    pub(super) fn function(&mut self, place: usize) -> Result<(), ParseError> {
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
                _ => self.leaves_or_sinks(&mut graph)?,
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
        self.cache_named(word, place)
    }

    fn cache_named(&self, name: &str, place: usize) -> Result<CacheRef, ParseError> {
        match name.split_once('.') {
            Some((group, tensor)) => Ok(CacheRef { group: group.to_owned(), tensor: tensor.to_owned() }),
            None => Err(self.lexer.error_at(place, format!("expected GROUP.TENSOR, found `{name}`"))),
        }
    }

    fn template(&mut self) -> Result<Template, ParseError> {
        let place = self.lexer.place();
        let text = self.lexer.string()?;
        self.template_of(&text, place)
    }

    fn template_of(&self, text: &str, place: usize) -> Result<Template, ParseError> {
        Template::new(text).map_err(|error| self.lexer.error_at(place, error.to_string()))
    }

    /// Takes `%name`, which is not defined above.
    fn new_name(&mut self, graph: &Graph) -> Result<&'a str, ParseError> {
        let place = self.lexer.place();
        let name = self.lexer.value_name()?;
        match graph.by_name(name) {
            None => Ok(name),
            Some(_) => Err(self.lexer.error_at(place, format!("`%{name}` is defined twice"))),
        }
    }

    /// `input %a: TYPE, %b = NAME: TYPE`, and so for states, caches and weights; or sinks.
    fn leaves_or_sinks(&mut self, graph: &mut Graph) -> Result<(), ParseError> {
        let place = self.lexer.place();
        let word = self.lexer.word()?;
        match Source::from_name(word) {
            Some(source @ (Source::Input | Source::Weight)) => self.leaves(graph, source),
            Some(source) if self.lexer.peek() == Some(b'%') => self.leaves(graph, source),
            Some(Source::State | Source::Cache) | None => self.sinks(graph, word, place),
        }
    }

    fn leaves(&mut self, graph: &mut Graph, source: Source) -> Result<(), ParseError> {
        let mut prefix = String::new();
        if source == Source::Weight && self.lexer.peek() == Some(b'"') {
            let place = self.lexer.place();
            prefix = self.template()?.into();
            if prefix.len() > MAX_PREFIX_BYTES {
                let reason = format!("a prefix has at most {MAX_PREFIX_BYTES} bytes, not {}", prefix.len());
                return Err(self.lexer.error_at(place, reason));
            }
        }
        self.declaration(graph, source, &prefix)?;
        while self.lexer.eat(",") {
            self.declaration(graph, source, &prefix)?;
        }
        Ok(())
    }

    fn declaration(&mut self, graph: &mut Graph, source: Source, prefix: &str) -> Result<(), ParseError> {
        let place = self.lexer.place();
        let name = self.new_name(graph)?;
        let leaf = match self.lexer.eat("=") {
            true => self.leaf(source)?,
            false => match source {
                Source::Input => Leaf::Input(name.to_owned()),
                Source::State => Leaf::State(name.to_owned()),
                Source::Cache => Leaf::Cache(self.cache_named(name, place)?),
                Source::Weight => Leaf::Weight(self.template_of(&format!("{prefix}{name}"), place)?),
            },
        };
        self.lexer.expect(":")?;
        let ty = self.tensor_type()?;
        graph.leaf(leaf, name, ty);
        Ok(())
    }

    /// The name behind `input`, `state`, `cache` or `weight`.
    fn leaf(&mut self, source: Source) -> Result<Leaf, ParseError> {
        Ok(match source {
            Source::Input => Leaf::Input(self.lexer.word()?.to_owned()),
            Source::State => Leaf::State(self.lexer.word()?.to_owned()),
            Source::Cache => Leaf::Cache(self.cache_ref()?),
            Source::Weight => Leaf::Weight(self.template()?),
        })
    }

    fn node(&mut self, graph: &mut Graph) -> Result<(), ParseError> {
        let mut names: Vec<&str> = Vec::new();
        loop {
            let place = self.lexer.place();
            let name = self.new_name(graph)?;
            if names.contains(&name) {
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
        let leaf = match Source::from_name(word) {
            Some(source) => self.leaf(source)?,
            None => match OpKind::from_name(word) {
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

    pub(super) fn attrs(&mut self) -> Result<Vec<(String, Attr)>, ParseError> {
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
            Some(b'[') if self.lexer.is_list_of_floats() => {
                let float = |lexer: &mut Lexer<'_>| {
                    let (place, number) = (lexer.place(), lexer.number()?);
                    let value = number.parse().ok().filter(|value: &f64| value.is_finite());
                    value
                        .map(Float)
                        .ok_or_else(|| lexer.error_at(place, format!("`{number}` is no number in range")))
                };
                Ok(Attr::Floats(self.lexer.list(float)?))
            }
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

    /// `state NAME = %a, NAME = %b`, and so for caches, outputs and taps.
    fn sinks(&mut self, graph: &mut Graph, keyword: &str, place: usize) -> Result<(), ParseError> {
        loop {
            let sink = match keyword {
                "state" => Sink::State(self.lexer.word()?.to_owned()),
                "output" => Sink::Output(self.lexer.word()?.to_owned()),
                "cache" => Sink::Cache(self.cache_ref()?),
                "tap" => Sink::Tap(self.template()?),
                other => {
                    let reason = format!(
                        "expected `%name = …`, input, weight, state, output, cache or tap, found `{other}`"
                    );
                    return Err(self.lexer.error_at(place, reason));
                }
            };
            self.lexer.expect("=")?;
            let value = self.value(graph)?;
            graph.sink(sink, value);
            if !self.lexer.eat(",") {
                return Ok(());
            }
        }
    }
}

/// Where a leaf's value comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Input,
    State,
    Cache,
    Weight,
}

impl Source {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "input" => Source::Input,
            "state" => Source::State,
            "cache" => Source::Cache,
            "weight" => Source::Weight,
            _ => return None,
        })
    }
}
