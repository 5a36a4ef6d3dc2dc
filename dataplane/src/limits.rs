//! Every capacity of the data plane in one place, with the relations between them that the code relies on.
//!
//! A number here is a bound that is enforced where it is used; what goes beyond it ends as a named [`Drop`](crate::drops::Drop).

use crate::time::Duration;

// Ports and workers.

/// Workers in one data plane: one core and one queue pair on each port for each.
pub const WORKERS_MAX: usize = 64;
/// Ports in one data plane.
pub const PORTS_MAX: usize = 8;
/// Frames taken from a port in one call, and offered to it in one call.
pub const BURST_MAX: usize = 32;
/// Frames of a worker that wait for room in one port's transmit ring.
pub const TX_BACKLOG_MAX: usize = 256;
/// Of these, places that TCP's data leaves free, for acknowledgments and everything that is not TCP.
pub const TX_BACKLOG_SPARED: usize = 64;
/// Descriptors asked for in each receive and transmit ring; a device may say fewer.
pub const RING_DESCRIPTORS: u16 = 1024;
/// Frames in each ring of an AF_PACKET queue, in memory of the kernel's (2 KiB each). A peer that fills several windows at once finds room: what
/// does not fit is lost with one worker, and with several the kernel hands it to another one, which does not know its connection.
pub const AF_PACKET_RING: u32 = 4096;

// Frames.

/// Room before a fresh frame's first byte, for headers that are prepended: VLAN Ethernet 18, IPv6 40, TCP with options 60.
pub const HEADROOM: usize = 128;
/// What is prepended at most.
pub const HEADERS_MAX: usize = 18 + 40 + 60;
/// Bytes of a frame's buffer after the headroom: a whole frame at MTU 1500, twice as much as most.
pub const FRAME_ROOM: usize = 2048;
/// Segments that one received or sent frame may be chained from: a jumbo frame of 9,018 bytes takes five.
pub const SEGMENTS_MAX: usize = 8;
/// Bytes around an IP packet: Ethernet header, VLAN tag and frame check sequence.
pub const ETHERNET_MAX: usize = 14 + 4 + 4;
/// The largest MTU that a port may be given.
pub const MTU_MAX: u16 = 9_000;
/// The smallest MTU that a port may be given (RFC 8200 section 5: every IPv6 link carries 1,280 bytes).
pub const MTU_MIN: u16 = 1_280;
/// Frames of one worker's pool, if the snapshot does not say.
pub const FRAMES_PER_WORKER: u32 = 8_192;
/// The least and the most that it may say.
pub const FRAMES_PER_WORKER_RANGE: (u32, u32) = (2_048, 4_194_304);

/// Frames of a pool that a thread keeps for itself.
pub const POOL_CACHE: u32 = 256;
/// Bytes beside a frame's headroom and room: its descriptor, the pool's words around it and its place in the pool's ring.
pub const FRAME_DESCRIPTOR: usize = 128 + 64 + 64 + 16;
/// Bytes of a pool beside its frames.
const POOL_BYTES: usize = 4 << 20;
/// Bytes that DPDK and its drivers take beside the pools.
const DPDK_BYTES: usize = 48 << 20;

/// Packet memory of a whole data plane, in bytes.
pub const fn packet_bytes(workers: usize, frames_per_worker: u32, frame_room: usize) -> usize {
    DPDK_BYTES + workers * (POOL_BYTES + frames_per_worker as usize * (HEADROOM + frame_room + FRAME_DESCRIPTOR))
}

/// Frames of each worker that fit this much packet memory.
pub const fn frames_in(bytes: usize, workers: usize, frame_room: usize) -> usize {
    bytes.saturating_sub(packet_bytes(workers, 0, frame_room)) / workers / (HEADROOM + frame_room + FRAME_DESCRIPTOR)
}

/// The least frames that a worker needs so that full rings and everything that may wait leave some to receive into: both rings of each port
/// (drivers free what was sent when they need the place), backlogs, frames that wait for neighbours, and what threads keep.
pub const fn frames_min(ports: usize) -> u32 {
    (ports * (2 * RING_DESCRIPTORS as usize + TX_BACKLOG_MAX) + NEIGHBORS_PENDING_MAX) as u32 + 2 * POOL_CACHE
}

// Interfaces and routes.

