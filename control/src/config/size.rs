//! Sizes with units, as in `2GiB`.

/// Bytes of `512`, `64KiB`, `2MiB` or `1GiB`.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => return Err(format!("{text:?}: the unit {unit:?} is not B, KiB, MiB or GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a size such as 2GiB"))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is more than can be"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        assert_eq!(parse("2GiB"), Ok(2 << 30));
        assert_eq!(parse("64KiB"), Ok(65_536));
        assert_eq!(parse("512"), Ok(512));
        for wrong in ["", "GiB", "2GB", "-1", "99999999999GiB", "1.5GiB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
