//! What differs between two configurations: object by object, and as text.

use super::store::Body;
use crate::admin::api::{Change, Difference, ObjectChange, ObjectKind};
use serde_json::Value;
use std::collections::BTreeMap;

/// Changes that are listed, and objects whose text is shown: a person reads no more.
const LISTED: usize = 500;
const SHOWN: usize = 100;
/// Lines around what differs.
const CONTEXT: usize = 3;
/// Cells of the table that finds the longest common part of two texts. Beyond, one text is shown as gone and the other as new.
const CELLS: usize = 4 << 20;

type Key = (ObjectKind, String);

/// What differs. `None` is nothing at all.
pub fn between(from: Option<(u64, &Body)>, to: (Option<u64>, &Body)) -> Difference {
    let (number, olds) = from.map_or((0, BTreeMap::new()), |(number, body)| (number, objects(body)));
    let news = objects(to.1);
    let mut difference = Difference { from: number, to: to.0, ..Difference::default() };
    let keys: std::collections::BTreeSet<&Key> = olds.keys().chain(news.keys()).collect();
    for key in keys {
        let (old, new) = (olds.get(key), news.get(key));
        // Mostly nothing differs: two routes that are equal are not even written down.
        if let (Some(old), Some(new)) = (old, new)
            && old.equals(new)
        {
            continue;
        }
        let (old, new) = (old.map(Object::value), new.map(Object::value));
        let change = match (&old, &new) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            _ => Change::Changed,
        };
        if difference.changes.len() == LISTED {
            difference.unlisted += 1;
            continue;
        }
        let mut fields = Vec::new();
        if let (Some(old), Some(new)) = (&old, &new) {
            differing("", old, new, &mut fields);
        }
        if difference.changes.len() < SHOWN {
            difference.text += &text_of(key, old.as_ref(), new.as_ref());
        }
        difference.changes.push(ObjectChange { kind: key.0, name: key.1.clone(), change, fields });
    }
    let hidden = (difference.changes.len() as u64 + difference.unlisted).saturating_sub(SHOWN as u64);
    if hidden > 0 {
        difference.text += &format!("({hidden} more objects differ)\n");
    }
    difference
}

