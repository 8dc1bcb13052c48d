/// Finds stop strings in text that arrives in pieces.
///
/// Text that may be the beginning of a stop string is held back, so that nothing of one is ever given out
/// (unless it is to be included). The result does not depend on how the text is cut: the match is the one that
/// is complete first, and of several that end at the same place the longest.
///
/// Work is proportional to the text times the number of stop strings (Knuth, Morris, Pratt for each).
#[derive(Clone, Debug)]
pub struct StopStrings {
    matchers: Vec<Matcher>,
    include: bool,
    held: String,
    stopped: Option<usize>,
}

/// What [`StopStrings::push`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOutcome {
    /// Text that is final and not part of a stop string (or, when stop strings are included, up to its end).
    pub emit: String,
    /// The index of the stop string that was found, in the order given to [`StopStrings::new`].
    pub stopped: Option<usize>,
}

/// Stop strings that cannot be used.
///
/// What to do: give fewer or shorter texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// An empty string would stop everything at once.
    #[error("stop string {index} is empty")]
    Empty {
        /// Its position in the list.
        index: usize,
    },
    /// More than any use needs.
    #[error("{count} stop strings are more than the limit of {MAX_STRINGS}")]
    TooMany {
        /// How many were given.
        count: usize,
    },
    /// Longer than any use needs.
    #[error("stop string {index} has {bytes} bytes; the limit is {MAX_BYTES}")]
    TooLong {
        /// Its position in the list.
        index: usize,
        /// Its length in bytes.
        bytes: usize,
    },
}

/// Most stop strings of one request.
const MAX_STRINGS: usize = 64;
/// Longest stop string, in bytes.
const MAX_BYTES: usize = 4096;

impl StopStrings {
    /// A matcher at the beginning of a text. With `include` the stop string is part of the text given out.
    ///
    /// # Errors
    /// [`StopError`] for an empty string, one above 4096 bytes, or more than 64 of them.
    pub fn new<S: AsRef<str>>(strings: &[S], include: bool) -> Result<Self, StopError> {
        if strings.len() > MAX_STRINGS {
            return Err(StopError::TooMany { count: strings.len() });
        }
        let matcher = |(index, string): (usize, &S)| match string.as_ref().len() {
            0 => Err(StopError::Empty { index }),
            bytes if bytes > MAX_BYTES => Err(StopError::TooLong { index, bytes }),
            _ => Ok(Matcher::new(string.as_ref().as_bytes())),
        };
        let matchers = strings.iter().enumerate().map(matcher).collect::<Result<_, _>>()?;
        Ok(Self { matchers, include, held: String::new(), stopped: None })
    }

    /// Takes the next piece of text. After a stop string was found, all further text is dropped.
    pub fn push(&mut self, piece: &str) -> StopOutcome {
        if self.stopped.is_some() {
            return StopOutcome { emit: String::new(), stopped: self.stopped };
        }
        for (at, byte) in piece.bytes().enumerate() {
            let mut found: Option<(usize, usize)> = None;
            for (index, matcher) in self.matchers.iter_mut().enumerate() {
                let length = matcher.pattern.len();
                if matcher.advance(byte) && found.is_none_or(|(_, longest)| length > longest) {
                    found = Some((index, length));
                }
            }
            if let Some((index, length)) = found {
                let mut emit = std::mem::take(&mut self.held);
                emit.push_str(&piece[..=at]);
                if !self.include {
                    emit.truncate(emit.len() - length);
                }
                self.stopped = Some(index);
                return StopOutcome { emit, stopped: self.stopped };
            }
        }
        let begun = self.matchers.iter().map(|matcher| matcher.matched).max().unwrap_or(0);
        let mut emit = std::mem::take(&mut self.held);
        emit.push_str(piece);
        self.held = emit.split_off(emit.len() - begun);
        StopOutcome { emit, stopped: None }
    }

    /// Returns what was held back; the matcher is then at the beginning of a new text.
    pub fn flush(&mut self) -> String {
        self.matchers.iter_mut().for_each(|matcher| matcher.matched = 0);
        self.stopped = None;
        std::mem::take(&mut self.held)
    }
}

