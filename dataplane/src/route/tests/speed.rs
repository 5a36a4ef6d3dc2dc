//! What a lookup costs, by hand: `cargo test --release -p weirgate-dataplane --lib route::tests::speed -- --ignored --nocapture`.

use super::*;
use std::time::Instant;

/// As many rules, a tenth as many hosts, half of them exact paths, behind wildcards and a route for any host.
fn rules(count: usize) -> Rules {
    let mut routes: Vec<_> = (0..count.div_ceil(10))
        .map(|host| {
            let name = format!("h{host}.example.com");
            let kind = |number| if number % 2 == 0 { "PathPrefix" } else { "Exact" };
            let paths: Vec<_> = (0..10).map(|number| format!("/api/v{number}/items")).collect();
            let paths: Vec<_> = paths.iter().enumerate().map(|(number, path)| (kind(number), &**path)).collect();
            route(&name, &[&name], &by_path(&paths))
        })
        .collect();
    routes.push(route("wildcard", &["*.example.com"], &by_path(&[("PathPrefix", "/")])));
    Rules { hostname: None, routes: routes.into_iter().map(Arc::new).collect() }
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn a_lookup_costs_about_the_same_with_many_routes_as_with_few() {
    for count in [10, 1_000, 100_000] {
        let rules = rules(count);
        let start = Instant::now();
        let table = compile(rules, &by_number).unwrap();
        let compiled_ms = start.elapsed().as_millis();
        let hosts = count.div_ceil(10);
        let fields: [(&[u8], &[u8]); 4] =
            [(b"host", b"x"), (b"accept", b"*/*"), (b"user-agent", b"y"), (b"cookie", b"z")];
        for (what, targets) in [("one host", 1), ("all hosts in turn", hosts)] {
            // As many texts in each case: their own way into the cache is not what is measured.
            let asked: Vec<_> = (0..10_000)
                .map(|number| {
                    let host = (number * 7_919) % targets;
                    (format!("h{host}.example.com"), format!("/api/v{}/items", number % 10))
                })
                .collect();
            let rounds = 2_000_000 / asked.len();
            let start = Instant::now();
            let mut found = 0;
            for _ in 0..rounds {
                for (host, path) in &asked {
                    found += usize::from(table.find(&request("GET", host, path, &fields)).is_some());
                }
            }
            let ns = start.elapsed().as_nanos() as f64 / found as f64;
            println!("{count:>7} rules, {what:<18}: {ns:6.1} ns a lookup; compiled in {compiled_ms} ms");
        }
    }
}