/// Interfaces (a port, or a VLAN on a port) in one data plane.
pub const INTERFACES_MAX: usize = 64;
/// Addresses of one interface and family. They are searched in a line, so they are few.
pub const ADDRESSES_MAX: usize = 16;
/// Static routes of one family, the connected ones not counted.
pub const ROUTES_MAX: usize = 256;

// IPv6 extension headers (RFC 8504 section 5.3 asks hosts to set such limits).

/// Extension headers in one packet.
pub const EXTENSION_HEADERS_MAX: usize = 4;
/// Bytes of all of them.
pub const EXTENSION_BYTES_MAX: usize = 256;
/// Options inside one hop-by-hop or destination options header.
pub const EXTENSION_OPTIONS_MAX: usize = 8;

// Neighbours.

/// Neighbours that one worker remembers.
pub const NEIGHBORS_MAX: usize = 4_096;
/// Neighbours among them whose address is still being asked for; the oldest makes room (RFC 6583 section 6.2).
pub const NEIGHBORS_INCOMPLETE_MAX: usize = 512;
/// Frames that wait for one neighbour (RFC 4861 section 7.2.2 asks for at least one).
pub const NEIGHBOR_PENDING_MAX: usize = 4;
/// Frames that wait for any neighbour.
pub const NEIGHBORS_PENDING_MAX: usize = 512;
/// New neighbours that a worker learns from their requests in one second; further ones are answered but not learned.
pub const NEIGHBORS_LEARNED_PER_SECOND: u32 = 256;
/// Neighbours that a worker begins to ask for in one second, and how many at once: strangers' addresses could be as many as their frames.
pub const NEIGHBORS_ASKED_PER_SECOND: u32 = 1_000;
/// How many of them at once.
pub const NEIGHBORS_ASKED_BURST: u32 = 2 * NEIGHBORS_INCOMPLETE_MAX as u32;
/// Notices about neighbours that one worker may leave unread.
pub const NOTICES_MAX: usize = 1_024;

// ICMP.

/// ICMP and ICMPv6 errors that one worker sends in a second, and how many at once (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f).
pub const ICMP_ERRORS_PER_SECOND: u32 = 1_000;
/// How many of them at once.
pub const ICMP_ERRORS_BURST: u32 = 50;
/// Bytes of the offending packet that an ICMPv4 error quotes: it stays within 576 bytes (RFC 1812 section 4.3.2.3).
pub const ICMP4_QUOTE_MAX: usize = 576 - 20 - 8;
/// Bytes of the offending packet that an ICMPv6 error quotes: it stays within the minimum MTU (RFC 4443 section 2.4 c).
pub const ICMP6_QUOTE_MAX: usize = 1_280 - 40 - 8;

// TCP.

/// Full connections of a data plane, if nobody says otherwise.
pub const TCP_CONNECTIONS_MAX: u32 = 1_000_000;
/// The least and the most that it may say.
pub const TCP_CONNECTIONS_RANGE: (u32, u32) = (64, 64_000_000);
/// Half-open connections that a worker remembers; further ones get a cookie.
pub const TCP_HALF_OPEN_MAX: usize = 16_384;
/// Connections in TIME-WAIT that a worker remembers; the oldest makes room.
pub const TCP_TIME_WAIT_MAX: usize = 262_144;
/// Listeners of a worker.
pub const TCP_LISTENERS_MAX: usize = 1_024;
/// The window that a connection begins with, in bytes: what a SYN can say without a scale.
pub const TCP_WINDOW_INITIAL: u32 = 65_535;
/// The largest window that is opened: 1 Gbit/s over 100 ms is 12.5 MB under way.
pub const TCP_WINDOW_MAX: u32 = 16 << 20;
/// Bytes that an application may have queued on a connection, however slow its path.
pub const TCP_SEND_BUFFER_MIN: u32 = 64 << 10;
/// The same, however fast: twice the largest window.
pub const TCP_SEND_BUFFER_MAX: u32 = 32 << 20;
/// Frames that they may be in: full segments of the largest buffer, and as many again.
pub const TCP_SEND_FRAMES_MAX: usize = 2 * TCP_SEND_BUFFER_MAX as usize / 1_448;
/// Payloads up to this many bytes are copied: when they are sent (longer ones go by reference where the port can do that), and when they are
/// held (a frame's buffer is several times as much).
pub const TCP_COPY_MAX: usize = 512;
/// Connections whose timers are looked at in one turn. When the clock has jumped, those of all are due at once; what each of them sends
/// needs a frame, and what has arrived meanwhile must be read before more is sent again.
pub const TCP_TIMERS_MAX: usize = 256;
/// A segment up to this many bytes, if nothing else is under way, leaves in the application's own frame, and its bytes are kept without one.
pub const TCP_LONE_MAX: usize = 512;
/// Bytes of a segment that a device cuts for us.
pub const TSO_MAX: u32 = 8_192;
/// Segments of one connection that are sent and not acknowledged; beyond them no new ones are sent.
pub const SENT_MAX: usize = 16_384;
/// Ranges of selectively acknowledged numbers of one connection; a block that would need one more is ignored, as RFC 2018 section 5 allows.
pub const SACK_RANGES_MAX: usize = 128;
/// Bytes to which a congestion window may grow: the largest receive window (RFC 7323 section 2.3).
pub const CWND_MAX: u32 = 1 << 30;
/// Timeouts in a row after which large segments are thought to vanish in a path that is narrower than it says.
pub const TCP_RETRIES_BLACK_HOLE: u8 = 4;

