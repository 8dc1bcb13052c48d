//! `mscc run`

use std::io::Write;

use mscc_runtime::Model;
use mscc_runtime::sample::SamplingParams;

use crate::error::CliError;
use crate::generation::{self, Generated, GenerationArgs, Setting};
use crate::memory::Budget;
use crate::output;
use crate::plan_source::PlanArgs;
use crate::prompt::{ConversationArgs, PromptArgs, Role};
use crate::usage::{TextUse, UsageError};

/// Continue a text, or answer a message
///
/// The text streams to standard output, speed to standard error. Ctrl-C ends it early.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc run plan.bin --prompt 'Once upon a time'
  mscc run plan.bin --prompt 'Once upon a time' --temperature 0.8 --top-p 0.95 --seed 7
  mscc run plan.bin --chat --prompt 'What is a compiler?' --system 'Be brief.'
  mscc run plan.bin --prompt-ids 1,2,3 --max-tokens 20 --ignore-eos --json")]
pub struct Args {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Print token ids, text and figures as JSON at the end, in place of the text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    generation: GenerationArgs,
    /// Take the prompt as a user's message: it goes through the model's chat template
    #[arg(long, conflicts_with = "prompt_ids", help_heading = "Conversation")]
    chat: bool,
    #[command(flatten)]
    conversation: ConversationArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    if args.conversation.is_given() && !args.chat {
        return Err(UsageError::NoConversation.into());
    }
    let setting = if args.chat { Setting::Conversation } else { Setting::Continuation };
    let (model, budget) = args.plan.load()?;
    let params = args.generation.params(&model, setting)?;
    let generated = match args.prompt.ids() {
        Some(ids) if !args.plan.has_tokenizer(&model) => {
            if args.generation.has_stop_texts() {
                args.plan.tokenizer(&model, TextUse::Stop)?;
            }
            args.generation.ids(model, budget, ids, params)?
        }
        _ => text(model, budget, &args, params)?,
    };
    match &generated.text {
        _ if args.json => output::print_json(&generated.to_json("mscc.run.v1"))?,
        Some(_) => output::print("\n")?,
        None => {
            let ids: Vec<String> = generated.token_ids.iter().map(u32::to_string).collect();
            output::print(&format!("{}\n", ids.join(",")))?;
        }
    }
    output::note(&generated.speed());
    generated.check_interrupted()
}

/// Text in and out; it is printed as it becomes final.
fn text(model: Model, budget: Budget, args: &Args, params: SamplingParams) -> Result<Generated, CliError> {
    let what_for = if args.chat { TextUse::Conversation } else { TextUse::Prompt };
    let tokenizer = args.plan.tokenizer(&model, what_for)?;
    let (prompt, template) = match &args.prompt.prompt {
        Some(message) if args.chat => {
            let messages = [(Role::User, message.clone())];
            (args.conversation.prompt(&messages), Some(args.plan.chat_template(&model)?))
        }
        _ => (args.prompt.prompt(), None),
    };
    let mut llm = generation::llm(model, budget, tokenizer, template)?;
    let mut out = std::io::stdout().lock();
    args.generation.text(&mut llm, &prompt, params, |text| {
        if !args.json {
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    })
}
