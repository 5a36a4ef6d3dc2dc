//! The fuzz target of the link; see [`crate::fuzz`].
//!
//! ```text
//!   input:   messages as they come over the socket, after one byte that says where the stream is cut
//! ```

use super::{
    capture::CaptureFilter,
    message::{Ask, Question, Refusal},
    wire::{Inbox, decode, encode},
};
use crate::{
    capture::Filter,
    exchange::{Gateway, GatewayOptions, Home, Planner},
    snapshot::{Delta, Snapshot},
};

/// Whatever is said: what is read is written as what reads the same; what is refused changes nothing; what is not refused is served, and the way from one
/// to the other is a delta that leads there.
pub fn link(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let (first, second) = stream.split_at(usize::from(cut).min(stream.len()));
    let mut planner = Planner::default();
    let mut served: Option<Snapshot> = None;
    let mut inbox = Inbox::default();
    for part in [first, second] {
        inbox.push(part);
        while let Ok(Some(content)) = inbox.pop() {
            let Ok(question) = decode::<Question>(content) else { return };
            let again = encode(&question).expect("what came in goes out");
            assert_eq!(decode::<Question>(&again[4..]).as_ref(), Ok(&question));
            let next = match question.ask {
                Ask::Replace { snapshot } => *snapshot,
                Ask::Change { delta } => {
                    let Some(mut next) = served.clone() else { continue };
                    let Ok(()) = delta.apply(&mut next) else { continue };
                    next
                }
                Ask::Capture { filter } => {
                    look(served.as_ref(), &filter, stream);
                    continue;
                }
                Ask::Tap { filter } => {
                    _ = planner.plan_tap(&filter);
                    continue;
                }
                _ => continue,
            };
            // Tables as large as may be are right, and take too long here.
            if next.backends.iter().any(|it| it.load_balancing != crate::upstream::balance::PolicyKind::Random) {
                return;
            }
            serve(&mut planner, &mut served, next);
        }
    }
}

/// Whatever is wanted: it is refused, or looked for in whatever comes.
fn look(served: Option<&Snapshot>, wanted: &CaptureFilter, frame: &[u8]) {
    let Some(served) = served else { return };
    let Ok(filter) = Filter::plan(wanted, &served.dataplane) else { return };
    let sees = filter.wants_bytes(frame);
    let asks_nothing = CaptureFilter {
        interface: wanted.interface.clone(),
        direction: wanted.direction,
        snap_len: wanted.snap_len,
        count: wanted.count,
        duration_ms: wanted.duration_ms,
        ..CaptureFilter::default()
    };
    assert!(sees || *wanted != asks_nothing || wanted.interface.is_some(), "who asks for nothing gets everything");
}

fn serve(planner: &mut Planner, served: &mut Option<Snapshot>, next: Snapshot) {
    let is_sound = next.check().is_ok();
    match planner.plan(next.clone()) {
        Ok(update) => {
            assert!(is_sound, "what is planned is sound");
            if let Some(before) = served.replace(next) {
                let now = served.as_ref().expect("just put there");
                let delta = Delta::between(&before, now);
                let mut made = before;
                delta.apply(&mut made).expect("it is for this one");
                assert_eq!(made, *now);
            } else {
                let options = GatewayOptions {
                    seed: 1,
                    connections_max: 64,
                    home: Home::default(),
                    keeps_records: false,
                    probes: false,
                    gives_work: false,
                };
                drop(Gateway::planned(update, options));
            }
        }
        Err(Refusal::Restart) => assert!(served.as_ref().is_some_and(|it| it.dataplane != next.dataplane)),
        Err(_) => assert!(!is_sound, "what is sound is planned"),
    }
    assert_eq!(planner.snapshot(), served.as_ref(), "what is refused changes nothing");
}
