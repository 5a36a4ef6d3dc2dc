//! What every head goes through before anything decides on it, in one order for whoever reads heads: a worker, and who asks what it would do.

use super::{
    Refusal, Spans,
    forward::{self, Client},
    normalize::{self, Normalizer, Path},
};

/// A request that may be decided on.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'n> {
    /// Its path in its one form.
    pub path: Path<'n>,
    /// How often it may still be forwarded, if it says so (RFC 9110 section 7.6.2).
    pub hops: Option<u16>,
}

/// Looks at the request whose head was read last, over the same bytes. To be called once for each.
///
/// # Errors
/// Why it goes no further. What a stranger says about himself has ended then, too.
pub fn admit<'n>(
    bytes: &[u8],
    spans: &mut Spans,
    client: &Client,
    options: normalize::Options,
    normalizer: &'n mut Normalizer,
) -> Result<Admitted<'n>, Refusal> {
    forward::believe(client, spans);
    normalize::underscores(options, spans)?;
    let hops = forward::max_forwards(spans, bytes)?;
    let request = spans.request(bytes);
    // rfc9110 7.4 (MUST): another scheme than the connection's is refused, unless a trusted gateway says so.
    if request.scheme().is_some_and(|scheme| scheme != client.scheme()) && !client.is_trusted() {
        return Err(Refusal::SchemeMismatch);
    }
    Ok(Admitted { path: normalizer.request(options, request)?, hops })
}
