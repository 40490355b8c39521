//! TLS servers that are not ours: rustls under tungstenite, with certificates made for the test.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};
use tungstenite::accept;
use tungstenite::protocol::WebSocket;

use super::{echo, honest, serve};

/// A TLS stream of the server.
pub type Secured = StreamOwned<ServerConnection, TcpStream>;

/// A certificate authority and the folder with its files.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
    folder: PathBuf,
    file: PathBuf,
}

/// A certificate with its key.
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS #8.
    pub key: PrivateKeyDer<'static>,
    /// The same in files.
    pub files: (PathBuf, PathBuf),
}

static FOLDERS: AtomicU32 = AtomicU32::new(0);

impl Authority {
    /// A new one.
    pub fn new() -> Authority {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("fanwire-tls-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for certificates");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        let name = format!("Test authority {number}");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let authority = Authority {
            issuer: Issuer::new(parameters, key),
            certificate,
            file: folder.join("ca.pem"),
            folder,
        };
        std::fs::write(authority.file(), authority.certificate.pem()).expect("written");
        authority
    }

    /// Its certificate in PEM form.
    pub fn file(&self) -> &str {
        text(&self.file)
    }

    /// Issues a certificate for a name or an address.
    pub fn issue(&self, name: &str) -> Identity {
        let parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("issued");
        let files = (
            self.folder.join(format!("{name}.pem")),
            self.folder.join(format!("{name}.key")),
        );
        std::fs::write(&files.0, certificate.pem()).expect("written");
        std::fs::write(&files.1, key.serialize_pem()).expect("written");
        Identity {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            files,
        }
    }

    /// A server that demands a certificate of this authority from clients.
    pub fn demanding(&self, identity: &Identity) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .expect("a verifier");
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(identity.chain.clone(), identity.key.clone_key())
            .expect("a certificate")
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // The folder is in the temporary one: what cannot be removed disappears with it.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A server with a certificate that speaks some versions of TLS.
pub fn config(identity: &Identity, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .expect("a certificate")
}

/// Serves WebSocket over TLS: `script` gets every connection after its opening handshake.
pub fn serve_secured(
    config: ServerConfig,
    script: impl Fn(usize, WebSocket<Secured>) + Send + Sync + 'static,
) -> SocketAddr {
    let config = Arc::new(config);
    serve(move |number, stream| {
        if let Some(stream) = secure(&config, stream)
            && let Ok(socket) = accept(stream)
        {
            script(number, socket);
        }
    })
}

/// TLS on a socket that was accepted; the handshake happens with the first read.
pub fn secure(config: &Arc<ServerConfig>, stream: TcpStream) -> Option<Secured> {
    stream.set_nodelay(true).ok()?;
    let session = ServerConnection::new(Arc::clone(config)).ok()?;
    Some(StreamOwned::new(session, stream))
}

/// Echoes over TLS, and does nothing wrong.
pub fn echo_secured(config: ServerConfig) -> SocketAddr {
    serve_secured(config, |_, mut socket| echo(&mut socket, honest))
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
