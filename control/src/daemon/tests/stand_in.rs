//! A data plane that serves nothing: it speaks the link's protocol, checks and applies what it is told, and misbehaves when asked to.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{broadcast, watch},
    task::JoinHandle,
};
use weirgate_dataplane::{
    link::{
        SOCKET,
        capture::CaptureFilter,
        message::{
            Answer, Ask, Connection, EndpointState, Event, PROTOCOL, Question, Refusal, Said, TapFilter, Welcome,
        },
        wire::{Inbox, decode, encode},
    },
    snapshot::Snapshot,
};

/// What it knows, and how it behaves.
#[derive(Default, Clone)]
pub(crate) struct Inside {
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    pub(crate) replaced: u32,
    pub(crate) changed: u32,
    pub(crate) drains: bool,
    pub(crate) taps: Vec<TapFilter>,
    pub(crate) captures: Vec<CaptureFilter>,
    /// Refuse changes for this reason.
    /// With [`STUCK`]: a worker does not answer.
    pub(crate) refuse: Option<String>,
    /// Refuse whatever has this endpoint.
    pub(crate) refuse_endpoint: Option<SocketAddr>,
    /// Answer nothing but the first question.
    pub(crate) silent: bool,
    /// Refuse to drain, or to stop that.
    pub(crate) refuse_drain: bool,
    /// Refuse changes after so many.
    pub(crate) refuse_after: Option<u32>,
    /// Close the link instead of answering the next change: after having taken it, or before.
    pub(crate) drop_next: Option<bool>,
    /// Requests that are under way.
    pub(crate) busy: u32,
    pub(crate) protocol: Option<u32>,
}

