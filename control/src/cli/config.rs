//! `config`: the configuration in force, and what may stand in one.

use super::{
    Outcome, Shown,
    console::{Console, Exit, Failure, Format},
    daemon::{At, Daemon},
};
use crate::{
    admin::api::{self, RevisionDetails},
    config,
};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::borrow::Cow;

/// The configuration in force, and what may stand in one
#[derive(Args)]
pub(super) struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Dump(Dump),
    Defaults(Defaults),
    Schema(Schema),
}

/// Print the files of the revision in force, or of another
///
/// All of them come as one file that can be applied again. Files that are included stand in it, so
/// the lines that include them are comments; -o json has every file as it was.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  weirgate config dump > running.yaml
  weirgate config dump --revision 12
  weirgate config dump --compiled -o json      # what the data plane got"
)]
struct Dump {
    /// Of this revision
    #[arg(long, value_name = "REVISION")]
    revision: Option<u64>,
    /// What the files come to: the data plane's snapshot, without discovered endpoints
    #[arg(long)]
    compiled: bool,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

/// Print a configuration of one of each kind, with every default written out
#[derive(Args)]
#[command(after_help = "\
Examples:
  weirgate config defaults
  weirgate config defaults -o json | jq '.listeners[0].http.timeouts'")]
struct Defaults {
    #[command(flatten)]
    shown: Shown,
}

/// Print the JSON Schema of a configuration, with which editors complete and check it
#[derive(Args)]
#[command(after_help = "\
Example:
  weirgate config schema > weirgate.schema.json
  # then, as the first line of a configuration:
  # yaml-language-server: $schema=weirgate.schema.json")]
struct Schema {}

impl Config {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        match &self.verb {
            Verb::Dump(verb) => verb.run(console),
            Verb::Defaults(Defaults { shown }) => {
                let text = config::defaults();
                if shown.format == Format::Json {
                    let data: Value = serde_saphyr::from_str(&text).expect("it is YAML");
                    console.data(Format::Json, &data)?;
                } else {
                    // It is YAML, and its comments are worth having.
                    console.print(&text)?;
                }
                Ok(Exit::Done)
            }
            Verb::Schema(Schema {}) => {
                console.print(config::schema().trim_end())?;
                console.line("")?;
                Ok(Exit::Done)
            }
        }
    }
}

impl Dump {
    fn run(&self, console: &mut Console<'_>) -> Outcome {
        let name = self.revision.map_or("current".into(), |number| number.to_string());
        let details: RevisionDetails = Daemon::block_on(self.at.client().get(&api::of(api::REVISION, &name)))?;
        if self.compiled {
            console.data(self.shown.format, &details.snapshot)?;
            return Ok(Exit::Done);
        }
        if details.files.is_empty() {
            return Err(Failure::findings(format!("revision {} has no files", details.head.revision))
                .next("weirgate config dump --compiled shows what it comes to"));
        }
        console.show(self.shown.format, &details, |console, details| {
            for (number, file) in details.files.iter().enumerate() {
                // Several files are several documents, none of which includes another, and so the whole can be applied again.
                let begins = file.text.trim_start().starts_with("---");
                if number > 0 && !begins {
                    console.line("---")?;
                }
                console.line(format_args!("# {}, revision {}", file.name, details.head.revision))?;
                console.line(without_includes(&file.text).trim_end())?;
            }
            Ok(())
        })?;
        Ok(Exit::Done)
    }
}

/// A file for which what it includes is already there: the lines that say so become comments.
fn without_includes(text: &str) -> Cow<'_, str> {
    if !text.contains("include") {
        return text.into();
    }
    let (mut kept, mut is_include) = (String::with_capacity(text.len() + 16), false);
    for line in text.lines() {
        // A field of the document begins at the margin. Elements of its list may stand there too.
        let goes_on = line.is_empty() || line.starts_with([' ', '\t', '#', ']']) || line.starts_with("- ");
        let key = line.trim_start_matches(['"', '\'']).strip_prefix("include");
        is_include = if goes_on {
            is_include
        } else {
            key.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
        };
        kept += if is_include && !line.is_empty() { "# " } else { "" };
        kept += line;
        kept += "\n";
    }
    // It may be written in another way, as in JSON. Then what is meant counts, and not how it was written.
    let Ok(mut documents) = serde_saphyr::from_multiple::<Value>(&kept) else { return kept.into() };
    let removed = documents.iter_mut().filter_map(|it| it.as_object_mut()?.remove("include")).count();
    match serde_saphyr::to_string_multiple(&documents) {
        Ok(written) if removed > 0 => written.into(),
        _ => kept.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        console::Exit,
        tests::{TempFile, run},
    };

    #[test]
    fn includes_are_left_out_however_they_are_written() {
        use serde_json::{Value, json};
        for text in [
            "a: 1\ninclude: [x.yaml, y]\nb: 2\n",
            "a: 1\ninclude:\n- x.yaml\n\n# more\n- y\nb: 2\n",
            "a: 1\n\"include\" :\n  - x.yaml\nb: 2",
            "include: [\n  x.yaml,\n]\na: 1\nb: 2",
            "{\"a\": 1, \"include\": [\"x.yaml\"], \"b\": 2}",
            "{\n\"a\": 1,\n\"include\": [\"x.yaml\"],\n\"b\": 2\n}",
            "  a: 1\n  include: [x]\n  b: 2\n",
        ] {
            let left = super::without_includes(text);
            let read = serde_saphyr::from_multiple::<Value>(&left).unwrap_or_else(|e| panic!("{e}: {left}"));
            assert_eq!(read, [json!({"a": 1, "b": 2})], "{text}\n{left}");
        }
        let two = "a: 1 # kept\ninclude: [x]\n---\ninclude: [y]\nb: {include: 7}\n";
        assert_eq!(super::without_includes(two), "a: 1 # kept\n# include: [x]\n---\n# include: [y]\nb: {include: 7}\n");
    }

    #[test]
    fn defaults_and_schema_are_what_they_say() {
        let (exit, text, _) = run(&["config", "defaults"]);
        assert_eq!(exit, Exit::Done);
        let file = TempFile::new("defaults.yaml", &text);
        assert_eq!(run(&["validate", "-q", file.path()]), (Exit::Done, String::new(), String::new()));
        let data: serde_json::Value = serde_json::from_str(&run(&["config", "defaults", "-o", "json"]).1).unwrap();
        assert_eq!(data["kind"], "GatewayConfig");
        let schema: serde_json::Value = serde_json::from_str(&run(&["config", "schema"]).1).unwrap();
        assert!(schema["$schema"].is_string());
    }
}
