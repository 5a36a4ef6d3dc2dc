//! Records, sealed and opened, beside the cipher over as many bytes.

use super::{
    Options,
    crypto::Cipher,
    pair::{Contexts, Place},
};
use rustls::NamedGroup;
use std::collections::VecDeque;
use weirgate_bench::Figure;
use weirgate_dataplane::{
    limits::TLS_PLAINTEXT_MAX,
    port::{Frame, Pool},
    time::Instant,
    tls::Session,
};

/// A stream from a server to its client.
struct Stream {
    place: Place,
    server: Session,
    client: Session,
    plain: VecDeque<Frame>,
    sealed: VecDeque<Frame>,
    content: Vec<u8>,
}

impl Stream {
    fn new(pool: &Pool) -> Self {
        let mut place = Place::new(pool);
        let (server, client) = place.shake_hands(&Contexts::new(false, NamedGroup::X25519));
        Self { place, server, client, plain: VecDeque::new(), sealed: VecDeque::new(), content: vec![5; 2_048] }
    }

    /// Frames as they were received: with the room of headers before their bytes.
    fn fill(&mut self, mut len: usize) {
        while len > 0 {
            let n = len.min(1_448);
            let mut frame = self.place.out.make().expect("there are enough");
            frame.append_slice(&self.content[..66 + n]).expect("there is room");
            frame.trim_front(66);
            self.plain.push_back(frame);
            len -= n;
        }
    }
    fn seal(&mut self) {
        let Place { room, out } = &mut self.place;
        self.server.seal(Instant::from_ns(1), &mut self.plain, &mut self.sealed, room, out);
        assert!(self.plain.is_empty());
    }
    fn open(&mut self) -> usize {
        let Place { room, out } = &mut self.place;
        let mut len = 0;
        for frame in self.sealed.drain(..) {
            self.client.handle_frame(frame, room, out);
        }
        while let Some(frame) = self.client.poll_plaintext(room, out) {
            len += frame.len();
            out.consume(frame);
        }
        out.free_discards();
        len
    }
}

/// The cost of sealing and of opening together, the frames' own cost (from the pool, filled, given back) taken off.
pub(super) fn bulk(options: &Options, pool: &Pool) -> Vec<Figure> {
    let mut stream = Stream::new(pool);
    let mut warm = Stream::new(pool);
    // Past the burst's small records.
    stream.fill(200_000);
    stream.seal();
    stream.open();
    let cipher = Cipher::new();
    let mut text = vec![3; TLS_PLAINTEXT_MAX + 1];
    let sealed = cipher.sealed(TLS_PLAINTEXT_MAX + 1);
    let mut opened = vec![0; TLS_PLAINTEXT_MAX + 1];
    let [both, frames, alone] = options.by_turns([
        &mut || {
            stream.fill(TLS_PLAINTEXT_MAX);
            stream.seal();
            assert_eq!(stream.open(), TLS_PLAINTEXT_MAX);
        },
        &mut || {
            warm.fill(TLS_PLAINTEXT_MAX);
            for frame in warm.plain.drain(..) {
                warm.place.out.consume(frame);
            }
            warm.place.out.free_discards();
        },
        &mut || {
            cipher.seal(&mut text);
            cipher.open(&sealed, &mut opened);
        },
    ]);
    let rate = |seconds: f64| 2.0 * TLS_PLAINTEXT_MAX as f64 / seconds / 1e9;
    vec![
        Figure::shown("tls.bulk", rate(both - frames), "GB/s"),
        Figure::shown("tls.bulk_cipher", rate(alone), "GB/s"),
        Figure::at_least("tls.bulk_vs_cipher", alone / (both - frames), "ratio", 0.7),
    ]
}

/// One record in one frame, sealed and opened where it is.
pub(super) fn small(options: &Options, pool: &Pool, len: usize) -> Vec<Figure> {
    let mut stream = Stream::new(pool);
    let mut warm = Stream::new(pool);
    let cipher = Cipher::new();
    let mut text = vec![3; len + 1];
    let sealed = cipher.sealed(len + 1);
    let mut opened = vec![0; len + 1];
    let [both, frames, alone] = options.by_turns([
        &mut || {
            stream.fill(len);
            stream.seal();
            assert_eq!(stream.open(), len);
        },
        &mut || {
            warm.fill(len);
            for frame in warm.plain.drain(..) {
                warm.place.out.consume(frame);
            }
            warm.place.out.free_discards();
        },
        &mut || {
            cipher.seal(&mut text);
            cipher.open(&sealed, &mut opened);
        },
    ]);
    vec![
        Figure::shown(&format!("tls.record_ns.{len}"), (both - frames) * 1e9, "ns, sealed and opened"),
        Figure::shown(&format!("tls.record_cipher_ns.{len}"), alone * 1e9, "ns, sealed and opened"),
    ]
}
