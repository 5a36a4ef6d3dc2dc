//! For tests and fuzz targets: hands bytes to a receiver, cut in every way, and writes down what it says.

use super::*;
use std::fmt::Write;

/// What the other half of the connection does, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// A client sends a request.
    Expect(Asked),
    /// A server grants a tunnel, or does not.
    Answer(bool),
}

/// A peer that says `bytes` and then closes.
pub(crate) struct Peer<'a> {
    pub(crate) side: Side,
    pub(crate) limits: Limits,
    /// A client's are done whenever it is idle, a server's whenever it waits for them.
    pub(crate) acts: &'a [Act],
    pub(crate) bytes: &'a [u8],
}

/// A client that sends these bytes.
#[cfg(test)]
pub(crate) fn requests(bytes: &[u8]) -> Peer<'_> {
    Peer { side: Side::Server, limits: Limits::default(), acts: &[], bytes }
}

/// A server that answers with these bytes.
#[cfg(test)]
pub(crate) fn responses<'a>(acts: &'a [Act], bytes: &'a [u8]) -> Peer<'a> {
    Peer { side: Side::Client, limits: Limits::default(), acts, bytes }
}

/// What came out, a line for each event; content that follows content is one event.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    pub(crate) text: String,
    content: Vec<u8>,
}

impl Peer<'_> {
    /// What is heard, the same however the bytes are cut.
    #[cfg(test)]
    #[track_caller]
    pub(crate) fn heard(&self) -> String {
        let whole = self.hear(&[self.bytes]);
        let same = |pieces: &[&[u8]], how: &str| {
            assert_eq!(self.hear(pieces), whole, "{how}: {}", self.bytes.escape_ascii());
        };
        same(&self.bytes.chunks(1).collect::<Vec<_>>(), "byte by byte");
        same(&self.bytes.chunks(7).collect::<Vec<_>>(), "by sevens");
        // Long rows are about limits: their ends are what matters.
        let cuts = (0..self.bytes.len()).filter(|&at| at < 600 || self.bytes.len() - at < 40);
        for at in cuts {
            let (a, b) = self.bytes.split_at(at);
            same(&[a, b], &format!("cut at {at}"));
        }
        whole
    }

    /// What is heard when `bytes` come in these pieces.
    pub(crate) fn hear(&self, pieces: &[&[u8]]) -> String {
        let mut receiver = Receiver::new(self.side, self.limits);
        let (mut spans, mut heard, mut buffer) = (Spans::new(), Heard::default(), Vec::new());
        let mut acts = self.acts.iter();
        // A client acts even if nothing comes.
        for piece in [&[&b""[..]], pieces].concat() {
            buffer.extend_from_slice(piece);
            loop {
                if receiver.side == Side::Client && receiver.is_between() {
                    match acts.next() {
                        Some(Act::Expect(asked)) => receiver.expect(*asked),
                        Some(Act::Answer(_)) => panic!("a client does not answer"),
                        None => {}
                    }
                }
                let step = match receiver.step(&buffer, &mut spans) {
                    Ok(step) => step,
                    Err(refusal) => {
                        assert_eq!(receiver.step(&buffer, &mut spans), Err(refusal), "a refusal stays");
                        assert!(!receiver.persists());
                        return heard.end(refusal.name());
                    }
                };
                assert!(step.used() <= buffer.len());
                self.check_limits(&receiver, step, buffer.len(), &spans);
                heard.note(step, &buffer, &spans);
                buffer.drain(..step.used());
                match step {
                    Step::NeedMore { .. } => {
                        assert_eq!(receiver.step(&buffer, &mut spans), Ok(Step::NeedMore { skip: 0 }));
                        break;
                    }
                    Step::Await => match acts.next() {
                        Some(Act::Answer(granted)) => receiver.answered(*granted),
                        other => panic!("a tunnel was asked for, and there is {other:?}"),
                    },
                    _ => {}
                }
            }
            // Other connections use the scratch meanwhile.
            spans = Spans::new();
        }
        match receiver.peer_closed() {
            Ok(Some(step)) => heard.note(step, &[], &spans),
            Ok(None) => {}
            Err(refusal) => return heard.end(refusal.name()),
        }
        heard.end(if receiver.persists() { "persists" } else { "closes" })
    }

    /// Nothing that is waited for as a whole grows beyond what it may.
    fn check_limits(&self, receiver: &Receiver, step: Step, buffered: usize, spans: &Spans) {
        let Limits { line_bytes, head_bytes, fields } = self.limits;
        match step {
            Step::Head { len, .. } => {
                assert!(len <= usize::from(head_bytes) && spans.fields.len() <= usize::from(fields));
            }
            Step::Trailers { len, .. } => {
                assert!(len <= HTTP_TRAILER_BYTES_MAX && spans.fields.len() <= HTTP_TRAILER_FIELDS_MAX);
            }
            Step::NeedMore { skip } => {
                let most = match receiver.state {
                    State::StartLine => usize::from(line_bytes),
                    State::Fields { .. } => usize::from(head_bytes),
                    State::Trailers => HTTP_TRAILER_BYTES_MAX,
                    _ => 1,
                };
                assert!(buffered - skip < most, "{} bytes wait: {receiver:?}", buffered - skip);
            }
            Step::Body { .. } | Step::End { .. } | Step::Await => {}
        }
    }
}

