//! Where the engine does on purpose something else than what the RFCs say of a segment. One row each, with the reason.

/// A row of [`DIFFERENCES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// What is done.
    pub what: What,
    /// In which words.
    pub text: &'static str,
    /// And why.
    pub why: &'static str,
}

macro_rules! differences {
    ($($what:ident: $text:literal, $why:literal;)*) => {
        /// Names a difference.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs)] // the rows say it
        pub enum What { $($what),* }

        /// Everything in which the engine differs.
        pub const DIFFERENCES: &[Difference] = &[$(Difference { what: What::$what, text: $text, why: $why }),*];
    };
}

differences! {
    SynWithFin: "a SYN with a FIN is dropped by a listener and in TIME-WAIT (RFC 9293 3.10.7.2 has both processed)",
        "nobody opens a connection so; it is a scanner's";
    SynBringsNothing: "text and FIN beside a SYN are not kept, and not acknowledged (RFC 9293 3.10.7.2 and .3 queue them)",
        "they come again, and a half-open connection holds no frames";
    SynAgain: "the peer's SYN again in SYN-RECEIVED is answered with the SYN-ACK (by RFC 9293 3.10.7.4 with an ACK)",
        "the SYN-ACK is what was lost, and its options are in it alone";
    SynChallenged: "a SYN in the window in SYN-RECEIVED is challenged (RFC 9293 3.10.7.4 returns to LISTEN)",
        "RFC 5961 4.2 challenges each SYN; one forged SYN would undo an open";
    SynWithoutTimestamp: "a SYN without a timestamp is challenged (RFC 7323 3.2 drops what has none)",
        "RFC 5961 4.2 challenges each SYN; a peer that has begun anew may have another mind about timestamps";
    SynAckInSimultaneousOpen: "in a simultaneous open the peer's SYN-ACK counts (by RFC 9293 3.10.7.4 it is out of the window)",
        "RFC 9293 figure 7 and each other implementation; neither side would leave SYN-RECEIVED otherwise";
    CloseInSynReceived: "CLOSE in SYN-RECEIVED waits for ESTABLISHED (RFC 9293 3.10.4 sends the FIN at once)",
        "a SYN-ACK that is lost would be followed by a FIN that nobody knows; RFC 9293 does the same if data is queued";
    AcknowledgmentFromTheEdge: "a segment without length from the very edge of the window counts (RFC 9293 table 6: one before it)",
        "who has filled our window behind a hole speaks from there, and both sides would wait for each other";
    ClosedAfterFin: "after the peer's FIN the window is closed, and more text is answered (RFC 9293 leaves it open and ignores text)",
        "nothing more can come; whoever sends it is confused or somebody else";
    BeginsBeforeAndEndsBehind: "a segment from before the window to behind it is cut to it (RFC 9293 table 6 refuses it)",
        "its middle is what is expected";
    FinAtTheEdge: "a FIN right behind the last byte of the window is taken",
        "it needs no room";
    TimestampAfterAcknowledgment: "a timestamp is remembered when the acknowledgment beside it can be (RFC 7323 appendix D: before)",
        "who guesses a sequence number does not set our clock";
    WindowOfNewAcknowledgment: "what acknowledges something new sets the window, whatever its number (RFC 9293 3.10.7.4 asks for a newer one)",
        "it is surely newer; its number may be lower than that of data that came out of order";
    WindowFromBehindAHole: "an acknowledgment without text from behind a hole sets no window",
        "a forged one would make us deaf to the peer's own until its numbers get there";
    AnswersAreLimited: "answers to what lies outside the window are limited as challenges are: of segments without text; in SYN-RECEIVED and \
        TIME-WAIT of all but the FIN",
        "two confused peers would answer each other for ever; RFC 5961 7 has the limit for challenges only";
    TimeWaitIgnoresResets: "a reset does not end TIME-WAIT",
        "RFC 1337 3: late segments could reach a new connection";
    TimeWaitLooksAtNumbersOnly: "in TIME-WAIT a segment is judged by its number and length; acknowledgment, flags and missing timestamps are not \
        looked at",
        "the record has no more than the answer needs, and the answer is the same ACK";
    TimeWaitNextNumber: "a SYN with exactly the next number does not end TIME-WAIT (RFC 6191 2: greater than the last)",
        "as other implementations; a newer timestamp ends it all the same";
    TimeWaitIsShort: "TIME-WAIT lasts 60 s (RFC 9293 3.4.2 has twice 2 minutes)",
        "as each large implementation";
    UrgentIsNothing: "urgent text stays in its place, and nobody is told (RFC 9293 3.8.5)",
        "RFC 6093 advises against it, and no protocol here uses it";
    AbortAlwaysResets: "ABORT in CLOSING and LAST-ACK sends a reset (RFC 9293 3.10.5 sends none)",
        "the peer frees its side at once, too, instead of by a timeout";
}
