//! Durations with units, as in `1h30m` (Gateway API: GEP-2257).

/// Milliseconds of `500ms`, `10s`, `5m`, `1h30m`: up to four numbers of up to five digits, each with its unit.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a duration such as 500ms, 10s, 5m or 1h30m");
    let mut rest = text;
    let mut ms = 0;
    for _ in 0..4 {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = &rest[..rest.len() - unit.len()];
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let factor = match &unit[..end] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(wrong()),
        };
        if number.len() > 5 {
            return Err(format!("{text:?}: a number of more than five digits; take a larger unit"));
        }
        ms += number.parse::<u64>().map_err(|_| wrong())? * factor;
        rest = &unit[end..];
        if rest.is_empty() {
            return Ok(ms);
        }
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h1m1s1ms", 3_661_001),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(parse(text), Ok(ms), "{text}");
        }
        for wrong in ["", "10", "s", "1.5s", "-1s", "10 s", "1d", "100000s", "1h1m1s1ms1ms", "10S", "1s2", "µs"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
