//! What others have been broken with, one named row each: refused, and nothing of it heard before.

use super::{
    super::*,
    driver::{Act, requests, responses},
};
use Act::Expect;

/// Requests that are refused before their head is heard.
#[test]
fn ambiguous_requests_are_refused_by_name() {
    // Name, request line, fields, refusal.
    let get = "GET / HTTP/1.1\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    for (name, line, fields, refusal) in [
        // Framing: two answers to one question.
        (
            "CL and TE",
            post,
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "content_length_and_transfer_encoding",
        ),
        (
            "TE and CL",
            post,
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "content_length_and_transfer_encoding",
        ),
        (
            "TE and CL 0",
            post,
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "content_length_and_transfer_encoding",
        ),
        ("a second coding", post, "Transfer-Encoding: gzip, chunked\r\n", "transfer_coding_unknown"),
        (
            "a second coding in a field of its own",
            post,
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            "transfer_coding_unknown",
        ),
        ("identity, chunked", post, "Transfer-Encoding: identity, chunked\r\n", "transfer_coding_unknown"),
        ("chunked not last", post, "Transfer-Encoding: chunked, gzip\r\n", "chunked_not_final"),
        (
            "chunked, then identity in a field of its own",
            post,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "chunked_not_final",
        ),
        ("chunked twice", post, "Transfer-Encoding: chunked, chunked\r\n", "chunked_not_final"),
        (
            "chunked twice, in two fields",
            post,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "chunked_not_final",
        ),
        ("an unknown coding", post, "Transfer-Encoding: xchunked\r\n", "chunked_not_final"),
        ("identity", post, "Transfer-Encoding: identity\r\n", "chunked_not_final"),
        ("no coding", post, "Transfer-Encoding:\r\n", "transfer_encoding"),
        ("a comma before", post, "Transfer-Encoding: ,chunked\r\n", "transfer_encoding"),
        ("a comma after", post, "Transfer-Encoding: chunked,\r\n", "transfer_encoding"),
        ("a parameter", post, "Transfer-Encoding: chunked;q=1\r\n", "transfer_encoding"),
        ("quotes", post, "Transfer-Encoding: \"chunked\"\r\n", "transfer_encoding"),
        ("a vertical tab", post, "Transfer-Encoding: \x0bchunked\r\n", "field_value"),
        ("a byte beyond ASCII", post, "Transfer-Encoding: chunked\u{85}\r\n", "transfer_encoding"),
        ("a space inside", post, "Transfer-Encoding: chun ked\r\n", "transfer_encoding"),
        ("TE on HTTP/1.0", "POST / HTTP/1.0\r\n", "Transfer-Encoding: chunked\r\n", "transfer_encoding_on_1_0"),
        (
            "TE on HTTP/1.0 with CL",
            "POST / HTTP/1.0\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            "transfer_encoding_on_1_0",
        ),
        ("several lengths", post, "Content-Length: 5\r\nContent-Length: 6\r\n", "content_length_several"),
        ("equal lengths", post, "Content-Length: 5\r\nContent-Length: 5\r\n", "content_length_several"),
        ("lengths in a list", post, "Content-Length: 5, 5\r\n", "content_length_several"),
        ("no length", post, "Content-Length:\r\n", "content_length"),
        ("a signed length", post, "Content-Length: +5\r\n", "content_length"),
        ("a negative length", post, "Content-Length: -5\r\n", "content_length"),
        ("a hexadecimal length", post, "Content-Length: 0x5\r\n", "content_length"),
        ("a fraction", post, "Content-Length: 5.0\r\n", "content_length"),
        ("a length with a space", post, "Content-Length: 5 5\r\n", "content_length"),
        ("a length with an underscore", post, "Content-Length: 1_0\r\n", "content_length"),
        ("digits beyond ASCII", post, "Content-Length: \u{664}\r\n", "content_length"),
        ("a length of 2^64", post, "Content-Length: 18446744073709551616\r\n", "content_length_large"),
        ("a length of 2^63", post, "Content-Length: 9223372036854775808\r\n", "content_length_large"),
        // Lines.
        ("a bare LF after the request line", "GET / HTTP/1.1\n", "Host: a\r\n", "bare_lf"),
        ("a bare LF after a field", get, "Host: a\nX: y\r\n", "bare_lf"),
        ("a bare LF in a value", get, "Host: a\r\nX: y\nTransfer-Encoding: chunked\r\n", "bare_lf"),
        ("a bare LF at the end", get, "Host: a\r\n\n", "bare_lf"),
        ("a bare CR in a value", get, "Host: a\r\nX: y\rz\r\n", "bare_cr"),
        ("a bare CR that hides a field", get, "Host: a\r\nX: y\rContent-Length: 9\r\n", "bare_cr"),
        ("a bare CR before a name", get, "Host: a\r\n\rX: y\r\n", "bare_cr"),
        ("two CRs", get, "Host: a\r\nX: y\r\r\n", "bare_cr"),
        ("a bare CR in the request line", "GET /\r HTTP/1.1\r\n", "Host: a\r\n", "target_byte"),
        ("obs-fold", get, "Host: a\r\nX: y\r\n z\r\n", "obs_fold"),
        ("obs-fold with a tab", get, "Host: a\r\nTransfer-Encoding:\r\n\tchunked\r\n", "obs_fold"),
        ("a first field after white space", get, " Host: a\r\n", "leading_space"),
        ("a first field after a tab", get, "\tHost: a\r\n", "leading_space"),
        ("a space before the colon", get, "Host: a\r\nContent-Length : 5\r\n", "field_name_space"),
        ("a tab before the colon", get, "Host: a\r\nTransfer-Encoding\t: chunked\r\n", "field_name_space"),
        ("an empty name", get, "Host: a\r\n: x\r\n", "field_name_empty"),
        ("a space in a name", get, "Host: a\r\nX Y: z\r\n", "field_name"),
        ("a NUL in a name", get, "Host: a\r\nX\0: z\r\n", "field_name"),
        ("a byte beyond ASCII in a name", get, "Host: a\r\n\u{b5}: z\r\n", "field_name"),
        ("a name with a brace", get, "Host: a\r\n{x}: z\r\n", "field_name"),
        ("no colon", get, "Host: a\r\nX\r\n", "field_colon"),
        ("NUL in a value", get, "Host: a\r\nX: y\0z\r\n", "field_value"),
        ("NUL after the colon", get, "Host: a\r\nX:\0\r\n", "field_value"),
        ("DEL in a value", get, "Host: a\r\nX: y\x7fz\r\n", "field_value"),
        (
            "DEL in a long value",
            get,
            "Host: a\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\x7fz\r\n",
            "field_value",
        ),
        ("an escape in a value", get, "Host: a\r\nX: \x1b[0m\r\n", "field_value"),
        // Request lines.
        ("a method with a control", "G\x01T / HTTP/1.1\r\n", "Host: a\r\n", "method"),
        ("a method with a colon", "GET: / HTTP/1.1\r\n", "Host: a\r\n", "method"),
        ("no method", " / HTTP/1.1\r\n", "Host: a\r\n", "method"),
        ("a method in small letters", "get / HTTP/1.1\r\n", "Host: a\r\n", "method_case"),
        ("a method in some small letters", "Post / HTTP/1.1\r\n", "Host: a\r\n", "method_case"),
        ("a long method", "ABCDEFGHIJKLMNOPQRSTUVWXY / HTTP/1.1\r\n", "Host: a\r\n", "method_long"),
        ("HTTP/0.9", "GET /\r\n", "", "http_0_9"),
        ("HTTP/0.9 with a space", "GET / \r\n", "", "version"),
        ("HTTP/2's preface", "PRI * HTTP/2.0\r\n", "", "version_unsupported"),
        ("HTTP/2.0", "GET / HTTP/2.0\r\n", "Host: a\r\n", "version_unsupported"),
        ("HTTP/0.9, said", "GET / HTTP/0.9\r\n", "Host: a\r\n", "version_unsupported"),
        ("a version in small letters", "GET / http/1.1\r\n", "Host: a\r\n", "version"),
        ("a version of two digits", "GET / HTTP/1.10\r\n", "Host: a\r\n", "version"),
        ("a version with zeros", "GET / HTTP/01.1\r\n", "Host: a\r\n", "version"),
        ("a version without a dot", "GET / HTTP/11\r\n", "Host: a\r\n", "version"),
        ("a space after the version", "GET / HTTP/1.1 \r\n", "Host: a\r\n", "version"),
        ("a second version", "GET / HTTP/1.1 HTTP/1.1\r\n", "Host: a\r\n", "version"),
        ("two spaces after the method", "GET  / HTTP/1.1\r\n", "Host: a\r\n", "target_form"),
        ("two spaces after the target", "GET /  HTTP/1.1\r\n", "Host: a\r\n", "version"),
        ("a tab for a space", "GET\t/ HTTP/1.1\r\n", "Host: a\r\n", "method"),
        ("a space in the target", "GET /a b HTTP/1.1\r\n", "Host: a\r\n", "version"),
        ("a control in the target", "GET /\x01 HTTP/1.1\r\n", "Host: a\r\n", "target_byte"),
        ("NUL in the target", "GET /\0 HTTP/1.1\r\n", "Host: a\r\n", "target_byte"),
        ("bytes beyond ASCII in the target", "GET /\u{fc} HTTP/1.1\r\n", "Host: a\r\n", "target_byte"),
        ("a quote in the target", "GET /\" HTTP/1.1\r\n", "Host: a\r\n", "target_byte"),
        ("markup in the query", "GET /?<b> HTTP/1.1\r\n", "Host: a\r\n", "target_byte"),
        ("a fragment", "GET /#x HTTP/1.1\r\n", "Host: a\r\n", "target_fragment"),
        ("a fragment in the query", "GET /?a#x HTTP/1.1\r\n", "Host: a\r\n", "target_fragment"),
        ("a fragment after the authority", "GET http://a#x HTTP/1.1\r\n", "Host: a\r\n", "target_fragment"),
        ("a target without a slash", "GET x HTTP/1.1\r\n", "Host: a\r\n", "target_form"),
        ("a query alone", "GET ?x HTTP/1.1\r\n", "Host: a\r\n", "target_form"),
        ("an asterisk for GET", "GET * HTTP/1.1\r\n", "Host: a\r\n", "target_form"),
        ("an authority for GET", "GET a:80 HTTP/1.1\r\n", "Host: a\r\n", "target_form"),
        ("another scheme", "GET ftp://a/ HTTP/1.1\r\n", "Host: a\r\n", "target_form"),
        ("half a scheme", "GET http:/a HTTP/1.1\r\n", "Host: a\r\n", "target_form"),
        ("an absolute target without a host", "GET http:///x HTTP/1.1\r\n", "Host: a\r\n", "host"),
        ("CONNECT with a path", "CONNECT /x HTTP/1.1\r\n", "Host: a\r\n", "host"),
        ("CONNECT without a port", "CONNECT a HTTP/1.1\r\n", "Host: a\r\n", "target_form"),
        ("CONNECT with a length", "CONNECT a:1 HTTP/1.1\r\n", "Host: a\r\nContent-Length: 0\r\n", "connect_content"),
        (
            "CONNECT with chunks",
            "CONNECT a:1 HTTP/1.1\r\n",
            "Host: a\r\nTransfer-Encoding: chunked\r\n",
            "connect_content",
        ),
        // Hosts.
        ("userinfo in the target", "GET http://u@a/ HTTP/1.1\r\n", "Host: a\r\n", "userinfo"),
        ("userinfo in Host", get, "Host: u:p@a\r\n", "userinfo"),
        ("userinfo for CONNECT", "CONNECT u@a:1 HTTP/1.1\r\n", "Host: a\r\n", "userinfo"),
        ("absolute against Host", "GET http://a/ HTTP/1.1\r\n", "Host: b\r\n", "host_mismatch"),
        ("absolute against Host's port", "GET http://a/ HTTP/1.1\r\n", "Host: a:81\r\n", "host_mismatch"),
        ("absolute with another scheme's port", "GET https://a/ HTTP/1.1\r\n", "Host: a:80\r\n", "host_mismatch"),
        ("CONNECT against Host", "CONNECT a:1 HTTP/1.1\r\n", "Host: b:1\r\n", "host_mismatch"),
        ("absolute without Host", "GET http://a/ HTTP/1.1\r\n", "", "host_missing"),
        ("no Host", get, "X: y\r\n", "host_missing"),
        ("no fields", get, "", "host_missing"),
        ("two Hosts", get, "Host: a\r\nHost: b\r\n", "host_several"),
        ("two equal Hosts", get, "Host: a\r\nX: y\r\nhost: a\r\n", "host_several"),
        ("two Hosts on HTTP/1.0", "GET / HTTP/1.0\r\n", "Host: a\r\nHost: a\r\n", "host_several"),
        ("Hosts in a list", get, "Host: a, b\r\n", "host"),
        ("an empty Host", get, "Host:\r\n", "host"),
        ("a path in Host", get, "Host: a/b\r\n", "host"),
        ("an odd Host on HTTP/1.0", "GET / HTTP/1.0\r\n", "Host: a b\r\n", "host"),
        ("a port of words", get, "Host: a:http\r\n", "host"),
        // Others.
        ("an expectation", get, "Host: a\r\nExpect: 200-ok\r\n", "expectation"),
        ("a second expectation", get, "Host: a\r\nExpect: 100-continue\r\nExpect: x\r\n", "expectation"),
        ("Connection: host", get, "Host: a\r\nConnection: close, host\r\n", "connection_names"),
        ("Connection: content-length", post, "Content-Length: 1\r\nConnection: Content-Length\r\n", "connection_names"),
        (
            "Connection: transfer-encoding",
            post,
            "Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n",
            "connection_names",
        ),
        (
            "Connection: authorization",
            get,
            "Host: a\r\nAuthorization: x\r\nConnection: authorization\r\n",
            "connection_names",
        ),
        ("Connection: x-forwarded-for", get, "Host: a\r\nConnection: X-Forwarded-For\r\n", "connection_names"),
        ("Connection is no list of names", get, "Host: a\r\nConnection: a b\r\n", "connection"),
        ("Connection without end", get, "Host: a\r\nConnection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\r\n", "connection"),
    ] {
        let bytes = format!("{line}{fields}\r\n0\r\n\r\n");
        assert_eq!(requests(bytes.as_bytes()).heard(), refusal, "{name}: {bytes:?}");
        // Invalid after valid: what is sound is heard, and nothing of the other.
        let bytes = format!("GET /sound HTTP/1.1\r\nHost: a\r\n\r\n{bytes}");
        assert_eq!(requests(bytes.as_bytes()).heard(), format!("GET a /sound\nend\n{refusal}"), "{name}, second");
    }
}