impl Heard {
    fn end(mut self, word: &str) -> String {
        self.flush();
        self.text + word
    }

    fn flush(&mut self) {
        if !self.content.is_empty() {
            writeln!(self.text, "body {}", self.content.escape_ascii()).unwrap();
            self.content.clear();
        }
    }

    fn note(&mut self, step: Step, input: &[u8], spans: &Spans) {
        if let Step::Body { skip, len } = step {
            assert!(len > 0, "content is never empty");
            self.content.extend_from_slice(&input[skip..][..len]);
            return;
        }
        if matches!(step, Step::NeedMore { .. }) {
            return;
        }
        self.flush();
        let text = &mut self.text;
        match step {
            Step::Head { len, framing } => self.head(&input[..len], framing, spans),
            Step::Trailers { skip, len } => {
                text.push_str("trailers");
                for (name, value) in spans.trailers(&input[skip..][..len]).iter() {
                    write!(text, " {}={}", name.escape_ascii(), value.escape_ascii()).unwrap();
                }
                text.push('\n');
            }
            Step::End { .. } => text.push_str("end\n"),
            Step::Await => text.push_str("await\n"),
            Step::NeedMore { .. } | Step::Body { .. } => unreachable!(),
        }
    }

    fn head(&mut self, head: &[u8], framing: Framing, spans: &Spans) {
        let text = &mut self.text;
        let fields = if spans.line.status == 0 {
            let request = spans.request(head);
            let show = |part: &[u8]| part.escape_ascii().to_string();
            write!(text, "{} {} {}", show(request.method()), show(request.host()), show(request.path())).unwrap();
            if let Some(port) = request.port() {
                write!(text, " port={port}").unwrap();
            }
            if let Some(query) = request.query() {
                write!(text, " query={}", show(query)).unwrap();
            }
            request.fields
        } else {
            write!(text, "{}", spans.response(head).status()).unwrap();
            spans.response(head).fields
        };
        match framing.body {
            Body::None => {}
            Body::Length(length) => write!(text, " length={length}").unwrap(),
            other => write!(text, " {other:?}").unwrap(),
        }
        for (is, word) in [(framing.expects_continue, " continue"), (framing.switches, " switches")] {
            text.push_str(if is { word } else { "" });
        }
        for (name, value) in fields.iter() {
            write!(text, " {}={}", name.escape_ascii(), value.escape_ascii()).unwrap();
        }
        text.push('\n');
    }
}