#[derive(Clone)]
pub(crate) struct StandIn {
    inside: Arc<watch::Sender<Inside>>,
    events: broadcast::Sender<Event>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl StandIn {
    /// Starts it in a run directory.
    pub(crate) fn start(run_dir: &Path, snapshot: Option<Snapshot>) -> Self {
        let this = Self {
            inside: Arc::new(watch::Sender::new(Inside { snapshot: snapshot.map(Arc::new), ..Inside::default() })),
            events: broadcast::channel(64).0,
            task: Arc::default(),
        };
        this.listen(run_dir);
        this
    }

    pub(crate) fn listen(&self, run_dir: &Path) {
        let path = run_dir.join(SOCKET);
        _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).unwrap();
        let this = self.clone();
        let task = tokio::spawn(async move {
            // Connections end with it.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                connections.spawn(async move { this.converse(stream).await });
            }
        });
        self.stop();
        *self.task.lock().unwrap() = Some(task);
    }

    /// It dies.
    pub(crate) fn stop(&self) {
        if let Some(task) = self.task.lock().unwrap().take() {
            task.abort();
        }
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Inside)) {
        self.inside.send_modify(change);
    }

    pub(crate) fn inside(&self) -> Inside {
        self.inside.borrow().clone()
    }

    pub(crate) fn tell(&self, event: Event) {
        _ = self.events.send(event);
    }

    /// Waits until it is so.
    pub(crate) async fn until(&self, condition: impl FnMut(&Inside) -> bool) {
        let mut inside = self.inside.subscribe();
        let waited = tokio::time::timeout(super::PATIENCE, inside.wait_for(condition)).await;
        waited.expect("in time").unwrap();
    }

    async fn converse(&self, mut stream: UnixStream) {
        let mut inbox = Inbox::default();
        let mut events = self.events.subscribe();
        let (mut is_known, mut taps, mut captures, mut watches) = (false, false, false, false);
        let mut bytes = vec![0; 1 << 16];
        loop {
            while let Some(content) = inbox.pop().unwrap() {
                let Question { id, ask } = decode(content).unwrap();
                let is_change = matches!(ask, Ask::Replace { .. } | Ask::Change { .. });
                let drops = if is_change { self.inside().drop_next } else { None };
                if drops == Some(false) {
                    self.set(|inside| inside.drop_next = None);
                    return;
                }
                match ask {
                    Ask::Tap { .. } => taps = true,
                    Ask::Untap => taps = false,
                    Ask::Capture { .. } => captures = true,
                    Ask::EndCapture => captures = false,
                    Ask::WatchHealth => watches = true,
                    _ => {}
                }
                if self.inside().silent && is_known {
                    continue;
                }
                let answer = self.answer(ask, &mut is_known);
                if drops == Some(true) {
                    self.set(|inside| inside.drop_next = None);
                    return;
                }
                if stream.write_all(&encode(&Said::Answer { id, answer }).unwrap()).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                read = stream.read(&mut bytes) => match read {
                    Ok(n) if n > 0 => inbox.push(&bytes[..n]),
                    _ => break,
                },
                Ok(event) = events.recv() => {
                    let is_wanted = match event {
                        Event::Health { .. } => watches,
                        Event::Exchange(_) | Event::Missed { .. } => taps,
                        Event::Frame(_) | Event::CaptureEnd { .. } => captures,
                    };
                    if is_wanted && stream.write_all(&encode(&Said::Event(event)).unwrap()).await.is_err() {
                        break;
                    }
                }
            }
        }
        if taps {
            self.set(|inside| inside.taps.clear());
        }
        if captures {
            self.set(|inside| inside.captures.clear());
        }
    }

    fn answer(&self, ask: Ask, is_known: &mut bool) -> Answer {
        let inside = self.inside();
        let served = inside.snapshot.clone();
        if let Ask::Hello { protocol, .. } = ask {
            let speaks = inside.protocol.unwrap_or(PROTOCOL);
            if protocol != speaks {
                return Answer::Refused(Refusal::Protocol { speaks });
            }
            *is_known = true;
            return Answer::Welcome(Welcome {
                protocol,
                version: "stand-in".into(),
                pid: std::process::id(),
                name: "test".into(),
                revision: served.map_or(0, |it| it.revision),
                workers: 1,
            });
        }
        if !*is_known {
            return Answer::Refused(Refusal::Stranger);
        }
        match ask {
            Ask::Hello { .. } => unreachable!("it was answered"),
            Ask::Replace { snapshot } => {
                self.set(|inside| inside.replaced += 1);
                self.take(*snapshot)
            }
            Ask::Change { delta } => {
                let serves = served.as_ref().map_or(0, |it| it.revision);
                if delta.base != serves {
                    return Answer::Refused(Refusal::Revision { serves });
                }
                self.set(|inside| inside.changed += 1);
                let mut snapshot = served.map(|it| Snapshot::clone(&it)).expect("it has a revision");
                match delta.apply(&mut snapshot) {
                    Ok(()) => self.take(snapshot),
                    Err(reason) => Answer::Refused(Refusal::Unsound { reason }),
                }
            }
            Ask::Snapshot => {
                Answer::Snapshot { snapshot: Box::new(Snapshot::clone(&served.expect("it serves something"))) }
            }
            Ask::Meters => Answer::Meters { meters: Vec::new(), unmetered: 0 },
            Ask::Endpoints => Answer::Endpoints { endpoints: endpoints(served.as_deref()) },
            Ask::Connections { .. } => {
                let connections: Vec<_> = (0..inside.busy).map(|_| connection()).collect();
                Answer::Connections { total: connections.len() as u64, connections }
            }
            Ask::Drain { .. } if inside.refuse_drain => Answer::Refused(Refusal::Unsound { reason: "not now".into() }),
            Ask::Drain { drains } => {
                self.set(|inside| inside.drains = drains);
                Answer::Done
            }
            Ask::Tap { filter } => {
                self.set(|inside| inside.taps.push(filter));
                Answer::Done
            }
            Ask::Untap => {
                self.set(|inside| inside.taps.clear());
                Answer::Done
            }
            Ask::Capture { filter } => {
                if filter.interface.is_some() {
                    return Answer::Refused(Refusal::Unsound { reason: "there is no such interface".into() });
                }
                self.set(|inside| inside.captures.push(*filter));
                Answer::Capturing { interfaces: vec!["p0".into()] }
            }
            Ask::EndCapture => {
                self.set(|inside| inside.captures.clear());
                Answer::Done
            }
            Ask::WatchHealth => Answer::Done,
        }
    }

    fn take(&self, snapshot: Snapshot) -> Answer {
        let Inside { snapshot: served, mut refuse, refuse_endpoint, refuse_after, .. } = self.inside();
        let mut endpoints = snapshot.backends.iter().flat_map(|it| &it.endpoints);
        if let Some(bad) = endpoints.find(|it| Some(it.address) == refuse_endpoint) {
            refuse = Some(format!("not {}", bad.address));
        }
        if refuse_after == Some(0) {
            refuse = Some("not any more".into());
        }
        if let Err(reason) = refuse.map_or(Ok(()), Err).and_then(|()| snapshot.check()) {
            let is_stuck = reason == STUCK;
            let stuck = Refusal::Stuck { worker: 1, serves: snapshot.revision };
            return Answer::Refused(if is_stuck { stuck } else { Refusal::Unsound { reason } });
        }
        if served.is_some_and(|it| it.dataplane != snapshot.dataplane) {
            return Answer::Refused(Refusal::Restart);
        }
        let revision = snapshot.revision;
        self.set(|inside| {
            inside.snapshot = Some(Arc::new(snapshot));
            inside.refuse_after = refuse_after.map(|left| left - 1);
        });
        Answer::Applied { revision, took_us: 7 }
    }
}

/// As a reason: a worker does not answer.
pub(crate) const STUCK: &str = "stuck";

fn endpoints(served: Option<&Snapshot>) -> Vec<EndpointState> {
    let backends = served.into_iter().flat_map(|it| &it.backends);
    let all = backends.flat_map(|backend| backend.endpoints.iter().map(|endpoint| (backend.name.clone(), *endpoint)));
    let state = |(backend, endpoint): (String, weirgate_dataplane::snapshot::Endpoint)| EndpointState {
        backend,
        address: endpoint.address,
        weight: endpoint.weight,
        healthy: true,
        health: "well".into(),
        active: 0,
        connections: 2,
    };
    all.map(state).collect()
}

fn connection() -> Connection {
    Connection {
        worker: 0,
        local: ([10, 77, 0, 10], 80).into(),
        remote: ([10, 77, 0, 2], 40_000).into(),
        side: "client".into(),
        state: "ESTABLISHED".into(),
        busy: true,
        srtt_us: 90,
        cwnd: 14_480,
        in_flight: 0,
        age_ms: 12,
    }
}
