//! Join tokens: what a new node carries to a hub, and what the hub remembers of each.
//!
//! A token is a secret of one line: `driftless-token:v1:` and, in base64url, the length of its body
//! (4 bytes, big-endian), the body (JSON), and the minting hub's signature. The signature makes a
//! token that was cut or edited visible before anybody dials; what a token is worth is decided by
//! the [`TokenRecord`] at the hub that minted it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use driftless_core::ids::{Author, FleetId};
use driftless_core::name::is_label;
use serde::{Deserialize, Serialize};

use super::key::{self, SIGNATURE_BYTES, hex_text};
use super::{NodeIdentity, Role};

mod record;

pub use record::{TokenRecord, TokenRecordError};

const PREFIX: &str = "driftless-token:";
const VERSION: &str = "v1";
const SIGNATURE_DOMAIN: &[u8] = b"driftless token v1\0";
/// Longest token, in characters.
const TOKEN_CHARS_MAX: usize = 8 * 1_024;
/// Longest body, in bytes; it bounds labels and addresses together.
const BODY_BYTES_MAX: usize = 4 * 1_024;
/// Most joins that one token is good for; it bounds the hub's record of the token.
const USES_MAX: u32 = 1_000;
/// Most addresses in a token.
const ADDRESSES_MAX: usize = 16;

/// 128 random bits that name a token. Not a secret: a token also needs the hub's signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; 16]);

/// What a token allows, as the operator asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenSpec {
    /// What may join with it.
    pub purpose: TokenPurpose,
    /// The region of the new node.
    pub region: String,
    /// Where to dial: `host:port`, of the minting hub.
    pub addresses: Vec<String>,
    /// How many different nodes may join.
    pub uses: u32,
    /// End of its validity, in Unix seconds.
    pub expires: u64,
}

/// What may join with a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum TokenPurpose {
    /// Nodes of a site.
    Edge {
        /// The namespace of the site.
        namespace: String,
        /// Which site.
        site: SitePattern,
        /// Labels of the site, if the join creates it.
        #[serde(default)]
        labels: BTreeMap<String, String>,
    },
    /// A hub.
    Hub,
}

/// The sites that a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SitePattern {
    /// This site, new or existing.
    Named(String),
    /// Sites that do not exist yet and whose name matches; `*` stands for one or more characters.
    New(String),
}

/// A token, as minted or as read; its signature was checked in both cases.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    body: Body,
    text: String,
}

/// Why a token was not minted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// Edges mint nothing.
    #[error("only a hub mints tokens")]
    NotAHub,
    /// Something in the specification is not as it has to be.
    #[error("{what} {value:?}: {rule}")]
    Invalid {
        /// Which part.
        what: &'static str,
        /// As given.
        value: String,
        /// What holds.
        rule: &'static str,
    },
    /// The labels and addresses together are too long.
    #[error("token of {0} bytes, at most {BODY_BYTES_MAX} are allowed: use fewer labels or addresses")]
    TooLong(usize),
}

/// Why a text is not a token. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTokenError {
    /// Not even the beginning of one.
    #[error("not a join token: one begins with \"{PREFIX}\" and is printed by `driftless token create`")]
    NotAToken,
    /// Broken over lines, or several tokens.
    #[error("token has white space in it: pass it as one line, for example --join @FILE")]
    WhiteSpace,
    /// Another version.
    #[error(
        "token of version {0:?}, this software reads {VERSION}: create it with a hub of the same release, or update this node"
    )]
    Version(String),
    /// The end is missing.
    #[error("token is cut short: copy the whole line")]
    Truncated,
    /// Not what the hub signed.
    #[error("token is damaged: copy it again, or create a new one")]
    Damaged,
    /// Longer than any token.
    #[error("token is longer than {TOKEN_CHARS_MAX} characters: pass one token")]
    TooLong,
}

/// Why a token is of no use. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Too late.
    #[error(
        "token expired {seconds} seconds ago: create a new one with `driftless token create` on hub {hub}"
    )]
    Expired {
        /// For how long.
        seconds: u64,
        /// The hub that minted it.
        hub: String,
    },
}

