//! What TLS connections of a run are made with: roots, names, our own certificate.
//!
//! Owns reading the files, once and before the run, and the choice of trust. Opens no socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::trust::AnyCertificate;

/// What the command line says about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM file with certificate authorities to trust beside the public ones.
    pub authorities: Option<PathBuf>,
    /// Accept any certificate.
    pub is_insecure: bool,
    /// Name to ask for and to verify, in place of the host of the URL.
    pub server_name: Option<String>,
    /// PEM files of our own certificate chain and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsOptions {
    /// Whether anything was asked for.
    pub fn is_empty(&self) -> bool {
        *self == TlsOptions::default()
    }
}

/// Everything that a TLS session of a run starts from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    /// The name in sentences.
    pub(super) label: Arc<str>,
    is_insecure: bool,
}

impl TlsClient {
    /// The same for another host.
    ///
    /// # Errors
    /// A name that no certificate can be issued for.
    pub fn at_host(&self, host: &str) -> Result<TlsClient, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            format!("'{host}' is no host name that a certificate can be issued for")
        })?;
        Ok(TlsClient {
            name,
            label: host.into(),
            ..self.clone()
        })
    }

    /// Reads the files for a server called `host` in its URL.
    ///
    /// # Errors
    /// One or two sentences with the option at fault and the cure.
    pub fn new(options: &TlsOptions, host: &str) -> Result<TlsClient, String> {
        let provider = Arc::new(ring::default_provider());
        let name = options.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
            format!(
                "'{name}' is no host name that a certificate can be issued for; pass --sni NAME"
            )
        })?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let builder = if options.is_insecure {
            let algorithms = provider.signature_verification_algorithms;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(algorithms)))
        } else {
            builder.with_root_certificates(roots(options.authorities.as_deref())?)
        };
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => {
                let chain = read_certificates("--cert", certificates)?;
                let key_der = read_key(key, &provider)?;
                builder
                    .with_client_auth_cert(chain, key_der)
                    .map_err(|error| {
                        format!(
                            "--cert {} and --key {} do not go together ({error}); pass the key that \
                             belongs to the certificate",
                            certificates.display(),
                            key.display()
                        )
                    })?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Every connection stands for another user, who has no ticket yet: a whole handshake each.
        // A store of tickets would also be a lock that all threads share.
        config.resumption = Resumption::disabled();
        Ok(TlsClient {
            config: Arc::new(config),
            name: server_name,
            label: name.into(),
            is_insecure: options.is_insecure,
        })
    }

    /// Whether certificates are not verified.
    pub fn is_insecure(&self) -> bool {
        self.is_insecure
    }

    /// The name that is asked for and verified.
    pub fn server_name(&self) -> &str {
        &self.label
    }
}

/// The public authorities, and those of a file.
fn roots(authorities: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = authorities {
        for certificate in read_certificates("--tls-ca", path)? {
            roots.add(certificate).map_err(|error| {
                format!(
                    "--tls-ca {}: a certificate in it cannot be used ({error})",
                    path.display()
                )
            })?;
        }
    }
    Ok(roots)
}

fn read_certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| cannot_read(option, path, &error);
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if found.is_empty() {
        return Err(cannot_read(option, path, &pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn read_key(path: &Path, provider: &CryptoProvider) -> Result<PrivateKeyDer<'static>, String> {
    let key =
        PrivateKeyDer::from_pem_file(path).map_err(|error| cannot_read("--key", path, &error))?;
    provider
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|error| {
            format!(
                "--key {}: this kind of private key cannot be used ({error}); RSA, ECDSA P-256 and \
                 P-384, and Ed25519 can",
                path.display()
            )
        })?;
    Ok(key)
}

fn cannot_read(option: &str, path: &Path, error: &pem::Error) -> String {
    let path = path.display();
    match error {
        pem::Error::Io(error) => format!("{option} {path}: cannot be read: {error}"),
        pem::Error::NoItemsFound => {
            let (wanted, hint) = if option == "--key" {
                (
                    "private key without a password",
                    "openssl pkey -in FILE -out key.pem",
                )
            } else {
                (
                    "certificate",
                    "openssl x509 -inform der -in FILE -out certificate.pem",
                )
            };
            format!(
                "{option} {path}: holds no {wanted} in PEM form; convert it, for example with: {hint}"
            )
        }
        other => format!("{option} {path}: is no sound PEM file ({other:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_files_name_option_and_cure() {
        let missing = PathBuf::from("/nonexistent/ca.pem");
        let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        for (path, word) in [(missing, "cannot be read"), (own, "openssl")] {
            let authorities = TlsOptions {
                authorities: Some(path.clone()),
                ..TlsOptions::default()
            };
            let error = TlsClient::new(&authorities, "localhost").expect_err("no certificates");
            assert!(
                error.contains("--tls-ca") && error.contains(word),
                "{error}"
            );
            let identity = TlsOptions {
                identity: Some((path.clone(), path)),
                ..TlsOptions::default()
            };
            let error = TlsClient::new(&identity, "localhost").expect_err("no certificates");
            assert!(error.contains("--cert") && error.contains(word), "{error}");
        }
        let name = TlsOptions {
            server_name: Some("not a name".into()),
            ..TlsOptions::default()
        };
        let error = TlsClient::new(&name, "localhost").expect_err("a blank in a name");
        assert!(error.contains("--sni"), "{error}");
    }

    #[test]
    fn addresses_and_names_are_both_verified() {
        for host in ["127.0.0.1", "::1", "example.org"] {
            let client = TlsClient::new(&TlsOptions::default(), host).expect("a name");
            assert_eq!(client.server_name(), host);
            assert!(!client.is_insecure());
        }
    }
}
