//! Numbers as options, refused in words that say what they should be.

use std::str::FromStr;

/// A whole number above 0.
pub fn count(text: &str) -> Result<u32, String> {
    number::<u32>(text)
        .filter(|count| *count > 0)
        .ok_or(format!("expected a whole number from 1 to {}", u32::MAX))
}

/// A whole number above 0, up to `MAX`.
pub fn up_to<const MAX: u32>(text: &str) -> Result<u32, String> {
    let count = number::<u32>(text).filter(|count| (1..=MAX).contains(count));
    count.ok_or(format!("expected a whole number from 1 to {MAX}"))
}

/// A whole number of threads.
pub fn threads(text: &str) -> Result<u16, String> {
    let threads = number::<u16>(text).filter(|threads| (1..=1024).contains(threads));
    threads.ok_or("expected a whole number from 1 to 1024".to_owned())
}

/// A whole number.
pub fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    number(text).ok_or("expected a whole number, 0 or more".to_owned())
}

/// A number with or without a fraction.
pub fn fraction(text: &str) -> Result<f32, String> {
    number(text).ok_or("expected a number, such as 0.7".to_owned())
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}
