//! Names that refer to something, and what was meant by those that refer to nothing.

/// `; did you mean "shop"?` if one of these is close to what was written; nothing otherwise.
pub(super) fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let near = |candidate: &'a str| (distance(name, candidate), candidate);
    // A long text is no slip, and among very many names nobody waits for the nearest.
    if name.len() > 64 {
        return String::new();
    }
    match candidates.into_iter().filter(|it| it.len() <= 72).take(1_000).map(near).min() {
        Some((steps, candidate)) if steps <= (name.chars().count() / 3).max(1) => {
            format!("; did you mean {candidate:?}?")
        }
        _ => String::new(),
    }
}

/// The same for a name that was meant.
pub(super) fn hint_of(name: &str) -> String {
    format!("; did you mean {name:?}?")
}

/// Characters to add, remove, replace or exchange with their neighbours until one is the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // A row of the table: the distances from what was seen of `a` to each beginning of `b`; and the one above it.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut above = row.clone();
    let mut before = None;
    for (n, from) in a.chars().enumerate() {
        let mut next = vec![n + 1; row.len()];
        for (m, &to) in b.iter().enumerate() {
            let replaced = row[m] + usize::from(from != to);
            next[m + 1] = replaced.min(row[m + 1] + 1).min(next[m] + 1);
            if m > 0 && before == Some(to) && from == b[m - 1] {
                next[m + 1] = next[m + 1].min(above[m - 1] + 1);
            }
        }
        above = std::mem::replace(&mut row, next);
        before = Some(from);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, hint};

    #[test]
    fn the_nearest_name_is_offered() {
        for (a, b, steps) in
            [("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("cart", "cart", 0), ("prot", "port", 1)]
        {
            assert_eq!(distance(a, b), steps, "{a} {b}");
        }
        assert_eq!(hint("cart-v3", ["shop", "cart-v1"]), "; did you mean \"cart-v1\"?");
        assert_eq!(hint("shop", ["cart", "users"]), "");
        assert_eq!(hint("x", []), "");
    }
}
