//! Names that refer to something, and what was meant by those that refer to nothing.

/// `; did you mean "shop"?` if one of these is close to what was written; nothing otherwise.
pub(super) fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let near = |candidate: &'a str| (distance(name, candidate), candidate);
    match candidates.into_iter().map(near).min() {
        Some((steps, candidate)) if steps <= (name.chars().count() / 3).max(1) => {
            format!("; did you mean {candidate:?}?")
        }
        _ => String::new(),
    }
}

/// Characters to add, remove or replace until one is the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // One row of the table: the distances from what was seen of `a` to each beginning of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (n, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = n + 1;
        for (m, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[m + 1];
            row[m + 1] = replaced.min(diagonal + 1).min(row[m] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, hint};

    #[test]
    fn the_nearest_name_is_offered() {
        for (a, b, steps) in [("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("cart", "cart", 0)] {
            assert_eq!(distance(a, b), steps, "{a} {b}");
        }
        assert_eq!(hint("cart-v3", ["shop", "cart-v1"]), "; did you mean \"cart-v1\"?");
        assert_eq!(hint("shop", ["cart", "users"]), "");
        assert_eq!(hint("x", []), "");
    }
}
