//! Which known name a misspelt one was probably meant to be.

/// The candidate closest to `name`, if any is close enough to be meant by it.
///
/// Closeness counts inserted, deleted, replaced and swapped neighbouring characters; up to a third of
/// the name may be wrong. Among equally close candidates the first wins.
///
/// ```
/// use mscc_models::hf::nearest;
///
/// assert_eq!(nearest("hiden_size", ["head_dim", "hidden_size"]), Some("hidden_size"));
/// assert_eq!(nearest("vocabulary", ["head_dim", "hidden_size"]), None);
/// ```
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(MAX_CHARS + 1).collect();
    if name.len() > MAX_CHARS {
        return None;
    }
    let limit = (name.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let chars: Vec<char> = candidate.chars().take(MAX_CHARS + 1).collect();
        if chars.len().abs_diff(name.len()) > limit {
            continue;
        }
        let distance = distance(&name, &chars);
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Longer names are not compared, since the time grows with the square.
const MAX_CHARS: usize = 256;

/// Edits between two names, a swap of neighbours counting as one (Damerau's distance, restricted to
/// edits that do not overlap).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(a: &str, b: &str) -> usize {
        distance(&Vec::from_iter(a.chars()), &Vec::from_iter(b.chars()))
    }

    #[test]
    fn counts_edits() {
        assert_eq!(edits("", ""), 0);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("rope_tehta", "rope_theta"), 1);
        assert_eq!(edits("größe", "grosse"), 3);
    }

    #[test]
    fn gives_the_first_of_the_closest() {
        assert_eq!(nearest("qwen3", ["llama", "qwen2", "qwen4"]), Some("qwen2"));
        assert_eq!(nearest("lama", ["qwen2", "llama"]), Some("llama"));
        assert_eq!(nearest("x", []), None);
        assert_eq!(nearest(&"x".repeat(300), ["x"]), None);
    }
}
