//! The daemon's end of the link to the data plane.
//!
//! Questions may be asked before earlier ones are answered. When the link breaks, every question that waits gets an error, and so does every later
//! one: whoever holds it makes another.

use std::{collections::HashMap, fmt, io, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::{Mutex, mpsc, oneshot, watch},
    time::timeout,
};
use weirgate_dataplane::link::{
    message::{Answer, Ask, Event, PROTOCOL, Question, Refusal, Said, Welcome},
    wire::{Inbox, decode, encode},
};

/// For questions.
const PATIENCE: Duration = Duration::from_secs(5);
/// For changes: a snapshot of 100,000 routes takes a second or two to compile.
const PATIENCE_FOR_CHANGES: Duration = Duration::from_secs(60);
/// Events that wait to be taken. Beyond, the reader waits, and so does the data plane's writer, which counts what it cannot send.
const EVENTS: usize = 1_024;

/// A link that stands, or stood. Clones are the same link.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    welcome: Welcome,
    writer: Mutex<OwnedWriteHalf>,
    waiting: Arc<std::sync::Mutex<Waiting>>,
    broken: watch::Receiver<Option<String>>,
    breaks: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkError {
    /// Nobody listens.
    Absent(String),
    /// The link broke, or is no longer used because an answer did not come. What became of the question is not known.
    Lost(String),
    /// No answer came within so many seconds. The link still stands.
    Late(u64),
    /// The data plane says no. Nothing has changed.
    Refused(Refusal),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(error) => write!(f, "the data plane cannot be reached: {error}"),
            Self::Lost(error) => write!(f, "the link to the data plane is lost: {error}"),
            Self::Late(seconds) => write!(f, "the data plane has not answered within {seconds} s"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl Link {
    /// Connects and says hello. Events come out of the receiver once they are asked for; dropping it ends nothing, and they are lost.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn connect(socket: &Path) -> Result<(Self, mpsc::Receiver<Event>), LinkError> {
        let absent = |error: io::Error| LinkError::Absent(format!("{}: {error}", socket.display()));
        let (read, mut write) = UnixStream::connect(socket).await.map_err(absent)?.into_split();
        let client = format!("weirgate-control {} (process {})", env!("CARGO_PKG_VERSION"), std::process::id());
        let hello = Question { id: 0, ask: Ask::Hello { protocol: PROTOCOL, client } };
        let mut reader = Reader { stream: read, inbox: Inbox::default() };
        let said = timeout(PATIENCE, async {
            write.write_all(&encode(&hello)?).await.map_err(|e| e.to_string())?;
            reader.next().await
        });
        let said = said.await.map_err(|_| LinkError::Lost("no welcome in time".into()))?.map_err(LinkError::Lost)?;
        let welcome = match said {
            Said::Answer { answer: Answer::Welcome(welcome), .. } if welcome.protocol == PROTOCOL => welcome,
            Said::Answer { answer: Answer::Welcome(Welcome { protocol, .. }), .. } => {
                return Err(LinkError::Refused(Refusal::Protocol { speaks: protocol }));
            }
            Said::Answer { answer: Answer::Refused(refusal), .. } => return Err(LinkError::Refused(refusal)),
            _ => return Err(LinkError::Lost("what came first was no welcome".into())),
        };
        let waiting = Arc::new(std::sync::Mutex::new(Waiting { next: 1, answers: HashMap::new() }));
        let (breaks, broken) = watch::channel(None);
        let (events, receiver) = mpsc::channel(EVENTS);
        tokio::spawn(read_all(reader, Arc::clone(&waiting), events, breaks.clone()));
        let writer = Mutex::new(write);
        Ok((Self(Arc::new(Inner { welcome, writer, waiting, broken, breaks })), receiver))
    }

    /// Who answers.
    pub fn welcome(&self) -> &Welcome {
        &self.0.welcome
    }

    /// Whether it is the same link.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Waits until it breaks, and says why.
    pub async fn broken(&self) -> String {
        let mut broken = self.0.broken.clone();
        let why = broken.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// No longer used: every question that waits has no answer.
    pub fn give_up(&self, why: &str) {
        self.0.breaks.send_if_modified(|broken| {
            let is_first = broken.is_none();
            broken.get_or_insert_with(|| why.to_owned());
            is_first
        });
        self.0.waiting.lock().expect("nobody panics with it").answers.clear();
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// See [`LinkError`]. After [`LinkError::Lost`] the link is of no use any more.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, LinkError> {
        let patience = match ask {
            Ask::Replace { .. } | Ask::Change { .. } => PATIENCE_FOR_CHANGES,
            _ => PATIENCE,
        };
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut waiting = self.0.waiting.lock().expect("nobody panics with it");
            let id = waiting.next;
            waiting.next += 1;
            waiting.answers.insert(id, sender);
            id
        };
        // Whoever asks may go away before the answer comes.
        let _forgotten = Forgotten { link: self, id };
        // Behind the entry: whoever breaks it from here on takes the entry away.
        if let Some(why) = self.0.broken.borrow().clone() {
            return Err(LinkError::Lost(why));
        }
        let question = Question { id, ask };
        let bytes = match tokio::task::spawn_blocking(move || encode(&question)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(reason)) => return Err(LinkError::Refused(Refusal::Unsound { reason })),
            Err(error) => return Err(LinkError::Lost(error.to_string())),
        };
        // On its own, so that nothing cuts it off in the midst of a message: that would garble what follows.
        let (link, is_change) = (self.clone(), patience == PATIENCE_FOR_CHANGES);
        tokio::spawn(async move {
            let written = async { link.0.writer.lock().await.write_all(&bytes).await.map_err(|e| e.to_string()) };
            let written = timeout(PATIENCE_FOR_CHANGES, written).await;
            if let Err(why) = written.unwrap_or_else(|_| Err("nothing more can be written to it".into())) {
                link.give_up(&why);
            }
        });
        match timeout(patience, answer).await {
            Ok(Ok(Answer::Refused(refusal))) => Err(LinkError::Refused(refusal)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => {
                // Not borrowed any more when it is given up.
                let why = self.0.broken.borrow().clone();
                Err(self.lost(why.unwrap_or_else(|| "it broke".into())))
            }
            Err(_) if is_change => Err(self.lost(format!("no answer within {} s", patience.as_secs()))),
            // Others may have more patience with it, a change above all. A late answer is nobody's.
            Err(_) => Err(LinkError::Late(patience.as_secs())),
        }
    }

    /// Questions that wait for an answer.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.0.waiting.lock().unwrap().answers.len()
    }

    fn lost(&self, why: String) -> LinkError {
        self.give_up(&why);
        LinkError::Lost(why)
    }
}

