use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::{filters, methods, python, strftime};

/// What `raise_exception` throws.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    /// The template's words.
    pub(super) message: String,
}

/// The environment that transformers gives to chat templates.
///
/// Source: transformers 5.23, `_cached_compile_jinja_template`; defaults of jinja2 3.1.6.
pub(super) fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the standard delimiters are valid"));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(|out, state, value| {
        if let Some(text) = python::str_if_different(state, value)? {
            return Ok(out.write_str(&text)?);
        }
        minijinja::escape_formatter(out, state, value)
    });
    environment.set_unknown_method_callback(methods::call);
    environment.add_function("raise_exception", raise_exception);
    filters::add_to(&mut environment);
    environment
}

/// Sets the time that `strftime_now` tells.
pub(super) fn set_now(environment: &mut Environment<'static>, now: SystemTime) {
    environment.add_function("strftime_now", move |format: &str| strftime::utc(now, format));
}

fn raise_exception(state: &State, message: &Value) -> Result<Value, Error> {
    let refusal = Refusal { message: python::str(state, message)?.into_owned() };
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(refusal))
}
