//! Ed25519 keys: making, signing, and their PKCS#8 form.
//!
//! Owns the secret half of every key of a node. A secret is written to its key file and nowhere
//! else: it has no serde, no `Display`, and its `Debug` shows the public half.

use std::fmt;

use driftless_core::ids::{Author, FleetId};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::pem;

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// What RFC 8410 puts before the 32 bytes of a seed in a PKCS#8 (version 1) private key.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The text is not an Ed25519 private key in PKCS#8 PEM. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key in PKCS#8 PEM")]
pub struct ParseKeyError;

/// The signature is not one of this key over this message. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

/// An Ed25519 secret key: of a node, an operator or the authority.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Makes a key from the random source of the operating system.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self::from_seed(seed))
    }

    /// The key with this seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The key as the replica signs events with it.
    pub fn signing_key(&self) -> &SigningKey {
        &self.0
    }

    /// The public half, as the author of events.
    pub fn public(&self) -> Author {
        Author(self.0.verifying_key().to_bytes())
    }

    /// The public half, as the fleet that this key is the authority of.
    pub fn fleet(&self) -> FleetId {
        FleetId(self.public().0)
    }

    /// Signs `message`. Ed25519 is deterministic: the same message gives the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }

    /// The key in PKCS#8 (version 1) DER.
    pub fn to_pkcs8_der(&self) -> PrivateKeyDer<'static> {
        let der = [PKCS8_PREFIX.as_slice(), self.0.as_bytes()].concat();
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der))
    }

    /// The key in PKCS#8 PEM, as key files hold it.
    pub fn to_pem(&self) -> String {
        pem::encode("PRIVATE KEY", self.to_pkcs8_der().secret_der())
    }

    /// Reads a key from PKCS#8 (version 1) PEM, which is also what OpenSSL writes.
    pub fn from_pem(text: &str) -> Result<Self, ParseKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| ParseKeyError)?;
        let seed = der.secret_pkcs8_der().strip_prefix(&PKCS8_PREFIX).ok_or(ParseKeyError)?;
        Ok(Self::from_seed(seed.try_into().map_err(|_| ParseKeyError)?))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().short())
    }
}

/// Checks a signature of `key` over `message`, refusing weak keys and malleable signatures.
pub fn verify(key: &[u8; 32], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| BadSignature)?;
    let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| BadSignature)?;
    key.verify_strict(message, &signature).map_err(|_| BadSignature)
}

/// Whether these bytes are a public key that a signature can be checked with.
pub fn is_public_key(key: &[u8; 32]) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|key| !key.is_weak())
}

/// The public half of a key, as rcgen wants it.
#[derive(Clone, Copy)]
pub(super) struct CertifiedPublicKey(pub(super) [u8; 32]);

impl rcgen::PublicKeyData for CertifiedPublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

/// A key that signs certificates, as rcgen wants it.
pub(super) struct CertificateSigner<'a> {
    key: &'a SecretKey,
    public: [u8; 32],
}

impl<'a> CertificateSigner<'a> {
    pub(super) fn new(key: &'a SecretKey) -> Self {
        Self { key, public: key.public().0 }
    }
}

impl rcgen::PublicKeyData for CertificateSigner<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for CertificateSigner<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign(message).to_vec())
    }
}

/// Serde for identifiers as hex text, for the JSON that people read.
pub(super) mod hex_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_survives_its_pem_form() {
        let key = SecretKey::from_seed([7; 32]);
        let pem = key.to_pem();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert_eq!(SecretKey::from_pem(&pem).unwrap().public(), key.public());
        assert!(
            rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(
                key.to_pkcs8_der().secret_der().to_vec()
            ))
            .is_ok()
        );
    }

    #[test]
    fn other_text_is_no_key() {
        let key = SecretKey::from_seed([7; 32]).to_pem();
        let p256 = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for text in ["", "hello", &key[..60], &key.replace("PRIVATE", "PUBLIC"), &p256] {
            assert_eq!(SecretKey::from_pem(text).unwrap_err(), ParseKeyError, "{text}");
        }
    }

    #[test]
    fn signatures_bind_key_and_message() {
        let (ours, theirs) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let signature = ours.sign(b"store-17");
        assert_eq!(verify(&ours.public().0, b"store-17", &signature), Ok(()));
        assert_eq!(verify(&ours.public().0, b"store-18", &signature), Err(BadSignature));
        assert_eq!(verify(&theirs.public().0, b"store-17", &signature), Err(BadSignature));
        assert_eq!(verify(&ours.public().0, b"store-17", &signature[1..]), Err(BadSignature));
        assert!(!is_public_key(&[0; 32]), "a key of small order signs anything");
    }

    #[test]
    fn debug_hides_the_secret() {
        let key = SecretKey::from_seed([7; 32]);
        assert_eq!(format!("{key:?}"), format!("SecretKey(of {})", key.public().short()));
    }
}
