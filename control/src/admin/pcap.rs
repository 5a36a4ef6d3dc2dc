//! Frames from inside the data plane, as a capture file that grows while it is read. As with [`tap`](super::tap), each has a link of its own, with its own
//! filter: it ends with the client, with the data plane, or when it has what was asked for.

use super::{
    api::{CaptureDirection, CaptureProtocol, CaptureRequest, Code, ErrorBody},
    operations::{App, CONTENT_BYTES, Outcome, content, peer},
    server::Streams,
    tap::{Chunks, refused},
};
use crate::daemon::{
    audit::Outcome as Noted,
    clock,
    engine::{Engine, fail},
    link::Link,
    who::Who,
};
use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::header,
    response::IntoResponse,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use weirgate_dataplane::{
    limits::CAPTURES_MAX,
    link::{
        SOCKET,
        capture::{CaptureFilter, CapturedFrame, Protocol, Way},
        message::{Answer, Ask, Event},
    },
    port::pcapng::{Direction, Packet, Writer},
};

/// Chunks that wait for a slow reader. Beyond, the link waits, and then the data plane counts what it leaves out.
const WAITING: usize = 16;
/// Bytes from which on a chunk is sent.
const CHUNK: usize = 64 << 10;
/// A reader that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of the response.
pub(super) const KIND: &str = "application/x-pcapng";
/// What the audit log calls it.
const ACTION: &str = "pcap";

