//! Numbers for people.

/// `0B`, `1.5KiB`, `20GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1023.95 || (unit == "B" && bytes < 1024) {
            return short(value, if unit == "B" { 0 } else { 1 }) + unit;
        }
        value /= 1024.0;
    }
    short(value, 1) + "TiB"
}

/// `850us`, `1.2ms`, `3.4s`, and then as [`age`].
pub(super) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => short(us as f64 / 1e3, 1) + "ms",
        1_000_000..60_000_000 => short(us as f64 / 1e6, 1) + "s",
        _ => age(us / 1_000),
    }
}

/// `0s`, `59s`, `5m30s`, `4h`, `3d2h`: two units at most, as kubectl says it.
pub(super) fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let two = |big: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{smaller}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => two(minutes, "m", rest, "s"),
        3_600..86_400 => two(hours, "h", minutes, "m"),
        _ => two(days, "d", hours, "h"),
    }
}

/// A second's worth: `0`, `0.4`, `12`, `8.1k`, `1.2M`.
pub(super) fn rate(each_second: f64) -> String {
    match each_second {
        r if r < 0.05 => "0".into(),
        r if r < 9.95 => short(r, 1),
        r if r < 999.5 => short(r, 0),
        r if r < 999_950.0 => short(r / 1e3, 1) + "k",
        r => short(r / 1e6, 1) + "M",
    }
}

/// `100.00%`, `99.95%`.
pub(super) fn percent(part: f64) -> String {
    // What failed once must not read as if nothing had.
    let shown = if part < 1.0 { (part * 10_000.0).floor() / 100.0 } else { 100.0 };
    format!("{shown:.2}%")
}

/// Two forms of a noun: `1 route`, `2 routes`.
pub(super) fn count(count: usize, one: &str) -> String {
    let many = if count == 1 { "" } else { "s" };
    format!("{count} {one}{many}")
}

/// Whole seconds, as they are typed: `60s`, `5m`, `1h`, `1m30s`; a bare number is seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time: write 60s, 5m or 1h");
    let (mut all, mut digits) = (0u64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        all = number.checked_mul(unit).and_then(|part| all.checked_add(part)).ok_or_else(wrong)?;
        digits.clear();
    }
    match (&digits[..], all) {
        ("", _) if !text.is_empty() => Ok(all),
        (_, 0) => digits.parse().map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

/// With so many decimals, without zeros at the end.
fn short(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit() {
        for (value, wanted) in [
            (0, "0B"),
            (1_023, "1023B"),
            (1_024, "1KiB"),
            (1_536, "1.5KiB"),
            (1_048_575, "1MiB"),
            (71 << 20, "71MiB"),
            (20 << 30, "20GiB"),
            (u64::MAX, "16777216TiB"),
        ] {
            assert_eq!(bytes(value), wanted);
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (us, wanted) in [
            (0, "0us"),
            (999, "999us"),
            (1_250, "1.2ms"),
            (50_000, "50ms"),
            (2_500_000, "2.5s"),
            (61_000_000, "1m1s"),
            (3_600_000_000, "1h"),
            (93_600_000_000, "1d2h"),
        ] {
            assert_eq!(micros(us), wanted);
        }
        assert_eq!(age(0), "0s");
        assert_eq!(age(330_000), "5m30s");
    }

    #[test]
    fn rates_and_parts() {
        for (value, wanted) in
            [(0.0, "0"), (0.44, "0.4"), (12.4, "12"), (999.4, "999"), (8_123.0, "8.1k"), (1_250_000.0, "1.2M")]
        {
            assert_eq!(rate(value), wanted);
        }
        assert_eq!(percent(1.0), "100.00%");
        assert_eq!(percent(0.999_999), "99.99%", "something failed");
        assert_eq!(percent(0.0), "0.00%");
    }

    #[test]
    fn times_as_they_are_typed() {
        for (text, wanted) in [("60s", 60), ("5m", 300), ("1h", 3_600), ("1m30s", 90), ("7", 7), ("0s", 0), ("0", 0)] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for wrong in ["", "s", "5x", "-5s", "5m3", "1.5s", "99999999999999999999s", "9999999999999999999h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
