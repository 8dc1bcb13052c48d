//! What commands cannot do, though each of their options makes sense.

use std::fmt;
use std::path::PathBuf;

/// What to do when a conversation has become too long.
pub const ADVICE_ON_FULL_CONTEXT: &str =
    "/reset begins a new conversation, and a model compiled with a greater --max-model-len takes longer ones";

/// What to do when a model gives no numbers.
const ADVICE_ON_NAN: &str = "weights that are damaged, or values beyond what the type computed in holds; try \
    compute_dtype float32, and check where the weights come from";

/// What needs a tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextUse {
    /// A prompt in words.
    Prompt,
    /// A conversation.
    Conversation,
    /// A text whose end is waited for.
    Stop,
    /// A text that is measured.
    File,
}

impl fmt::Display for TextUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TextUse::Prompt => "--prompt",
            TextUse::Conversation => "a conversation",
            TextUse::Stop => "--stop",
            TextUse::File => "--file",
        })
    }
}

/// How a model comes to its tokenizer.
fn advice(found: &Option<PathBuf>) -> String {
    const COMPILE: &str = "`mscc compile MODEL --tokenizer DIR` names a directory with a tokenizer.json";
    match found {
        None => COMPILE.to_owned(),
        Some(file) => format!(
            "there is no tokenizer.json, only {}, of which transformers makes one: \
             AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR); then compile again",
            file.display()
        ),
    }
}

fn or_ids(what_for: &TextUse) -> &'static str {
    if *what_for == TextUse::Prompt { "; or give token ids with --prompt-ids" } else { "" }
}

