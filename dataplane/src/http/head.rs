//! Views over a head's bytes, and the scratch that says where its parts lie.
//!
//! ```text
//!   bytes   GET /a?b HTTP/1.1 | Host: A.example |X-Id:7| ..             they belong to whoever received them
//!           +-- method
//!               +-- target
//!   Spans   line   fields [(name, value, known, ends here)]             one scratch per worker
//!           text   "host: A.example\r\nx-id: 7\r\n"                     each field as it goes on: those that do are copied in runs
//!           names  "a.example"                                          the host, in lower case
//! ```
//! HTTP/2 fills the same spans from its decoded field sections, so everything that looks at a request looks at one type.

use super::{Refusal, Version, elements, lower_of_token, value_len};
use crate::limits::{HTTP_FIELDS_MAX, HTTP_HEAD_BYTES_MAX};
use arrayvec::ArrayVec;

/// Where a part lies.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Span {
    at: u16,
    len: u16,
}

impl Span {
    pub(crate) fn new(at: usize, len: usize) -> Self {
        debug_assert!(at + len <= usize::from(u16::MAX));
        Self { at: at as u16, len: len as u16 }
    }
    /// Where `part` lies in `whole`, of which it is a slice.
    pub(crate) fn of(part: &[u8], whole: &[u8]) -> Self {
        let at = part.as_ptr().addr() - whole.as_ptr().addr();
        assert!(at + part.len() <= whole.len(), "a part lies in its whole");
        Self::new(at, part.len())
    }
    pub(crate) fn slice(self, whole: &[u8]) -> &[u8] {
        &whole[usize::from(self.at)..][..usize::from(self.len)]
    }
}

/// Declares the names that this layer itself has something to say about, and what it says.
macro_rules! names {
    ($($variant:ident = $name:literal: $role:ident,)+) => {
        /// A field that this layer knows.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Name { $(#[doc = concat!("`", $name, "`")] $variant,)+ }

        impl Name {
            /// The name, in lower case.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
            /// Finds a name that is in lower case.
            #[allow(non_upper_case_globals)] // constants that are patterns
            pub(crate) fn find(name: &[u8]) -> Option<Self> {
                $(const $variant: &[u8] = $name.as_bytes();)+
                match name { $($variant => Some(Self::$variant),)+ _ => None }
            }
            /// What becomes of it.
            pub(crate) const fn role(self) -> Role {
                match self { $(Self::$variant => Role::$role,)+ }
            }
        }
    };
}

const _: () = assert!((Name::WwwAuthenticate as u8) < 64, "a set of names is a word");

/// What becomes of a field between the legs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Says where a message ends or whom it is for: read here, written anew, never passed on as it is, never in a trailer.
    Framing,
    /// For this hop alone (RFC 9110 section 7.6.1).
    Hop,
    /// Says who the client is: believed only from those who are trusted.
    Trust,
    /// Goes on, but not in a trailer section (RFC 9110 section 6.5.1), and `Connection` must not name it.
    Firm,
}

names! {
    ContentLength = "content-length": Framing,
    TransferEncoding = "transfer-encoding": Framing,
    Host = "host": Framing,
    Expect = "expect": Framing,

    // rfc9112 9.6: reserved, for Connection would name it.
    Close = "close": Hop,
    Connection = "connection": Hop,
    KeepAlive = "keep-alive": Hop,
    ProxyConnection = "proxy-connection": Hop,
    Te = "te": Hop,
    Trailer = "trailer": Hop,
    Upgrade = "upgrade": Hop,
    Http2Settings = "http2-settings": Hop,
    ProxyAuthenticate = "proxy-authenticate": Hop,
    ProxyAuthenticationInfo = "proxy-authentication-info": Hop,
    ProxyAuthorization = "proxy-authorization": Hop,

    Forwarded = "forwarded": Trust,
    XForwardedFor = "x-forwarded-for": Trust,
    XForwardedProto = "x-forwarded-proto": Trust,
    XForwardedHost = "x-forwarded-host": Trust,
    XForwardedPort = "x-forwarded-port": Trust,
    XForwardedPrefix = "x-forwarded-prefix": Trust,
    XForwardedServer = "x-forwarded-server": Trust,
    XForwardedScheme = "x-forwarded-scheme": Trust,
    XForwardedSsl = "x-forwarded-ssl": Trust,
    XForwardedClientCert = "x-forwarded-client-cert": Trust,
    XRealIp = "x-real-ip": Trust,
    XRealPort = "x-real-port": Trust,
    XClientIp = "x-client-ip": Trust,
    XClusterClientIp = "x-cluster-client-ip": Trust,
    TrueClientIp = "true-client-ip": Trust,
    ForwardedFor = "forwarded-for": Trust,
    FrontEndHttps = "front-end-https": Trust,
    XScheme = "x-scheme": Trust,
    XHost = "x-host": Trust,
    XOriginalUrl = "x-original-url": Trust,
    XRewriteUrl = "x-rewrite-url": Trust,
    Proxy = "proxy": Trust,

    Authorization = "authorization": Firm,
    CacheControl = "cache-control": Firm,
    ContentEncoding = "content-encoding": Firm,
    ContentRange = "content-range": Firm,
    ContentType = "content-type": Firm,
    Cookie = "cookie": Firm,
    Date = "date": Firm,
    IfMatch = "if-match": Firm,
    IfModifiedSince = "if-modified-since": Firm,
    IfNoneMatch = "if-none-match": Firm,
    IfRange = "if-range": Firm,
    IfUnmodifiedSince = "if-unmodified-since": Firm,
    Location = "location": Firm,
    MaxForwards = "max-forwards": Firm,
    Range = "range": Firm,
    RetryAfter = "retry-after": Firm,
    SetCookie = "set-cookie": Firm,
    Vary = "vary": Firm,
    Via = "via": Firm,
    WwwAuthenticate = "www-authenticate": Firm,
}

