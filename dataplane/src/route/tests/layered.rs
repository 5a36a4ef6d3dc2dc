//! Tables of two layers against tables that were made anew.

use super::*;
use crate::limits::HTTP_LAYERS_FROM;
use proptest::prelude::*;

/// One of eight kinds of routes that get in each other's way.
fn one(name: &str, kind: u8) -> Arc<Route> {
    let (hosts, rules): (&[&str], &str) = match kind {
        0 => (&["a.x"], r#"[{"matches": [{"path": {"value": "/p"}}]}]"#),
        1 => (&["*.x"], r#"[{"matches": [{"path": {"value": "/p"}}]}, {}]"#),
        2 => (&[], r#"[{"matches": [{"path": {"value": "/p/q"}, "method": "GET"}]}]"#),
        3 => (&["a.x"], r#"[{"matches": [{"path": {"type": "Exact", "value": "/p"}}]}]"#),
        4 => (&["a.x"], r#"[{"matches": [{"path": {"type": "RegularExpression", "value": "/p.*"}}]}]"#),
        5 => {
            (&["a.x", "b.x"], r#"[{"matches": [{"path": {"value": "/p"}, "headers": [{"name": "h", "value": "1"}]}]}]"#)
        }
        6 => (&["b.x"], r#"[{"matches": [{"path": {"value": "/"}, "queryParams": [{"name": "q", "value": "1"}]}]}]"#),
        _ => (&["*.x"], r#"[{"matches": [{"path": {"value": "/p/"}, "method": "GET"}]}]"#),
    };
    Arc::new(route(name, hosts, rules))
}

/// Forty routes that matter among many that do not; some go, some change, some are new.
pub(in crate::route) fn check(
    gone: &[usize],
    changed: &[(usize, u8)],
    new: &[(usize, u8)],
    asked: &[(u8, u8, u8)],
) -> Result<(), TestCaseError> {
    let many = (0..HTTP_LAYERS_FROM).map(|n| Arc::new(route(&format!("m{n}"), &[&format!("m{n}.y")], "[{}]")));
    let mut routes: Vec<_> = many.collect();
    for n in 0..40 {
        routes.insert(n * 20, one(&format!("r{n}"), (n % 8) as u8));
    }
    let before = Rules { hostname: None, routes: routes.clone() };
    for &(n, kind) in changed {
        let place = routes.iter().position(|it| it.name == format!("r{n}")).expect("it is there");
        routes[place] = one(&format!("r{n}"), kind);
    }
    for (count, &(n, kind)) in new.iter().enumerate() {
        routes.insert(n * 20, one(&format!("n{count}"), kind));
    }
    routes.retain(|it| !gone.iter().any(|n| it.name == format!("r{n}")));
    let after = Rules { hostname: None, routes };
    let table = compile(before, &by_number).unwrap();
    let layered = table.changed(&after, &by_number).expect("a few of them differ").unwrap();
    let whole = compile(after, &by_number).unwrap();
    for &(host, path, more) in asked {
        let host = ["a.x", "b.x", "c.x", "x", "m7.y", "z", "", "a.a.x"][usize::from(host)];
        let target = ["/", "/p", "/p/", "/p/q", "/p/q/r", "/pq?q=1", "/p?q=1", "/o"][usize::from(path)];
        let fields: &[(&[u8], &[u8])] = if more == 1 { &[(b"h", b"1")] } else { &[] };
        let request = request(if more == 2 { "POST" } else { "GET" }, host, target, fields);
        let name = |table: &Table| table.find(&request).map(|found| (table.name(found.rule).0.to_owned(), found.path));
        prop_assert_eq!(name(&layered), name(&whole), "{} {}", host, target);
        let said = |table: &Table| {
            let all = table.explain(&request).into_iter().map(|it| format!("{} {}: {}", it.route, it.rule, it.verdict));
            all.filter(|it| !it.starts_with('m')).collect::<Vec<_>>()
        };
        prop_assert_eq!(said(&layered), said(&whole));
    }
    Ok(())
}

#[test]
fn too_much_is_made_anew_and_faults_are_found() {
    let many = |count: usize| (0..count).map(|n| Arc::new(route(&format!("m{n}"), &[], "[{}]"))).collect::<Vec<_>>();
    // As many hosts as routes, for one path takes only so many matches.
    let hosts = |count: usize| {
        let named = |n: usize| Arc::new(route(&format!("m{n}"), &[&format!("m{n}.y")], "[{}]"));
        (0..count).map(named).collect::<Vec<_>>()
    };
    let rules = |routes| Rules { hostname: None, routes };
    let small = compile(rules(many(3)), &by_number).unwrap();
    assert!(small.changed(&rules(many(2)), &by_number).is_none(), "there are not many");
    let base = hosts(HTTP_LAYERS_FROM);
    let table = compile(rules(base.clone()), &by_number).unwrap();
    let mut turned = base.clone();
    turned.swap(3, 4);
    assert!(table.changed(&rules(turned), &by_number).is_none(), "another order");
    assert!(table.changed(&rules(base[..500].to_vec()), &by_number).is_none(), "too many are gone");
    let mut faulty = base.clone();
    faulty[7] = Arc::new(route("m7", &["?"], "[{}]"));
    assert!(table.changed(&rules(faulty), &by_number).unwrap().unwrap_err()[0].to_string().contains("hostnames[0]"));
    let mut twice = base.clone();
    twice.push(Arc::clone(&base[9]));
    assert!(table.changed(&rules(twice), &by_number).is_none(), "a name that stands there twice is found by all of it");
    // Nor are both layers together more than one table may be.
    let like = |n: usize| {
        let rules = format!(r#"[{{"matches": [{{"path": {{"type": "RegularExpression", "value": "/{n}"}}}}]}}]"#);
        Arc::new(route(&format!("p{n}"), &["p.y"], &rules))
    };
    let mut full = base.clone();
    full.extend((0..crate::limits::HTTP_PATH_PATTERNS_MAX).map(like));
    let crowded = compile(rules(full.clone()), &by_number).unwrap();
    full.push(like(1_000));
    assert!(crowded.changed(&rules(full), &by_number).is_none());
    // A layer's table is changed from its base again.
    let mut next = base;
    next.remove(5);
    let layered = table.changed(&rules(next.clone()), &by_number).unwrap().unwrap();
    next.remove(8);
    let again = layered.changed(&rules(next), &by_number).unwrap().unwrap();
    let find = |host: &str| again.find(&request("GET", host, "/", &[])).is_some();
    assert_eq!(["m4.y", "m5.y", "m8.y", "m9.y"].map(find), [true, false, true, false]);
}
