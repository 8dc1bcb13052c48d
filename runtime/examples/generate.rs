//! Continues a text: `cargo run --release --example generate -- plan.bin "Once upon a time"`.

use std::io::Write;

use mscc_runtime::sample::SamplingParams;
use mscc_runtime::{Llm, LoadOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (plan, prompt) = (args.next().ok_or("no plan given")?, args.next().ok_or("no prompt given")?);
    let mut llm = Llm::load(plan, LoadOptions::default())?;
    for piece in llm.generate(prompt, SamplingParams::greedy().max_tokens(64))? {
        print!("{}", piece?);
        std::io::stdout().flush()?;
    }
    Ok(())
}
