/// The replacements of `clean_up_tokenization_spaces`, in their order.
///
/// Source: transformers 5.23, `clean_up_tokenization`.
const RULES: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// Removes the spaces that a tokenizer of words leaves before punctuation.
pub(crate) fn clean_up(text: &str) -> String {
    RULES.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// [`clean_up`] for text that arrives in pieces: a chain of replacements, each of which holds back what may
/// still become a match.
#[derive(Clone, Debug, Default)]
pub(crate) struct CleanUpStream {
    held: [String; RULES.len()],
}

impl CleanUpStream {
    /// Takes a piece and returns what is final.
    pub(crate) fn push(&mut self, piece: String) -> String {
        RULES.iter().zip(&mut self.held).fold(piece, |piece, ((from, to), held)| {
            held.push_str(&piece);
            let (out, tail) = replace_final(held, from, to);
            *held = tail.to_owned();
            out
        })
    }

    /// Returns what was held back.
    pub(crate) fn flush(&mut self) -> String {
        RULES.iter().zip(&mut self.held).fold(String::new(), |piece, ((from, to), held)| {
            let text = std::mem::take(held) + &piece;
            text.replace(from, to)
        })
    }
}

/// Replaces in what is final of `text` and returns it with the end that a later piece may complete to `from`.
fn replace_final<'a>(text: &'a str, from: &str, to: &str) -> (String, &'a str) {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        out.push_str(&rest[..at]);
        out.push_str(to);
        rest = &rest[at + from.len()..];
    }
    // The patterns are so short that trying each length is cheapest.
    let held = (1..from.len()).rev().find(|n| rest.ends_with(&from[..*n])).unwrap_or(0);
    let (last, tail) = rest.split_at(rest.len() - held);
    out.push_str(last);
    (out, tail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spaces_before_punctuation_go() {
        assert_eq!(clean_up("I do n't , you 've ' it ."), "I don't, you've'it.");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(pieces in prop::collection::vec("[ .,'nvterms?]{0,4}", 0..12)) {
            let mut stream = CleanUpStream::default();
            let mut streamed: String = pieces.iter().map(|piece| stream.push(piece.clone())).collect();
            streamed.push_str(&stream.flush());
            prop_assert_eq!(streamed, clean_up(&pieces.concat()));
        }
    }
}