// TCP: data that arrived out of order.

/// Stretches of contiguous data that one connection holds behind holes (what an attacker may make us look through: CVE-2018-5390).
pub const TCP_RUNS_MAX: usize = 256;
/// Bytes that one worker holds in copies for all its connections, with what is kept about them.
pub const TCP_HELD_BYTES_MAX: usize = 16 << 20;
/// What a copy counts beside its bytes: its place in the lists, its run, and the allocator's words.
pub const TCP_PIECE_BYTES: usize = 96;
/// What a connection counts that holds anything at all.
pub const TCP_ASSEMBLER_BYTES: usize = 256;

/// Frames of a worker's pool that rings, backlogs and everything else but TCP are not disturbed in: what they need at least, or half of the pool
/// where that is more; three quarters of a small one.
const fn frames_beside_tcp(frames_per_worker: u32, ports: usize) -> u32 {
    let half = frames_per_worker / 2;
    let some = if half < 4 * RING_DESCRIPTORS as u32 { half } else { 4 * RING_DESCRIPTORS as u32 };
    let least = frames_min(ports);
    if least <= some {
        some
    } else if least < half + half / 2 {
        least
    } else {
        half + half / 2
    }
}
/// Frames of a worker's pool that TCP may have queued to be sent or unacknowledged, for all its connections.
pub const fn tcp_queued_frames_max(frames_per_worker: u32, ports: usize) -> u32 {
    (frames_per_worker - frames_beside_tcp(frames_per_worker, ports)) / 2
}
/// Frames of a worker's pool that may wait out of order or with the application. Half as many more hold what is just being handed up.
pub const fn tcp_held_frames_max(frames_per_worker: u32, ports: usize) -> u32 {
    (frames_per_worker - frames_beside_tcp(frames_per_worker, ports)) / 4
}

/// For so long a peer may take nothing, or leave a hole as it is, while what it holds up is wanted by others.
pub const TCP_STALLED: Duration = Duration::from_secs(10);
/// When frames are short, those who stand still are looked for so often,
pub const TCP_RELIEF_EVERY: Duration = Duration::from_ms(50);
/// and so many are looked at each time.
pub const TCP_RELIEF_LOOKS: usize = 1_024;
/// Of those whose bytes the application does not consume so many are ended each time.
pub const TCP_RELIEF_ENDS: usize = 64;
/// Whoever waits for frames, and could not use those that there were, is told again after this time.
pub const TCP_WAKE_EVERY: Duration = Duration::from_ms(1);

// PROXY protocol.

/// Bytes of a version 2 header with its extensions; whoever sends more is refused.
pub const PROXY_HEADER_MAX: usize = 2_048;

// Filters.

/// Bytes of a target that a filter writes: as long as a request line may be.
pub const FILTER_TARGET_MAX: usize = 8_192;
/// Bytes of a response that a rule holds: head and content fit one frame.
pub const DIRECT_RESPONSE_MAX: usize = 1_024;

// TLS.

