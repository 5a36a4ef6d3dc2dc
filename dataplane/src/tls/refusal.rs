//! Why a TLS connection is refused, and what the peer is told.

use rustls::{AlertDescription, CertificateError, Error, InconsistentKeys, PeerIncompatible, PeerMisbehaved};

/// Why a connection ends before it should, one reason for each that an operator would want to tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TlsRefusal {
    // The peer and we do not fit.
    /// It speaks no version that we do.
    NoSharedVersion,
    /// It has no suite that we have.
    NoSharedSuite,
    /// It has no group for the key exchange that we have.
    NoSharedGroup,
    /// It has no signature scheme that our certificates, or it, can make.
    NoSharedSignature,
    /// It offers protocols, and none that we speak.
    NoSharedProtocol,
    /// We have no certificate for the name that it asks for.
    NoCertificateForName,

    // Its certificate.
    /// It has none, and we ask for one.
    CertificateMissing,
    /// Nobody whom we trust has signed it.
    CertificateUntrusted,
    /// Its time is over.
    CertificateExpired,
    /// Its time has not come.
    CertificateNotYetValid,
    /// It was revoked.
    CertificateRevoked,
    /// No revocation list that we have, or none that still holds, says anything about it.
    RevocationUnknown,
    /// It is for another name.
    CertificateWrongName,
    /// It cannot be read, or is not for this use, or its signature does not hold.
    CertificateInvalid,

    // It misbehaves.
    /// A record's tag is wrong.
    BadRecordMac,
    /// A record, or what is in it, is longer than it may be.
    RecordTooLong,
    /// What should be a record is none.
    RecordInvalid,
    /// A message that cannot be read.
    MessageInvalid,
    /// A message that has no place here.
    UnexpectedMessage,
    /// What it says breaks a rule of the handshake.
    HandshakeInvalid,
    /// A handshake with more bytes than it may have.
    HandshakeTooLong,
    /// It closed before the handshake was over.
    HandshakeCut,
    /// Records without content, one after the other.
    TooManyEmptyRecords,
    /// KeyUpdates, one after the other.
    TooManyKeyUpdates,
    /// Warnings, one after the other.
    TooManyWarnings,
    /// More tickets than anybody needs.
    TooManyTickets,
    /// It wants to renegotiate again and again.
    Renegotiation,
    /// It says that this is the end: the alert's number (RFC 8446 section 6).
    PeerAlert(u8),

    // It is us.
    /// The worker has no memory for records that are not whole.
    OutOfMemory,
    /// A TLS 1.2 connection has sent as many records as its key may seal.
    KeysSpent,
    /// Something that should not be: entropy, time, or a fault of ours.
    Internal,
}

impl TlsRefusal {
    /// The alert that the peer is told with; none when it has said so itself, or is gone.
    pub fn alert(self) -> Option<u8> {
        Some(u8::from(match self {
            Self::NoSharedVersion => AlertDescription::ProtocolVersion,
            Self::NoSharedSuite | Self::NoSharedGroup | Self::NoSharedSignature => AlertDescription::HandshakeFailure,
            Self::NoSharedProtocol => AlertDescription::NoApplicationProtocol,
            Self::NoCertificateForName => AlertDescription::UnrecognisedName,
            Self::CertificateMissing => AlertDescription::CertificateRequired,
            Self::CertificateUntrusted => AlertDescription::UnknownCA,
            Self::CertificateExpired | Self::CertificateNotYetValid => AlertDescription::CertificateExpired,
            Self::CertificateRevoked => AlertDescription::CertificateRevoked,
            Self::RevocationUnknown => AlertDescription::CertificateUnknown,
            Self::CertificateWrongName | Self::CertificateInvalid => AlertDescription::BadCertificate,
            Self::BadRecordMac => AlertDescription::BadRecordMac,
            Self::RecordTooLong => AlertDescription::RecordOverflow,
            Self::RecordInvalid | Self::MessageInvalid => AlertDescription::DecodeError,
            Self::HandshakeInvalid => AlertDescription::IllegalParameter,
            Self::UnexpectedMessage
            | Self::HandshakeTooLong
            | Self::TooManyEmptyRecords
            | Self::TooManyKeyUpdates
            | Self::TooManyWarnings
            | Self::TooManyTickets => AlertDescription::UnexpectedMessage,
            Self::Renegotiation => AlertDescription::NoRenegotiation,
            Self::OutOfMemory | Self::KeysSpent | Self::Internal => AlertDescription::InternalError,
            Self::HandshakeCut | Self::PeerAlert(_) => return None,
        }))
    }