/// One field of a head or trailer section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// In [`Spans::text`]; a colon and a space follow.
    name: Span,
    /// The same; CRLF follows.
    pub(in crate::http) value: Span,
    pub(crate) known: Option<Name>,
    /// It ends here: for this hop, named by `Connection`, or taken away.
    pub(crate) ends_here: bool,
}

/// The form of a request's target (RFC 9112 section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Form {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `host:port`, for CONNECT.
    Authority,
    /// `*`, for OPTIONS.
    Asterisk,
}

/// The parts of a request's or status line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) version: Version,
    /// The method, or the reason.
    pub(crate) word: Span,
    /// 0 in a request.
    pub(crate) status: u16,
    pub(crate) form: Form,
    /// An absolute form's scheme.
    pub(crate) scheme: Option<Scheme>,
    /// The target's, where it has one.
    pub(crate) authority: Span,
    pub(crate) path: Span,
    pub(crate) query: Option<Span>,
}

impl Line {
    pub(crate) const fn new(version: Version) -> Self {
        let none = Span { at: 0, len: 0 };
        Self {
            version,
            word: none,
            status: 0,
            form: Form::Origin,
            scheme: None,
            authority: none,
            path: none,
            query: None,
        }
    }
}

/// The schemes that are spoken here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// RFC 9110 section 4.2.1.
    Http,
    /// RFC 9110 section 4.2.2.
    Https,
}