/// Bytes of a ClientHello over all its records, and what any other handshake message may have (rustls has the same bound).
pub const TLS_HELLO_MAX: usize = 64 << 10;
/// Bytes that a peer may send before its handshake is over: two hellos and a long chain of certificates.
pub const TLS_HANDSHAKE_MAX: usize = 256 << 10;
/// Plaintext of one record (RFC 8446 section 5.1).
pub const TLS_PLAINTEXT_MAX: usize = 1 << 14;
/// What a TLS 1.3 record may be longer, with its inner type, padding and tag (RFC 8446 section 5.2).
pub const TLS13_EXPANSION_MAX: usize = 256;
/// What a TLS 1.2 record may be longer (RFC 5246 section 6.2.3).
pub const TLS12_EXPANSION_MAX: usize = 2_048;
/// Bytes around the plaintext that we send: header, explicit nonce, inner type, tag.
pub const TLS_OVERHEAD_MAX: usize = 5 + 8 + 1 + 16;
/// Records under one AES-GCM key: half of the 2^24 that RFC 8446 section 5.5 comes to.
pub const TLS_RECORDS_MAX: u64 = 1 << 23;
/// Plaintext of a record that goes out in one TCP segment (1,448 bytes with timestamps, whatever the suite).
pub const TLS_RECORD_SMALL: usize = 1_448 - TLS_OVERHEAD_MAX;
/// So many bytes of a burst go out in such records: a receiver can use each segment as it arrives while the window is small.
pub const TLS_BURST_SMALL: u32 = 64 << 10;
/// A burst is over after so long without a record.
pub const TLS_BURST_IDLE: Duration = Duration::from_secs(1);
/// Bytes of a long record that each fresh frame gets: one segment.
pub const TLS_FRAME_BYTES: usize = 1_448;
/// Records without content in a row.
pub const TLS_EMPTY_RECORDS_MAX: u8 = 32;
/// KeyUpdates without application data between them.
pub const TLS_KEY_UPDATES_MAX: u8 = 32;
/// Warnings of a TLS 1.2 peer, and requests to renegotiate.
pub const TLS_WARNINGS_MAX: u8 = 4;
/// NewSessionTickets that a server may send on one connection.
pub const TLS_TICKETS_MAX: u8 = 16;
/// Bytes of a handshake message after the handshake.
pub const TLS_LATE_MESSAGE_MAX: usize = 16 << 10;
/// Change_cipher_spec records of a TLS 1.3 peer, which mean nothing (RFC 8446 section 5).
pub const TLS_SPEC_CHANGES_MAX: u8 = 2;
/// Bytes of a worker that hold records and handshakes that are not whole yet. Whoever would need more is refused.
pub const TLS_GATHERED_BYTES_MAX: usize = 64 << 20;
/// This part of them, at most, is handshakes'.
pub const TLS_HANDSHAKES_PART: usize = 4;
/// A record that has so few bytes yet is held in as many; then in a buffer for the longest.
pub const TLS_GATHERED_SMALL: usize = 2 << 10;
/// Buffers for the longest record that a worker keeps for the next one.
pub const TLS_SPARE_BUFFERS: usize = 16;
/// Servers that a client context remembers sessions of.
pub const TLS_RESUMPTIONS_MAX: usize = 256;
/// A step of a handshake takes some 100 us, in which nobody else is served. While frames come faster than they are dealt with, one is made after so
/// long.
pub const TLS_STEP_PRESSED: Duration = Duration::from_ms(1);
/// Clients' steps that wait for that, and as many for a thread; whoever would be one more is cut off.
pub const TLS_STEPS_WAITING_MAX: usize = 4_096;
/// Steps of connections that are gone, which are passed over in one turn.
pub const TLS_STEPS_PASSED_MAX: usize = 64;
/// Seconds that a key seals tickets, and that a ticket is good for; after that the key opens them for as long again.
pub const TLS_TICKET_SECONDS: u32 = 12 * 3_600;
/// Bytes of what backends are told of a client's certificate.
pub const TLS_IDENTITY_BYTES_MAX: usize = 2 << 10;
/// Of one worker, steps that threads have.
pub const TLS_STEPS_AWAY_MAX: usize = 64;
/// Certificates that a snapshot may have.
pub const TLS_CERTIFICATES_MAX: usize = 16_384;
/// Bundles of authorities that it may have.
pub const TLS_AUTHORITIES_MAX: usize = 1_024;
/// Certificates of a chain.
pub const TLS_CHAIN_MAX: usize = 16;

