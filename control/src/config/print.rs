//! Documents as they were read, written again: one form for whatever quoting, nesting and aliases were used. Read again, it comes to the same
//! model. Variables stay variables.

use super::{
    Finding,
    findings::Findings,
    tree::{self, Node, Value},
};
use std::fmt::Write;

/// The documents of a text in one form.
///
/// # Errors
/// What is not YAML in it.
pub fn print(file: &str, text: &str) -> Result<String, Vec<Finding>> {
    let mut found = Vec::new();
    let (documents, _) = tree::parse(text, &mut Findings { file, found: &mut found });
    if !found.is_empty() {
        return Err(found);
    }
    Ok(print_documents(&documents))
}

pub(super) fn print_documents(documents: &[Node]) -> String {
    let mut out = String::new();
    for document in documents {
        out += "---\n";
        write_node(document, 0, true, &mut out);
        out += "\n";
    }
    out
}

/// Writes a node whose lines are this deep; the first one has begun already if it `is_begun`.
fn write_node(node: &Node, depth: usize, is_begun: bool, out: &mut String) {
    let line = |number: usize, out: &mut String| {
        if number > 0 || !is_begun {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    };
    match &node.value {
        Value::List(items) if items.is_empty() => *out += "[]",
        Value::Map(fields) if fields.is_empty() => *out += "{}",
        Value::List(items) => {
            for (number, item) in items.iter().enumerate() {
                line(number, out);
                *out += "- ";
                write_node(item, depth + 1, true, out);
            }
        }
        Value::Map(fields) => {
            for (number, (key, value)) in fields.iter().enumerate() {
                line(number, out);
                write_text(&key.name, true, out);
                out.push(':');
                let is_short = match &value.value {
                    Value::List(items) => items.is_empty(),
                    Value::Map(fields) => fields.is_empty(),
                    Value::Scalar { .. } => true,
                };
                *out += if is_short { " " } else { "" };
                write_node(value, depth + 1, is_short, out);
            }
        }
        Value::Scalar { text, plain } => write_text(text, *plain, out),
    }
}

/// Without quotes where there were none and none are needed.
fn write_text(text: &str, plain: bool, out: &mut String) {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b"_./+~".contains(&b);
    if plain && text.bytes().all(|b| is_word(b) || b == b'-') && text.bytes().next().is_some_and(is_word) {
        *out += text;
        return;
    }
    // Whatever is plain and may be more than text is a word.
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_ascii_graphic() || c == ' ' => out.push(c),
            c if u32::from(c) < 0x1_0000 => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => _ = write!(out, "\\U{:08x}", u32::from(c)),
        }
    }
    out.push('"');
}
