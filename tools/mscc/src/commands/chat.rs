//! `mscc chat`

use std::io::{BufRead, IsTerminal, Read};

use mscc_runtime::Llm;
use mscc_runtime::engine::{EngineError, FinishReason};
use mscc_runtime::sample::SamplingParams;
use mscc_runtime::step::batch::StepModel;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::json;

use crate::error::CliError;
use crate::generation::{self, Generated, GenerationArgs, Setting};
use crate::plan_source::PlanArgs;
use crate::prompt::{ConversationArgs, Role};
use crate::usage::{ADVICE_ON_FULL_CONTEXT, TextUse, UsageError};
use crate::{interrupt, output};

const SCHEMA: &str = "mscc.chat.v1";

const COMMANDS: &str = "/reset        forget the conversation, keep the system message
/system TEXT  set the system message and begin anew; without TEXT, remove it
/regen        answer the last message again
/help         print this
/exit         end, as Ctrl-D does
A message that begins with a slash is sent if a blank precedes it. Ctrl-C stops an answer.";

/// Talk with a model
///
/// Messages are read from the terminal, or one a line from a pipe; answers stream to standard output. Ctrl-C stops an
/// answer, Ctrl-D at the prompt ends the conversation, and /help lists commands such as /reset and /system. A message
/// that cannot be answered, since the conversation is too long with it, is told of and left out, and the next line is
/// read; out of a pipe, the exit code is 2 then, and with --json such a message has a line with `error` in place of the
/// answer.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc chat plan.bin
  mscc chat ./Qwen3-0.6B --system 'Be brief.' --recommended --chat-arg enable_thinking=false
  echo 'What is a compiler?' | mscc chat plan.bin --json")]
