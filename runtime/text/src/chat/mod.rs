mod concat;
mod continuation;
mod dialect;
mod environment;
mod filters;
mod json;
mod methods;
mod python;
mod strftime;

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};

use self::continuation::Continuation;
use crate::files::{self, FileError};
use crate::special::{self, SpecialTokens};

/// Largest size of a repository's templates together, in bytes. Published ones have up to 30 kB.
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;
/// Most templates of one repository.
const MAX_TEMPLATES: usize = 64;
/// Stack of the thread that renders, in bytes for a unit of fuel: a template can nest a value as deep as its fuel
/// lasts, and dropping or printing such a value recurses. Four times what the worst template found needs; the
/// memory is only reserved, and used as far as needed.
const STACK_BYTES_PER_FUEL: u64 = 256;
/// Stack of the thread that reads templates, in bytes: enough for the longest chain of operators that
/// [`dialect::for_engine`] lets through.
const COMPILER_STACK_BYTES: usize = 64 << 20;
/// Stack for everything else, in bytes.
const STACK_BYTES: u64 = 16 << 20;
/// Most fuel, so that the stack stays within what can be reserved.
const MAX_FUEL: u64 = 16_000_000;

/// A model's chat template: makes the text of a conversation.
///
/// Templates are programs from the internet. They run in the environment that transformers gives them, without
/// access to files or anything else of the host, and within [`ChatLimits`]:
///
/// - statements and filters of jinja2 with `trim_blocks` and `lstrip_blocks`; `{% generation %}`, `{% break %}`,
///   `{% continue %}`; not the filters that lay out text (`truncate`, `wordwrap`, `striptags` and the like);
/// - `raise_exception`, `strftime_now` (in UTC), `namespace`, `dict`, `range`; not `lipsum`, `cycler`, `joiner`;
/// - Python's `tojson` with `indent`, `ensure_ascii`, `separators` and `sort_keys`; methods of `str`, `dict` and
///   `list` that change nothing; texts of lists, maps, floats and so on as Python writes them;
/// - more lenient than jinja2 with values of the wrong type: nothing is iterated over in `{% for x in none %}`,
///   which fails there. A template that renders there renders the same here, but for the operator `%` on texts,
///   `varargs` and `kwargs` of macros, and defaults of a macro's arguments that name others of them.
///
/// As in transformers, keys of a message that are null are dropped, `reasoning_content`, `thinking` and
/// `reasoning` are filled from one another, and an empty conversation is refused.
///
/// Cloning is cheap. Rendering takes a fresh thread.
///
/// Source: transformers 5.23, `chat_template_utils.py` and `apply_chat_template`.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    inner: Arc<Inner>,
    limits: ChatLimits,
}

#[derive(Debug)]
struct Inner {
    /// The compiled templates, under their names.
    environment: Environment<'static>,
    names: Vec<String>,
    special_tokens: Map<String, Value>,
    /// Alive while the thread of a rendering runs that took too long.
    overdue: Mutex<Weak<()>>,
}

impl Inner {
    fn render(
        &self,
        name: &str,
        context: &Map<String, Value>,
        now: SystemTime,
        fuel: u64,
    ) -> Result<String, minijinja::Error> {
        // A copy of the environment, which shares its templates, carries what differs per call.
        let mut environment = self.environment.clone();
        environment::set_now(&mut environment, now);
        environment.set_fuel(Some(fuel));
        environment.get_template(name)?.render(minijinja::Value::from(Serde(context)))
    }

    fn overdue(&self) -> MutexGuard<'_, Weak<()>> {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatInput {
    /// The conversation: an array of objects, each with `role` and mostly `content`.
    pub messages: Value,
    /// Whether the text ends with the header of the assistant's next message.
    pub add_generation_prompt: bool,
    /// Whether the text ends where the content of the last message ends, so that the model continues it. Not
    /// together with `add_generation_prompt`.
    pub continue_final_message: bool,
    /// Tools the model may call: an array of JSON schemas.
    pub tools: Option<Value>,
    /// Documents to answer from: an array of objects with `title` and `text`.
    pub documents: Option<Value>,
    /// Further variables of the template, such as `enable_thinking`. They win over the special tokens, not over
    /// the fields above.
    pub variables: Map<String, Value>,
    /// The time `strftime_now` tells, in UTC; the present if `None`.
    pub now: Option<SystemTime>,
}

impl ChatInput {
    /// A conversation without tools, documents or a generation prompt.
    pub fn new(messages: Value) -> Self {
        Self {
            messages,
            add_generation_prompt: false,
            continue_final_message: false,
            tools: None,
            documents: None,
            variables: Map::new(),
            now: None,
        }
    }
}