// HTTP routes. What an operator may write follows the Gateway API's own bounds where it has them.

/// Rules of one listener, and matches of all of them, each counted once for each hostname.
pub const HTTP_RULES_MAX: usize = 1 << 20;
/// The same for places where a match is looked up.
pub const HTTP_PLACES_MAX: usize = 1 << 22;
/// Bytes of a hostname (RFC 1035 section 2.3.4, without the root's dot).
pub const HOSTNAME_MAX: usize = 253;
/// Bytes of an exact path, a prefix or a pattern in a rule. A longer request path is compared with prefixes and patterns only.
pub const HTTP_PATH_MATCH_MAX: usize = 1_024;
/// Segments of a prefix: each number that occurs is looked up.
pub const HTTP_PREFIX_SEGMENTS_MAX: usize = 63;
/// Matches of one hostname with the same path, which are tried one after the other.
pub const HTTP_SAME_PATH_MAX: usize = 1_024;
/// Path patterns of one hostname, which are tried one after the other.
pub const HTTP_PATH_PATTERNS_MAX: usize = 32;
/// Different patterns of one listener.
pub const HTTP_PATTERNS_MAX: usize = 1_024;
/// Bytes of a compiled pattern, and of what a worker keeps to run it fast.
pub const HTTP_PATTERN_BYTES: usize = 64 << 10;
/// Header fields, and query parameters, that one match looks at.
pub const HTTP_CONDITIONS_MAX: usize = 16;
/// Bytes of a value that one of them is compared with.
pub const HTTP_VALUE_MATCH_MAX: usize = 4_096;
/// Bytes of a repeated field's joined lines, or of a decoded parameter, on which patterns are tried; a longer one matches none.
pub const HTTP_VALUE_JOINED_MAX: usize = 4_096;
/// The largest weight of a backend.
pub const HTTP_WEIGHT_MAX: u32 = 1_000_000;

// Upstreams.

/// Backends of a data plane.
pub const BACKENDS_MAX: usize = 65_536;
/// Endpoints of one backend.
pub const ENDPOINTS_MAX: usize = 65_536;
/// The largest weight of an endpoint.
pub const ENDPOINT_WEIGHT_MAX: u32 = 1_000;
/// Endpoints that least request compares, at most.
pub const BALANCE_CHOICES_MAX: u8 = 16;
/// Points of a hash ring, at least and at most; an endpoint has one at least.
pub const RING_POINTS_RANGE: (u32, u32) = (1_024, 8 << 20);
/// Places of a Maglev table, at most: a prime number.
pub const MAGLEV_PLACES_MAX: u32 = 5_000_011;
/// Unusable endpoints that a hash is led past before it is led to any usable one.
pub const BALANCE_SKIPS_MAX: usize = 64;

// HTTP.

/// Bytes of a head, request line included, beyond which no configuration goes; offsets into it are 16 bits wide.
pub const HTTP_HEAD_BYTES_MAX: usize = 60 << 10;
/// Fields of a head beyond which no configuration goes. Fields are counted beside bytes: each costs more than its bytes (CVE-2026-47774).
pub const HTTP_FIELDS_MAX: usize = 256;
/// Fields of a head, if the configuration does not say.
pub const HTTP_FIELDS: usize = 100;
/// Bytes of a request line, if the configuration does not say (RFC 9112 section 3 asks for 8,000 at least).
pub const HTTP_REQUEST_LINE: usize = 16 << 10;
/// Bytes of a method; the longest registered one has 17.
pub const HTTP_METHOD_MAX: usize = 24;
/// Bytes of a host's name (RFC 1035 section 2.3.4), or of an IPv6 address in brackets.
pub const HTTP_HOST_MAX: usize = 253;
/// Options in all `Connection` fields of one head; each is compared with every field's name.
pub const HTTP_CONNECTION_OPTIONS_MAX: usize = 16;
/// Informational responses before the final one.
pub const HTTP_INTERIM_MAX: u8 = 16;
/// Bytes of a chunk's line.
pub const HTTP_CHUNK_LINE_MAX: u16 = 256;
/// Bytes of all chunk extensions of one message: nobody uses them, and they are not forwarded.
pub const HTTP_CHUNK_EXTENSIONS_MAX: u32 = 16 << 10;
/// Bytes of a trailer section.
pub const HTTP_TRAILER_BYTES_MAX: usize = 8 << 10;
/// Fields of a trailer section.
pub const HTTP_TRAILER_FIELDS_MAX: usize = 32;
/// The longest content that a length may promise: what backends read as a signed number stays positive.
pub const HTTP_CONTENT_LENGTH_MAX: u64 = i64::MAX as u64;