pub struct Args {
    #[command(flatten)]
    plan: PlanArgs,
    /// Print each answer as a line of JSON when it is complete
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    conversation: ConversationArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    let (model, budget) = args.plan.load()?;
    let params = args.generation.params(&model, Setting::Conversation)?;
    let tokenizer = args.plan.tokenizer(&model, TextUse::Conversation)?;
    let template = args.plan.chat_template(&model)?;
    let (name, max_model_len) = (model.plan().meta.model.clone(), model.limits().max_model_len);
    let mut chat = Chat {
        llm: generation::llm(model, budget, tokenizer, Some(template))?,
        generation: args.generation,
        conversation: args.conversation,
        params,
        max_model_len: max_model_len as usize,
        json: args.json,
        messages: Vec::new(),
    };
    let mut reader = Reader::new()?;
    if reader.is_terminal() {
        output::note(&format!("{name}, {max_model_len} tokens at most; /help lists commands, Ctrl-D ends"));
    }
    let mut not_answered = 0;
    loop {
        // While the editor reads, Ctrl-C is a key. Taken this early, none can fall between a message and its answer.
        let _listening = reader.is_terminal().then(interrupt::listen);
        let next = match reader.line()? {
            Some(line) => chat.take(&line),
            None => Ok(Next::End),
        };
        match next {
            Ok(Next::Line) => {}
            Ok(Next::End) if not_answered > 0 && !reader.is_terminal() => {
                return Err(UsageError::NotAnswered { count: not_answered }.into());
            }
            Ok(Next::End) => return Ok(()),
            // Nothing was asked of the model.
            Err(CliError::Usage(error @ (UsageError::UnknownChatCommand { .. } | UsageError::NoMessage))) => {
                output::error(&error.to_string())
            }
            // The next message may be a shorter one; a script knows by the exit code.
            Err(error) if error.exit_code() == 2 => {
                not_answered += 1;
                output::error(&error.to_string());
                if args.json {
                    output::print(&format!("{}\n", json!({ "schema": SCHEMA, "error": error.to_string() })))?;
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// A conversation.
struct Chat {
    llm: Llm,
    generation: GenerationArgs,
    /// The system message, which may change, and the template's variables.
    conversation: ConversationArgs,
    params: SamplingParams,
    max_model_len: usize,
    json: bool,
    /// What was said, the user first, by turns.
    messages: Vec<(Role, String)>,
}

/// What to do behind a line.
enum Next {
    Line,
    End,
}

impl Chat {
    /// Obeys a command or answers a message.
    fn take(&mut self, line: &str) -> Result<Next, CliError> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match word {
            _ if line.trim().is_empty() => {}
            "/exit" | "/quit" => return Ok(Next::End),
            "/help" => output::note(COMMANDS),
            "/reset" => self.begin_anew(),
            "/system" => {
                let text = rest.trim();
                self.conversation.system = (!text.is_empty()).then(|| text.to_owned());
                self.begin_anew();
            }
            "/regen" => self.answer_again()?,
            command if command.starts_with('/') => {
                return Err(UsageError::UnknownChatCommand { name: command.to_owned() }.into());
            }
            _ => {
                self.messages.push((Role::User, line.trim().to_owned()));
                self.answer()?;
            }
        }
        Ok(Next::Line)
    }

    fn begin_anew(&mut self) {
        self.messages.clear();
        output::note("a new conversation begins");
    }

    fn answer_again(&mut self) -> Result<(), CliError> {
        self.messages.pop_if(|(role, _)| *role == Role::Assistant);
        if self.messages.is_empty() {
            return Err(UsageError::NoMessage.into());
        }
        self.answer()
    }

    /// Answers the last message. One that cannot be answered is forgotten.
    fn answer(&mut self) -> Result<(), CliError> {
        let prompt = self.conversation.prompt(&self.messages);
        let json = self.json;
        let generated = self.generation.text(&mut self.llm, &prompt, self.params.clone(), |text| {
            if json { Ok(()) } else { output::print(text) }
        });
        let generated = generated.map_err(|error| {
            self.messages.pop();
            too_long(error)
        })?;
        if json {
            output::print(&format!("{}\n", generated.to_json(SCHEMA)))?;
        } else {
            output::print("\n")?;
        }
        self.explain_end(&generated);
        output::detail(&generated.speed());
        self.messages.push((Role::Assistant, generated.text.unwrap_or_default()));
        Ok(())
    }

    /// Says why an answer ended that the model did not end.
    fn explain_end(&self, generated: &Generated) {
        let tokens = generated.prompt_ids.len() + generated.token_ids.len();
        if generated.is_interrupted() {
            output::note("stopped");
        } else if generated.finish == Some(FinishReason::Length) && tokens >= self.max_model_len {
            let most = self.max_model_len;
            output::note(&format!(
                "the answer is cut: all {most} tokens of the context are used; {ADVICE_ON_FULL_CONTEXT}"
            ));
        } else if generated.finish == Some(FinishReason::Length)
            && self.params.max_tokens.is_some_and(|most| generated.token_ids.len() >= most as usize)
        {
            output::note("the answer is cut at --max-tokens");
        }
    }
}

fn too_long(error: CliError) -> CliError {
    match error {
        CliError::Engine(EngineError::TooLong { tokens, max_model_len, .. }) => {
            UsageError::ContextFull { tokens, max_model_len }.into()
        }
        other => other,
    }
}

/// Longest line of a pipe, in bytes.
const MAX_MESSAGE_BYTES: u64 = 1 << 20;

/// Where messages come from.
enum Reader {
    Terminal(Box<DefaultEditor>),
    Pipe,
}

impl Reader {
    fn new() -> Result<Self, CliError> {
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Ok(Reader::Pipe);
        }
        Ok(Reader::Terminal(Box::new(DefaultEditor::new().map_err(unreadable)?)))
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Reader::Terminal(_))
    }

    /// The next line without its end; `None` behind the last.
    fn line(&mut self) -> Result<Option<String>, CliError> {
        match self {
            Reader::Terminal(editor) => match editor.readline("> ") {
                Ok(line) => {
                    editor.add_history_entry(&line).map_err(unreadable)?;
                    Ok(Some(line))
                }
                Err(ReadlineError::Eof) => Ok(None),
                Err(ReadlineError::Interrupted) => Err(CliError::Interrupted),
                Err(error) => Err(unreadable(error)),
            },
            Reader::Pipe => {
                let mut line = String::new();
                let mut input = std::io::stdin().lock().take(MAX_MESSAGE_BYTES + 1);
                let read = input.read_line(&mut line).map_err(unreadable)?;
                if read as u64 > MAX_MESSAGE_BYTES {
                    return Err(unreadable("a line is longer than 1 MiB"));
                }
                Ok((read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
            }
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> CliError {
    UsageError::Message(error.to_string()).into()
}