impl Token {
    /// Mints a token and the record that its hub keeps, from 128 fresh random bits.
    ///
    /// The record must be durable before the token is shown.
    pub fn mint(
        hub: &NodeIdentity,
        spec: TokenSpec,
        now: u64,
        random: [u8; 16],
    ) -> Result<(Self, TokenRecord), MintError> {
        let Role::Hub { name, .. } = &hub.role else {
            return Err(MintError::NotAHub);
        };
        check_spec(&spec, now)?;
        let id = TokenId(random);
        let body = Body { id, fleet: hub.fleet, hub: name.clone(), hub_key: hub.author(), spec };
        let bytes = body.to_bytes();
        if bytes.len() > BODY_BYTES_MAX {
            return Err(MintError::TooLong(bytes.len()));
        }
        let length = u32::try_from(bytes.len()).expect("BODY_BYTES_MAX fits into 32 bits");
        let signature = hub.key.sign(&signed_message(&bytes));
        let packed = [&length.to_be_bytes()[..], &bytes, &signature].concat();
        let text = format!("{PREFIX}{VERSION}:{}", URL_SAFE_NO_PAD.encode(packed));
        let record = TokenRecord::new(id, body.spec.clone(), now);
        Ok((Self { body, text }, record))
    }

    /// Reads a token, and checks that it is as the hub signed it. Whether it is still good is for
    /// [`Token::verify`] and for the hub.
    pub fn parse(text: &str) -> Result<Self, ParseTokenError> {
        let text = text.trim();
        let rest = text.strip_prefix(PREFIX).ok_or(ParseTokenError::NotAToken)?;
        if text.len() > TOKEN_CHARS_MAX {
            return Err(ParseTokenError::TooLong);
        }
        if text.contains(char::is_whitespace) {
            return Err(ParseTokenError::WhiteSpace);
        }
        let (version, packed) = rest.split_once(':').ok_or(ParseTokenError::Truncated)?;
        if version != VERSION {
            return Err(ParseTokenError::Version(version.chars().take(20).collect()));
        }
        let body = unpack(packed)?;
        Ok(Self { body, text: text.to_owned() })
    }

    /// Whether the token is still valid at `now`.
    pub fn verify(&self, now: u64) -> Result<(), TokenError> {
        match now.checked_sub(self.spec().expires) {
            Some(seconds) => Err(TokenError::Expired { seconds, hub: self.hub().to_owned() }),
            None => Ok(()),
        }
    }

    /// The token's name.
    pub fn id(&self) -> TokenId {
        self.body.id
    }

    /// The fleet to join: the key that every hub of it has to prove.
    pub fn fleet(&self) -> FleetId {
        self.body.fleet
    }

    /// The hub that minted it, which alone can honour it.
    pub fn hub(&self) -> &str {
        &self.body.hub
    }

    /// The node key of that hub.
    pub fn hub_key(&self) -> Author {
        self.body.hub_key
    }

    /// What it allows.
    pub fn spec(&self) -> &TokenSpec {
        &self.body.spec
    }

    /// The token as one line. A secret.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, {:?})", self.body.id, self.body.spec.purpose)
    }
}

impl SitePattern {
    /// Whether the token is good for a site of this name.
    pub fn allows(&self, site: &str) -> bool {
        match self {
            Self::Named(name) => name == site,
            Self::New(pattern) => {
                is_label(site)
                    && match pattern.split_once('*') {
                        None => pattern == site,
                        Some((start, end)) => {
                            site.len() > start.len() + end.len()
                                && site.starts_with(start)
                                && site.ends_with(end)
                        }
                    }
            }
        }
    }

    fn is_valid(&self) -> bool {
        match self {
            Self::Named(name) => is_label(name),
            // One star: `a*b*c` would need a rule that nobody remembers.
            Self::New(pattern) => is_label(&pattern.replacen('*', "x", 1)),
        }
    }
}