// Exchanges.

/// Bytes of a head as it goes on: what it had, and what rules and we add.
pub const HTTP_WRITTEN_MAX: usize = HTTP_HEAD_BYTES_MAX + (8 << 10);
/// Bytes that an exchange keeps for the next one's head.
pub const HTTP_WRITTEN_KEPT: usize = 4 << 10;
/// Bytes of all heads of a worker that crossed frames and are not whole yet; whoever would need more is refused.
pub const HTTP_PARTIAL_BYTES_MAX: usize = 32 << 20;
/// So much of a head is kept as long as there is room at all;
pub const HTTP_PARTIAL_SMALL: usize = 4 << 10;
/// more only up to this part of what is left, so that a few hundred long ones leave something to everybody else.
pub const HTTP_PARTIAL_PART: usize = 8;
/// Content up to this many bytes is copied; longer stretches go by reference.
pub const HTTP_COPY_MAX: usize = 512;
/// Content that is all there with its head is copied behind it if both fit a segment of Ethernet: a second frame costs more than any such copy
/// (`bench/JOURNAL.md`).
pub const HTTP_WITH_HEAD_MAX: usize = 1_400;
/// Content that is read and thrown away so that a connection persists, when the answer did not wait for it.
pub const HTTP_DISCARD_MAX: u64 = 64 << 10;
/// Content within which `requestBody` runs anew.
pub const HTTP_BODY_STEP: u64 = 16 << 10;
/// Endpoints that are tried for one request, when they cannot be connected to.
pub const CONNECT_ATTEMPTS_MAX: u8 = 3;
/// An endpoint that could not be connected to is passed over for so long, while others can be.
pub const CONNECT_FAILED_REST: Duration = Duration::from_secs(2);
/// A client that has its last answer may still send for so long (RFC 9112 section 9.6).
pub const LINGER: Duration = Duration::from_secs(5);
/// Connections that are looked at in one turn for those of listeners that are gone.
pub const RETIRED_LOOKS: usize = 8_192;
/// Records of ended exchanges that wait to be read.
pub const RECORDS_MAX: usize = 4_096;

// The loop.

/// A turn that takes longer is a stall, counted and reported.
pub const TURN_STALL: Duration = Duration::from_ms(10);
/// How often a busy worker writes its counters where others read them.
pub const PUBLISH_EVERY: Duration = Duration::from_ms(1);

const _: () = {
    assert!(HEADROOM >= HEADERS_MAX, "a segment with every header fits before the payload");
    assert!(FRAME_ROOM >= MTU_MIN as usize + 18);
    assert!(TX_BACKLOG_SPARED < TX_BACKLOG_MAX);
    assert!(SEGMENTS_MAX * FRAME_ROOM >= MTU_MAX as usize + 18, "a jumbo frame fits the longest chain");
    assert!(NEIGHBORS_INCOMPLETE_MAX < NEIGHBORS_MAX, "strangers cannot crowd out the neighbours we know");
    assert!(NEIGHBOR_PENDING_MAX <= NEIGHBORS_PENDING_MAX);
    assert!(frames_min(2) < FRAMES_PER_WORKER, "two ports work with what is given by default");
    assert!(
        TCP_SEND_BUFFER_MAX >= 2 * TCP_WINDOW_MAX,
        "the peer's largest window can be filled while a round trip is acknowledged"
    );
    assert!(TSO_MAX as usize <= (SEGMENTS_MAX - 1) * FRAME_ROOM, "header and payload fit the longest chain");
    assert!(HTTP_HEAD_BYTES_MAX <= u16::MAX as usize, "places in a head fit a span");
    assert!(HTTP_REQUEST_LINE <= HTTP_HEAD_BYTES_MAX && HTTP_TRAILER_BYTES_MAX <= HTTP_HEAD_BYTES_MAX);
    assert!(HTTP_FIELDS <= HTTP_FIELDS_MAX && HTTP_TRAILER_FIELDS_MAX <= HTTP_FIELDS_MAX);
    assert!(TCP_COPY_MAX < FRAME_ROOM);
    assert!(ICMP6_QUOTE_MAX + 40 + 8 + 18 <= FRAME_ROOM);
    assert!(TCP_COPY_MAX <= FRAME_ROOM, "a copy goes up in one fresh frame");
    assert!(
        TCP_ASSEMBLER_BYTES + TCP_RUNS_MAX * (TCP_PIECE_BYTES + TCP_COPY_MAX) <= TCP_HELD_BYTES_MAX / 64,
        "one connection's holes take a small part of what all have"
    );
    assert!(
        frames_min(2) + tcp_queued_frames_max(FRAMES_PER_WORKER, 2) + tcp_held_frames_max(FRAMES_PER_WORKER, 2) * 3 / 2
            <= FRAMES_PER_WORKER,
        "what TCP holds takes nothing from the rings"
    );
    assert!(TLS_RECORD_SMALL + TLS_OVERHEAD_MAX <= FRAME_ROOM, "a small record fits a fresh frame");
    assert!(TLS_FRAME_BYTES <= FRAME_ROOM && TLS_GATHERED_SMALL < TLS_PLAINTEXT_MAX);
    assert!(HEADROOM - HEADERS_MAX >= 5, "the header of a record fits before what was written into a fresh frame");
    assert!(HTTP_PREFIX_SEGMENTS_MAX < 64, "numbers of segments are bits of a word");
    assert!(HTTP_CONDITIONS_MAX <= u8::MAX as usize);
    assert!(
        tcp_held_frames_max(FRAMES_PER_WORKER_RANGE.0, 2) as usize >= 2 * SEGMENTS_MAX,
        "the longest chain, shared, fits"
    );
};