/// One object, where it stands.
enum Object<'a> {
    Name(&'a str),
    Dataplane(&'a weirgate_dataplane::snapshot::Dataplane),
    Service(&'a weirgate_dataplane::services::ServiceListener),
    Http(Box<weirgate_dataplane::snapshot::HttpListener>),
    Tcp(&'a weirgate_dataplane::snapshot::TcpListener),
    Route(&'a std::sync::Arc<weirgate_dataplane::route::Route>),
    Backend(&'a weirgate_dataplane::snapshot::Backend),
    Control(&'a crate::config::Control),
}

impl Object<'_> {
    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a == b,
            (Self::Dataplane(a), Self::Dataplane(b)) => a == b,
            (Self::Service(a), Self::Service(b)) => a == b,
            (Self::Http(a), Self::Http(b)) => a == b,
            (Self::Tcp(a), Self::Tcp(b)) => a == b,
            (Self::Route(a), Self::Route(b)) => std::sync::Arc::ptr_eq(a, b) || a == b,
            (Self::Backend(a), Self::Backend(b)) => a == b,
            (Self::Control(a), Self::Control(b)) => a == b,
            _ => false,
        }
    }
    fn value(&self) -> Value {
        let value = match self {
            Self::Name(name) => Ok(Value::from(*name)),
            Self::Dataplane(it) => serde_json::to_value(it),
            Self::Service(it) => serde_json::to_value(it),
            Self::Http(it) => serde_json::to_value(it),
            Self::Tcp(it) => serde_json::to_value(it),
            Self::Route(it) => serde_json::to_value(it),
            Self::Backend(it) => serde_json::to_value(it),
            Self::Control(it) => serde_json::to_value(it),
        };
        value.expect("string keys only")
    }
}

fn objects(body: &Body) -> BTreeMap<Key, Object<'_>> {
    let snapshot = &body.snapshot;
    let mut all = BTreeMap::new();
    let mut add = |kind, name: &str, object| _ = all.insert((kind, name.to_owned()), object);
    add(ObjectKind::Node, "name", Object::Name(&snapshot.name));
    add(ObjectKind::Dataplane, "dataplane", Object::Dataplane(&snapshot.dataplane));
    add(ObjectKind::Control, "control", Object::Control(&body.control));
    snapshot.services.iter().for_each(|it| add(ObjectKind::Listener, &it.name, Object::Service(it)));
    snapshot.tcp.iter().for_each(|it| add(ObjectKind::Listener, &it.name, Object::Tcp(it)));
    snapshot.backends.iter().for_each(|it| add(ObjectKind::Backend, &it.name, Object::Backend(it)));
    for listener in &snapshot.http {
        let mut bare = listener.clone();
        for route in std::mem::take(&mut bare.rules.routes).iter().zip(&listener.rules.routes).map(|(_, it)| it) {
            add(ObjectKind::Route, &format!("{}/{}", listener.name, route.name), Object::Route(route));
        }
        add(ObjectKind::Listener, &listener.name, Object::Http(Box::new(bare)));
    }
    all
}

/// The paths of what differs.
fn differing(path: &str, a: &Value, b: &Value, found: &mut Vec<String>) {
    match (a, b) {
        _ if a == b => {}
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let dot = if path.is_empty() { "" } else { "." };
                let at = |it: &serde_json::Map<String, Value>| it.get(name).cloned().unwrap_or_default();
                differing(&format!("{path}{dot}{name}"), &at(a), &at(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                differing(&format!("{path}[{n}]"), a, b, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

fn text_of((kind, name): &Key, old: Option<&Value>, new: Option<&Value>) -> String {
    let kind = serde_json::to_value(kind).expect("a word");
    let title = format!("{} {name}", kind.as_str().unwrap_or_default());
    let side = |it: Option<&Value>| if it.is_some() { title.clone() } else { "/dev/null".into() };
    let lines = |it: Option<&Value>| it.map(|it| format!("{it:#}")).unwrap_or_default();
    let body = unified(&lines(old), &lines(new));
    format!("--- {}\n+++ {}\n{body}", side(old), side(new))
}

/// Two texts as `diff -u` has them, without its first two lines.
pub fn unified(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let steps = steps(&old, &new);
    let mut text = String::new();
    let is_near = |at: usize| {
        let near = &steps[at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(steps.len())];
        near.iter().any(|step| step.sign != ' ')
    };
    let mut at = 0;
    while at < steps.len() {
        if !is_near(at) {
            at += 1;
            continue;
        }
        let end = (at..steps.len()).find(|&n| !is_near(n)).unwrap_or(steps.len());
        let count = |without: char| steps[at..end].iter().filter(|step| step.sign != without).count();
        let (a, b) = (count('+'), count('-'));
        let first = |line: usize, count: usize| if count == 0 { line } else { line + 1 };
        text += &format!("@@ -{},{a} +{},{b} @@\n", first(steps[at].old, a), first(steps[at].new, b));
        for Step { sign, line, .. } in &steps[at..end] {
            text.push(*sign);
            text += line;
            text.push('\n');
        }
        at = end;
    }
    text
}

/// A line, and how many lines of either text stand before it.
struct Step<'a> {
    sign: char,
    line: &'a str,
    old: usize,
    new: usize,
}

fn steps<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Step<'a>> {
    let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[same..].iter().rev().zip(new[same..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[same..old.len() - tail], &new[same..new.len() - tail]);
    // longest[i][j]: lines that a[i..] and b[j..] have in common, in order.
    let width = b.len() + 1;
    let mut longest = Vec::new();
    if (a.len() + 1) * width <= CELLS {
        longest = vec![0_u32; (a.len() + 1) * width];
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                longest[i * width + j] = if a[i] == b[j] {
                    longest[(i + 1) * width + j + 1] + 1
                } else {
                    longest[(i + 1) * width + j].max(longest[i * width + j + 1])
                };
            }
        }
    }
    let mut steps: Vec<_> =
        old[..same].iter().enumerate().map(|(n, line)| Step { sign: ' ', line, old: n, new: n }).collect();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let (old, new) = (same + i, same + j);
        let both = i < a.len() && j < b.len();
        if both && a[i] == b[j] && !longest.is_empty() {
            steps.push(Step { sign: ' ', line: a[i], old, new });
            (i, j) = (i + 1, j + 1);
        } else if i < a.len()
            && (!both || longest.is_empty() || longest[(i + 1) * width + j] >= longest[i * width + j + 1])
        {
            steps.push(Step { sign: '-', line: a[i], old, new });
            i += 1;
        } else {
            steps.push(Step { sign: '+', line: b[j], old, new });
            j += 1;
        }
    }
    let (i, j) = (same + a.len(), same + b.len());
    steps.extend(old[i..].iter().enumerate().map(|(n, line)| Step { sign: ' ', line, old: i + n, new: j + n }));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::body;
    use proptest::prelude::*;

    /// The new text, made of the old one and the difference.
    fn patched(old: &str, difference: &str) -> String {
        let old: Vec<_> = old.lines().collect();
        let (mut at, mut new) = (0, Vec::new());
        for line in difference.lines() {
            if let Some(places) = line.strip_prefix("@@ -") {
                let (first, rest) = places.split_once(',').unwrap();
                let (count, _) = rest.split_once(' ').unwrap();
                let start = first.parse::<usize>().unwrap() - usize::from(count != "0");
                new.extend(&old[at..start]);
                at = start;
                continue;
            }
            let (sign, line) = line.split_at(1);
            if sign != "+" {
                assert_eq!(old[at], line);
                at += 1;
            }
            if sign != "-" {
                new.push(line);
            }
        }
        new.extend(&old[at..]);
        new.iter().map(|line| format!("{line}\n")).collect()
    }

    proptest! {
        #[test]
        fn a_difference_makes_the_new_text_of_the_old_one(old in "([a-d]\n){0,20}", new in "([a-d]\n){0,20}") {
            prop_assert_eq!(patched(&old, &unified(&old, &new)), new);
        }
    }

    #[test]
    fn texts_are_compared_as_diff_does() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\n";
        assert_eq!(unified(old, old), "");
        assert_eq!(
            unified(old, &old.replace("e\n", "x\ny\n")),
            "@@ -2,7 +2,8 @@\n b\n c\n d\n-e\n+x\n+y\n f\n g\n h\n"
        );
        assert_eq!(unified("", "a\n"), "@@ -0,0 +1,1 @@\n+a\n");
    }

    #[test]
    fn objects_that_differ_are_named_with_their_fields() {
        let old = body("a");
        let mut new = old.clone();
        new.snapshot.backends[0].connect_ms += 1;
        new.snapshot.http[0].rules.routes.clear();
        let difference = between(Some((3, &old)), (Some(4), &new));
        let said: Vec<_> = difference.changes.iter().map(|it| (it.kind, it.name.as_str(), it.change)).collect();
        assert_eq!(
            said,
            [(ObjectKind::Route, "http/site", Change::Removed), (ObjectKind::Backend, "web", Change::Changed),]
        );
        assert_eq!(difference.changes[1].fields, ["connectMs"]);
        assert!(difference.text.contains("--- backend web\n+++ backend web\n@@"), "{}", difference.text);
        assert_eq!((difference.from, difference.to), (3, Some(4)));
        assert!(between(Some((3, &old)), (None, &old)).changes.is_empty());
        assert!(between(None, (None, &old)).changes.iter().all(|it| it.change == Change::Added));
    }
}