/// What rendering may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatLimits {
    /// Work: one unit for an instruction of the template or about 64 bytes produced or processed; at most 16
    /// million. The default of a million mostly takes less than a tenth of a
    /// second.
    pub fuel: u64,
    /// Size of the rendered text, in bytes.
    pub output_bytes: usize,
    /// Time until the caller has an answer. The engine has operations that cost more time than fuel (an index into
    /// a long string), and a rendering cannot be stopped from outside: one that takes longer is left alone until
    /// its fuel ends, and meanwhile the template renders nothing else.
    pub time: Duration,
}

impl Default for ChatLimits {
    fn default() -> Self {
        Self { fuel: 1_000_000, output_bytes: 32 << 20, time: Duration::from_secs(1) }
    }
}

/// Why a chat template cannot be loaded or rendered.
///
/// What to do: mend the template, or compile with another (`--chat-template FILE`).
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// One of the files cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The template is not Jinja.
    #[error("chat template, line {line}: {reason}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// The input is not a conversation.
    #[error("{place}: {reason}")]
    Conversation {
        /// The part of the input, such as `messages[2]`.
        place: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The template itself refuses the conversation, by `raise_exception`.
    #[error("the chat template refuses the conversation: {message}")]
    Refused {
        /// The template's own words.
        message: String,
    },
    /// The template fails on this conversation.
    #[error("chat template, line {line}: {reason}")]
    Render {
        /// The line, from 1.
        line: usize,
        /// What went wrong.
        reason: String,
    },
    /// The repository has several templates and none is named `default`.
    #[error(
        "no chat template is named `default`; there are: {}; choose one with --chat-template FILE",
        names.join(", ")
    )]
    NoDefault {
        /// The names there are.
        names: Vec<String>,
    },
    /// The template needs more than [`ChatLimits`] grants.
    #[error("chat template: {what} exceeded")]
    Limit {
        /// Which limit.
        what: &'static str,
    },
    /// The operating system refuses a thread to render on.
    #[error("cannot start a thread to render the chat template: {0}")]
    Thread(std::io::Error),
}