impl Scheme {
    /// The port that stands for none.
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
    /// As a URI says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A worker's scratch: where the parts of the head or trailer section lie that was read last.
pub struct Spans {
    pub(crate) line: Line,
    pub(crate) fields: ArrayVec<Field, HTTP_FIELDS_MAX>,
    /// The host that is asked, in `names`.
    pub(crate) host: Span,
    pub(crate) port: Option<u16>,
    /// Which known names are there, by their number.
    present: u64,
    /// Each field's line as it is written to another leg: the name in lower case, a colon, a space, the value, CRLF. A line is longer than the
    /// one that it was made of by a space at most; so this never grows.
    pub(in crate::http) text: Vec<u8>,
    /// The host and what Connection names, in lower case: no longer than the head, so this never grows either.
    pub(in crate::http) names: Vec<u8>,
}

impl Default for Spans {
    fn default() -> Self {
        Self::new()
    }
}

impl Spans {
    /// Takes all the memory that it will ever have.
    pub fn new() -> Self {
        Self {
            line: Line::new(Version::Http11),
            fields: ArrayVec::new(),
            host: Span::default(),
            port: None,
            present: 0,
            text: Vec::with_capacity(HTTP_TEXT_MAX),
            names: Vec::with_capacity(HTTP_HEAD_BYTES_MAX),
        }
    }
    /// The request whose head was read last, over the same bytes.
    pub fn request<'a>(&'a self, bytes: &'a [u8]) -> Request<'a> {
        debug_assert_eq!(self.line.status, 0);
        Request { fields: Fields { bytes, spans: self } }
    }
    /// The response whose head was read last, over the same bytes.
    pub fn response<'a>(&'a self, bytes: &'a [u8]) -> Response<'a> {
        debug_assert_ne!(self.line.status, 0);
        Response { fields: Fields { bytes, spans: self } }
    }
    /// The trailer section that was read last, over the same bytes.
    pub fn trailers<'a>(&'a self, bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, spans: self }
    }

    pub(crate) fn clear_fields(&mut self) {
        self.fields.clear();
        self.text.clear();
        self.names.clear();
        self.present = 0;
        (self.host, self.port) = (Span::default(), None);
    }
    /// Adds the field whose line comes first; the caller has counted them. How long its line is, CRLF included; `None`: it is no field's.
    pub(crate) fn push_line(&mut self, section: &[u8]) -> Option<usize> {
        let colon = section.iter().position(|&byte| lower_of_token(byte) == 0)?;
        if colon == 0 || section[colon] != b':' {
            return None;
        }
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        let mut from = colon + 1;
        while is_space(section.get(from)) {
            from += 1;
        }
        let end = from + value_len(&section[from..]);
        if !section[end..].starts_with(b"\r\n") {
            return None;
        }
        let mut to = end;
        while to > from && is_space(section.get(to - 1)) {
            to -= 1;
        }
        let at = self.text.len();
        assert!(at + end + 3 <= HTTP_TEXT_MAX, "lines are no longer than their head, but for a space");
        if (from, to) == (colon + 2, end) && section[colon + 1] == b' ' {
            // It is in our form already, but for its name's letters.
            self.text.extend_from_slice(&section[..end + 2]);
        } else {
            self.text.extend_from_slice(&section[..colon]);
            self.text.extend_from_slice(b": ");
            self.text.extend_from_slice(&section[from..to]);
            self.text.extend_from_slice(b"\r\n");
        }
        let name = &mut self.text[at..at + colon];
        name.iter_mut().zip(section).for_each(|(to, from)| *to = lower_of_token(*from));
        let known = Name::find(name);
        let ends_here = known.is_some_and(|name| matches!(name.role(), Role::Hop | Role::Framing));
        self.present |= known.map_or(0, |name| 1 << name as u8);
        let (name, value) = (Span::new(at, colon), Span::new(at + colon + 2, to - from));
        self.fields.push(Field { name, value, known, ends_here });
        Some(end + 2)
    }
    /// Whether a known name is there.
    #[inline]
    pub(crate) fn has(&self, name: Name) -> bool {
        self.present >> name as u8 & 1 != 0
    }
    /// Ends the fields that one field's list names. Each known name among them is shown first.
    pub(crate) fn end_listed(
        &mut self,
        index: usize,
        mut show: impl FnMut(Name) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let Self { fields, text, names, .. } = self;
        let list = fields[index].value;
        for option in elements(list.slice(text)).filter(|option| !option.is_empty()) {
            let name = lower(names, option).slice(names);
            Name::find(name).map_or(Ok(()), &mut show)?;
            for field in fields.iter_mut() {
                field.ends_here |= field.name.slice(text) == name;
            }
        }
        Ok(())
    }
    /// The name of one field, in lower case.
    pub(crate) fn name(&self, index: usize) -> &[u8] {
        self.fields[index].name.slice(&self.text)
    }
    /// Marks every field whose name is such; says whether there was one.
    pub(crate) fn end_where(&mut self, is_such: impl Fn(&[u8]) -> bool) -> bool {
        let mut any = false;
        for field in &mut self.fields {
            if is_such(field.name.slice(&self.text)) {
                (field.ends_here, any) = (true, true);
            }
        }
        any
    }
    /// Value of one field.
    pub(crate) fn value(&self, index: usize) -> &[u8] {
        self.fields[index].value.slice(&self.text)
    }
}

/// Keeps a copy in lower case.
pub(in crate::http) fn lower(names: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let at = names.len();
    assert!(at + bytes.len() <= HTTP_HEAD_BYTES_MAX, "parts are no longer than their head");
    names.extend_from_slice(bytes);
    names[at..].make_ascii_lowercase();
    Span::new(at, bytes.len())
}

/// Several fields of a name that only one is expected of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repeated;

/// The fields of a head, or a trailer section.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    spans: &'a Spans,
}