#[test]
fn what_is_no_request_is_refused_at_its_first_byte() {
    for (name, bytes, refusal) in [
        ("a TLS ClientHello", &b"\x16\x03\x01\x02\x00\x01"[..], "method"),
        ("white space", b" ", "method"),
        ("a bare LF", b"\n", "bare_lf"),
        ("a bare CR", b"\rG", "bare_cr"),
        ("two empty lines", b"\r\n\r", "empty_lines"),
        ("an empty line and a bare LF", b"\r\n\n", "empty_lines"),
        ("a byte beyond ASCII", b"\xff", "method"),
    ] {
        assert_eq!(requests(bytes).heard(), refusal, "{name}");
    }
}

#[test]
fn odd_chunks_and_trailers_are_refused_by_name() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = |n: usize| format!("1;{}\r\na\r\n", "x".repeat(n));
    let long_line = extension(253);
    let many_extensions = extension(250).repeat(66);
    let long_trailers = format!("0\r\na: {}\r\n\r\n", "x".repeat(8192));
    let many_trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(33));
    for (name, chunks, heard) in [
        ("no size", "\r\n", "chunk_size"),
        ("an extension without a size", ";x\r\n", "chunk_size"),
        ("a sign", "+1\r\na\r\n", "chunk_size"),
        ("a negative size", "-1\r\na\r\n", "chunk_size"),
        ("a prefix", "0x1\r\na\r\n", "chunk_size"),
        ("a space before", " 1\r\na\r\n", "chunk_size"),
        ("a space after", "1 \r\na\r\n", "chunk_size"),
        ("a space before the extension", "1 ;x\r\na\r\n", "chunk_size"),
        ("an underscore", "1_0\r\na\r\n", "chunk_size"),
        ("a letter beyond F", "g\r\n", "chunk_size"),
        ("a NUL", "1\0\r\na\r\n", "chunk_size"),
        ("2^64", "10000000000000000\r\n", "chunk_large"),
        ("2^64 + 5", "10000000000000005\r\nhello\r\n", "chunk_large"),
        ("2^63", "8000000000000000\r\n", "chunk_large"),
        ("2^63 together", "1\r\na\r\n7fffffffffffffff\r\n", "body a\nchunk_large"),
        ("a bare LF after the size", "1\na\r\n", "bare_lf"),
        ("a bare CR after the size", "1\ra\r\n", "bare_cr"),
        ("a bare LF in an extension", "1;x\na\r\n", "bare_lf"),
        ("a bare LF as an extension", "1;\na\r\n", "bare_lf"),
        ("a CR in an extension", "1;x\ry\r\na\r\n", "bare_cr"),
        ("a CR in a quoted extension", "1;x=\"\r\"\r\na\r\n", "bare_cr"),
        ("an empty extension", "1;\r\na\r\n", "chunk_extension"),
        ("a control in an extension", "1;\x01\r\na\r\n", "chunk_extension"),
        ("an extension without end", &long_line, "chunk_line_long"),
        ("a size without end", &"0".repeat(300), "chunk_line_long"),
        ("extensions without end", &many_extensions, "body @\nchunk_line_long"),
        ("more data than said", "1\r\nab\r\n", "body a\nchunk_end"),
        ("less data than said", "3\r\na\r\n0\r\n\r\n", "body a\\r\\n\nchunk_end"),
        ("data without CR", "1\r\na\n0\r\n\r\n", "body a\nchunk_end"),
        ("data without LF", "1\r\na\r0\r\n\r\n", "body a\nchunk_end"),
        ("data without CRLF", "1\r\na0\r\n\r\n", "body a\nchunk_end"),
        ("the end inside a size", "1", "truncated"),
        ("the end inside data", "2\r\na", "body a\ntruncated"),
        ("the end before the last chunk", "1\r\na\r\n", "body a\ntruncated"),
        ("the end before the last line", "0\r\n", "truncated"),
        ("a length in the trailers", "0\r\nContent-Length: 5\r\n\r\n", "trailer_field"),
        ("a coding in the trailers", "0\r\nx: y\r\nTransfer-Encoding: chunked\r\n\r\n", "trailer_field"),
        ("a host in the trailers", "0\r\nHost: b\r\n\r\n", "trailer_field"),
        ("Connection in the trailers", "0\r\nConnection: x\r\n\r\n", "trailer_field"),
        ("a space before a trailer's colon", "0\r\nx : y\r\n\r\n", "field_name_space"),
        ("a request line for a trailer", "0\r\nGET / HTTP/1.1\r\n\r\n", "field_colon"),
        ("a folded trailer", "0\r\nx: y\r\n z\r\n\r\n", "obs_fold"),
        ("a trailer after white space", "0\r\n x: y\r\n\r\n", "leading_space"),
        ("a bare LF in the trailers", "0\r\nx: y\n\r\n", "bare_lf"),
        ("a bare LF at the end", "0\r\n\n", "bare_lf"),
        ("long trailers", &long_trailers, "trailers_long"),
        ("many trailers", &many_trailers, "fields_many"),
    ] {
        let bytes = format!("{head}{chunks}");
        let heard = heard.replace('@', &"a".repeat(65));
        assert_eq!(requests(bytes.as_bytes()).heard(), format!("POST a / Chunked\n{heard}"), "{name}: {chunks:?}");
    }
}

