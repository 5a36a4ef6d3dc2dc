//! TLS that goes on as it is, to whom the client's hello says. Nothing of it is decrypted, and nothing is changed.

use super::{Gateway, leg::Io, read::Next};
use crate::{
    limits::{HTTP_PARTIAL_BYTES_MAX, TLS_HELLO_MAX},
    tls::{TlsRefusal, hello},
};

impl Gateway {
    /// A client on a listener whose bytes are passed on.
    pub(super) fn admit_raw(&mut self, io: &mut Io<'_>, i: usize) {
        if self.listeners.raw(self.legs[i].listener).is_by_name() {
            self.legs[i].awaits_hello = Some(Box::default());
        } else {
            self.begin_raw(io, i, None);
        }
    }

    /// Looks at what has come of a hello. Its frames wait, unconsumed, for whoever it is for; what was looked at is known by the copy of it.
    pub(super) fn read_hello(&mut self, io: &mut Io<'_>, i: usize) -> Next {
        let leg = &mut self.legs[i];
        let Some(mut reader) = leg.awaits_hello.take() else { return Next::Wait };
        let before = leg.partial.len();
        let mut skip = before;
        for bytes in leg.input.iter().flat_map(crate::port::Frame::segments) {
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            leg.partial.extend_from_slice(&bytes[skipped..]);
        }
        self.partial_bytes += leg.partial.len() - before;
        let refusal = match reader.read(&leg.partial) {
            hello::Answer::Done(hello) => {
                self.partial_bytes -= leg.partial.len();
                leg.partial = Vec::new();
                return self.pass_on(io, i, &hello);
            }
            hello::Answer::Partial if self.partial_bytes > HTTP_PARTIAL_BYTES_MAX => TlsRefusal::OutOfMemory,
            hello::Answer::Partial if leg.partial.len() > 2 * TLS_HELLO_MAX => TlsRefusal::HandshakeTooLong,
            hello::Answer::Partial => {
                leg.awaits_hello = Some(reader);
                return Next::Wait;
            }
            hello::Answer::Invalid(refusal) => refusal,
        };
        self.refuse_hello(io, i, refusal);
        Next::Wait
    }

    fn pass_on(&mut self, io: &mut Io<'_>, i: usize, hello: &hello::Hello) -> Next {
        let name = hello.sni.as_deref();
        if self.listeners.raw(self.legs[i].listener).backend(name, 0).is_none() {
            self.refuse_hello(io, i, TlsRefusal::NoCertificateForName);
            return Next::Wait;
        }
        self.begin_raw(io, i, name);
        Next::Again
    }

    /// The client is told why, and let go.
    fn refuse_hello(&mut self, io: &mut Io<'_>, i: usize, refusal: TlsRefusal) {
        io.out.counters.count_tls_refusal(refusal);
        if let Some(alert) = refusal.alert()
            && let Some(mut frame) = io.out.make()
        {
            // rfc8446 6: a fatal alert, in the clear.
            frame.append_slice(&[21, 3, 3, 0, 2, 2, alert]).expect("a fresh frame has room");
            self.legs[i].output.push(frame);
            self.held += 1;
        }
        self.leave(io, i);
    }
}
