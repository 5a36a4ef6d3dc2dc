//! Certificates: whether they can be used, and how long they hold.

use super::{host::Host, report::Section};
use crate::{
    admin::api::{CertificateSummary, Certificates},
    cli::cert::DAYS,
    config::Model,
    daemon::{certificates::of_facts, clock},
    secrets::{self, Loaded},
};

/// Those of files that are not in force yet.
pub(super) fn of_files(host: &Host, model: &Model) -> Section {
    let mut section = Section::new("certificates");
    let now = clock::now_ms() / 1_000;
    for secret in &model.control.secrets {
        let name = &secret.name;
        if !host.is_this() {
            section.skip(format!("{name}: its files are not looked for below another root"));
            continue;
        }
        let read = match model.brought.get(name) {
            Some(material) => secrets::check(material, now).map(|()| Loaded::new(material.clone())),
            None => secrets::read(secret, now),
        };
        match read {
            Ok(loaded) => judge(&mut section, name, &of_facts(&loaded.facts, now)),
            Err(why) => {
                section.fail(format!("{name}: {why}"), "the configuration cannot be applied before this is mended");
            }
        }
        for warning in secrets::warnings(secret) {
            warn(&mut section, name, &warning);
        }
    }
    none(&mut section);
    section
}

/// Those that are in force.
pub(super) fn of_daemon(all: Option<Certificates>) -> Section {
    let mut section = Section::new("certificates");
    let Some(all) = all else {
        section.skip("no configuration was named, and none is known to be in force");
        return section;
    };
    for it in &all.certificates {
        if let Some(why) = &it.refused {
            section.fail(
                format!("{}: what is on disk is not in force: {why}", it.secret),
                "what was before is in force; mend the files: they are read again by themselves if they are watched",
            );
        }
        judge(&mut section, &it.secret, it);
        it.warnings.iter().for_each(|warning| warn(&mut section, &it.secret, warning));
    }
    none(&mut section);
    section
}

fn none(section: &mut Section) {
    if section.is_empty() {
        section.skip("there is none that could expire");
    }
}

fn warn(section: &mut Section, name: &str, warning: &str) {
    let (what, next) = warning.rsplit_once(": ").unwrap_or((warning, ""));
    section.warn(format!("{name}: {what}"), next);
}

fn judge(section: &mut Section, name: &str, it: &CertificateSummary) {
    let rows = [
        ("the certificate", &it.not_after, it.days_left, "renew it: put the new pair in its files"),
        ("a revocation list", &it.next_update, it.update_days_left, "fetch a new one: afterwards clients are refused"),
    ];
    for (what, at, days, next) in rows {
        let (Some(at), Some(days)) = (at, days) else { continue };
        // A list is made for days or weeks: that one ends soon is how it should be.
        let soon = if what == "the certificate" { DAYS } else { 1 };
        if days < 0 {
            section.fail(format!("{name}: {what} expired at {at}"), next);
        } else if days < soon {
            section.warn(format!("{name}: {what} expires at {at}, in {days} days"), next);
        } else {
            section.ok(format!("{name}: {what} holds until {at}, {days} days more"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Environment, compile},
        daemon::tests::{Dir, yaml},
        secrets::tests::{Authority, write},
    };

    #[test]
    fn certificates_of_files_are_judged() {
        let dir = Dir::new("check-tls");
        let authority = Authority::new("Test CA");
        let text = yaml("a").replace("protocol: HTTP}", "protocol: HTTPS, tls: {certificateRefs: [shop]}}")
            + "secrets: [{name: shop, file: {cert: a.pem, key: a.key}}]\n";
        let file = dir.path().join("gateway.yaml").display().to_string();
        let model = compile(&[(file, text)], &Environment::default()).unwrap();
        let host = Host::new(std::path::Path::new("/"));
        let said = || serde_json::to_value(of_files(&host, &model)).unwrap()["lines"][0].clone();
        for (years, mark, wanted) in [
            ((2020, 2045), "ok", "shop: the certificate holds until 2045-01-01T00:00:00Z, "),
            ((2020, 2021), "failure", "shop: the certificate expired at 2021-01-01T00:00:00Z"),
        ] {
            write(dir.path(), &authority.issue("a.example", years));
            let line = said();
            assert!(line["mark"] == mark && line["what"].as_str().unwrap().starts_with(wanted), "{line}");
        }
    }

    #[test]
    fn those_in_force_are_warned_of_in_time() {
        let of = |days: i64| {
            let mut one = crate::cli::tests::values::certificates().certificates[1].clone();
            (one.days_left, one.update_days_left) = (Some(days), None);
            let section = of_daemon(Some(Certificates { revision: 1, certificates: vec![one] }));
            serde_json::to_value(section).unwrap()["lines"][0]["mark"].clone()
        };
        assert_eq!([of(-1), of(0), of(20), of(21)], ["failure", "warning", "warning", "ok"]);
        let refused = of_daemon(Some(crate::cli::tests::values::certificates()));
        let lines = serde_json::to_value(refused).unwrap()["lines"].clone();
        assert_eq!(lines[0]["mark"], "failure");
        assert!(
            lines[0]["what"]
                .as_str()
                .unwrap()
                .contains("shop: what is on disk is not in force: the key does not belong"),
            "{lines}"
        );
    }
}
