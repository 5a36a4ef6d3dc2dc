//! Any bytes as a configuration: they are read or refused, in bounded time and memory.

use super::{Environment, compile, print};

/// Compiles a text; if it is accepted, what is printed of it comes to the same.
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let environment: Environment = [("NAME", "value"), ("PORT", "80")].into_iter().collect();
    let of = |text: String| compile(&[("a.yaml".to_owned(), text)], &environment);
    let printed = print("a.yaml", &text);
    if let Ok(model) = of(text) {
        let printed = printed.expect("what is accepted is YAML");
        let again = of(printed.clone()).unwrap_or_else(|found| panic!("{printed}: {found:?}"));
        assert_eq!(again, model, "{printed}");
    } else if let Ok(printed) = printed {
        // Places differ; that something is wrong does not.
        assert!(of(printed).is_err());
    }
}
