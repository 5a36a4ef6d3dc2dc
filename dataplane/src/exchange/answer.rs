//! What we answer ourselves.

use super::{Gateway, leg::Io, read::Next, record::Ended};
use crate::{
    filters::DirectResponse,
    http::{
        Version,
        h1::{
            Asked, Body,
            write::{Head, Sink, WriteError},
        },
    },
    limits::HTTP_DISCARD_MAX,
    time::Instant,
};

/// An answer of ours.
#[derive(Clone, Copy)]
struct Words<'a> {
    status: u16,
    content_type: &'a [u8],
    body: &'a [u8],
    location: Option<&'a [u8]>,
}

impl Gateway {
    /// A short plain answer that says what its status means.
    pub(super) fn answer(&mut self, io: &mut Io<'_>, x: u32, status: u16, ended: Ended) {
        let words = Words { status, content_type: PLAIN, body: sentence(status), location: None };
        self.answer_words(io, x, words, ended);
    }

    pub(super) fn redirect(&mut self, io: &mut Io<'_>, x: u32, status: u16) {
        let location = std::mem::take(&mut self.location);
        let words = Words { status, content_type: PLAIN, body: b"", location: Some(&location) };
        self.answer_words(io, x, words, Ended::Answered);
    }

    pub(super) fn answer_with(&mut self, io: &mut Io<'_>, x: u32, response: &DirectResponse) {
        let words = Words {
            status: response.status_code,
            content_type: response.content_type.as_bytes(),
            body: response.body.as_bytes(),
            location: None,
        };
        self.answer_words(io, x, words, Ended::Answered);
    }

    fn answer_words(&mut self, io: &mut Io<'_>, x: u32, words: Words<'_>, ended: Ended) {
        self.detach(io, x, false);
        let exchange = &mut self.exchanges[x as usize];
        let client = exchange.client as usize;
        // What the client sends may be read to its end, so that the connection persists; but not without end, and not if it waits for a word.
        let is_short = match exchange.body {
            Body::None | Body::Chunked => true,
            Body::Length(length) => length - exchange.request_bytes.min(length) <= HTTP_DISCARD_MAX,
            Body::UntilClose | Body::Tunnel => false,
        };
        exchange.persists &= exchange.request_done || is_short && !exchange.awaits_continue;
        exchange.persists &= !self.legs[client].peer_closed;
        exchange.persists &= !self.listeners.edition(exchange.edition).is_old(io.now, self.legs[client].began);
        exchange.persists &= !self.drains && !self.listeners.is_retired(self.legs[client].listener);
        // What is still read is bounded by its own time.
        (exchange.request_at, exchange.backend_at) = (Instant::NEVER, Instant::NEVER);
        (exchange.discards, exchange.ended) = (true, ended);
        (exchange.begun, exchange.response_done, exchange.status) = (true, true, words.status);
        exchange.response_bytes = words.body.len() as u64;
        let (version, is_head, persists) = (exchange.version, exchange.asked == Asked::Head, exchange.persists);
        let name = self.listeners.edition(exchange.edition).name();
        let mut staged = std::mem::take(&mut self.staged);
        let date = self.date.get(io.now);
        match write(&mut staged.sink(io.out), &words, version, is_head, persists, name, date) {
            Ok(()) => {
                super::response::count_status(io, words.status);
                self.send_staged(io, client, &mut staged);
                self.staged = staged;
                self.settle(io, x);
            }
            Err(_) => {
                staged.clear(io.out);
                self.staged = staged;
                self.exchanges[x as usize].status = 0;
                self.give_up(io, x, Ended::NoFrame);
            }
        }
    }

    /// Content went nowhere.
    pub(super) fn discarded(&mut self, io: &mut Io<'_>, x: u32) -> Next {
        let exchange = &mut self.exchanges[x as usize];
        if exchange.request_bytes > HTTP_DISCARD_MAX && exchange.response_done {
            exchange.persists = false;
            self.settle(io, x);
            return Next::Wait;
        }
        Next::Again
    }
}

const PLAIN: &[u8] = b"text/plain; charset=utf-8";

fn write(
    sink: &mut impl Sink,
    words: &Words<'_>,
    version: Version,
    is_head: bool,
    persists: bool,
    name: &[u8],
    date: &[u8],
) -> Result<(), WriteError> {
    let Words { status, content_type, body, location } = *words;
    let mut head = Head::response(sink, status, version)?;
    // rfc9110 6.6.1 (MUST): an origin with a clock says when.
    if !date.is_empty() {
        head.field(b"date", date)?;
    }
    if !name.is_empty() {
        head.field(b"server", name)?;
    }
    if let Some(location) = location {
        head.field(b"location", location)?;
    }
    if status == 503 {
        head.field(b"retry-after", b"1")?;
    }
    let has_content = !matches!(status, 204 | 304);
    if !body.is_empty() && has_content {
        head.field(b"content-type", content_type)?;
    }
    if is_head {
        // rfc9110 8.6 (MUST NOT): no length in a 204.
        let _ = head.end_without_content(has_content.then_some(body.len() as u64), persists)?;
        return Ok(());
    }
    let framed = if has_content { Body::Length(body.len() as u64) } else { Body::None };
    let mut content = head.end(framed, persists)?;
    if has_content {
        content.before(sink, body.len() as u64)?;
        sink.put(body)?;
    }
    content.end(sink, std::iter::empty())
}

/// For people who look at it.
fn sentence(status: u16) -> &'static [u8] {
    match status {
        400 => b"bad request\n",
        404 => b"no route\n",
        408 => b"request timeout\n",
        413 => b"content too large\n",
        414 => b"target too long\n",
        417 => b"expectation failed\n",
        421 => b"misdirected request\n",
        431 => b"request header fields too large\n",
        500 => b"no backend\n",
        501 => b"not implemented\n",
        502 => b"bad gateway\n",
        503 => b"backend unavailable\n",
        504 => b"backend timeout\n",
        505 => b"http version not supported\n",
        508 => b"loop detected\n",
        _ => b"",
    }
}

/// The time of day, in the form of `Date` (RFC 9110 section 5.6.7), made once a second.
#[derive(Default)]
pub(super) struct DateLine {
    /// Seconds of 1970, and the worker's time that they belong to.
    known: Option<(u64, Instant)>,
    second: u64,
    text: arrayvec::ArrayVec<u8, 29>,
}

impl DateLine {
    pub(super) fn set(&mut self, now: Instant, unix: u64) {
        self.known = Some((unix, now));
    }

    /// Empty while nobody has told the time.
    pub(super) fn get(&mut self, now: Instant) -> &[u8] {
        let Some((unix, at)) = self.known else { return &[] };
        let second = unix + now.since(at).as_us() / 1_000_000;
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = date(second);
        }
        &self.text
    }
}

fn date(unix: u64) -> arrayvec::ArrayVec<u8, 29> {
    use std::io::Write;
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (unix / 86_400, unix % 86_400);
    // Days since 1 March 0000 in cycles of 400 years, as H. Hinnant's "chrono-compatible low-level date algorithms" derive it.
    let z = days + 719_468;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = (shifted + 2) % 12;
    let year = year_of_era + z / 146_097 * 400 + u64::from(month < 2);
    let mut text = arrayvec::ArrayVec::new();
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let (name, month) = (DAYS[(days % 7) as usize], MONTHS[month as usize]);
    write!(text, "{name}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
        .expect("years have four digits");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_rfc() {
        for (unix, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_796_083_199, "Mon, 30 Nov 2026 23:59:59 GMT"),
            (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&date(unix)).unwrap(), text, "{unix}");
        }
    }
}
