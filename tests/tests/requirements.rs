//! What the RFCs ask of TCP, held against the code that does it.
//!
//! ```text
//!   tests/requirements/tcp.txt       each MUST and SHOULD, with an id          --+
//!   dataplane/src/**/*.rs            `// rfc9293 3.8.4 MUST-26: words`         --+-->  complaints, and a table for people:
//!   ARCHITECTURE.md                  the table of deviations                   --+     target/requirements-tcp.md
//! ```
//!
//! A requirement is met (a comment above the line that meets it names its id), or the list says that we deviate (then the table of
//! deviations has the RFC and the section, too), or the list says why it is not applicable: one of the three.
//!
//! A marker begins its comment, and its ids stand before the first colon, with their section: `// rfc7323 3.2 d, e: words`,
//! `// rfc9293 3.10.7.4 MUST-58, MUST-59; rfc5681 4.2 e: words`. A comment that cites a section and no id is read by people only, and so
//! is everything about other RFCs. Markers in tests are checked, but meet nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const RFCS: [u16; 8] = [9293, 5961, 7323, 2018, 5681, 6298, 8985, 9438];

#[test]
fn each_requirement_is_met_or_says_why_not() {
    let root = root();
    let requirements = requirements(&read(&root.join("tests/requirements/tcp.txt"))).expect("the list can be read");
    let mut complaints = Vec::new();
    let markers = markers(&root.join("dataplane/src"), &mut complaints);
    let places = places(&requirements, &markers, &mut complaints);
    let deviations = deviations(&read(&root.join("ARCHITECTURE.md")));
    complaints.extend(requirements.iter().filter_map(|requirement| complaint(requirement, &places, &deviations)));

    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("requirements-tcp.md");
    fs::write(&path, table(&requirements, &places)).expect("the target directory can be written");
    assert!(complaints.is_empty(), "{} ({}):\n{}", complaints.len(), path.display(), complaints.join("\n"));
}

#[test]
fn the_list_is_complete_and_in_order() {
    let requirements = requirements(&read(&root().join("tests/requirements/tcp.txt"))).expect("the list can be read");
    let mut letters = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    for requirement in &requirements {
        let Requirement { rfc, section, id, level, .. } = requirement;
        let kind = id.split_once('-').map(|(kind, _)| kind);
        match kind {
            Some("MUST") => assert!(level.starts_with("MUST"), "{requirement:?}"),
            Some(_) => assert!(level.starts_with("SHOULD"), "{requirement:?}"),
            None => {
                let next = letters.entry((*rfc, section.clone())).or_insert(b'a');
                assert_eq!(id.as_bytes(), [*next], "letters are in order: {requirement:?}");
                *next += 1;
            }
        }
        if kind.is_some() {
            assert_eq!(*rfc, 9293, "only RFC 9293 numbers its requirements: {requirement:?}");
            assert!(numbers.insert(id.clone()), "twice: {requirement:?}");
        }
    }
    let appendix_b = (1..=69).map(|n| format!("MUST-{n}")).chain((1..=31).map(|n| format!("SHLD-{n}")));
    assert_eq!(numbers, appendix_b.chain(["REC-1".to_owned()]).collect());
    assert_eq!(requirements.iter().map(|one| one.rfc).collect::<BTreeSet<_>>(), BTreeSet::from(RFCS));
}

// ---- The list ----

#[derive(Debug, Clone, PartialEq)]
struct Requirement {
    rfc: u16,
    section: String,
    /// `MUST-26` where RFC 9293 numbers it, else a letter.
    id: String,
    level: String,
    words: String,
    status: Status,
}

#[derive(Debug, Clone, PartialEq)]
enum Status {
    /// A marker in the code must meet it.
    Open,
    Deviates(String),
    NotApplicable(String),
}

fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    let rows = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|row| requirement(row).ok_or_else(|| format!("not a row: {row}"))).collect()
}