impl ChatTemplate {
    /// The template of a model directory, or `None` if it has none. The first of these that has one counts:
    ///
    /// 1. `chat_template.jinja`, named `default`, and `additional_chat_templates/*.jinja`, named by their files;
    /// 2. `chat_template` of `tokenizer_config.json`, a text or a list of named ones;
    /// 3. `chat_template` of `chat_template.json`, where older processors keep it.
    ///
    /// Special tokens come from `tokenizer_config.json` in all cases.
    ///
    /// # Errors
    /// [`ChatError::File`] or [`ChatError::Syntax`].
    ///
    /// Source: transformers 5.23, `PreTrainedTokenizerBase._from_pretrained` and
    /// `ProcessorMixin.get_processor_dict`.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Option<Self>, ChatError> {
        let dir = dir.as_ref();
        let (config_file, config) = special::config_of_dir(dir)?;
        let mut templates = additional_templates(&dir.join("additional_chat_templates"))?;
        let file = dir.join("chat_template.jinja");
        if let Some(bytes) = files::read_optional(&file, MAX_TEMPLATE_BYTES)? {
            templates.retain(|(name, _)| name != "default");
            templates.insert(0, ("default".to_owned(), utf8(&file, bytes)?));
        }
        if templates.is_empty() {
            templates = templates_of_config(&config_file, &config)?;
        }
        let file = dir.join("chat_template.json");
        if templates.is_empty()
            && let Some(bytes) = files::read_optional(&file, 2 * MAX_TEMPLATE_BYTES)?
        {
            templates = templates_of_config(&file, &files::json_object(&file, &bytes)?)?;
        }
        Self::build(templates, &config)
    }

    /// The template in the content of `tokenizer_config.json` or, where given, `chat_template.jinja`, which wins.
    ///
    /// # Errors
    /// As [`from_dir`](Self::from_dir).
    pub fn from_bytes(
        tokenizer_config: Option<&[u8]>,
        chat_template_jinja: Option<&str>,
    ) -> Result<Option<Self>, ChatError> {
        let file = Path::new("tokenizer_config.json");
        let config = match tokenizer_config {
            Some(bytes) => files::json_object(file, bytes)?,
            None => Map::new(),
        };
        let templates = match chat_template_jinja {
            Some(text) => vec![("default".to_owned(), text.to_owned())],
            None => templates_of_config(file, &config)?,
        };
        Self::build(templates, &config)
    }

    /// A template given as text. It knows no special tokens: pass those it needs in [`ChatInput::variables`].
    ///
    /// # Errors
    /// [`ChatError::Syntax`].
    pub fn from_text(template: &str) -> Result<Self, ChatError> {
        let template = Self::build(vec![("default".to_owned(), template.to_owned())], &Map::new())?;
        Ok(template.expect("one template was given"))
    }

    fn build(
        templates: Vec<(String, String)>,
        config: &Map<String, Value>,
    ) -> Result<Option<Self>, ChatError> {
        if templates.is_empty() {
            return Ok(None);
        }
        let mut bytes = 0;
        for (index, (_, template)) in templates.iter().enumerate() {
            bytes += template.len() as u64;
            if bytes > MAX_TEMPLATE_BYTES || index == MAX_TEMPLATES {
                return Err(ChatError::Limit { what: "the size of templates" });
            }
        }
        let names = templates.iter().map(|(name, _)| name.clone()).collect();
        // The compiler recurses, and fails by a panic on some long lines.
        let thread = std::thread::Builder::new().name("mscc-chat".into()).stack_size(COMPILER_STACK_BYTES);
        let thread = thread.spawn(move || compile(templates)).map_err(ChatError::Thread)?;
        let environment = thread.join().unwrap_or_else(|_| {
            Err(ChatError::Syntax { line: 1, reason: "the template engine failed on it".into() })
        })?;
        let special_tokens = SpecialTokens::from_config(config).named;
        let inner = Inner { environment, names, special_tokens, overdue: Mutex::default() };
        Ok(Some(Self { inner: Arc::new(inner), limits: ChatLimits::default() }))
    }

    /// The same template with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: ChatLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The text of a conversation. It contains the special tokens: encode it without adding them again.
    ///
    /// Of several templates, `tool_use` is taken where there are tools, else `default`.
    ///
    /// # Errors
    /// [`ChatError::Conversation`], [`ChatError::Refused`], [`ChatError::Render`], [`ChatError::Limit`],
    /// [`ChatError::NoDefault`] or [`ChatError::Thread`].
    pub fn render(&self, input: &ChatInput) -> Result<String, ChatError> {
        let name = self.template_name(input.tools.is_some())?.to_owned();
        let (context, continuation) = self.context(input, &name)?;
        let now = input.now.unwrap_or_else(SystemTime::now);
        let fuel = self.limits.fuel.min(MAX_FUEL);
        let stack = usize::try_from(STACK_BYTES + fuel * STACK_BYTES_PER_FUEL).unwrap_or(usize::MAX);

        if self.inner.overdue().strong_count() > 0 {
            return Err(ChatError::Limit { what: "the limit of time, by a rendering that still runs," });
        }
        let running = Arc::new(());
        let overdue = Arc::downgrade(&running);
        let inner = Arc::clone(&self.inner);
        let (sender, receiver) = mpsc::sync_channel(1);
        let run = move || {
            let _running = running;
            // The receiver is gone if it took too long; then nobody wants the text.
            let _ = sender.send(inner.render(&name, &context, now, fuel));
        };
        std::thread::Builder::new()
            .name("mscc-chat".into())
            .stack_size(stack)
            .spawn(run)
            .map_err(ChatError::Thread)?;
        let text = match receiver.recv_timeout(self.limits.time) {
            Ok(result) => result.map_err(chat_error)?,
            Err(RecvTimeoutError::Timeout) => {
                *self.inner.overdue() = overdue;
                return Err(ChatError::Limit { what: "the limit of time" });
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(ChatError::Render { line: 1, reason: "the template engine failed on it".into() });
            }
        };
        if text.len() > self.limits.output_bytes {
            return Err(ChatError::Limit { what: "the size of the output" });
        }
        match continuation {
            Some(continuation) => continuation.cut(text),
            None => Ok(text),
        }
    }

    fn template_name(&self, has_tools: bool) -> Result<&str, ChatError> {
        let named = |name| self.inner.names.iter().find(|other| *other == name);
        let name = has_tools.then(|| named("tool_use")).flatten().or_else(|| named("default"));
        name.map(String::as_str).ok_or_else(|| ChatError::NoDefault { names: self.inner.names.clone() })
    }

    /// The variables of the template `name`.
    fn context(
        &self,
        input: &ChatInput,
        name: &str,
    ) -> Result<(Map<String, Value>, Option<Continuation>), ChatError> {
        let fail = |place: String, reason| Err(ChatError::Conversation { place, reason });
        let Some(messages) = input.messages.as_array() else {
            return fail("messages".into(), "expected an array of messages");
        };
        if messages.is_empty() {
            return fail("messages".into(), "expected at least one message");
        }
        let mut conversation = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            match message {
                Value::Object(message) => conversation.push(Value::Object(message_for_template(message))),
                _ => return fail(format!("messages[{index}]"), "expected an object with role and content"),
            }
        }
        for (name, part) in [("tools", &input.tools), ("documents", &input.documents)] {
            let is_list =
                |part: &Value| part.as_array().is_some_and(|items| items.iter().all(Value::is_object));
            if part.as_ref().is_some_and(|part| !is_list(part)) {
                return fail(name.into(), "expected an array of objects");
            }
        }
        let mut continuation = None;
        if input.continue_final_message {
            if input.add_generation_prompt {
                let reason = "does not go together with add_generation_prompt";
                return fail("continue_final_message".into(), reason);
            }
            let template = self.inner.environment.get_template(name).map_err(chat_error)?;
            continuation = Some(Continuation::mark(&mut conversation, template.source())?);
        }
        let mut context = self.inner.special_tokens.clone();
        context.extend(input.variables.clone());
        context.insert("messages".into(), conversation.into());
        context.insert("tools".into(), input.tools.clone().unwrap_or_default());
        context.insert("documents".into(), input.documents.clone().unwrap_or_default());
        context.insert("add_generation_prompt".into(), input.add_generation_prompt.into());
        Ok((context, continuation))
    }
}