/// A question whose answer nobody waits for any more.
struct Forgotten<'a> {
    link: &'a Link,
    id: u64,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.link.0.waiting.lock().expect("nobody panics with it").answers.remove(&self.id);
    }
}

struct Reader {
    stream: OwnedReadHalf,
    inbox: Inbox,
}

impl Reader {
    async fn next(&mut self) -> Result<Said, String> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            if let Some(content) = self.inbox.pop()? {
                return decode(content);
            }
            let n = self.stream.read(&mut bytes).await.map_err(|e| e.to_string())?;
            if n == 0 {
                return Err("the data plane closed it".into());
            }
            self.inbox.push(&bytes[..n]);
        }
    }
}

async fn read_all(
    mut reader: Reader,
    waiting: Arc<std::sync::Mutex<Waiting>>,
    events: mpsc::Sender<Event>,
    breaks: watch::Sender<Option<String>>,
) {
    let mut broken = breaks.subscribe();
    let why = loop {
        let said = tokio::select! {
            said = reader.next() => said,
            // Also when nobody holds the link any more: then the data plane should know.
            _ = broken.wait_for(Option::is_some) => break None,
        };
        match said {
            Ok(Said::Answer { id, answer }) => {
                let asker = waiting.lock().expect("nobody panics with it").answers.remove(&id);
                asker.map(|asker| asker.send(answer));
            }
            Ok(Said::Event(event)) => {
                if !events.is_closed() {
                    _ = events.send(event).await;
                }
            }
            Err(why) => break Some(why),
        }
    };
    if let Some(why) = why {
        breaks.send_replace(Some(why));
    }
    waiting.lock().expect("nobody panics with it").answers.clear();
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.breaks.send_if_modified(|broken| broken.replace("nobody uses it".into()).is_none());
    }
}