fn requirement(row: &str) -> Option<Requirement> {
    let cells: Vec<_> = row.split('|').map(str::trim).collect();
    let [rfc, section, id, level, words, status] = cells.try_into().ok()?;
    let status = match status.split_once(": ") {
        None if status.is_empty() => Status::Open,
        Some(("deviates", why)) => Status::Deviates(why.to_owned()),
        Some(("not applicable", why)) => Status::NotApplicable(why.to_owned()),
        _ => return None,
    };
    let rfc = rfc.parse().ok().filter(|rfc| RFCS.contains(rfc))?;
    let levels = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT"];
    let sound = is_section(section) && is_id(id) && levels.contains(&level) && !words.is_empty();
    let [section, id, level, words] = [section, id, level, words].map(str::to_owned);
    sound.then_some(Requirement { rfc, section, id, level, words, status })
}

fn is_section(token: &str) -> bool {
    token.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_id(token: &str) -> bool {
    match token.split_once('-') {
        Some((kind, number)) => ["MUST", "SHLD", "REC"].contains(&kind) && number.parse::<u8>().is_ok(),
        None => token.len() == 1 && token.bytes().all(|byte| byte.is_ascii_lowercase()),
    }
}

// ---- The markers ----

/// One id that a comment names.
#[derive(Debug, Clone, PartialEq)]
struct Marker {
    rfc: u16,
    /// One of them is the requirement's.
    sections: Vec<String>,
    id: String,
    /// File and line, from the root of the repository.
    place: String,
    in_test: bool,
}

/// All markers below `folder`; a comment that cannot be read is a complaint.
fn markers(folder: &Path, complaints: &mut Vec<String>) -> Vec<Marker> {
    let mut markers = Vec::new();
    for path in rust_files(folder) {
        let name = path.strip_prefix(root()).expect("files lie below the root").display().to_string();
        let mut in_test = name.contains("/tests/") || name.ends_with("/tests.rs");
        let text = read(&path);
        let mut lines = text.lines().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            in_test |= line == "#[cfg(test)]" && lines.peek().is_some_and(|(_, next)| next.starts_with("mod tests {"));
            let place = format!("{name}:{}", index + 1);
            match comment(line).map_or(Ok(Vec::new()), cited) {
                Ok(ids) => markers.extend(ids.into_iter().map(|id| Marker { place: place.clone(), in_test, ..id })),
                Err(token) => complaints.push(format!("{place}: {token:?} is no id; a colon ends the ids")),
            }
        }
    }
    markers
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry of a folder").path()).collect();
    paths.sort();
    let files = paths.into_iter().flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The text of a comment that begins with an RFC.
fn comment(line: &str) -> Option<&str> {
    let starts = line.match_indices("//").map(|(at, _)| line[at..].trim_start_matches(['/', '!']).trim_start());
    starts.into_iter().find(|text| text.starts_with("rfc"))
}

/// The ids before the first colon. Prose is no marker; prose after a number is a slip, and the error.
fn cited(comment: &str) -> Result<Vec<Marker>, String> {
    let head = comment.split(':').next().unwrap_or_default();
    let mut rfc = 0;
    let mut sections = Vec::new();
    let mut markers: Vec<Marker> = Vec::new();
    let mut after_id = false;
    for token in head.split([' ', ',', ';']).filter(|token| !token.is_empty()) {
        if let Some(number) = token.strip_prefix("rfc").and_then(|number| number.parse().ok()) {
            (rfc, after_id) = (number, false);
            sections.clear();
        } else if !RFCS.contains(&rfc) || ["and", "(MUST)", "(MUST", "(SHOULD)", "(SHOULD", "NOT)"].contains(&token) {
            // Another RFC, and what people read.
        } else if is_section(token) {
            if after_id {
                sections.clear();
            }
            sections.push(token.to_owned());
            after_id = false;
        } else if is_id(token) {
            let (sections, id) = (sections.clone(), token.to_owned());
            markers.push(Marker { rfc, sections, id, place: String::new(), in_test: false });
            after_id = true;
        } else if markers.iter().any(|marker| marker.id.contains('-')) {
            return Err(token.to_owned());
        } else {
            return Ok(Vec::new());
        }
    }
    Ok(markers)
}

// ---- The table of deviations ----

/// RFC and section of each row: `| 791, 1122 section 3.3.2; 9293 section 3.8.5 MUST-30 | what we do | why |`.
fn deviations(architecture: &str) -> BTreeSet<(u16, String)> {
    let table = architecture.split("\n## ").find(|part| part.starts_with("Deviations")).unwrap_or_default();
    let mut deviations = BTreeSet::new();
    for cell in table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()) {
        let mut rfc = None;
        for token in cell.split([' ', ',', ';']).filter(|token| is_section(token)) {
            match token.parse::<u16>() {
                Ok(number) if number >= 100 => rfc = Some(number),
                _ => deviations.extend(rfc.map(|rfc| (rfc, token.to_owned()))),
            }
        }
    }
    deviations
}

