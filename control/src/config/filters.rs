//! `filters` of a rule.

use super::{
    findings::{At, Findings},
    raw::{RawFilter, RawHeader, RawHeaderModifier, RawMatch, RawNewPath, RawRule},
    read::Spanned,
};
use weirgate_dataplane::filters::{
    DirectResponse, FilterSpec, Filters, HeaderModifierSpec, RedirectSpec, UrlRewriteSpec, headers::HeaderSpec,
    rewrite::PathSpec,
};

/// A rule's filters; what is wrong with each, and with all together.
pub(super) fn filters_of(rule: &RawRule, at: &At, findings: &mut Findings<'_>) -> Vec<FilterSpec> {
    let mut specs = Vec::new();
    for said in &rule.filters {
        let at = at.said(&format!("filters[{}]", said.number), said);
        specs.extend(filter_of(&said.value, rule, &at, findings));
    }
    // The places of what they are together are those of one that is there: only if all are.
    if specs.len() == rule.filters.len()
        && let Err(error) = Filters::compile(&specs)
    {
        let twice = rule.filters.iter().enumerate().find(|(n, _)| error.field == format!("filters[{n}]"));
        let at = twice.map_or(at.field("filters"), |(_, said)| at.said(&error.field, said));
        findings.say(&at, error.what);
    }
    specs
}

/// Types with the field that each has.
const FIELDS: [(&str, &str); 5] = [
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("URLRewrite", "urlRewrite"),
    ("RequestRedirect", "requestRedirect"),
    ("DirectResponse", "directResponse"),
];

fn filter_of(raw: &RawFilter, rule: &RawRule, at: &At, findings: &mut Findings<'_>) -> Option<FilterSpec> {
    let kind = &*raw.kind.value;
    let own = findings.choose(&at.said("type", &raw.kind), kind, &FIELDS, &["RequestMirror"])?;
    let mut fits = true;
    for (field, said) in raw.fields() {
        if let Some(place) = said
            && field != own
        {
            findings.say(&At { place, ..at.field(field) }, format!("not a field of the type {kind}"));
            fits = false;
        }
    }
    let field_at = at.field(own);
    let Some(spec) = spec_of(raw, rule, own, &field_at, findings) else {
        let is_said = raw.fields().iter().any(|(field, said)| *field == own && said.is_some());
        // One that could not be read is there, and has been found.
        let is_found = findings.found.iter().any(|it| it.message.starts_with(&field_at.path));
        if !is_said && !is_found {
            findings.say(&field_at, format!("missing: it says what {kind} does"));
        }
        return None;
    };
    if let Err(error) = Filters::compile(std::slice::from_ref(&spec)) {
        let field = error.field.strip_prefix("filters[0].").unwrap_or(&error.field);
        findings.say(&field_at.field(field), error.what);
        return None;
    }
    fits.then_some(spec)
}

fn spec_of(raw: &RawFilter, rule: &RawRule, own: &str, at: &At, findings: &mut Findings<'_>) -> Option<FilterSpec> {
    Some(match own {
        "requestHeaderModifier" => {
            FilterSpec::RequestHeaderModifier(modifier_of(&raw.request_header_modifier.as_ref()?.value))
        }
        "responseHeaderModifier" => {
            FilterSpec::ResponseHeaderModifier(modifier_of(&raw.response_header_modifier.as_ref()?.value))
        }
        "urlRewrite" => {
            let raw = &raw.url_rewrite.as_ref()?.value;
            let path = path_of(raw.path.as_ref(), rule, at, findings).ok()?;
            if raw.hostname.is_none() && path.is_none() {
                findings.say(at, "neither hostname nor path: it rewrites nothing");
            }
            FilterSpec::UrlRewrite(UrlRewriteSpec { hostname: raw.hostname.clone(), path })
        }
        "requestRedirect" => {
            let raw = &raw.request_redirect.as_ref()?.value;
            FilterSpec::Redirect(RedirectSpec {
                scheme: raw.scheme.clone(),
                hostname: raw.hostname.clone(),
                port: raw.port,
                path: path_of(raw.path.as_ref(), rule, at, findings).ok()?,
                status_code: Some(raw.status_code.unwrap_or(REDIRECT_STATUS)),
            })
        }
        _ => {
            let raw = &raw.direct_response.as_ref()?.value;
            FilterSpec::DirectResponse(DirectResponse {
                status_code: raw.status_code,
                body: raw.body.clone().unwrap_or_default(),
                content_type: raw.content_type.clone().unwrap_or_else(|| CONTENT_TYPE.into()),
            })
        }
    })
}

/// The status of a redirect, if nothing is said.
pub(super) const REDIRECT_STATUS: u16 = 302;
/// What a direct response's content is, if nothing is said.
pub(super) const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

fn modifier_of(raw: &RawHeaderModifier) -> HeaderModifierSpec {
    let fields = |list: &[RawHeader]| {
        list.iter().map(|field| HeaderSpec { name: field.name.clone(), value: field.value.clone() }).collect()
    };
    HeaderModifierSpec { set: fields(&raw.set), add: fields(&raw.add), remove: raw.remove.clone() }
}

/// What was wrong has been said.
struct Said;

/// The new path of a rewrite or redirect, if there is one.
fn path_of(
    said: Option<&Spanned<RawNewPath>>,
    rule: &RawRule,
    at: &At,
    findings: &mut Findings<'_>,
) -> Result<Option<PathSpec>, Said> {
    let Some(said) = said else { return Ok(None) };
    let (raw, at) = (&said.value, at.said("path", said));
    let kinds = [("ReplaceFullPath", true), ("ReplacePrefixMatch", false)];
    let full = findings.choose(&at.said("type", &raw.kind), &raw.kind.value, &kinds, &[]).ok_or(Said)?;
    match (full, &raw.replace_full_path, &raw.replace_prefix_match) {
        (true, Some(path), None) => Ok(Some(PathSpec::ReplaceFullPath { replace_full_path: path.clone() })),
        (false, None, Some(prefix)) if has_prefix(rule) => {
            Ok(Some(PathSpec::ReplacePrefixMatch { replace_prefix_match: prefix.clone() }))
        }
        (false, None, Some(_)) => {
            findings.say(&at, "ReplacePrefixMatch needs a rule that matches a PathPrefix, and no RegularExpression");
            Err(Said)
        }
        _ => {
            let field = if full { "replaceFullPath" } else { "replacePrefixMatch" };
            findings.say(&at, format!("the type {} has the field {field}, and only that", &*raw.kind.value));
            Err(Said)
        }
    }
}

/// Whether there is a prefix to replace, at least for some requests; a pattern has none. Without a path it is `/`.
fn has_prefix(rule: &RawRule) -> bool {
    let kind = |it: &Spanned<RawMatch>| {
        let kind = it.value.path.as_ref().and_then(|path| path.value.kind.as_ref());
        kind.map_or("PathPrefix", |said| &*said.value).to_owned()
    };
    let kinds: Vec<_> = rule.matches.iter().map(kind).collect();
    // A type that there is not was found, and may have been meant as one.
    let may_be_prefix = |kind: &String| kind != "Exact" && kind != "RegularExpression";
    kinds.is_empty() || kinds.iter().any(may_be_prefix) && kinds.iter().all(|k| k != "RegularExpression")
}
