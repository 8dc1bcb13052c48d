use mscc_ir::plan::SamplingDefaults;

/// How the next token is chosen, and how many there may be.
///
/// ```
/// use mscc_runtime::sample::SamplingParams;
///
/// let params = SamplingParams::default().temperature(0.7).top_p(0.9).seed(42).max_tokens(64);
/// assert!(params.validate().is_ok());
/// assert_eq!(params.top_k(3).min_p(2.0).validate().unwrap_err().to_string(), "min_p is 2; it must be in [0, 1]");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the scores; 0 takes the likeliest token always. At least 0.
    pub temperature: f32,
    /// Keeps the so many likeliest, and those as likely as the last of them; 0 keeps all.
    pub top_k: u32,
    /// Keeps the likeliest whose probabilities add up to so much; in (0, 1], 1 keeps all.
    pub top_p: f32,
    /// Keeps those at least so likely, relative to the likeliest; in [0, 1], 0 keeps all.
    pub min_p: f32,
    /// Divides the positive and multiplies the negative scores of all tokens of prompt and output; above 0, 1 does
    /// nothing.
    pub repetition_penalty: f32,
    /// Subtracted from the scores of all generated tokens; in [-2, 2].
    pub presence_penalty: f32,
    /// Subtracted from the score of a generated token for each time it was; in [-2, 2].
    pub frequency_penalty: f32,
    /// Added to the scores of these tokens; each in [-100, 100].
    pub logit_bias: Vec<(u32, f32)>,
    /// Makes sampling repeatable. Without one every request gets its own.
    pub seed: Option<u64>,
    /// Most tokens to generate, at least 1; without one, as many as the model's length allows.
    pub max_tokens: Option<u32>,
    /// Also gives the log probability of the chosen token, and so many of the likeliest; at most 20.
    pub logprobs: Option<u32>,
}

/// A sampling parameter outside its range.
///
/// What to do: give a value of that range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {value}; it must be {range}")]
pub struct ParamError {
    /// The parameter.
    pub field: &'static str,
    /// What was given.
    pub value: f64,
    /// What may be given.
    pub range: &'static str,
}

impl Default for SamplingParams {
    /// Samples from the model's distribution as it is.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
            max_tokens: None,
            logprobs: None,
        }
    }
}

impl SamplingParams {
    /// Takes the likeliest token always, the one of the lowest id among equals.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// What the model's authors recommend: greedy unless they say `do_sample`, as in transformers.
    pub fn recommended(defaults: &SamplingDefaults) -> Self {
        let plain = Self::default();
        let repetition_penalty = defaults.repetition_penalty.unwrap_or(plain.repetition_penalty);
        if defaults.do_sample != Some(true) {
            return Self { repetition_penalty, ..Self::greedy() };
        }
        Self {
            temperature: defaults.temperature.unwrap_or(plain.temperature),
            top_k: defaults.top_k.unwrap_or(plain.top_k),
            top_p: defaults.top_p.unwrap_or(plain.top_p),
            min_p: defaults.min_p.unwrap_or(plain.min_p),
            repetition_penalty,
            ..plain
        }
    }

    /// With this [`temperature`](Self::temperature).
    #[must_use]
    pub fn temperature(self, temperature: f32) -> Self {
        Self { temperature, ..self }
    }

    /// With this [`top_k`](Self::top_k).
    #[must_use]
    pub fn top_k(self, top_k: u32) -> Self {
        Self { top_k, ..self }
    }

    /// With this [`top_p`](Self::top_p).
    #[must_use]
    pub fn top_p(self, top_p: f32) -> Self {
        Self { top_p, ..self }
    }

    /// With this [`min_p`](Self::min_p).
    #[must_use]
    pub fn min_p(self, min_p: f32) -> Self {
        Self { min_p, ..self }
    }

    /// With this [`repetition_penalty`](Self::repetition_penalty).
    #[must_use]
    pub fn repetition_penalty(self, repetition_penalty: f32) -> Self {
        Self { repetition_penalty, ..self }
    }

    /// With this [`presence_penalty`](Self::presence_penalty).
    #[must_use]
    pub fn presence_penalty(self, presence_penalty: f32) -> Self {
        Self { presence_penalty, ..self }
    }

