//! What standard error shows: how much, in which colours, and progress.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use clap::ColorChoice;
use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Options of all commands.
#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print results and errors alone
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Also print what is done and how long it takes
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Colours in messages; `auto` means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
}

/// What the user wants to see, and the terminal can show.
#[derive(Default)]
pub struct Settings {
    /// Warnings and notes are left out.
    pub quiet: bool,
    /// Notes on each step are added.
    pub verbose: bool,
    color: bool,
    progress: bool,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Takes the options, once, before anything is printed.
pub fn set(global: &Global) {
    let terminal =
        std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let plain = is_set("NO_COLOR");
    let color = match global.color {
        ColorChoice::Auto => terminal && !plain,
        ColorChoice::Always => true,
        ColorChoice::Never => false,
    };
    let progress = terminal && !global.quiet && !plain && !is_set("CI");
    let settings = Settings { quiet: global.quiet, verbose: global.verbose, color, progress };
    // Whoever comes second finds the same.
    let _ = SETTINGS.set(settings);
}

/// What was taken by [`set`].
pub fn settings() -> &'static Settings {
    SETTINGS.get_or_init(Settings::default)
}

/// What `--color` says, before the command line is parsed: its errors and help are coloured too.
pub fn color_of_arguments(mut arguments: impl Iterator<Item = String>) -> ColorChoice {
    let mut choice = ColorChoice::Auto;
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix("--color") {
            Some("") => arguments.next(),
            Some(value) => value.strip_prefix('=').map(str::to_owned),
            None if argument == "--" => break,
            None => None,
        };
        choice = value.and_then(|value| value.parse().ok()).unwrap_or(choice);
    }
    choice
}

/// A word in a colour, where there are colours.
pub fn colored(word: &str, color: AnsiColor) -> String {
    if !settings().color {
        return word.to_owned();
    }
    let style = Style::new().bold().fg_color(Some(color.into()));
    format!("{style}{word}{style:#}")
}

/// Progress of something that takes `total` units; seen on a terminal alone.
pub fn progress_bar(what: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), draw_target());
    let template = format!("{what} {{wide_bar}} {{pos}}/{{len}} {{eta}}");
    bar.set_style(ProgressStyle::with_template(&template).expect("the template is well-formed"));
    bar
}

/// Shows that something goes on whose length is not known; seen on a terminal alone.
pub fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, draw_target());
    bar.set_style(
        ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("the template is well-formed"),
    );
    bar.set_message(what.to_owned());
    if settings().progress {
        bar.enable_steady_tick(Duration::from_millis(100));
    }
    bar
}

fn draw_target() -> ProgressDrawTarget {
    if settings().progress { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

/// Whether an environment variable says yes; an empty one says nothing.
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn color_is_known_before_parsing() {
        let choice = |text: &str| color_of_arguments(text.split(' ').map(str::to_owned));
        assert_eq!(choice("mscc run --color never plan.bin"), ColorChoice::Never);
        assert_eq!(choice("mscc --color=always"), ColorChoice::Always);
        assert_eq!(choice("mscc --color"), ColorChoice::Auto);
        assert_eq!(choice("mscc --color odd --colors=never -- --color=never"), ColorChoice::Auto);
    }
}
