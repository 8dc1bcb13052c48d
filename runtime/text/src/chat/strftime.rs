use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A time in UTC, as the C locale's `strftime` writes it. Directives that no template uses stay as they are.
pub(super) fn utc(time: SystemTime, format: &str) -> String {
    let moment = Moment::new(time);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c == '%' {
            let flag_and_rest = chars.as_str();
            let unpadded = flag_and_rest.starts_with('-');
            if unpadded {
                chars.next();
            }
            match chars.next() {
                Some(directive) => moment.write(directive, unpadded, &mut out),
                None => out.push('%'),
            }
        } else {
            out.push(c);
        }
    }
    out
}

struct Moment {
    year: i64,
    /// 1 to 12.
    month: i64,
    /// 1 to 31.
    day: i64,
    /// From 1.
    day_of_year: i64,
    /// From Sunday, 0.
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
    microsecond: u32,
}

impl Moment {
    fn new(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Years are counted from March, so that the leap day is the last; an era has 400 of them.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * from_march + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let day_of_year = if month <= 2 { from_march - 305 } else { from_march + 60 + i64::from(leap) };
        Self {
            year,
            month,
            day: from_march - (153 * month_from_march + 2) / 5 + 1,
            day_of_year,
            weekday: usize::try_from((days + 4) % 7).expect("below seven"),
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
            microsecond: since.subsec_micros(),
        }
    }

    fn write(&self, directive: char, unpadded: bool, out: &mut String) {
        let day_name = DAYS[self.weekday];
        let month_name = MONTHS[usize::try_from(self.month - 1).expect("at most twelve")];
        let hour12 = (self.hour + 11) % 12 + 1;
        let mut number = |value: i64, width: usize, pad: char| {
            let width = if unpadded { 0 } else { width };
            let text = value.to_string();
            out.extend(std::iter::repeat_n(pad, width.saturating_sub(text.len())));
            out.push_str(&text);
        };
        let composed = match directive {
            'd' => return number(self.day, 2, '0'),
            'e' => return number(self.day, 2, ' '),
            'm' => return number(self.month, 2, '0'),
            'Y' => return number(self.year, 0, '0'),
            'y' => return number(self.year % 100, 2, '0'),
            'C' => return number(self.year / 100, 2, '0'),
            'j' => return number(self.day_of_year, 3, '0'),
            'H' => return number(self.hour, 2, '0'),
            'k' => return number(self.hour, 2, ' '),
            'I' => return number(hour12, 2, '0'),
            'l' => return number(hour12, 2, ' '),
            'M' => return number(self.minute, 2, '0'),
            'S' => return number(self.second, 2, '0'),
            'f' => return number(i64::from(self.microsecond), 6, '0'),
            'u' => return number((self.weekday as i64 + 6) % 7 + 1, 0, '0'),
            'w' => return number(self.weekday as i64, 0, '0'),
            'A' => day_name,
            'a' => &day_name[..3],
            'B' => month_name,
            'b' | 'h' => &month_name[..3],
            'p' if self.hour < 12 => "AM",
            'p' => "PM",
            // A naive time has no zone in Python.
            'Z' | 'z' => "",
            'n' => "\n",
            't' => "\t",
            '%' => "%",
            'F' => "%Y-%m-%d",
            'T' | 'X' => "%H:%M:%S",
            'D' | 'x' => "%m/%d/%y",
            'R' => "%H:%M",
            'r' => "%I:%M:%S %p",
            'c' => "%a %b %e %H:%M:%S %Y",
            other => {
                let _ = write!(out, "%{}{other}", if unpadded { "-" } else { "" });
                return;
            }
        };
        if matches!(directive, 'F' | 'T' | 'X' | 'D' | 'x' | 'R' | 'r' | 'c') {
            let mut parts = composed.chars();
            while let Some(c) = parts.next() {
                match c {
                    '%' => self.write(parts.next().unwrap_or('%'), false, out),
                    c => out.push(c),
                }
            }
        } else {
            out.push_str(composed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: u64, format: &str, expected: &str) {
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds), format), expected);
    }

    #[test]
    fn dates_are_those_of_c() {
        check(0, "%Y-%m-%d %H:%M:%S %A %j %u", "1970-01-01 00:00:00 Thursday 001 4");
        check(951_782_400, "%d %b %Y, %j, %a", "29 Feb 2000, 060, Tue");
        check(1_735_689_599, "%c|%x|%X|%p|%I|%y", "Tue Dec 31 23:59:59 2024|12/31/24|23:59:59|PM|11|24");
        check(1_709_251_200, "%F %j", "2024-03-01 061");
        check(1_677_628_800, "%F %j", "2023-03-01 060");
    }

    #[test]
    fn flags_and_unknown_directives() {
        check(0, "%-d %-m %e 100%% %Q %-Q %", "1 1  1 100% %Q %-Q %");
    }
}