    /// With this [`frequency_penalty`](Self::frequency_penalty).
    #[must_use]
    pub fn frequency_penalty(self, frequency_penalty: f32) -> Self {
        Self { frequency_penalty, ..self }
    }

    /// With this [`logit_bias`](Self::logit_bias).
    #[must_use]
    pub fn logit_bias(self, logit_bias: impl Into<Vec<(u32, f32)>>) -> Self {
        Self { logit_bias: logit_bias.into(), ..self }
    }

    /// With this [`seed`](Self::seed).
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// With this [`max_tokens`](Self::max_tokens).
    #[must_use]
    pub fn max_tokens(self, max_tokens: u32) -> Self {
        Self { max_tokens: Some(max_tokens), ..self }
    }

    /// With these [`logprobs`](Self::logprobs).
    #[must_use]
    pub fn logprobs(self, logprobs: u32) -> Self {
        Self { logprobs: Some(logprobs), ..self }
    }

    /// Whether the choice does not depend on chance.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether the choice depends on which tokens there were before.
    pub fn uses_counts(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// Checks every parameter against its range.
    ///
    /// # Errors
    /// The first that is outside, or not a number.
    pub fn validate(&self) -> Result<(), ParamError> {
        let check = |field, value: f32, holds: bool, range| {
            if holds { Ok(()) } else { Err(ParamError { field, value: f64::from(value), range }) }
        };
        let within = |field, value: f32, least: f32, most: f32, range| {
            check(field, value, (least..=most).contains(&value), range)
        };
        let above_zero = |value: f32| value > 0.0 && value.is_finite();
        within("temperature", self.temperature, 0.0, f32::MAX, "at least 0 and finite")?;
        check("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "in (0, 1]")?;
        within("min_p", self.min_p, 0.0, 1.0, "in [0, 1]")?;
        let penalty = self.repetition_penalty;
        check("repetition_penalty", penalty, above_zero(penalty), "above 0 and finite")?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0, "in [-2, 2]")?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0, "in [-2, 2]")?;
        for (_, bias) in &self.logit_bias {
            within("logit_bias", *bias, -100.0, 100.0, "in [-100, 100]")?;
        }
        if self.max_tokens == Some(0) {
            return Err(ParamError { field: "max_tokens", value: 0.0, range: "at least 1" });
        }
        match self.logprobs {
            Some(count) if count > MAX_LOGPROBS => {
                Err(ParamError { field: "logprobs", value: f64::from(count), range: "at most 20" })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Most alternatives per token, as in vLLM.
const MAX_LOGPROBS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_its_range_is_named() {
        let params = SamplingParams::default;
        assert_eq!(params().validate(), Ok(()));
        assert_eq!(SamplingParams::greedy().max_tokens(1).logprobs(20).validate(), Ok(()));
        for (bad, field) in [
            (params().temperature(-0.1), "temperature"),
            (params().temperature(f32::NAN), "temperature"),
            (params().temperature(f32::INFINITY), "temperature"),
            (params().top_p(0.0), "top_p"),
            (params().top_p(1.1), "top_p"),
            (params().min_p(-1.0), "min_p"),
            (params().repetition_penalty(0.0), "repetition_penalty"),
            (params().repetition_penalty(f32::NAN), "repetition_penalty"),
            (params().presence_penalty(2.5), "presence_penalty"),
            (params().frequency_penalty(-2.5), "frequency_penalty"),
            (params().logit_bias([(0, 1.0), (1, 101.0)]), "logit_bias"),
            (params().max_tokens(0), "max_tokens"),
            (params().logprobs(21), "logprobs"),
        ] {
            assert_eq!(bad.validate().unwrap_err().field, field);
        }
    }

    #[test]
    fn recommendations_count_only_where_sampling_is_recommended() {
        let mut defaults = SamplingDefaults { temperature: Some(0.6), top_k: Some(20), ..Default::default() };
        assert_eq!(SamplingParams::recommended(&defaults), SamplingParams::greedy());
        defaults.do_sample = Some(true);
        let expected = SamplingParams::default().temperature(0.6).top_k(20);
        assert_eq!(SamplingParams::recommended(&defaults), expected);
    }
}
