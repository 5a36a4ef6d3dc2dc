//! What is read, before anything of it is understood.

use super::*;
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

const HEAD: &str = "apiVersion: weirgate/v1\nkind: GatewayConfig\n";

/// A directory that goes away again.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let this = Self(std::env::temp_dir().join(format!("weirgate-config-{}-{number}", std::process::id())));
        for (name, text) in files {
            let path = this.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        this
    }
    /// Names of the files that are read, or findings, relative to it.
    fn read(&self, path: &str) -> Result<Vec<String>, Vec<String>> {
        let own = format!("{}/", self.0.display());
        let short = |text: String| text.replace(&own, "");
        let environment = [("SITE", "site")].into_iter().collect();
        match read(&[self.0.join(path)], &environment) {
            Ok(files) => Ok(files.into_iter().map(|(name, _)| short(name)).collect()),
            Err(found) => Err(found.iter().map(|finding| short(finding.to_string())).collect()),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn three_mistakes_are_three_findings() {
    let text = "\
listeners:
- {name: web, prot: 80, port: 80, protocol: HTTP}
backends:
- {name: cart, discovery: {static: ['10.1.0.21:8080']}, timeouts: {connect: [1s]}}
routes:
- {kind: HTTPRoute, name: shop, parentRefs: [{name: wep}], rules: [{backendRefs: [{name: card}]}]}
";
    let wants = [
        "a.yaml:15:15: listeners[web]: unknown field \"prot\"; did you mean \"port\"?",
        "a.yaml:17:77: backends[cart].timeouts.connect: one value is needed here, not a list",
        "a.yaml:19:46: routes[shop].parentRefs: there is no listener \"wep\"; did you mean \"web\"?",
        "a.yaml:19:83: routes[shop].rules[0].backendRefs: there is no backend \"card\"; did you mean \"cart\"?",
    ];
    assert_eq!(compiled(&format!("{SMALL}{text}")).unwrap_err(), wants);
}

/// Each row: what is added to the small configuration, and all that is found.
#[test]
fn what_cannot_be_read_is_said() {
    let rows: &[(&str, &[&str])] = &[
        ("listeners: {}", &["a.yaml:14:12: listeners: a list is needed here, not a mapping"]),
        ("listeners: [web]", &["a.yaml:14:13: listeners[0]: a mapping is needed here, not \"web\""]),
        (
            "listeners: [{name: web}]",
            &["a.yaml:14:13: listeners[web].port is missing", "a.yaml:14:13: listeners[web].protocol is missing"],
        ),
        (
            "backends: [{name: a, discovery: {static: [{weight: 1}]}}]",
            &["a.yaml:14:43: backends[a].discovery.static[0].address is missing"],
        ),
        (
            "listeners: [{name: web, port: '80', protocol: HTTP}]",
            &["a.yaml:14:31: listeners[web].port: \"80\" is not a number from 0 to 65535: take the quotes away"],
        ),
        (
            "listeners: [{name: web, port: 080, protocol: HTTP}]",
            &["a.yaml:14:31: listeners[web].port: \"080\" is not a number from 0 to 65535"],
        ),
        (
            "listeners: [{name: web, port: -1, protocol: HTTP}]",
            &["a.yaml:14:31: listeners[web].port: \"-1\" is not a number from 0 to 65535"],
        ),
        (
            "listeners: [{name: web, port: 80, protocol: HTTP, http: {mergeSlashes: yes}}]",
            &["a.yaml:14:72: listeners[web].http.mergeSlashes: \"yes\" is neither true nor false"],
        ),
        (
            "listeners: [{name: web, port: 80, protocol: HTTP, http: {mergeSlashes: 'true'}}]",
            &[
                "a.yaml:14:72: listeners[web].http.mergeSlashes: \"true\" is neither true nor false: take the quotes away",
            ],
        ),
        (
            "listeners: [{name: [], port: 80, protocol: HTTP}]",
            &["a.yaml:14:20: listeners[0].name: one value is needed here, not a list"],
        ),
        ("kind: GatewayConfig", &["a.yaml:14:1: \"kind\" stands there twice"]),
        ("? [a]\n: b", &["a.yaml:14:3: a field's name must be text"]),
        ("routes: !own []", &["a.yaml:14:14: tags are not supported"]),
        ("routes: *none", &["a.yaml:14:9: while parsing node, found unknown anchor"]),
        ("routes: &a [*a]", &["a.yaml:14:13: an alias within what it stands for"]),
        ("admin: {<<: 7}", &["a.yaml:14:13: << takes a mapping, or a list of them"]),
        ("--- []", &["a.yaml:14:5: a mapping is needed here, not a list"]),
        ("--- {kind: GatewayConfig}", &["a.yaml:14:5: apiVersion is missing: write apiVersion: weirgate/v1"]),
        (
            "--- {apiVersion: v1, kind: Service}",
            &[
                "a.yaml:14:18: apiVersion: \"v1\"; this version reads weirgate/v1",
                "a.yaml:14:28: kind: \"Service\"; this version reads GatewayConfig",
            ],
        ),
        (
            "---\napiVersion: weirgate/v1\nkind: GatewayConfig\nlisteners: [{name: web}",
            &["a.yaml:17:12: unclosed bracket '['"],
        ),
    ];
    for (added, wants) in rows {
        assert_eq!(compiled(&format!("{SMALL}{added}\n")).expect_err(added), *wants, "{added}");
    }
}

#[test]
fn what_cannot_be_read_is_not_missed() {
    // The listener has no port, but it is there; so is the route of the TCP listener.
    let text = "\
listeners: [{name: web, protocol: HTTP}, {name: raw, port: 9000, protocol: TCP}]
backends: [{name: a, discovery: 7}]
routes:
- {kind: HTTPRoute, name: shop, parentRefs: [{name: web}], rules: [{backendRefs: [{name: a}]}]}
- {kind: TCPRoute, parentRefs: [{name: raw}], rules: [{backendRefs: [{name: a}]}]}
";
    let wants = [
        "a.yaml:14:13: listeners[web].port is missing",
        "a.yaml:15:33: backends[a].discovery: a mapping is needed here, not \"7\"",
        "a.yaml:18:3: routes[1].name is missing",
    ];
    assert_eq!(compiled(&format!("{SMALL}{text}")).unwrap_err(), wants);
}

#[test]
fn one_file_may_hold_several_documents() {
    let snapshot = compiled(&format!("---\n{SMALL}---\n---\n{HEAD}{LISTENERS}...\n")).unwrap();
    assert_eq!(snapshot.services.len(), 2);
    // A finding is in its line, and a document that cannot be read leaves the others.
    let text = format!("{SMALL}---\na: [\n---\n{HEAD}{}", LISTENERS.replace("17", "70000"));
    let found = compiled(&text).unwrap_err();
    assert!(found[0].starts_with("a.yaml:15:4: "), "{found:#?}");
    assert_eq!(found[1], "a.yaml:21:23: listeners[quote].port: \"70000\" is not a number from 0 to 65535");
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn aliases_stand_for_what_they_name() {
    let text = "\
listeners:
- {name: a, port: 80, protocol: HTTP, http: &http {mergeSlashes: false, timeouts: {streamIdle: 9s}}}
- {name: b, port: 81, protocol: HTTP, http: *http}
- {name: c, port: 82, protocol: HTTP, http: {<<: *http, mergeSlashes: true}}
- {name: d, port: 83, protocol: HTTP, http: {<<: [{name: x}, *http]}}
";
    let http = compiled(&format!("{SMALL}{text}")).unwrap().http;
    assert_eq!(http[0].options, http[1].options);
    assert!(http[2].options.merge_slashes && http[2].options.timeouts.stream_idle_ms == 9_000);
    assert!(!http[3].options.merge_slashes && http[3].options.name == "x");
}

#[test]
fn few_lines_do_not_stand_for_billions() {
    let mut text = format!("{SMALL}metadata2: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        text += &format!("metadata2{n}: &a{n} [{aliases}]\n");
    }
    let found = compiled(&text).unwrap_err();
    assert!(found.iter().any(|it| it.contains("aliases stand for more than 100000 values")), "{found:#?}");
    let deep = format!("{SMALL}routes: {}{}\n", "[".repeat(60), "]".repeat(60));
    let found = compiled(&deep).unwrap_err();
    assert!(found[0].ends_with("more than 48 lists and mappings in one another"), "{found:#?}");
    let wrong = format!("{SMALL}routes: [{}]\n", "7,".repeat(5_000));
    assert_eq!(compiled(&wrong).unwrap_err().len(), 1_000, "enough to go on with");
}

#[test]
fn variables_are_values() {
    let of = |text: &str, variables: &[(&str, &str)]| {
        let environment = variables.iter().copied().collect();
        let found = compile(&[("a.yaml".into(), format!("{SMALL}{text}"))], &environment);
        found.map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let listener = "listeners:\n- name: '${NAME}'\n  port: ${PORT}\n  protocol: ${P}P\n  http: {name: \"$${x} a$b\"}\n";
    let all = [("NAME", "a: [b]\n- c"), ("PORT", "8080"), ("P", "HTT")];
    let found = of(listener, &all).unwrap_err();
    assert_eq!(found.len(), 1, "the name is no token: {found:#?}");
    let model = of(&listener.replace("http: {name: \"$${x} a$b\"}", "hostname: \"$${x}\""), &all).unwrap_err();
    assert!(model[0].contains("\"${x}\" is not a hostname"), "{model:#?}");
    let model = of(&listener.replace("  http: {name: \"$${x} a$b\"}\n", ""), &all).unwrap();
    assert_eq!((model.snapshot.http[0].name.as_str(), model.snapshot.http[0].port), ("a: [b]\n- c", 8_080));

    for (text, wants) in [
        ("${NOPE}", "a.yaml:14:18: metadata2"),
        ("${NAM}", "the variable NAM is not set; did you mean \"NAME\"?"),
        ("${}", "${ begins a variable, as in ${NAME}; write $${ for the characters themselves"),
        ("${1A}", "${ begins a variable"),
        ("${A", "${ begins a variable"),
        ("${PORT}${NOPE}", "the variable NOPE is not set"),
    ] {
        let text = format!("backends: [{{name: '{text}', discovery: {{static: ['10.0.0.1:1']}}}}]");
        let found = of(&text, &all).unwrap_err();
        let wants = wants.replace("a.yaml:14:18: metadata2", "a.yaml:14:19: backends[${NOPE}].name: the variable NOPE");
        assert!(found.iter().any(|it| it.contains(&wants)), "{text}: {found:#?}");
    }
}

#[test]
fn directories_and_includes_are_followed() {
    let folder = Folder::new(&[
        ("main.yaml", &format!("{SMALL}include: [parts, './${{SITE}}.yml', parts/b.yaml]\n")),
        ("site.yml", &format!("{HEAD}include: [sub/more.json]\n")),
        (
            "sub/more.json",
            "{\"apiVersion\": \"weirgate/v1\", \"kind\": \"GatewayConfig\", \"include\": [\"../parts\"]}",
        ),
        ("parts/b.yaml", HEAD),
        ("parts/a.yml", HEAD),
        ("parts/.hidden.yaml", "x"),
        ("parts/notes.txt", "x"),
    ]);
    let wants = ["main.yaml", "parts/a.yml", "parts/b.yaml", "site.yml", "sub/more.json"];
    assert_eq!(folder.read("main.yaml").unwrap(), wants);
    assert_eq!(folder.read("parts").unwrap(), ["parts/a.yml", "parts/b.yaml"]);
    let environment = [("SITE", "site")].into_iter().collect();
    let files = read(&[folder.0.join("main.yaml")], &environment).unwrap();
    assert_eq!(compile(&files, &environment).unwrap().snapshot.name, "edge-a");
    // What does not come with it is not there.
    let found = compile(&[("elsewhere/main.yaml".into(), files[0].1.clone())], &environment).unwrap_err();
    let wants = "elsewhere/main.yaml:14:11: include[0]: elsewhere/parts did not come with this file";
    assert_eq!(found[0].to_string(), wants);
    assert_eq!(found.len(), 3);
}

#[test]
fn includes_that_cannot_be_followed_are_said() {
    let round = Folder::new(&[
        ("a.yaml", &format!("{HEAD}include: [b.yaml]\n")),
        ("b.yaml", &format!("{HEAD}include:\n- a.yaml\n- none.yaml\n")),
    ]);
    let wants = [
        "b.yaml:4:3: include[0]: it includes itself: a.yaml -> b.yaml -> a.yaml",
        "b.yaml:5:3: include[1]: none.yaml cannot be read: No such file or directory (os error 2)",
    ];
    assert_eq!(round.read("a.yaml").unwrap_err(), wants);
    assert_eq!(
        round.read("c.yaml").unwrap_err(),
        ["c.yaml: c.yaml cannot be read: No such file or directory (os error 2)"]
    );
    let chain: Vec<_> = (0..12).map(|n| (format!("{n}.yaml"), format!("{HEAD}include: [{}.yaml]\n", n + 1))).collect();
    let chain: Vec<_> = chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let found = Folder::new(&chain).read("0.yaml").unwrap_err();
    let wants = "7.yaml:3:11: include[0]: 8.yaml: 8 files may include one another, and 1024 be a configuration";
    assert_eq!(found, [wants]);
}