impl<'a> Fields<'a> {
    /// Names, in lower case, and values of those that go on, in their order. What `Connection` named is not among them: whatever decides
    /// on a request decides on what will be sent.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
        self.entries().filter(|(field, ..)| !field.ends_here).map(|(_, name, value)| (name, value))
    }
    /// All values of a name that goes on.
    pub fn values(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }
    /// The value of a name that goes on and is there once at most.
    pub fn only(self, name: &str) -> Result<Option<&'a [u8]>, Repeated> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(Repeated),
        }
    }
    /// All values of a field that this layer knows, those that end here too.
    pub fn known(self, name: Name) -> impl Iterator<Item = &'a [u8]> + Clone {
        let fields = if self.spans.has(name) { &self.spans.fields[..] } else { &[] };
        self.entries_of(fields).filter(move |(field, ..)| field.known == Some(name)).map(|(_, _, value)| value)
    }
    /// Each field with its name and value, those that end here too.
    pub(crate) fn entries(self) -> impl Iterator<Item = (&'a Field, &'a [u8], &'a [u8])> + Clone {
        self.entries_of(&self.spans.fields)
    }
    fn entries_of(self, fields: &'a [Field]) -> impl Iterator<Item = (&'a Field, &'a [u8], &'a [u8])> + Clone {
        let text = &self.spans.text[..];
        fields.iter().map(|field| (field, field.name.slice(text), field.value.slice(text)))
    }
    /// Whether a known name is there.
    pub(crate) fn has(self, name: Name) -> bool {
        self.spans.has(name)
    }
    /// The same, and goes on.
    pub(crate) fn passes(self, name: Name) -> bool {
        self.spans.has(name) && self.entries().any(|(field, ..)| field.known == Some(name) && !field.ends_here)
    }
    /// What goes on, as it is to be written, in as few pieces as there are: those that follow each other in one.
    pub(crate) fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        let Spans { fields, text, .. } = self.spans;
        let mut fields = fields.iter();
        std::iter::from_fn(move || {
            let first = fields.find(|field| !field.ends_here)?;
            let mut last = first;
            // Whoever ends here is passed over, too: it comes between two pieces.
            for field in fields.by_ref() {
                if field.ends_here {
                    break;
                }
                last = field;
            }
            Some(&text[usize::from(first.name.at)..usize::from(last.value.at) + usize::from(last.value.len) + 2])
        })
    }
}

/// Lines of all fields of a head, in our form.
const HTTP_TEXT_MAX: usize = HTTP_HEAD_BYTES_MAX + 2 * HTTP_FIELDS_MAX;
const _: () = assert!(HTTP_TEXT_MAX <= u16::MAX as usize, "places in it fit a span");

/// A request's head.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Its fields.
    pub fields: Fields<'a>,
}

impl<'a> Request<'a> {
    /// The method, as it came: methods are compared with case.
    pub fn method(self) -> &'a [u8] {
        self.line().word.slice(self.fields.bytes)
    }
    /// The version that the request line says.
    pub fn version(self) -> Version {
        self.line().version
    }
    /// The target's form.
    pub fn form(self) -> Form {
        self.line().form
    }
    /// The scheme that an absolute target says.
    pub fn scheme(self) -> Option<Scheme> {
        self.line().scheme
    }
    /// The host that is asked: lower case, without port and trailing dot. Empty only on HTTP/1.0.
    pub fn host(self) -> &'a [u8] {
        self.fields.spans.host.slice(&self.fields.spans.names)
    }
    /// Its port, where one was said.
    pub fn port(self) -> Option<u16> {
        self.fields.spans.port
    }
    /// The path as it came, before [`normalize`](super::normalize); empty in authority form, `*` in asterisk form.
    pub fn path(self) -> &'a [u8] {
        self.line().path.slice(self.fields.bytes)
    }
    /// What stands after the question mark.
    pub fn query(self) -> Option<&'a [u8]> {
        self.line().query.map(|query| query.slice(self.fields.bytes))
    }
    /// Fields that go on, as in [`Fields::iter`].
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.fields.iter()
    }
    fn line(self) -> &'a Line {
        &self.fields.spans.line
    }
}

/// A response's head.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    /// Its fields.
    pub fields: Fields<'a>,
}

impl<'a> Response<'a> {
    /// 100 to 599.
    pub fn status(self) -> u16 {
        self.fields.spans.line.status
    }
    /// The version that the status line says.
    pub fn version(self) -> Version {
        self.fields.spans.line.version
    }
    /// The reason, for people; often empty.
    pub fn reason(self) -> &'a [u8] {
        self.fields.spans.line.word.slice(self.fields.bytes)
    }
    /// Fields that go on, as in [`Fields::iter`].
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.fields.iter()
    }
}