    /// One word for counters and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSharedVersion => "no_shared_version",
            Self::NoSharedSuite => "no_shared_suite",
            Self::NoSharedGroup => "no_shared_group",
            Self::NoSharedSignature => "no_shared_signature",
            Self::NoSharedProtocol => "no_shared_protocol",
            Self::NoCertificateForName => "no_certificate_for_name",
            Self::CertificateMissing => "certificate_missing",
            Self::CertificateUntrusted => "certificate_untrusted",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateNotYetValid => "certificate_not_yet_valid",
            Self::CertificateRevoked => "certificate_revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::CertificateWrongName => "certificate_wrong_name",
            Self::CertificateInvalid => "certificate_invalid",
            Self::BadRecordMac => "bad_record_mac",
            Self::RecordTooLong => "record_too_long",
            Self::RecordInvalid => "record_invalid",
            Self::MessageInvalid => "message_invalid",
            Self::UnexpectedMessage => "unexpected_message",
            Self::HandshakeInvalid => "handshake_invalid",
            Self::HandshakeTooLong => "handshake_too_long",
            Self::HandshakeCut => "handshake_cut",
            Self::TooManyEmptyRecords => "too_many_empty_records",
            Self::TooManyKeyUpdates => "too_many_key_updates",
            Self::TooManyWarnings => "too_many_warnings",
            Self::TooManyTickets => "too_many_tickets",
            Self::Renegotiation => "renegotiation",
            Self::PeerAlert(_) => "peer_alert",
            Self::OutOfMemory => "out_of_memory",
            Self::KeysSpent => "keys_spent",
            Self::Internal => "internal",
        }
    }
}

impl From<&Error> for TlsRefusal {
    fn from(error: &Error) -> Self {
        match error {
            Error::PeerIncompatible(why) => incompatible(why),
            Error::NoApplicationProtocol => Self::NoSharedProtocol,
            Error::NoCertificatesPresented => Self::CertificateMissing,
            Error::InvalidCertificate(why) => certificate(why),
            Error::DecryptError => Self::BadRecordMac,
            Error::PeerSentOversizedRecord => Self::RecordTooLong,
            Error::InvalidMessage(_) => Self::MessageInvalid,
            Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => Self::UnexpectedMessage,
            Error::AlertReceived(AlertDescription::CloseNotify) => Self::HandshakeCut,
            Error::AlertReceived(alert) => Self::PeerAlert(u8::from(*alert)),
            Error::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments) => Self::TooManyEmptyRecords,
            Error::PeerMisbehaved(PeerMisbehaved::TooManyWarningAlertsReceived) => Self::TooManyWarnings,
            Error::PeerMisbehaved(PeerMisbehaved::TooManyRenegotiationRequests) => Self::Renegotiation,
            Error::PeerMisbehaved(_) => Self::HandshakeInvalid,
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Self::CertificateInvalid,
            _ => Self::Internal,
        }
    }
}

fn incompatible(why: &PeerIncompatible) -> TlsRefusal {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => TlsRefusal::NoSharedVersion,
        PeerIncompatible::NoCipherSuitesInCommon => TlsRefusal::NoSharedSuite,
        PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::KeyShareExtensionRequired
        | PeerIncompatible::NoEcPointFormatsInCommon => TlsRefusal::NoSharedGroup,
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => TlsRefusal::NoSharedSignature,
        _ => TlsRefusal::HandshakeInvalid,
    }
}

fn certificate(why: &CertificateError) -> TlsRefusal {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsRefusal::CertificateExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsRefusal::CertificateNotYetValid
        }
        CertificateError::Revoked => TlsRefusal::CertificateRevoked,
        CertificateError::UnknownIssuer => TlsRefusal::CertificateUntrusted,
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => TlsRefusal::RevocationUnknown,
        CertificateError::NotValidForName
        | CertificateError::NotValidForNameContext { .. }
        | CertificateError::ApplicationVerificationFailure => TlsRefusal::CertificateWrongName,
        _ => TlsRefusal::CertificateInvalid,
    }
}
