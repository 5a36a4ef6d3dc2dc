//! The application above the target: what a script has it do, and what it must see.

use super::Run;
use crate::script::{
    packet::{Side, stream},
    parse::{App, Sight, When},
    target::Flow,
};
use std::time::Duration;

impl Run<'_> {
    pub(super) fn act(&mut self, flow: Flow, app: &App) -> anyhow::Result<()> {
        match app {
            App::Listen { backlog } => {
                self.listens = true;
                self.target.listen(*backlog)
            }
            App::Connect => {
                self.connection(flow);
                self.target.connect(flow)
            }
            App::Write(len) => {
                let connection = self.connection(flow);
                let bytes = stream(Side::Target, connection.written, *len);
                connection.written = connection.written.wrapping_add(*len as u32);
                self.target.write(flow, bytes)
            }
            App::Close => self.target.close(flow),
            App::Release => self.target.release(flow),
            App::Abort => self.target.abort(flow),
            App::Set(option) => self.target.set(flow, *option),
            App::Pauses => {
                self.reading.remove(&flow);
                Ok(())
            }
            App::Resumes => {
                self.reading.insert(flow);
                Ok(())
            }
            App::Sees(_) => unreachable!("sights are no acts"),
        }
    }

    /// Waits until the application sees it, not before `earliest`.
    pub(super) fn sees(
        &mut self,
        flow: Flow,
        sight: &Sight,
        when: When,
        earliest: Duration,
        latest: Duration,
    ) -> Result<(), String> {
        let tolerance = self.target.tolerance();
        let too_early = matches!(when, When::Between(..)).then(|| earliest.saturating_sub(tolerance));
        if too_early.is_none() && when != When::Any {
            self.wait(earliest)?;
        }
        let (step, end) = (tolerance / 4, latest + 4 * tolerance);
        loop {
            let seen = self.seen(flow, sight)?;
            let now = self.target.now();
            match seen {
                Ok(()) if too_early.is_some_and(|time| now < time) => {
                    return Err(format!("seen at {:.6} already", now.as_secs_f64()));
                }
                Ok(()) => break,
                Err(what) if now >= end => return Err(what),
                Err(_) => self.advance(now + step)?,
            }
        }
        self.last = self.target.now().max(self.last);
        self.say(&format!("  app sees {sight:?}"));
        Ok(())
    }

    /// Whether the application sees it now; the inner error says what it sees instead.
    fn seen(&mut self, flow: Flow, sight: &Sight) -> Result<Result<(), String>, String> {
        let holds = |holds, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        Ok(match sight {
            Sight::Connected => holds(self.target.connected(flow), "not connected"),
            Sight::Accepted => holds(self.target.accepted(flow), "nothing to be accepted"),
            Sight::NotOpen => {
                let open = self.target.accepted(flow) || self.target.connected(flow);
                return holds(!open, "it is open").map(Ok);
            }
            Sight::Read { len, text } => {
                let unread = self.target.unread(flow).bytes;
                if unread.len() < *len {
                    return Ok(Err(format!("{} bytes to be read", unread.len())));
                }
                self.consume(flow, *len, &unread[..*len], text.as_deref())?;
                Ok(())
            }
            Sight::Receives(len) => {
                let unread = self.target.unread(flow).bytes;
                holds(unread.len() == *len, &format!("{} bytes to be read", unread.len()))
            }
            Sight::Eof => {
                let unread = self.target.unread(flow);
                holds(unread.eof && unread.bytes.is_empty(), &format!("{unread:?}"))
            }
            Sight::Ended(end) => {
                let ended = self.target.ended(flow);
                holds(ended == Some(*end), &format!("it ended: {ended:?}"))
            }
            Sight::State(state) => match self.target.state(flow) {
                Some(is) => holds(is == *state, &format!("it is in {is}")),
                None => Ok(()),
            },
        })
    }

    pub(super) fn consume(&mut self, flow: Flow, len: usize, bytes: &[u8], text: Option<&str>) -> Result<(), String> {
        let connection = self.connection(flow);
        let position = connection.read;
        connection.read = position.wrapping_add(len as u32);
        let should = match text {
            Some(text) => text.bytes().cycle().take(len).collect(),
            None => stream(Side::Peer, position, len),
        };
        self.target.consume(flow, len);
        match bytes.iter().zip(&should).position(|(is, should)| is != should) {
            None => Ok(()),
            Some(at) => Err(format!("byte {} of the stream is wrong", position as usize + at + 1)),
        }
    }
}
