//! Names of refusals, for counters.

use super::TlsRefusal;
use crate::drops::named;

named! {
    /// Why TLS connections were refused, without the alerts' numbers.
    TlsRefused {
        /// It speaks no version that we do.
        NoSharedVersion = "no_shared_version",
        /// It has no suite that we have.
        NoSharedSuite = "no_shared_suite",
        /// It has no group for the key exchange that we have.
        NoSharedGroup = "no_shared_group",
        /// It has no signature scheme that our certificates, or it, can make.
        NoSharedSignature = "no_shared_signature",
        /// It offers protocols, and none that we speak.
        NoSharedProtocol = "no_shared_protocol",
        /// We have no certificate for the name that it asks for.
        NoCertificateForName = "no_certificate_for_name",
        /// It has none, and we ask for one.
        CertificateMissing = "certificate_missing",
        /// Nobody whom we trust has signed it.
        CertificateUntrusted = "certificate_untrusted",
        /// Its time is over.
        CertificateExpired = "certificate_expired",
        /// Its time has not come.
        CertificateNotYetValid = "certificate_not_yet_valid",
        /// It was revoked.
        CertificateRevoked = "certificate_revoked",
        /// No revocation list that we have, or none that still holds, says anything about it.
        RevocationUnknown = "revocation_unknown",
        /// It is for another name.
        CertificateWrongName = "certificate_wrong_name",
        /// It cannot be read, or is not for this use, or its signature does not hold.
        CertificateInvalid = "certificate_invalid",
        /// A record's tag is wrong.
        BadRecordMac = "bad_record_mac",
        /// A record, or what is in it, is longer than it may be.
        RecordTooLong = "record_too_long",
        /// What should be a record is none.
        RecordInvalid = "record_invalid",
        /// A message that cannot be read.
        MessageInvalid = "message_invalid",
        /// A message that has no place here.
        UnexpectedMessage = "unexpected_message",
        /// What it says breaks a rule of the handshake.
        HandshakeInvalid = "handshake_invalid",
        /// A handshake with more bytes than it may have.
        HandshakeTooLong = "handshake_too_long",
        /// It closed before the handshake was over.
        HandshakeCut = "handshake_cut",
        /// Records without content, one after the other.
        TooManyEmptyRecords = "too_many_empty_records",
        /// KeyUpdates, one after the other.
        TooManyKeyUpdates = "too_many_key_updates",
        /// Warnings, one after the other.
        TooManyWarnings = "too_many_warnings",
        /// More tickets than anybody needs.
        TooManyTickets = "too_many_tickets",
        /// It wants to renegotiate again and again.
        Renegotiation = "renegotiation",
        /// It says that this is the end: the alert's number (RFC 8446 section 6).
        PeerAlert = "peer_alert",
        /// The worker has no memory for records that are not whole.
        OutOfMemory = "out_of_memory",
        /// A TLS 1.2 connection has sent as many records as its key may seal.
        KeysSpent = "keys_spent",
        /// Something that should not be: entropy, time, or a fault of ours.
        Internal = "internal",
    }
}

impl From<TlsRefusal> for TlsRefused {
    fn from(refusal: TlsRefusal) -> Self {
        match refusal {
            TlsRefusal::NoSharedVersion => Self::NoSharedVersion,
            TlsRefusal::NoSharedSuite => Self::NoSharedSuite,
            TlsRefusal::NoSharedGroup => Self::NoSharedGroup,
            TlsRefusal::NoSharedSignature => Self::NoSharedSignature,
            TlsRefusal::NoSharedProtocol => Self::NoSharedProtocol,
            TlsRefusal::NoCertificateForName => Self::NoCertificateForName,
            TlsRefusal::CertificateMissing => Self::CertificateMissing,
            TlsRefusal::CertificateUntrusted => Self::CertificateUntrusted,
            TlsRefusal::CertificateExpired => Self::CertificateExpired,
            TlsRefusal::CertificateNotYetValid => Self::CertificateNotYetValid,
            TlsRefusal::CertificateRevoked => Self::CertificateRevoked,
            TlsRefusal::RevocationUnknown => Self::RevocationUnknown,
            TlsRefusal::CertificateWrongName => Self::CertificateWrongName,
            TlsRefusal::CertificateInvalid => Self::CertificateInvalid,
            TlsRefusal::BadRecordMac => Self::BadRecordMac,
            TlsRefusal::RecordTooLong => Self::RecordTooLong,
            TlsRefusal::RecordInvalid => Self::RecordInvalid,
            TlsRefusal::MessageInvalid => Self::MessageInvalid,
            TlsRefusal::UnexpectedMessage => Self::UnexpectedMessage,
            TlsRefusal::HandshakeInvalid => Self::HandshakeInvalid,
            TlsRefusal::HandshakeTooLong => Self::HandshakeTooLong,
            TlsRefusal::HandshakeCut => Self::HandshakeCut,
            TlsRefusal::TooManyEmptyRecords => Self::TooManyEmptyRecords,
            TlsRefusal::TooManyKeyUpdates => Self::TooManyKeyUpdates,
            TlsRefusal::TooManyWarnings => Self::TooManyWarnings,
            TlsRefusal::TooManyTickets => Self::TooManyTickets,
            TlsRefusal::Renegotiation => Self::Renegotiation,
            TlsRefusal::PeerAlert(_) => Self::PeerAlert,
            TlsRefusal::OutOfMemory => Self::OutOfMemory,
            TlsRefusal::KeysSpent => Self::KeysSpent,
            TlsRefusal::Internal => Self::Internal,
        }
    }
}