#[test]
fn a_body_that_nobody_reads_is_not_a_request() {
    // CVE-2025-4366: the answer went out early; what follows is still the first request's content.
    let inner = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}", inner.len());
    let heard = requests(bytes.as_bytes()).heard();
    assert_eq!(heard.matches("GET a").count(), 0);
    assert!(heard.starts_with("POST a / length=32\nbody GET /admin"), "{heard}");
}

#[test]
fn odd_responses_are_refused_by_name() {
    const GET: &[Act] = &[Expect(Asked::Content)];
    const HEAD: &[Act] = &[Expect(Asked::Head)];
    const UPGRADE: &[Act] = &[Expect(Asked::Upgrade)];
    const CONNECT: &[Act] = &[Expect(Asked::Connect)];
    let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17);
    let hints = "103\n".repeat(16) + "interim_many";
    let sound = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let split = sound.to_owned() + sound;
    for (name, acts, bytes, heard) in [
        ("nobody asked", &[][..], "H", "unasked"),
        ("a response too many", GET, &split, "200 length=2\nbody hi\nend\nunasked"),
        ("bytes after the response", GET, "HTTP/1.1 204 No\r\n\r\n\r\n", "204\nend\nunasked"),
        ("content for HEAD", HEAD, sound, "200\nend\nunasked"),
        ("content for 304", GET, "HTTP/1.1 304 Not\r\nContent-Length: 2\r\n\r\nhi", "304\nend\nunasked"),
        ("a length for 204", GET, "HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nhi", "status_content"),
        ("chunks for 204", GET, "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "status_content"),
        ("a length for 100", GET, "HTTP/1.1 100 Go\r\nContent-Length: 2\r\n\r\nhi", "status_content"),
        ("chunks for 103", GET, "HTTP/1.1 103 H\r\nTransfer-Encoding: chunked\r\n\r\n", "status_content"),
        ("a flood of hints", GET, &flood, &hints),
        (
            "101 that nobody asked for",
            GET,
            "HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "switch",
        ),
        ("101 to CONNECT", CONNECT, "HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "switch"),
        ("101 without Upgrade", UPGRADE, "HTTP/1.1 101 Switch\r\nConnection: upgrade\r\n\r\n", "switch"),
        ("101 without Connection", UPGRADE, "HTTP/1.1 101 Switch\r\nUpgrade: websocket\r\n\r\n", "switch"),
        ("101 to h2c", UPGRADE, "HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "switch"),
        ("101 on HTTP/1.0", UPGRADE, "HTTP/1.0 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "switch"),
        (
            "101 with a length",
            UPGRADE,
            "HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\n",
            "status_content",
        ),
        (
            "CL and TE",
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "content_length_and_transfer_encoding",
        ),
        (
            "CL and TE for HEAD",
            HEAD,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "content_length_and_transfer_encoding",
        ),
        (
            "two lengths",
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "content_length_several",
        ),
        ("chunked not last", GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "chunked_not_final"),
        ("no chunked", GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "chunked_not_final"),
        (
            "a second coding",
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "transfer_coding_unknown",
        ),
        ("TE on HTTP/1.0", GET, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer_encoding_on_1_0"),
        ("obs-fold", GET, "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", "obs_fold"),
        ("a space before the colon", GET, "HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "field_name_space"),
        ("a field's NUL", GET, "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", "field_value"),
        ("a bare LF", GET, "HTTP/1.1 200 OK\n\n", "bare_lf"),
        ("an empty line before", GET, "\r\nHTTP/1.1 200 OK\r\n\r\n", "status_line"),
        ("HTTP/0.9", GET, "<html>", "status_line"),
        ("another word", GET, "HTTPS/1.1 200 OK\r\n\r\n", "status_line"),
        ("HTTP/2.0", GET, "HTTP/2.0 200 OK\r\n\r\n", "version_unsupported"),
        ("small letters", GET, "Http/1.1 200 OK\r\n\r\n", "status_line"),
        ("no status", GET, "HTTP/1.1 OK\r\n\r\n", "status_line"),
        ("a status of two digits", GET, "HTTP/1.1 20 OK\r\n\r\n", "status_line"),
        ("a status of four digits", GET, "HTTP/1.1 2000 OK\r\n\r\n", "status_line"),
        ("a signed status", GET, "HTTP/1.1 +20 OK\r\n\r\n", "status_line"),
        ("two spaces", GET, "HTTP/1.1  200 OK\r\n\r\n", "status_line"),
        ("a control in the reason", GET, "HTTP/1.1 200 O\x01\r\n\r\n", "status_line"),
        ("status 099", GET, "HTTP/1.1 099 OK\r\n\r\n", "status"),
        ("status 600", GET, "HTTP/1.1 600 OK\r\n\r\n", "status"),
        ("no response", GET, "", "truncated"),
        ("hints and no response", GET, "HTTP/1.1 103 H\r\n\r\n", "103\ntruncated"),
        ("half a head", GET, "HTTP/1.1 200 OK\r\n", "truncated"),
        ("half the content", GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", "200 length=2\nbody h\ntruncated"),
        (
            "half the chunks",
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
            "200 Chunked\nbody a\ntruncated",
        ),
    ] {
        assert_eq!(responses(acts, bytes.as_bytes()).heard(), heard, "{name}: {bytes:?}");
    }
}

#[test]
fn a_refusal_has_its_status() {
    for (refusal, status) in [
        (Refusal::BareLf, 400),
        (Refusal::ContentLengthAndTransferEncoding, 400),
        (Refusal::TargetLong, 414),
        (Refusal::Expectation, 417),
        (Refusal::HeadLong, 431),
        (Refusal::FieldsMany, 431),
        (Refusal::TransferCodingUnknown, 501),
        (Refusal::MethodLong, 501),
        (Refusal::VersionUnsupported, 505),
    ] {
        assert_eq!(refusal.status(Side::Server), status, "{}", refusal.name());
    }
    assert!(Refusal::ALL.iter().all(|refusal| refusal.status(Side::Client) == 502));
}