// ---- The judgement ----

/// Where each requirement is met, by its name. A marker that names none is a complaint.
fn places(list: &[Requirement], markers: &[Marker], complaints: &mut Vec<String>) -> BTreeMap<String, Vec<String>> {
    let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for marker in markers {
        let Marker { rfc, sections, id, place, in_test } = marker;
        let namesakes: Vec<_> = list.iter().filter(|one| one.rfc == *rfc && one.id == *id).collect();
        let found = namesakes.iter().find(|one| sections.contains(&one.section));
        match found {
            Some(_) if *in_test => {}
            Some(requirement) => places.entry(requirement.name()).or_default().push(place.clone()),
            None => complaints.push(match namesakes[..] {
                [only] if id.contains('-') => format!("{place}: {id} stands in section {}", only.section),
                _ => format!("{place}: not in the list: rfc{rfc} {} {id}", sections.join(", ")),
            }),
        }
    }
    places
}

impl Requirement {
    /// As a marker names it.
    fn name(&self) -> String {
        format!("rfc{} {} {}", self.rfc, self.section, self.id)
    }
}

fn complaint(
    requirement: &Requirement,
    places: &BTreeMap<String, Vec<String>>,
    deviations: &BTreeSet<(u16, String)>,
) -> Option<String> {
    let name = requirement.name();
    let place = places.get(&name).map(|places| &places[0]);
    match (&requirement.status, place) {
        (Status::Open, Some(_)) | (Status::NotApplicable(_), None) => None,
        (Status::Open, None) => Some(format!("open: {name} ({}): {}", requirement.level, requirement.words)),
        (Status::Deviates(_), None) if deviations.contains(&(requirement.rfc, requirement.section.clone())) => None,
        (Status::Deviates(_), None) => Some(format!("{name}: the deviation is not in ARCHITECTURE.md")),
        (_, Some(place)) => Some(format!("{name}: the list says that it is not met, {place} that it is")),
    }
}

