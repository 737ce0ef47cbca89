//! PEM and base64, the text forms of keys and certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Most certificates that one PEM text of ours may hold; a chain has two.
const CERTIFICATES_MAX: usize = 16;

/// The text is not a sequence of certificates in PEM. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not certificates in PEM: {0}")]
pub struct ParsePemError(String);

/// One PEM section of 64-column lines (RFC 7468).
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Certificates in PEM, in the order given.
pub fn encode_certificates(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|certificate| encode("CERTIFICATE", certificate)).collect()
}

/// Reads one or more certificates; other sections are skipped, as everybody does.
pub fn decode_certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, ParsePemError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .take(CERTIFICATES_MAX + 1)
        .collect::<Result<_, _>>()
        .map_err(|error| ParsePemError(error.to_string()))?;
    match chain.len() {
        0 => Err(ParsePemError("no certificate in it".to_owned())),
        1..=CERTIFICATES_MAX => Ok(chain),
        _ => Err(ParsePemError(format!("more than {CERTIFICATES_MAX} certificates"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_chain_survives_its_pem_form() {
        let chain = vec![CertificateDer::from(vec![1; 100]), CertificateDer::from(vec![2; 48])];
        let text = encode_certificates(&chain);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert_eq!(decode_certificates(&text).unwrap(), chain);
    }

    #[test]
    fn damaged_text_is_refused() {
        let text = encode_certificates(&[CertificateDer::from(vec![1; 100])]);
        assert!(decode_certificates("").is_err());
        assert!(decode_certificates(&text[..80]).is_err());
        assert!(decode_certificates(&text.replace("AQEB", "A!!B")).is_err());
        assert!(decode_certificates(&text.repeat(CERTIFICATES_MAX + 1)).is_err());
    }
}
