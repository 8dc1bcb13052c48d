//! What the names of a rule stand for while it is read.

use std::collections::BTreeMap;

use mscc_ir::ops::OpKind;

use super::cursor::Cursor;
use crate::error::{Problem, RuleError};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An operand of the left side that no clause computes.
    Operand,
    /// A node of the left side.
    Matched(OpKind),
    /// A node of the right side.
    Made(OpKind),
    /// An attribute's value.
    Attribute,
}

/// A name's role and how it was used so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub role: Role,
    pub star: bool,
    /// Where it first stands.
    pub place: usize,
    /// The greatest result asked for as `?t.1`, and where.
    pub output: Option<(u32, usize)>,
    /// Where it stands as one value, without `.0`.
    pub plain: Option<usize>,
}

/// All names of a rule.
#[derive(Default)]
pub(super) struct Scope {
    names: BTreeMap<String, Name>,
}

/// How a name is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// `?x`
    Plain,
    /// `?x*`
    Star,
    /// `?x.1`
    Output(u32),
}

impl Scope {
    pub fn get(&self, name: &str) -> Option<&Name> {
        self.names.get(name)
    }

    /// All names in order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Name)> {
        self.names.iter()
    }

    /// Notes that an operand of the left side is read.
    pub fn read_left(
        &mut self,
        at: &Cursor<'_>,
        name: &str,
        place: usize,
        how: Use,
    ) -> Result<(), RuleError> {
        let star = how == Use::Star;
        let fresh = Name { role: Role::Operand, star, place, output: None, plain: None };
        let entry = self.names.entry(name.to_owned()).or_insert(fresh);
        match entry.role {
            Role::Operand => entry.note(at, name, place, how),
            Role::Matched(_) => Err(at.error_at(place, Problem::ReadsEarlier(name.to_owned()))),
            Role::Made(_) | Role::Attribute => Err(at.error_at(place, entry.misused(name, "a tensor"))),
        }
    }

    /// Notes that an operand or a made value is read on the right side or by a guard.
    pub fn read(&mut self, at: &Cursor<'_>, name: &str, place: usize, how: Use) -> Result<(), RuleError> {
        let Some(entry) = self.names.get_mut(name) else {
            return Err(at.error_at(place, Problem::Unbound(name.to_owned())));
        };
        if entry.role == Role::Attribute {
            return Err(at.error_at(place, entry.misused(name, "a tensor")));
        }
        entry.note(at, name, place, how)?;
        entry.check_results(at, name)
    }

    /// Binds the node of a clause of the left side; one that `starts` need not be an operand of another.
    pub fn bind_matched(
        &mut self,
        at: &Cursor<'_>,
        (name, place): (&str, usize),
        op: OpKind,
        star: bool,
        starts: bool,
    ) -> Result<(), RuleError> {
        match self.names.get_mut(name) {
            None if starts => {
                let role = Role::Matched(op);
                self.names.insert(name.to_owned(), Name { role, star, place, output: None, plain: None });
                Ok(())
            }
            Some(entry) if entry.role == Role::Operand && entry.star == star => {
                entry.role = Role::Matched(op);
                entry.check_results(at, name)
            }
            Some(entry) if matches!(entry.role, Role::Operand | Role::Attribute) => {
                Err(at.error_at(place, entry.misused(name, "a node")))
            }
            Some(_) => Err(at.error_at(place, Problem::Twice(format!("?{name}")))),
            None => Err(at.error_at(place, Problem::NotReached(name.to_owned()))),
        }
    }

    /// Binds a node of the right side.
    pub fn bind_made(
        &mut self,
        at: &Cursor<'_>,
        (name, place): (&str, usize),
        op: OpKind,
    ) -> Result<(), RuleError> {
        let fresh = Name { role: Role::Made(op), star: false, place, output: None, plain: None };
        match self.names.insert(name.to_owned(), fresh) {
            None => Ok(()),
            Some(_) => Err(at.error_at(place, Problem::Twice(format!("?{name}")))),
        }
    }

    /// Binds or reads an attribute's value on the left side.
    pub fn attribute_left(&mut self, at: &Cursor<'_>, name: &str, place: usize) -> Result<(), RuleError> {
        let fresh = Name { role: Role::Attribute, star: false, place, output: None, plain: None };
        let entry = self.names.entry(name.to_owned()).or_insert(fresh);
        match entry.role {
            Role::Attribute => Ok(()),
            Role::Operand | Role::Matched(_) | Role::Made(_) => {
                Err(at.error_at(place, entry.misused(name, "an attribute's value")))
            }
        }
    }

    /// Reads an attribute's value.
    pub fn attribute(&self, at: &Cursor<'_>, name: &str, place: usize) -> Result<(), RuleError> {
        match self.names.get(name) {
            None => Err(at.error_at(place, Problem::Unbound(name.to_owned()))),
            Some(Name { role: Role::Attribute, .. }) => Ok(()),
            Some(entry) => Err(at.error_at(place, entry.misused(name, "an attribute's value"))),
        }
    }
}

impl Name {
    fn note(&mut self, at: &Cursor<'_>, name: &str, place: usize, how: Use) -> Result<(), RuleError> {
        if self.star != (how == Use::Star) {
            let used = if self.star { "one value" } else { "each sibling's value" };
            return Err(at.error_at(place, self.misused(name, used)));
        }
        match how {
            Use::Plain => self.plain = Some(place),
            Use::Star => {}
            Use::Output(index) => {
                let greatest = self.output.map_or(0, |(greatest, _)| greatest);
                self.output = Some((index.max(greatest), place));
            }
        }
        Ok(())
    }

    /// Holds the results asked for against those that the op has, as far as it is known how many.
    pub fn check_results(&self, at: &Cursor<'_>, name: &str) -> Result<(), RuleError> {
        let (op, results) = match (self.role, self.output) {
            (Role::Matched(op) | Role::Made(op), _) => (op.name(), op.results().len()),
            (Role::Operand, Some((_, place))) => {
                return Err(at.error_at(place, self.misused(name, "a node of several results")));
            }
            (Role::Operand | Role::Attribute, _) => return Ok(()),
        };
        match (self.plain, self.output) {
            (Some(place), _) if results != 1 => {
                Err(at.error_at(place, Problem::SeveralResults { name: name.to_owned(), op }))
            }
            (_, Some((index, place))) if results > 0 && index as usize >= results => {
                Err(at.error_at(place, Problem::NoSuchResult { name: name.to_owned(), op, index, results }))
            }
            _ => Ok(()),
        }
    }

    /// The problem that it is used as something else than it is.
    fn misused(&self, name: &str, used: &'static str) -> Problem {
        let is = match (self.role, self.star) {
            (Role::Attribute, _) => "an attribute's value",
            (Role::Made(_), _) => "a node of the right side",
            (Role::Operand | Role::Matched(_), true) => "each sibling's value",
            (Role::Operand | Role::Matched(_), false) => "one value",
        };
        Problem::Kind { name: name.to_owned(), is, used }
    }
}