impl fmt::Display for SitePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) | Self::New(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&driftless_core::ids::hex(&self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

/// The text is not 32 hex characters. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token id is 32 hex characters")]
pub struct ParseTokenIdError;

impl FromStr for TokenId {
    type Err = ParseTokenIdError;

    fn from_str(text: &str) -> Result<Self, ParseTokenIdError> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseTokenIdError);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| ParseTokenIdError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// What the hub signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    #[serde(with = "hex_text")]
    id: TokenId,
    #[serde(with = "hex_text")]
    fleet: FleetId,
    hub: String,
    #[serde(with = "hex_text")]
    hub_key: Author,
    spec: TokenSpec,
}

impl Body {
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers always have a JSON form")
    }
}

fn unpack(packed: &str) -> Result<Body, ParseTokenError> {
    // What was cut can end where no base64 ends.
    let bytes = URL_SAFE_NO_PAD.decode(packed).map_err(|error| match error {
        base64::DecodeError::InvalidLastSymbol { .. } | base64::DecodeError::InvalidLength(_) => {
            ParseTokenError::Truncated
        }
        _ => ParseTokenError::Damaged,
    })?;
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(ParseTokenError::Truncated)?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > BODY_BYTES_MAX {
        return Err(ParseTokenError::Damaged);
    }
    match rest.len().cmp(&(length + SIGNATURE_BYTES)) {
        std::cmp::Ordering::Less => return Err(ParseTokenError::Truncated),
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Greater => return Err(ParseTokenError::Damaged),
    }
    let (bytes, signature) = rest.split_at(length);
    let body: Body = serde_json::from_slice(bytes).map_err(|_| ParseTokenError::Damaged)?;
    key::verify(&body.hub_key.0, &signed_message(bytes), signature).map_err(|_| ParseTokenError::Damaged)?;
    Ok(body)
}

fn signed_message(body: &[u8]) -> Vec<u8> {
    [SIGNATURE_DOMAIN, body].concat()
}

fn check_spec(spec: &TokenSpec, now: u64) -> Result<(), MintError> {
    const LABEL: &str = "lower-case letters, digits and '-', at most 63 characters";
    let check = |holds: bool, what: &'static str, value: &dyn fmt::Display, rule: &'static str| match holds {
        true => Ok(()),
        false => Err(MintError::Invalid { what, value: value.to_string().chars().take(80).collect(), rule }),
    };
    check(is_label(&spec.region), "region", &spec.region, LABEL)?;
    check((1..=USES_MAX).contains(&spec.uses), "uses", &spec.uses, "1 to 1000")?;
    check(spec.expires > now, "expiry", &spec.expires, "later than now")?;
    let count = spec.addresses.len();
    check((1..=ADDRESSES_MAX).contains(&count), "number of addresses", &count, "1 to 16")?;
    for address in &spec.addresses {
        check(is_address(address), "address", address, "host:port, an IPv6 address in brackets")?;
    }
    let TokenPurpose::Edge { namespace, site, labels } = &spec.purpose else {
        return Ok(());
    };
    check(is_label(namespace), "namespace", namespace, LABEL)?;
    check(site.is_valid(), "site", site, "a label of RFC 1123; a pattern has one '*'")?;
    for (key, value) in labels {
        check(is_label_key(key), "label", key, "[DNS name/]name, as in Kubernetes")?;
        check(
            value.is_empty() || is_label_part(value),
            "label value",
            value,
            "at most 63 letters, digits, '-', '_' and '.', as in Kubernetes",
        )?;
    }
    Ok(())
}

/// Whether `text` is `host:port`, with a host name, an IPv4 address or an IPv6 address in brackets.
fn is_address(text: &str) -> bool {
    if text.parse::<std::net::SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    driftless_core::name::is_name(&host.to_ascii_lowercase())
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => driftless_core::name::is_name(prefix) && is_label_part(name),
        None => is_label_part(key),
    }
}

fn is_label_part(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && ends(text.bytes().next())
        && ends(text.bytes().next_back())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests;