/// A command that asks for what cannot be.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// An output that is an input too, and would be lost.
    #[error("cannot write to {}: {role} {} would be lost; name another file", output.display(), input.display())]
    OutputIsInput {
        /// As given.
        output: PathBuf,
        /// What it is to the command.
        role: &'static str,
        /// As it is read.
        input: PathBuf,
    },
    /// A family that is not built in.
    #[error("there is no built-in family {name:?}: expected one of {known}")]
    UnknownFamily {
        /// Its name.
        name: String,
        /// All names.
        known: String,
    },
    /// A family for a model that is compiled already.
    #[error("--family is for models that are compiled now, and {} is a plan: `mscc compile MODEL --family FILE`", path.display())]
    FamilyOfPlan {
        /// The plan.
        path: PathBuf,
    },
    /// Two outputs in one file.
    #[error("{first} {} and {second} {} are one file; name two", paths.0.display(), paths.1.display())]
    SameOutput {
        /// The option of one.
        first: &'static str,
        /// The option of the other.
        second: &'static str,
        /// As given.
        paths: Box<(PathBuf, PathBuf)>,
    },
    /// Text for a model that was compiled without a tokenizer.
    #[error("{what_for} needs a tokenizer, and the model has none: {}{}", advice(found), or_ids(what_for))]
    NoTokenizer {
        /// What needs it.
        what_for: TextUse,
        /// A tokenizer in another form, if there is one.
        found: Option<PathBuf>,
    },
    /// Text for a model whose tokenizer has moved.
    #[error(
        "{what_for} needs a tokenizer, and there is no tokenizer.json in {}; pass --weights DIR with the directory that \
         has it{}",
        dir.display(),
        or_ids(what_for)
    )]
    TokenizerNotThere {
        /// What needs it.
        what_for: TextUse,
        /// Where it was when the model was compiled.
        dir: PathBuf,
    },
    /// A model from two places.
    #[error("two models are named: {} and --model {}; leave one out", first.display(), model.display())]
    TwoModels {
        /// The one without an option.
        first: PathBuf,
        /// The one with it.
        model: PathBuf,
    },
    /// A config from two places.
    #[error("name the config either before or behind --config-only, not both")]
    TwoConfigs,
    /// A plan that is not there.
    #[error("{}: there is no such file: `mscc compile MODEL -o plan.bin` makes a plan of a model", path.display())]
    NoPlan {
        /// As given.
        path: PathBuf,
    },
    /// A directory in place of a plan.
    #[error(
        "{} is a directory and no plan: `mscc compile {} -o plan.bin` makes a plan of a model",
        path.display(), path.display()
    )]
    PlanIsDir {
        /// As given.
        path: PathBuf,
    },
    /// A file of a model in place of a plan.
    #[error("{} is a file of a model and no plan: name its directory, {}", path.display(), dir.display())]
    PlanIsModelFile {
        /// As given.
        path: PathBuf,
        /// Where it lies.
        dir: PathBuf,
    },
    /// A place where no file can be.
    #[error("cannot write {}: {problem}", path.display())]
    NoPlace {
        /// As given.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A compilation whose result has no place.
    #[error("name the plan with -o FILE")]
    NoPlanName,
    /// A text that is no graph.
    #[error("{}: there is no function in it; `mscc compile MODEL --emit traced` shows the form", path.display())]
    NoFunction {
        /// The file.
        path: PathBuf,
    },
    /// A rule that is none.
    #[error("there is no rule `{name}`{}", nearest.as_ref().map_or(String::new(), |name| format!(", did you mean `{name}`?")))]
    UnknownRule {
        /// The name.
        name: String,
        /// The rule that was probably meant.
        nearest: Option<String>,
    },
    /// A record that records nothing.
    #[error("{}: no fusion is recorded in it, so that nothing would be compared", path.display())]
    EmptyRecord {
        /// The file.
        path: PathBuf,
    },
    /// A layer that there is not.
    #[error("there is no layer {layer}: the model has {num_layers}, counted from 0")]
    NoLayer {
        /// The layer.
        layer: u32,
        /// How many there are.
        num_layers: u32,
    },
    /// Several plans where one is asked for.
    #[error("{option} is for one model and one target")]
    OnePlan {
        /// The option.
        option: &'static str,
    },
    /// Options of a compilation for what has been compiled.
    #[error("{} is a plan, which options of a compilation change no more: name the model", path.display())]
    CompileOptionsOfPlan {
        /// The plan.
        path: PathBuf,
    },
    /// A device that mscc does not know.
    #[error("unknown target `{name}`: expected {}", known.join(", "))]
    UnknownTarget {
        /// As given.
        name: String,
        /// Those there are.
        known: &'static [&'static str],
    },
    /// A manual page of what is no command.
    #[error("there is no command `{name}`: expected one of {}", known.join(", "))]
    NoCommand {
        /// As given.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// Windows longer than the model takes.
    #[error(
        "--window {window} is more than max_model_len, {max_model_len}; compile the model with a greater --max-model-len"
    )]
    WindowTooLong {
        /// As given, in tokens.
        window: u32,
        /// The longest sequence, in tokens.
        max_model_len: u32,
    },
    /// A perplexity that is no number.
    #[error("the perplexity is no number, since logits are none: {ADVICE_ON_NAN}")]
    NoPerplexity,
    /// Logits that are no numbers.
    #[error(
        "the logits of token {token} of the prompt are no numbers{}: {ADVICE_ON_NAN}",
        layer.as_ref().map_or("; --hidden says which layer is the first to give none".to_owned(), |layer| {
            format!(", and `{layer}` is the first to give none")
        })
    )]
    NoLogits {
        /// Which token, from 0.
        token: usize,
        /// The first layer whose output is no numbers either, if outputs of layers were asked for.
        layer: Option<String>,
    },
    /// A text of which nothing can be foretold.
    #[error("{}: perplexity needs two tokens at least", path.display())]
    TextTooShort {
        /// The file.
        path: PathBuf,
    },
    /// Options of conversations without one.
    #[error("--system and --chat-arg are for conversations: add --chat")]
    NoConversation,
    /// A conversation that has become too long.
    #[error(
        "the context is full: with this message the conversation has {tokens} tokens, of at most {max_model_len}; {advice}",
        advice = ADVICE_ON_FULL_CONTEXT
    )]
    ContextFull {
        /// Tokens of the conversation.
        tokens: usize,
        /// The longest, in tokens.
        max_model_len: u32,
    },
    /// Messages out of a pipe that were not answered; why has been said of each.
    #[error("not answered: {count} of the messages")]
    NotAnswered {
        /// How many.
        count: usize,
    },
    /// A line that begins as a command of `mscc chat` and is none.
    #[error("unknown command `{name}`; /help lists them, and a blank before the slash makes it a message")]
    UnknownChatCommand {
        /// The first word.
        name: String,
    },
    /// `/regen` before the first message.
    #[error("there is no message to answer again")]
    NoMessage,
    /// A keyboard or a pipe that cannot be read, or gives what is no text.
    #[error("cannot read a message: {0}")]
    Message(String),
}
