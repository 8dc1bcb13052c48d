//! Speed of a whole model on the CPU, as shares of what this machine can do.
//!
//! ```sh
//! MSCC_BENCH_PLAN=plan.bin cargo bench -p mscc-runtime --bench model
//! ```
//!
//! | variable             | meaning                                   | default          |
//! |----------------------|-------------------------------------------|------------------|
//! | `MSCC_BENCH_PLAN`    | the plan, its weights where it says       | nothing is done  |
//! | `MSCC_BENCH_THREADS` | threads that compute                      | one for each core |
//! | `MSCC_BENCH_PROMPT`  | tokens of the prompt                      | 512              |
//! | `MSCC_BENCH_SECONDS` | seconds for each measurement, about       | 5                |
//!
//! Weights of the right sizes are enough: `cargo run -p xtask -- make-model` writes random ones. Prints for decode
//! the rate at which it reads the weights of its matrix products against that of plain reading, for prefill the rate
//! of its products against the peak of the multiply instructions. Both take turns with the limit that they are
//! compared with, and the best of each counts.

mod machine;

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("shares are measured on x86-64 only");
}

#[cfg(target_arch = "x86_64")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    shares::run()
}

#[cfg(target_arch = "x86_64")]
mod shares {
    use std::error::Error;
    use std::time::{Duration, Instant};

    use mscc_ir::DType;
    use mscc_ir::ops::Op;
    use mscc_ir::plan::{Place, Plan};
    use mscc_runtime::device::cpu::Pool;
    use mscc_runtime::engine::{Engine, EngineOptions, Request};
    use mscc_runtime::sample::SamplingParams;
    use mscc_runtime::{LoadOptions, Model};

    use super::machine;

    type Outcome<T> = Result<T, Box<dyn Error>>;

    /// Steps of decoding that take turns with one reading of memory.
    const DECODES: u32 = 8;

    pub fn run() -> Outcome<()> {
        let Some(path) = std::env::var_os("MSCC_BENCH_PLAN") else {
            println!("MSCC_BENCH_PLAN names no plan, so nothing is measured");
            return Ok(());
        };
        if !machine::is_measurable() {
            println!("shares are measured with AVX-512 only");
            return Ok(());
        }
        let threads = number("MSCC_BENCH_THREADS")?;
        let prompt = number("MSCC_BENCH_PROMPT")?.unwrap_or(512);
        let seconds = number("MSCC_BENCH_SECONDS")?.unwrap_or(5);
        let start = Instant::now();
        let model = Model::load(path.as_ref(), &LoadOptions { threads, ..LoadOptions::default() })?;
        let (threads, isa) = (model.device().threads(), model.device().isa());
        println!("{}: {threads} threads, {}", path.display(), isa.name());
        println!("load: {:.2} s", start.elapsed().as_secs_f64());
        let products = Products::of(model.plan());
        let mut bench = Bench {
            engine: Engine::new(model, EngineOptions::default().cache_bytes(1 << 30))?,
            limits: Pool::new(threads),
            memory: machine::memory(),
            time: Duration::from_secs(seconds as u64),
            num_requests: 0,
        };
        let first = Instant::now();
        bench.prefill(16)?;
        println!("first step, of 16 tokens: {:.3} s", first.elapsed().as_secs_f64());
        bench.end()?;
        bench.prefills(prompt, &products, threads)?;
        for batch in [1, 4, 8] {
            bench.decodes(batch, &products, threads)?;
        }
        if let Some(peak) = peak_resident() {
            println!("peak of resident memory, 268 MB of the bench's own included: {peak:.0} MB");
        }
        Ok(())
    }

    /// The matrix products with weights in a step.
    #[derive(Default)]
    struct Products {
        /// Bytes of their weights.
        bytes: f64,
        /// Elements of those that each new token meets.
        token: f64,
        /// Elements of those that each token with logits meets.
        logit: f64,
        /// Whether all are bf16 times bf16.
        pairs: bool,
    }

    impl Products {
        fn of(plan: &Plan) -> Products {
            let mut all = Products { pairs: machine::has_pairs(), ..Products::default() };
            let Some(variant) = plan.program("main").and_then(|main| main.variants.last()) else {
                return all;
            };
            for (index, layers) in &variant.calls {
                for launch in &variant.functions[*index as usize].launches {
                    let [x, w, ..] = launch.operands.as_slice() else { continue };
                    if !matches!((&launch.op, w.place), (Op::Matmul(_), Place::Weight(_))) {
                        continue;
                    }
                    let sizes = w.layout.shape.iter().filter_map(|dim| dim.as_const());
                    let elements = sizes.product::<i64>() as f64 * layers.len() as f64;
                    all.bytes += elements * w.dtype.bytes().unwrap_or(1) as f64;
                    let per_token = x.layout.shape[0] == mscc_ir::Dim::symbol(mscc_ir::step::TOKENS);
                    *(if per_token { &mut all.token } else { &mut all.logit }) += elements;
                    all.pairs &= x.dtype == DType::BF16 && w.dtype == DType::BF16;
                }
            }
            all
        }

