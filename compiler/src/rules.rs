//! The rules of a compilation: those built in and a user's own, which are proved first.

use std::path::PathBuf;

use mscc_models::hf::nearest;
use mscc_patterns::{ProofFailure, Rule, RuleError};

use crate::files::{MAX_BYTES, read_text};
use crate::options::{Named, OptionPlace, Options};

/// Random instances on which a user's rule is proved.
const PROOF_ROUNDS: u32 = 20;
/// Seed of the proofs, fixed so that a rule is taken or refused the same way every time.
const PROOF_SEED: u64 = 1;

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A text that is no rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A rule of a name that is taken.
    #[error("{}: there is another rule called `{name}`", .path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A rule to be left out that is none.
    #[error("{}: there is no rule `{name}`{}", Named("without_rule", place.as_deref()), nearest.as_ref().map_or(String::new(), |name| format!(", did you mean `{name}`?")))]
    Unknown {
        /// The name.
        name: String,
        /// The rule that was probably meant.
        nearest: Option<String>,
        /// Where the option stands, if a file gives it.
        place: Option<Box<OptionPlace>>,
    },
    /// A rule whose sides do not compute the same.
    #[error("{}: rule `{name}` does not hold: {failure}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The rule.
        name: String,
        /// The instance on which it fails.
        failure: Box<ProofFailure>,
    },
}

/// The built-in rules and those of `files`.
///
/// Errors: files that cannot be read, texts that are no rules, names that are taken, rules that fail their proof.
pub fn load(files: &[PathBuf]) -> Result<Vec<Rule>, RulesError> {
    let mut rules = mscc_patterns::builtin()?;
    for path in files {
        let text =
            read_text(path, MAX_BYTES).map_err(|source| RulesError::Read { path: path.clone(), source })?;
        let own = mscc_patterns::load(&text, &path.to_string_lossy())?;
        for rule in own {
            if rules.iter().any(|other| other.name == rule.name) {
                return Err(RulesError::Taken { path: path.clone(), name: rule.name });
            }
            mscc_patterns::prove(&rule, PROOF_SEED, PROOF_ROUNDS).map_err(|failure| RulesError::Wrong {
                path: path.clone(),
                name: rule.name.clone(),
                failure: Box::new(failure),
            })?;
            rules.push(rule);
        }
    }
    Ok(rules)
}

/// All rules but those that the options leave out.
///
/// Errors: a name that no rule has.
pub fn without(mut rules: Vec<Rule>, options: &Options) -> Result<Vec<Rule>, RulesError> {
    let names = options.without_rule.as_deref().unwrap_or_default();
    for name in names {
        if !rules.iter().any(|rule| rule.name == *name) {
            let nearest = nearest(name, rules.iter().map(|rule| rule.name.as_str())).map(str::to_owned);
            let place = options.place("without_rule");
            return Err(RulesError::Unknown { name: name.clone(), nearest, place });
        }
    }
    rules.retain(|rule| !names.contains(&rule.name));
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<Vec<Rule>, RulesError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own.rule");
        std::fs::write(&path, text).unwrap();
        load(&[path])
    }

    const RULE: &str = "rule silu_twice_in_one
doc   Multiplies by SiLU.
phase fuse
given ?x: float[.., H]  ?u: float[.., H]
match ?y = (mul ?u (silu ?x))
make  ?z = (swiglu ?x ?u)
equal ?y = ?z
where same_type(?x, ?u)
numerics fewer_roundings
gain  saves a write and a read
";

    #[test]
    fn own_rules_are_proved() {
        let rules = with(RULE).unwrap();
        assert!(rules.iter().any(|rule| rule.name == "silu_twice_in_one"));
        let wrong = with(&RULE.replace("(swiglu ?x ?u)", "(swiglu ?u ?x)")).unwrap_err().to_string();
        assert!(wrong.contains("`silu_twice_in_one` does not hold"), "{wrong}");
        let taken = with(&RULE.replace("silu_twice_in_one", "swiglu")).unwrap_err().to_string();
        assert!(taken.contains("another rule called `swiglu`"), "{taken}");
        let text = with("rule x\nmach").unwrap_err().to_string();
        assert!(text.contains("own.rule") && text.contains('2'), "{text}");
    }
}
