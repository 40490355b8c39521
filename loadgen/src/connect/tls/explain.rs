//! What a failed TLS handshake means, in words with a cure.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// A sentence about why a session with the server called `name` failed, with the cure where there is
/// one.
pub fn explain(error: &Error, name: &str) -> String {
    match error {
        Error::InvalidCertificate(reason) => certificate(reason, name),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the answer is not TLS; if the server speaks plain WebSocket on this port, use ws://"
                .to_owned()
        }
        Error::AlertReceived(alert) => refused(*alert, name),
        Error::NoApplicationProtocol => {
            "the server agreed to no protocol that we offered (ALPN http/1.1); it must accept \
             HTTP/1.1 on this port"
                .to_owned()
        }
        Error::PeerIncompatible(reason) => format!(
            "the server and we have no version or cipher suite of TLS in common ({reason:?}); \
             TLS 1.2 and 1.3 with ECDHE and AES-GCM or ChaCha20 are spoken here"
        ),
        other => format!("TLS failed: {other}"),
    }
}

fn certificate(reason: &CertificateError, name: &str) -> String {
    let insecure = "or accept any certificate with --insecure";
    match reason {
        // A bad signature is what the certificate of another issuer of the same name looks like.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the certificate of '{name}' was issued by nobody we trust; pass the issuer's \
             certificate with --tls-ca FILE, {insecure}"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let valid_for = match reason {
                CertificateError::NotValidForNameContext { presented, .. }
                    if !presented.is_empty() =>
                {
                    format!(" but for {}", presented.join(", "))
                }
                _ => String::new(),
            };
            format!(
                "the certificate is not for '{name}'{valid_for}; name the server as its certificate \
                 does with --sni NAME, {insecure}"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the certificate of '{name}' has expired; renew it, correct this host's clock, \
             {insecure}"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "the certificate of '{name}' is not valid yet; correct this host's clock, {insecure}"
        ),
        other => format!("the certificate of '{name}' cannot be trusted ({other}); {insecure}"),
    }
}

fn refused(alert: AlertDescription, name: &str) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the server demands a certificate of ours; pass --cert FILE and --key FILE".to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::AccessDenied => format!(
            "the server does not accept our certificate ({alert:?}), or demands one; pass one that \
             it trusts with --cert FILE and --key FILE"
        ),
        AlertDescription::UnrecognisedName => {
            format!("the server knows no '{name}'; name it as its certificate does with --sni NAME")
        }
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => format!(
            "the server refused the TLS handshake ({alert:?}): no version or cipher suite in common, \
             or it demands a certificate of ours (--cert FILE --key FILE)"
        ),
        other => format!("the server refused the TLS handshake ({other:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_common_failure_names_its_cure() {
        let cases = [
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "--tls-ca",
            ),
            (
                Error::InvalidCertificate(CertificateError::NotValidForName),
                "--sni",
            ),
            (
                Error::InvalidCertificate(CertificateError::Expired),
                "expired",
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "ws://",
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "--cert",
            ),
            (
                Error::AlertReceived(AlertDescription::UnrecognisedName),
                "--sni",
            ),
        ];
        for (error, word) in cases {
            let text = explain(&error, "example.org");
            assert!(text.contains(word), "{error:?}: {text}");
        }
    }
}
