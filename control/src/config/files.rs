//! Which files are a configuration: those that are named, those of directories, and those that they include.

use super::{
    Environment, Finding,
    findings::{At, Findings},
    place_of,
    read::{Path as Steps, Read, Reader, Spanned},
    tree::{self, TEXT_MAX},
};
use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// Files that include one another in a chain.
const CHAIN_MAX: usize = 8;
/// Files of a configuration.
const FILES_MAX: usize = 1_024;

/// Reads files for [`compile`](super::compile): those that are named, every `*.yaml`, `*.yml` and `*.json` of directories in the order of their
/// names, and what they include; each once.
///
/// # Errors
/// What cannot be read, and includes that go round in a circle.
pub fn read(paths: &[impl AsRef<Path>], environment: &Environment) -> Result<Vec<(String, String)>, Vec<Finding>> {
    let mut files = Files { environment, files: Vec::new(), found: Vec::new() };
    for path in paths {
        let path = normal(path.as_ref());
        files.add(&path, &mut Vec::new(), &mut |files, what| {
            let file = path.display().to_string();
            files.found.push(Finding { file, place: None, field: None, message: what });
        });
    }
    if files.found.is_empty() { Ok(files.files) } else { Err(files.found) }
}

struct Files<'a> {
    environment: &'a Environment,
    files: Vec<(String, String)>,
    found: Vec<Finding>,
}

/// Notes what is wrong with a path where it was written.
type Blame<'b> = dyn FnMut(&mut Files<'_>, String) + 'b;

impl Files<'_> {
    /// Adds a file or a directory; `chain` are the files that led here.
    fn add(&mut self, path: &Path, chain: &mut Vec<PathBuf>, blame: &mut Blame<'_>) {
        if !path.is_dir() {
            return self.add_file(path, chain, blame);
        }
        match listed(path) {
            Ok(files) => files.iter().for_each(|file| self.add_file(file, chain, blame)),
            Err(error) => blame(self, format!("cannot be read: {error}")),
        }
    }

    fn add_file(&mut self, path: &Path, chain: &mut Vec<PathBuf>, blame: &mut Blame<'_>) {
        if chain.iter().any(|file| file == path) {
            let all = chain.iter().map(PathBuf::as_path).chain([path]).map(|file| file.display().to_string());
            return blame(self, format!("it includes itself: {}", all.collect::<Vec<_>>().join(" -> ")));
        }
        let name = path.display().to_string();
        if self.files.iter().any(|(file, _)| *file == name) {
            return;
        }
        if chain.len() == CHAIN_MAX || self.files.len() == FILES_MAX {
            let what = format!("{name}: {CHAIN_MAX} files may include one another, and {FILES_MAX} be a configuration");
            return blame(self, what);
        }
        let text = match text_of(path) {
            Ok(text) => text,
            Err(error) => return blame(self, format!("{name} cannot be read: {error}")),
        };
        let includes = self.includes(&name, &text);
        self.files.push((name.clone(), text));
        chain.push(path.to_owned());
        for said in includes {
            let at = At::new(format!("include[{}]", said.number), place_of(&said));
            let target = target(path, &said.value);
            self.add(&target, chain, &mut |files, what| {
                Findings { file: &name, found: &mut files.found }.say(&at, what);
            });
        }
        chain.pop();
    }

    /// What a file includes. What is wrong with it is found when it is compiled.
    fn includes(&self, file: &str, text: &str) -> Vec<Spanned<String>> {
        // Few do, and reading twice takes twice as long.
        if !text.contains("include") {
            return Vec::new();
        }
        let mut found = Vec::new();
        let (roots, _) = tree::parse(text, &mut Findings { file, found: &mut found });
        let mut reader =
            Reader { findings: Findings { file, found: &mut found }, environment: self.environment, lost: Vec::new() };
        let includes = roots.iter().filter_map(|root| root.get("include"));
        let mut read = |node| Vec::<Spanned<String>>::read(node, &Steps::ROOT.field("include"), &mut reader);
        includes.filter_map(&mut read).flatten().collect()
    }
}

/// Notes includes that [`read`] has not followed, because somebody else brought the files.
pub(super) fn check_include(
    file: &str,
    said: &Spanned<String>,
    files: &[(String, String)],
    is_local: bool,
    found: &mut Vec<Finding>,
) {
    let target = target(Path::new(file), &said.value);
    let is_there = |(name, _): &(String, String)| Path::new(name).starts_with(&target);
    // An empty directory, where that can be known.
    if !(files.iter().any(is_there) || is_local && target.is_dir()) {
        let at = At::new(format!("include[{}]", said.number), place_of(said));
        Findings { file, found }.say(&at, format!("{} did not come with this file", target.display()));
    }
}

/// What is included, as a file calls it.
fn target(file: &Path, include: &str) -> PathBuf {
    normal(&file.parent().unwrap_or(Path::new("")).join(include))
}

/// The same path without `.` and, where that is clear, without `..`, so that a file has one name.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

/// The files of a directory that belong to a configuration.
fn listed(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = normal(&entry?.path());
        let is_ours = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        // Editors leave hidden files behind.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_ours && !is_hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// No more of it than may be looked at.
fn text_of(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    fs::File::open(path)?.take(TEXT_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}
