//! Why a message was refused: one name for each thing that two readers could understand differently.
//!
//! A refusal ends the connection that it came on, for nobody knows where the next message would begin. To a client it is answered with
//! [`Refusal::status`]; what an upstream did wrong becomes a 502, whatever it was.

use super::Side;
use crate::drops::named;

named! {
    /// Why a message was refused.
    Refusal {
        // Lines.
        /// A line ends in LF alone.
        BareLf = "bare_lf",
        /// A CR without its LF.
        BareCr = "bare_cr",
        /// More than one empty line before a request.
        EmptyLines = "empty_lines",
        /// The head has more bytes than are allowed.
        HeadLong = "head_long",
        /// The head or the trailer section has more fields than are allowed.
        FieldsMany = "fields_many",
        /// The head is not whole, and too much of others' is kept already.
        PartialMany = "partial_many",
        /// The connection ended inside a message.
        Truncated = "truncated",

        // Fields.
        /// The first field begins with white space.
        LeadingSpace = "leading_space",
        /// A field is continued on the next line (obs-fold).
        ObsFold = "obs_fold",
        /// A field without a name.
        FieldNameEmpty = "field_name_empty",
        /// White space between a field's name and its colon.
        FieldNameSpace = "field_name_space",
        /// A field's name is not a token.
        FieldName = "field_name",
        /// A field line without a colon.
        FieldColon = "field_colon",
        /// A field's value holds NUL or another control.
        FieldValue = "field_value",
        /// Two readers of the same field section do not agree.
        FieldSection = "field_section",
        /// A field's name holds an underscore, which some backends read as a hyphen.
        FieldUnderscore = "field_underscore",

        // Request lines.
        /// The method is not a token.
        Method = "method",
        /// A known method in other letters: `get` is another method than `GET`, but not for everybody.
        MethodCase = "method_case",
        /// A method longer than any that is known.
        MethodLong = "method_long",
        /// A request line without a version (HTTP/0.9).
        Http09 = "http_0_9",
        /// The version is not one.
        Version = "version",
        /// A version that is not spoken here.
        VersionUnsupported = "version_unsupported",
        /// The request line is longer than is allowed.
        TargetLong = "target_long",
        /// A byte that no target holds.
        TargetByte = "target_byte",
        /// A fragment in the target.
        TargetFragment = "target_fragment",
        /// The target's form does not fit the method.
        TargetForm = "target_form",
        /// Userinfo in the target's or the Host's authority.
        UserInfo = "userinfo",
        /// HTTP/1.1 without Host.
        HostMissing = "host_missing",
        /// Several Host fields.
        HostSeveral = "host_several",
        /// A host or port that cannot be one.
        Host = "host",
        /// The target and Host name different hosts.
        HostMismatch = "host_mismatch",
        /// An expectation other than 100-continue.
        Expectation = "expectation",
        /// CONNECT with content.
        ConnectContent = "connect_content",
        /// TRACE with content.
        TraceContent = "trace_content",
        /// A Max-Forwards that is not one number.
        MaxForwards = "max_forwards",
        /// A target of another scheme than the connection's, from somebody who is no trusted gateway.
        SchemeMismatch = "scheme_mismatch",

        // Framing.
        /// Several lengths, be they equal or not.
        ContentLengthSeveral = "content_length_several",
        /// A length that is not a decimal number.
        ContentLength = "content_length",
        /// A length beyond any content.
        ContentLengthLarge = "content_length_large",
        /// A length beside a transfer coding.
        ContentLengthAndTransferEncoding = "content_length_and_transfer_encoding",
        /// A list of transfer codings that is not one.
        TransferEncoding = "transfer_encoding",
        /// A transfer coding beside chunked.
        TransferCodingUnknown = "transfer_coding_unknown",
        /// Chunked is not the last coding, or there twice.
        ChunkedNotFinal = "chunked_not_final",
        /// A transfer coding on HTTP/1.0.
        TransferEncodingOn10 = "transfer_encoding_on_1_0",
        /// A Connection field that is not a list of names, or a very long one.
        Connection = "connection",
        /// Connection names a field that is for everybody, such as Host.
        ConnectionNames = "connection_names",

        // Chunks and trailers.
        /// A chunk's size is not a hexadecimal number.
        ChunkSize = "chunk_size",
        /// A chunk beyond any content.
        ChunkLarge = "chunk_large",
        /// A control or nothing in a chunk's extension.
        ChunkExtension = "chunk_extension",
        /// A chunk's line, or all extensions together, are longer than is allowed.
        ChunkLineLong = "chunk_line_long",
        /// Something else than CRLF after a chunk's data.
        ChunkEnd = "chunk_end",
        /// The trailer section has more bytes than are allowed.
        TrailersLong = "trailers_long",
        /// A field about framing or routing in the trailer section.
        TrailerField = "trailer_field",

        // Responses.
        /// Not a status line of HTTP/1.
        StatusLine = "status_line",
        /// A status outside 100 to 599.
        Status = "status",
        /// Framing fields in a response that has no content.
        StatusContent = "status_content",
        /// Too many informational responses.
        InterimMany = "interim_many",
        /// A 101 that nobody asked for, or that does not say to what.
        Switch = "switch",
        /// A response without a request.
        Unasked = "unasked",

        // Paths.
        /// A percent sign without two hexadecimal digits.
        Escape = "escape",
        /// An escaped NUL.
        EscapedNul = "escaped_nul",
        /// An escaped slash or backslash.
        EscapedSlash = "escaped_slash",
        /// A backslash, which some backends read as a slash.
        Backslash = "backslash",
        /// Dot segments that lead above the root.
        AboveRoot = "above_root",
        /// A dot segment with parameters, which some backends take away first.
        DotParameters = "dot_parameters",
    }
}

impl Refusal {
    /// The status that it is answered with; on the client side, where the answer goes to somebody else, always 502.
    pub const fn status(self, side: Side) -> u16 {
        if matches!(side, Side::Client) {
            return 502;
        }
        match self {
            // rfc9112 3: 414 for a target that is too long.
            Self::TargetLong => 414,
            // rfc6585 5.
            Self::HeadLong | Self::FieldsMany | Self::TrailersLong => 431,
            // rfc9110 15.6.4: it is our overload.
            Self::PartialMany => 503,
            // rfc9110 7.4 (SHOULD).
            Self::SchemeMismatch => 421,
            // rfc9110 15.6.6.
            Self::VersionUnsupported => 505,
            // rfc9110 10.1.1: 417 for an expectation that is not met.
            Self::Expectation => 417,
            // rfc9112 3, 6.1 (SHOULD): 501 for a method that is longer than any, and for a transfer coding that is not understood.
            Self::MethodLong | Self::TransferCodingUnknown => 501,
            _ => 400,
        }
    }
}