/// One stop string, and how much of it the end of the text matches.
#[derive(Clone, Debug)]
struct Matcher {
    pattern: Vec<u8>,
    /// For each prefix of the pattern, the length of its longest proper suffix that is a prefix too.
    fallback: Vec<usize>,
    matched: usize,
}

impl Matcher {
    fn new(pattern: &[u8]) -> Self {
        let mut fallback = vec![0; pattern.len()];
        let mut length = 0;
        for at in 1..pattern.len() {
            while length > 0 && pattern[at] != pattern[length] {
                length = fallback[length - 1];
            }
            length += usize::from(pattern[at] == pattern[length]);
            fallback[at] = length;
        }
        Self { pattern: pattern.to_vec(), fallback, matched: 0 }
    }

    /// Takes a byte; true if the pattern ends with it.
    fn advance(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.pattern[self.matched] != byte {
            self.matched = self.fallback[self.matched - 1];
        }
        self.matched += usize::from(self.pattern[self.matched] == byte);
        self.matched == self.pattern.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run<S: AsRef<str>>(stops: &[S], include: bool, pieces: &[&str]) -> (String, Option<usize>) {
        let mut matcher = StopStrings::new(stops, include).unwrap();
        let mut text = String::new();
        for piece in pieces {
            let outcome = matcher.push(piece);
            text.push_str(&outcome.emit);
            if outcome.stopped.is_some() {
                return (text, outcome.stopped);
            }
        }
        (text + &matcher.flush(), None)
    }

    #[test]
    fn what_may_become_a_stop_string_is_held_back() {
        let mut stops = StopStrings::new(&["</end>"], false).unwrap();
        assert_eq!(stops.push("one <"), StopOutcome { emit: "one ".into(), stopped: None });
        assert_eq!(stops.push("/e"), StopOutcome::default());
        assert_eq!(stops.push("x</"), StopOutcome { emit: "</ex".into(), stopped: None });
        assert_eq!(stops.push("end> two"), StopOutcome { emit: String::new(), stopped: Some(0) });
        assert_eq!(stops.push("three"), StopOutcome { emit: String::new(), stopped: Some(0) });
    }

    #[test]
    fn the_first_complete_match_wins_and_then_the_longest() {
        assert_eq!(run(&["abc", "b"], false, &["xabc"]), ("xa".into(), Some(1)));
        assert_eq!(run(&["b", "ab"], false, &["xabc"]), ("x".into(), Some(1)));
        assert_eq!(run(&["b", "ab"], true, &["xa", "bc"]), ("xab".into(), Some(1)));
        assert_eq!(run(&["好。"], false, &["你好", "。再"]), ("你".into(), Some(0)));
        assert_eq!(run::<&str>(&[], false, &["你好"]), ("你好".into(), None));
    }

    #[test]
    fn unusable_lists_are_refused() {
        assert_eq!(StopStrings::new(&["a", ""], false).unwrap_err(), StopError::Empty { index: 1 });
        assert_eq!(StopStrings::new(&["a"; 65], false).unwrap_err(), StopError::TooMany { count: 65 });
        let long = "a".repeat(5000);
        assert_eq!(
            StopStrings::new(&[long], false).unwrap_err(),
            StopError::TooLong { index: 0, bytes: 5000 }
        );
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            stops in prop::collection::vec("[ab你]{1,4}", 0..4),
            pieces in prop::collection::vec("[abc你好]{0,3}", 0..12),
            include: bool,
        ) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let whole = pieces.concat();
            let mut buffer = [0; 4];
            let mut expected = (whole.clone(), None);
            'search: for end in whole.char_indices().map(|(at, c)| at + c.encode_utf8(&mut buffer).len()) {
                let mut ending: Vec<_> =
                    stops.iter().enumerate().filter(|(_, stop)| whole[..end].ends_with(*stop)).collect();
                ending.sort_by_key(|(index, stop)| (std::cmp::Reverse(stop.len()), *index));
                if let Some((index, stop)) = ending.first() {
                    let kept = if include { end } else { end - stop.len() };
                    expected = (whole[..kept].to_owned(), Some(*index));
                    break 'search;
                }
            }
            prop_assert_eq!(&run(&stops, include, &[&whole]), &expected);
            prop_assert_eq!(&run(&stops, include, &pieces), &expected);
        }
    }
}
