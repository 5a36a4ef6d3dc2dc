//! A name server that has a script for each question, over UDP and TCP at one port.

use hickory_resolver::proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata},
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
};

/// What a question gets.
#[derive(Clone)]
pub(super) enum Reply {
    /// These records, by their owner's name, TTL and data.
    Records(Vec<(&'static str, u32, RData)>),
    /// The same, over TCP only: over UDP it does not fit.
    Long(Vec<(&'static str, u32, RData)>),
    Code(ResponseCode),
    /// Bytes that are no message.
    Garbage,
    /// Nothing.
    Silence,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    replies: BTreeMap<(String, RecordType), Reply>,
    asked: BTreeMap<(String, RecordType, bool), usize>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            // Somebody else may have the port of the other kind.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let (address, state) = (tcp.local_addr().unwrap(), Arc::new(Mutex::new(State::default())));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&state)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&state)));
        Self { address, state, _tasks: tasks }
    }

    /// From now on a question gets this.
    pub(super) fn say(&self, name: &str, kind: RecordType, reply: Reply) {
        self.state.lock().unwrap().replies.insert((name.into(), kind), reply);
    }

    /// How often something was asked for, over UDP or TCP.
    pub(super) fn asked(&self, name: &str, kind: RecordType, tcp: bool) -> usize {
        self.state.lock().unwrap().asked.get(&(name.into(), kind, tcp)).copied().unwrap_or(0)
    }
}

pub(super) fn a(address: &str) -> RData {
    RData::A(rdata::A(address.parse().unwrap()))
}
pub(super) fn aaaa(address: &str) -> RData {
    RData::AAAA(rdata::AAAA(address.parse().unwrap()))
}
pub(super) fn cname(to: &str) -> RData {
    RData::CNAME(rdata::CNAME(Name::from_ascii(to).unwrap()))
}
pub(super) fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(rdata::SRV::new(priority, weight, port, Name::from_ascii(target).unwrap()))
}

async fn serve_udp(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = [0; 4_096];
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = answer(&buffer[..len], &state, false) {
            socket.send_to(&answer, from).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_stream(stream, Arc::clone(&state)));
    }
}

async fn serve_stream(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Ok(len) = stream.read_u16().await {
        let mut question = vec![0; len.into()];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        if let Some(answer) = answer(&question, &state, true) {
            let len = u16::try_from(answer.len()).unwrap();
            if stream.write_u16(len).await.is_err() || stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

fn answer(question: &[u8], state: &Mutex<State>, tcp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries[0].clone();
    let name = query.name().to_lowercase().to_string();
    let kind = query.query_type();
    let mut state = state.lock().unwrap();
    *state.asked.entry((name.clone(), kind, tcp)).or_default() += 1;
    let reply = state.replies.get(&(name, kind)).cloned().unwrap_or(Reply::Code(ResponseCode::NXDomain));

    let mut message = Message::response(question.metadata.id, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.add_query(query);
    match reply {
        Reply::Silence => return None,
        Reply::Garbage => return Some(b"\xff\xfe not a message".to_vec()),
        Reply::Code(code) => message.metadata.response_code = code,
        Reply::Long(_) if !tcp => message.metadata.truncation = true,
        Reply::Records(records) | Reply::Long(records) => {
            let record = |(owner, ttl, data)| Record::from_rdata(Name::from_ascii(owner).unwrap(), ttl, data);
            message.add_answers(records.into_iter().map(record));
        }
    }
    Some(message.to_vec().unwrap())
}