pub(super) async fn pcap(app: App, request: Request) -> Outcome {
    let who = peer(&request).who();
    let streams = request.extensions().get::<Streams>().cloned();
    let filter = filter(content(request, CONTENT_BYTES).await?)?;
    let too_many = |_| {
        let message = format!("there are {CAPTURES_MAX} captures already, which is as many as there may be");
        fail(Code::TooMany, message, "end one of them (weirgate pcap)")
    };
    let slot = Arc::clone(&app.captures).try_acquire_owned().map_err(too_many)?;
    // Frames show what nobody else should see: no capture that is not noted.
    let engine = Arc::clone(&app.engine);
    let detail = serde_json::to_string(&filter).expect("string keys only");
    engine.note(&who, ACTION, None, Noted::Begun, Some(&detail)).await?;
    let capture = match begin(&engine, filter).await {
        Ok((link, events, writer)) => Capture { engine, who, link, events, writer, frames: 0, lost: 0, _slot: slot },
        Err(error) => {
            _ = engine.note(&who, ACTION, None, Noted::Refused, Some(&error.error)).await;
            return Err(error);
        }
    };
    if let Some(streams) = streams {
        streams.mark();
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(capture.pump(sender));
    let fields = [(header::CONTENT_TYPE, KIND), (header::CACHE_CONTROL, "no-store")];
    Ok((fields, Body::new(Chunks(receiver))).into_response())
}

/// As the data plane has it, which knows best what makes no sense.
fn filter(asked: CaptureRequest) -> Result<CaptureFilter, ErrorBody> {
    let CaptureRequest { interface, direction, host, port, protocol, snap_len, count, duration_ms } = asked;
    let no_address = |host: &String| fail(Code::BadRequest, format!("host {host:?} is no IP address"), "");
    let host = host.map(|host| host.parse().map_err(|_| no_address(&host))).transpose()?;
    let direction = match direction {
        CaptureDirection::In => Some(Way::In),
        CaptureDirection::Out => Some(Way::Out),
        CaptureDirection::Both => None,
    };
    let protocol = protocol.map(|protocol| match protocol {
        CaptureProtocol::Tcp => Protocol::Tcp,
        CaptureProtocol::Udp => Protocol::Udp,
        CaptureProtocol::Icmp => Protocol::Icmp,
        CaptureProtocol::Arp => Protocol::Arp,
    });
    Ok(CaptureFilter { interface, direction, host, port, protocol, snap_len, count, duration_ms })
}

async fn begin(
    engine: &Engine,
    filter: CaptureFilter,
) -> Result<(Link, mpsc::Receiver<Event>, Writer<Vec<u8>>), ErrorBody> {
    let (link, events) = Link::connect(&engine.settings.run_dir.join(SOCKET)).await?;
    let answer = link.ask(Ask::Capture { filter: Box::new(filter) }).await.map_err(refused)?;
    let Answer::Capturing { interfaces } = answer else {
        return Err(fail(Code::Internal, format!("the data plane has answered something else: {answer:?}"), ""));
    };
    let mut writer = Writer::new(Vec::new()).expect("memory takes it");
    for interface in &interfaces {
        writer.interface(interface).expect("memory takes it");
    }
    Ok((link, events, writer))
}

struct Capture {
    engine: Arc<Engine>,
    who: Who,
    link: Link,
    events: mpsc::Receiver<Event>,
    writer: Writer<Vec<u8>>,
    frames: u64,
    lost: u64,
    _slot: OwnedSemaphorePermit,
}

/// How it goes on.
enum Next {
    More,
    /// It has what was asked for.
    Enough,
    /// Nobody reads it any more.
    Unread,
    /// No more can come.
    Broken(String),
}

impl Capture {
    async fn pump(mut self, to: mpsc::Sender<Bytes>) {
        let end = loop {
            // The file's head first, which says that it has begun.
            let chunk = Bytes::from(std::mem::take(self.writer.get_mut()));
            if !chunk.is_empty() && !send(&to, chunk).await {
                break Next::Unread;
            }
            match self.take(&to).await {
                Next::More => {}
                end => break end,
            }
        };
        let (why, said) = match &end {
            Next::Broken(why) => (Some(why.as_str()), format!(": {why}")),
            Next::Unread => (None, ": the client has gone".into()),
            Next::More | Next::Enough => (None, String::new()),
        };
        let Self { engine, who, link, events, mut writer, frames, lost, _slot } = self;
        if !matches!(end, Next::Unread) {
            writer.statistics(clock::now_ms() * 1_000_000, frames, lost, why).expect("memory takes it");
            _ = send(&to, std::mem::take(writer.get_mut()).into()).await;
        }
        drop(to);
        // Nobody takes events any more, so that the answer is not behind them.
        drop(events);
        _ = link.ask(Ask::EndCapture).await;
        let detail = format!("{frames} frames, {lost} lost{said}");
        if let Err(error) = engine.note(&who, ACTION, None, Noted::Done, Some(&detail)).await {
            tracing::error!("the end of a capture is not in the audit log: {}", error.error);
        }
    }

    /// Waits for something, and takes what else is there.
    async fn take(&mut self, to: &mpsc::Sender<Bytes>) -> Next {
        let first = tokio::select! {
            // What was told before the end comes before it.
            biased;
            () = to.closed() => return Next::Unread,
            Some(event) = self.events.recv() => event,
            why = self.link.broken() => return Next::Broken(why),
        };
        let mut next = self.write(first);
        while matches!(next, Next::More)
            && self.writer.get_mut().len() < CHUNK
            && let Ok(event) = self.events.try_recv()
        {
            next = self.write(event);
        }
        next
    }

    fn write(&mut self, event: Event) -> Next {
        match event {
            Event::Frame(frame) => {
                let CapturedFrame { interface, direction, at_ns: ns, len, lost, bytes } = *frame;
                let direction = match direction {
                    Way::In => Direction::Received,
                    Way::Out => Direction::Sent,
                };
                let packet = Packet { interface: interface.into(), ns, direction, len, lost, bytes: &bytes };
                self.writer.packet(&packet).expect("memory takes it");
                self.frames += 1;
                self.lost += lost;
                Next::More
            }
            Event::CaptureEnd { lost } => {
                self.lost += lost;
                Next::Enough
            }
            Event::Exchange(_) | Event::Missed { .. } | Event::Health { .. } => Next::More,
        }
    }
}

/// Says whether somebody reads it.
async fn send(to: &mpsc::Sender<Bytes>, chunk: Bytes) -> bool {
    matches!(timeout(PATIENCE, to.send(chunk)).await, Ok(Ok(())))
}
