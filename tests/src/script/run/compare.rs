//! What was sent against what was expected.

use super::{Run, stream_position};
use crate::script::{
    packet::{Flags, Segment, Side, TcpOption, stream},
    parse::{Attribute, Number, OptionPattern, Pattern},
    target::{Flow, Sent},
};

impl Run<'_> {
    /// Compares, and takes the values that it binds or that later lines refer to if all is well.
    ///
    /// # Errors
    /// What is other than expected.
    pub(super) fn differs(&mut self, flow: Flow, pattern: &Pattern, sent: &Sent) -> Result<(), String> {
        let (of, segment) = self.relative(sent)?;
        if of != flow {
            return Err(format!("of flow {of}, expected of {flow}"));
        }
        fields(pattern, &segment)?;
        content(pattern, &segment)?;
        let names = self.names.clone();
        let options = match &pattern.options {
            None => Ok(()),
            Some(options) => self.options(flow, options, &segment.options),
        };
        if options.is_err() {
            self.names = names;
            return options;
        }
        if let Some((val, _)) = timestamps(&segment.options) {
            self.connection(flow).ts_last = val;
        }
        Ok(())
    }

    fn options(&mut self, flow: Flow, wanted: &[OptionPattern], sent: &[TcpOption]) -> Result<(), String> {
        let mut left: Vec<_> = sent.iter().filter(|o| !matches!(o, TcpOption::Nop | TcpOption::Eol)).collect();
        let mut rest = false;
        for option in wanted {
            let is: &dyn Fn(&TcpOption) -> bool = match option {
                OptionPattern::Exactly(TcpOption::Nop | TcpOption::Eol) => continue,
                OptionPattern::Rest => {
                    rest = true;
                    continue;
                }
                OptionPattern::Without(name) => {
                    if let Some(there) = sent.iter().find(|option| option.to_string().starts_with(name)) {
                        return Err(format!("there is an option {there}"));
                    }
                    continue;
                }
                OptionPattern::Exactly(wanted) => &move |option| option == wanted,
                OptionPattern::AnyMss => &|option| matches!(option, TcpOption::Mss(_)),
                OptionPattern::AnyWscale => &|option| matches!(option, TcpOption::Wscale(_)),
                OptionPattern::Timestamps { .. } => &|option| matches!(option, TcpOption::Timestamps { .. }),
            };
            let at = left.iter().position(|option| is(option));
            let found = left.remove(at.ok_or_else(|| format!("no option {option:?}"))?);
            if let (OptionPattern::Timestamps { val, ecr }, TcpOption::Timestamps { val: has_val, ecr: has_ecr }) =
                (option, found)
            {
                self.stamp(flow, "val", val, *has_val)?;
                self.stamp(flow, "ecr", ecr, *has_ecr)?;
            }
        }
        match left.first() {
            Some(option) if !rest => Err(format!("an option {option} more")),
            _ => Ok(()),
        }
    }

    fn stamp(&mut self, flow: Flow, what: &str, wanted: &Number, has: u32) -> Result<(), String> {
        let wanted = match wanted {
            Number::Any => return Ok(()),
            Number::Named(name, offset) if !self.names.contains_key(name) => {
                self.names.insert(name.clone(), has.wrapping_add_signed(-*offset));
                return Ok(());
            }
            number => self.number(flow, number)?,
        };
        if has == wanted { Ok(()) } else { Err(format!("{what} {has}, expected {wanted}")) }
    }
}

fn fields(pattern: &Pattern, segment: &Segment) -> Result<(), String> {
    let push = Flags::PSH;
    let wrong = |what: &str, has: u32, wanted: u32| Err(format!("{what} {has}, expected {wanted}"));
    if segment.flags.0 & !push != pattern.flags.0 & !push || (pattern.flags.has(push) && !segment.flags.has(push)) {
        return Err(format!("flags {}, expected {}", segment.flags, pattern.flags));
    }
    if segment.seq != pattern.seq {
        return wrong("begins at", segment.seq, pattern.seq);
    }
    if segment.payload.len() != pattern.len {
        return wrong("length", segment.payload.len() as u32, pattern.len as u32);
    }
    if segment.ack != pattern.ack {
        return wrong("ack", segment.ack, pattern.ack);
    }
    if let Some(win) = pattern.win.filter(|win| *win != segment.win) {
        return wrong("win", segment.win.into(), win.into());
    }
    if segment.urgent != pattern.urgent.unwrap_or(0) {
        return wrong("urg", segment.urgent.into(), pattern.urgent.unwrap_or(0).into());
    }
    for attribute in &pattern.attributes {
        let holds = match *attribute {
            Attribute::Ecn(ecn) => segment.carrier.ecn == ecn,
            Attribute::Ttl(ttl) => segment.carrier.ttl == ttl,
            Attribute::Df(df) => segment.carrier.df == df,
            Attribute::NoPush => !segment.flags.has(push),
            _ => return Err(format!("{attribute:?} is nothing to be expected")),
        };
        if !holds {
            return Err(format!("not {attribute:?}"));
        }
    }
    Ok(())
}

fn content(pattern: &Pattern, segment: &Segment) -> Result<(), String> {
    let should = match &pattern.data {
        Some(text) => text.bytes().cycle().take(pattern.len).collect(),
        None => stream(Side::Target, stream_position(pattern), pattern.len),
    };
    match segment.payload.iter().zip(&should).position(|(is, should)| is != should) {
        None => Ok(()),
        Some(at) => Err(format!("byte {at} of the payload is not the stream's")),
    }
}

fn timestamps(options: &[TcpOption]) -> Option<(u32, u32)> {
    options.iter().find_map(|option| match option {
        TcpOption::Timestamps { val, ecr } => Some((*val, *ecr)),
        _ => None,
    })
}