fn table(requirements: &[Requirement], places: &BTreeMap<String, Vec<String>>) -> String {
    let mut text = "# What the RFCs ask of TCP\n".to_owned();
    for rfc in RFCS {
        let of_rfc = requirements.iter().filter(|one| one.rfc == rfc);
        let met = of_rfc.clone().filter(|one| places.contains_key(&one.name())).count();
        writeln!(text, "\n## RFC {rfc}: {met} of {} met\n", of_rfc.clone().count()).expect("a string takes all");
        text.push_str("| section | id | level | what | how |\n| --- | --- | --- | --- | --- |\n");
        for requirement in of_rfc {
            let Requirement { section, id, level, words, .. } = requirement;
            let how = match (&requirement.status, places.get(&requirement.name())) {
                (_, Some(places)) => format!("met: {}", places.join(", ")),
                (Status::Open, None) => "open".to_owned(),
                (Status::Deviates(why), None) => format!("deviates: {why}"),
                (Status::NotApplicable(why), None) => format!("not applicable: {why}"),
            };
            writeln!(text, "| {section} | {id} | {level} | {words} | {how} |").expect("a string takes all");
        }
    }
    text
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// ---- The reader itself ----

#[test]
fn a_marker_names_ids_with_their_sections() {
    let rows: [(&str, &[&str]); 9] = [
        ("    // rfc9293 3.8.4 MUST-26: nothing in flight", &["9293 3.8.4 MUST-26"]),
        ("/// rfc9293 3.10.7.4 MUST-58, MUST-59: one ACK", &["9293 3.10.7.4 MUST-58", "9293 3.10.7.4 MUST-59"]),
        ("x(); // rfc7323 3.2 d (MUST), 5.2 e; rfc5961 7 b: so", &["7323 3.2 d", "7323 5.2 e", "5961 7 b"]),
        ("// rfc9293 3.4.2, 3.6.1 MUST-13: two MSL", &["9293 3.4.2,3.6.1 MUST-13"]),
        ("// rfc9293 3.4.1 SHLD-1 and rfc6528 3: keyed", &["9293 3.4.1 SHLD-1"]),
        ("// rfc8985 6.2 step 3 (MUST): reordering", &[]),
        ("// rfc6298 2.4 a lower bound than that: see there", &[]),
        ("// rfc4443 2.4 e: no error about an error", &[]),
        ("// see rfc9293 3.8.4 MUST-26: not at the start", &[]),
    ];
    for (line, expected) in rows {
        let markers = comment(line).map_or(Ok(Vec::new()), cited).expect(line);
        let said = markers.iter().map(|one| format!("{} {} {}", one.rfc, one.sections.join(","), one.id));
        assert_eq!(said.collect::<Vec<_>>(), expected, "{line}");
    }
    assert_eq!(cited("rfc9293 3.8.4 MUST-25 by default: off"), Err("by".to_owned()));
}

#[test]
fn the_table_of_deviations_is_read_by_rfc_and_section() {
    let text = "# A\n\n## Deviations from the RFCs\n\n| RFC, section | what | why |\n| --- | --- | --- |\n\
                | 791, 1122 section 3.3.2; 9293 section 3.8.5, 3.6.1 (MUST-13) | a | 5961 section 7 |\n\n## Next\n| 2018 section 4 | |";
    let expected = [(1122, "3.3.2"), (9293, "3.6.1"), (9293, "3.8.5")].map(|(rfc, section)| (rfc, section.to_owned()));
    assert_eq!(deviations(text), BTreeSet::from(expected));
}

#[test]
fn a_requirement_is_met_or_deviates_or_is_not_applicable() {
    let list = requirements(
        "# words\n9293 | 3.8.4 | MUST-26 | MUST | idle |\n5961 | 7 | b | SHOULD | throttle | deviates: why\n\
         2018 | 2 | a | MUST NOT | in a SYN only | not applicable: why",
    )
    .expect("three rows");
    let judge = |code: &[&str], table: &[(u16, &str)]| {
        let mut complaints = Vec::new();
        let markers: Vec<_> = code.iter().flat_map(|comment| cited(comment).expect(comment)).collect();
        let places = places(&list, &markers, &mut complaints);
        let table = table.iter().map(|&(rfc, section)| (rfc, section.to_owned())).collect();
        complaints.extend(list.iter().filter_map(|one| complaint(one, &places, &table)));
        complaints.join("\n")
    };
    let met = "rfc9293 3.8.4 MUST-26: x";
    assert_eq!(judge(&[met], &[(5961, "7")]), "");
    assert!(judge(&[], &[(5961, "7")]).starts_with("open: rfc9293 3.8.4 MUST-26"));
    assert!(judge(&[met], &[]).contains("not in ARCHITECTURE.md"));
    assert!(judge(&[met, "rfc2018 2 a: x"], &[(5961, "7")]).contains("the list says that it is not met"));
    assert!(judge(&[met, "rfc2018 2 b: x"], &[(5961, "7")]).contains("not in the list"));
    assert!(judge(&[met, "rfc9293 3.8 MUST-26: x"], &[(5961, "7")]).contains("stands in section 3.8.4"));
}

#[test]
fn a_row_that_cannot_be_read_is_an_error() {
    let rows = [
        "1122 | 3.2 | a | MUST | another RFC |",
        "9293 | 3.x | a | MUST | no section |",
        "9293 | 3.2 | A | MUST | no id |",
        "9293 | 3.2 | a | MAY | no level |",
        "9293 | 3.2 | a | MUST | no such status | later",
        "9293 | 3.2 | a | MUST | a cell is missing",
    ];
    for row in rows {
        assert_eq!(requirements(row), Err(format!("not a row: {row}")));
    }
}