        fn flops(&self, tokens: usize, logits: usize) -> f64 {
            2.0 * (self.token * tokens as f64 + self.logit * logits as f64)
        }
    }

    struct Bench {
        engine: Engine<Model>,
        limits: Pool,
        memory: Vec<u32>,
        time: Duration,
        num_requests: u64,
    }

    impl Bench {
        fn prefills(&mut self, tokens: usize, products: &Products, threads: usize) -> Outcome<()> {
            let start = Instant::now();
            let (mut best, mut best_peak) = (Duration::MAX, Duration::MAX);
            while start.elapsed() < self.time {
                best = best.min(self.prefill(tokens)?);
                self.end()?;
                best_peak = best_peak.min(timed(|| machine::multiply(&mut self.limits, products.pairs)));
            }
            let rate = products.flops(tokens, 1) / best.as_secs_f64() / 1e9;
            let peak = machine::flops(threads, products.pairs) / best_peak.as_secs_f64() / 1e9;
            println!(
                "prefill of {tokens} tokens: {:.1} ms, {:.0} tokens/s; products {rate:.0} of {peak:.0} GFLOP/s, {:.2}",
                best.as_secs_f64() * 1e3,
                tokens as f64 / best.as_secs_f64(),
                rate / peak,
            );
            Ok(())
        }

        /// So many sequences at once.
        fn decodes(&mut self, batch: usize, products: &Products, threads: usize) -> Outcome<()> {
            for _ in 0..batch {
                self.prefill(16)?;
            }
            let start = Instant::now();
            let (mut all, mut steps) = (Duration::ZERO, 0);
            let (mut best, mut best_read) = (Duration::MAX, Duration::MAX);
            while start.elapsed() < self.time {
                for _ in 0..DECODES {
                    let step = Instant::now();
                    self.engine.step()?;
                    let time = step.elapsed();
                    (best, all, steps) = (best.min(time), all + time, steps + 1);
                }
                best_read = best_read.min(timed(|| machine::read(&mut self.limits, &self.memory)));
            }
            self.end()?;
            let rate = products.bytes / best.as_secs_f64() / 1e9;
            let limit = machine::read_bytes(&self.memory, threads) / best_read.as_secs_f64() / 1e9;
            println!(
                "decode of {batch}: {:.1} ms at best, {:.1} on average, {:.1} tokens/s; weights {rate:.1} of {limit:.1} GB/s, {:.2}",
                best.as_secs_f64() * 1e3,
                all.as_secs_f64() * 1e3 / f64::from(steps),
                batch as f64 / best.as_secs_f64(),
                rate / limit,
            );
            Ok(())
        }

        /// Starts a request that goes on until [`Bench::end`], and runs its prompt.
        fn prefill(&mut self, tokens: usize) -> Outcome<Duration> {
            self.num_requests += 1;
            let prompt: Vec<u32> = (0..tokens as u32).map(|at| 5 + at % 97).collect();
            let params = SamplingParams::greedy().max_tokens(1 << 20);
            self.engine
                .add(Request { ignore_eos: true, ..Request::new(self.num_requests, prompt, params) })?;
            let step = Instant::now();
            self.engine.step()?;
            Ok(step.elapsed())
        }

        /// Ends all requests.
        fn end(&mut self) -> Outcome<()> {
            (0..=self.num_requests).for_each(|id| {
                self.engine.cancel(id);
            });
            self.engine.step()?;
            Ok(())
        }
    }

    fn timed(body: impl FnOnce()) -> Duration {
        let start = Instant::now();
        body();
        start.elapsed()
    }

    fn number(variable: &str) -> Outcome<Option<usize>> {
        match std::env::var(variable) {
            Ok(text) => Ok(Some(text.parse().map_err(|_| format!("{variable} is no number: {text}"))?)),
            Err(_) => Ok(None),
        }
    }

    /// Most resident memory so far in MB, where the system tells.
    fn peak_resident() -> Option<f64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0 / 1e6)
    }
}