/// Reads templates with their names.
fn compile(templates: Vec<(String, String)>) -> Result<Environment<'static>, ChatError> {
    let mut environment = environment::new();
    for (name, template) in templates {
        let template = dialect::for_engine(&template).map_err(|what| ChatError::Limit { what })?;
        environment
            .add_template_owned(name, template)
            .map_err(|error| ChatError::Syntax { line: error.line().unwrap_or(1), reason: reason(&error) })?;
    }
    Ok(environment)
}

/// A message as templates see it: without null values, with reasoning under the names that templates know.
fn message_for_template(message: &Map<String, Value>) -> Map<String, Value> {
    let mut message: Map<_, _> =
        message.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect();
    let reasoning = ["reasoning_content", "thinking", "reasoning"].iter().find_map(|key| message.get(*key));
    if let Some(reasoning) = reasoning.cloned() {
        let mut with_alias = Map::new();
        with_alias.insert("thinking".into(), reasoning.clone());
        with_alias.extend(message);
        with_alias.insert("reasoning_content".into(), reasoning);
        message = with_alias;
    }
    message
}

/// `chat_template` of `tokenizer_config.json`: one text, or a list (in older files an object) of named ones.
fn templates_of_config(file: &Path, config: &Map<String, Value>) -> Result<Vec<(String, String)>, FileError> {
    let fail = |what: &str| FileError::invalid(file, format!("chat_template: {what}"));
    match config.get("chat_template") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![("default".to_owned(), text.clone())]),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| {
                let field = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
                field("name")
                    .zip(field("template"))
                    .ok_or_else(|| fail("expected items with name and template"))
            })
            .collect(),
        Some(Value::Object(items)) => items
            .iter()
            .map(|(name, text)| {
                let text = text.as_str().ok_or_else(|| fail("expected a text for each name"))?;
                Ok((name.clone(), text.to_owned()))
            })
            .collect(),
        Some(Value::Bool(_) | Value::Number(_)) => Err(fail("expected a text or a list of named ones")),
    }
}

/// The templates of a directory, named by their files; none if there is no directory.
fn additional_templates(dir: &Path) -> Result<Vec<(String, String)>, FileError> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(Vec::new()) };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jinja"));
    paths.sort();
    let mut templates = Vec::new();
    for path in paths.iter().take(MAX_TEMPLATES) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        templates.push((name, utf8(path, files::read(path, MAX_TEMPLATE_BYTES)?)?));
    }
    Ok(templates)
}

fn utf8(file: &Path, bytes: Vec<u8>) -> Result<String, FileError> {
    String::from_utf8(bytes).map_err(|error| FileError::invalid(file, error))
}

/// What a user can do something about, out of an engine's error.
fn chat_error(error: minijinja::Error) -> ChatError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref::<environment::Refusal>() {
            return ChatError::Refused { message: refusal.message.clone() };
        }
        if let Some(inner) = inner.downcast_ref::<minijinja::Error>() {
            if inner.kind() == ErrorKind::OutOfFuel {
                return ChatError::Limit { what: "the limit of work" };
            }
            if inner.detail().is_some_and(|detail| detail.contains("recursion limit")) {
                return ChatError::Limit { what: "the depth of recursion" };
            }
        }
        cause = inner.source();
    }
    ChatError::Render { line: error.line().unwrap_or(1), reason: reason(&error) }
}

fn reason(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests;