/// Probes of endpoints that begin or end in one turn.
pub const PROBES_AT_ONCE: usize = 32;
/// Bytes of an answer to a probe that are read.
pub const HEALTH_ANSWER_MAX: usize = 16 << 10;
/// Bytes of the path that a health check asks for.
pub const HEALTH_PATH_MAX: usize = 512;

/// A table with so many rules is not made anew because of a few changed routes, but gets a layer with these over it.
pub const HTTP_LAYERS_FROM: usize = 1_024;
/// So few.
pub const HTTP_LAYER_ROUTES_MAX: usize = 256;

/// Meters of one worker: listeners, routes, backends and endpoints that have had an exchange. A report of all of them is some three megabytes.
pub const METERS_MAX: usize = 16_384;

/// Meters, endpoints or connections that a worker tells between two turns.
pub const REPORT_PAGE: usize = 1_024;
/// Places that it looks at for them.
pub const REPORT_LOOKS: usize = 16 * REPORT_PAGE;
/// Commands of the link that wait for a worker.
pub const DESK_COMMANDS_MAX: usize = 64;
/// Backends that one piece of an update changes, unless it would have too many pieces,
pub const UPDATE_PIECE: usize = 256;
/// which are so many at most.
pub const UPDATE_PIECES_MAX: usize = 32;
const _: () = assert!(2 * UPDATE_PIECES_MAX <= DESK_COMMANDS_MAX);
/// Replies of a worker that wait for the link: to each command, and what is let go of.
pub const DESK_REPLIES_MAX: usize = 256;
const _: () = assert!(DESK_REPLIES_MAX > 2 * DESK_COMMANDS_MAX);
/// Exchanges that somebody watches and that wait to be told.
pub const TAPPED_MAX: usize = 4_096;
/// Bytes of each of a request's method, host and path that are told.
pub const TAP_TEXT_MAX: usize = 256;
/// Those who may watch exchanges at a time.
pub const TAPS_MAX: usize = 4;
/// Captures at a time.
pub const CAPTURES_MAX: usize = 4;
/// Frames of one capture that wait to be fetched, of all workers.
pub const CAPTURE_FRAMES_MAX: usize = 8_192;
/// Bytes of them.
pub const CAPTURE_BYTES_MAX: usize = 16 << 20;
/// Peers that may be connected to the link.
pub const LINK_PEERS_MAX: usize = 16;
const _: () =
    assert!(LINK_PEERS_MAX > TAPS_MAX + CAPTURES_MAX, "each stream has a link of its own, and the daemon has one");

/// Bytes of one message over the link: a snapshot of 100,000 routes has some thirty million.
pub const LINK_MESSAGE_MAX: usize = 256 << 20;
