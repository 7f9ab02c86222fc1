//! The daemon's certificate, for HTTPS and RTMPS.
//!
//! **Role.** Loads certificate and key, or makes a self-signed pair and keeps it in the state directory, and hands out
//! `rustls` configurations that follow a change of the files: new handshakes get the new certificate, connections that
//! are open go on. A pair that does not load leaves the old one in use and is logged once per change.
//! **Bound.** Files of at most [`MAX_PEM_BYTES`]; one certified key in memory.

use crate::media::{Dur, SharedClock, Ts};
use crate::task::Group;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A certificate chain of a public authority is under 10 KB; more than this is not a PEM file of ours.
pub const MAX_PEM_BYTES: u64 = 1 << 20;

/// How often the files are looked at. A renewed certificate is in use long before the old one ends.
const POLL: Dur = Dur::from_secs(5);

/// How long a self-signed certificate is valid: the most that iOS accepts even of a certificate that its user trusts.
const SELF_SIGNED_VALIDITY: Dur = Dur::from_secs(825 * 24 * 3600);

/// A self-signed certificate is replaced when less than this is left.
const SELF_SIGNED_MARGIN: Dur = Dur::from_secs(30 * 24 * 3600);

/// What a self-signed certificate is backdated by, for clients whose clock is behind.
const BACKDATE: Dur = Dur::from_secs(24 * 3600);

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// PEM files: the chain with the server's own certificate first, and its key (PKCS#8, SEC 1 or PKCS#1).
    Files {
        /// `[tls] certificate`.
        certificate: PathBuf,
        /// `[tls] key`.
        key: PathBuf,
    },
    /// Made by the daemon and kept in `dir`; stable across restarts, renewed before it ends or when the names change.
    SelfSigned {
        /// A directory of the daemon's own; created when missing.
        dir: PathBuf,
        /// DNS names and addresses besides `localhost`, `127.0.0.1`, `::1` and the host's name.
        names: Vec<String>,
    },
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file is larger than [`MAX_PEM_BYTES`].
    #[error("{0}: larger than {MAX_PEM_BYTES} bytes, so not a PEM file of a certificate or key")]
    TooLarge(PathBuf),
    /// The certificate file holds no certificate.
    #[error("{0}: no certificate in it: it must be PEM, with the server's own certificate first")]
    NoCertificate(PathBuf),
    /// The key file holds no usable key.
    #[error("{0}: no private key in it: it must be PEM, PKCS#8, SEC 1 or PKCS#1, without a passphrase")]
    NoKey(PathBuf),
    /// A file is not PEM.
    #[error("{path}: not PEM: {error}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: rustls_pki_types::pem::Error,
    },
    /// The pair does not work, for example because the key belongs to another certificate.
    #[error("{certificate} and {key} do not make a usable pair: {error}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        error: rustls::Error,
    },
    /// A self-signed certificate could not be made.
    #[error("cannot make a self-signed certificate for {names}: {error}")]
    SelfSigned {
        /// The names asked for.
        names: String,
        /// What rcgen said.
        error: rcgen::Error,
    },
    /// rustls refused the set-up.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// A file's identity for change detection: modification time, size, inode (a renamed-in file may keep the first two).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(i64, i64, u64, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Stamp(meta.mtime(), meta.mtime_nsec(), meta.size(), meta.ino()))
}

#[derive(Debug)]
struct Resolver(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// The daemon's certificate and the configurations made with it.
pub struct Tls {
    source: Source,
    clock: SharedClock,
    provider: Arc<CryptoProvider>,
    resolver: Arc<Resolver>,
    http: Arc<ServerConfig>,
    rtmp: Arc<ServerConfig>,
    /// The files as last tried, loaded or refused.
    tried: Mutex<[Option<Stamp>; 2]>,
}

impl Tls {
    /// Loads, or makes, the certificate. Blocking file IO: for start-up.
    ///
    /// # Errors
    /// [`TlsError`] with the file and what to mend.
    pub fn load(source: Source, clock: SharedClock) -> Result<Arc<Tls>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let files = prepare(&source, clock.now())?;
        let tried = [stamp(&files.0), stamp(&files.1)];
        let resolver = Arc::new(Resolver(ArcSwap::from_pointee(read_pair(&files, &provider)?)));
        let config = |alpn: &[&[u8]]| -> Result<Arc<ServerConfig>, TlsError> {
            let mut config = ServerConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_cert_resolver(resolver.clone());
            config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
            // Tickets instead of the session cache: resumption costs no memory per viewer.
            config.ticketer = rustls::crypto::ring::Ticketer::new()?;
            Ok(Arc::new(config))
        };
        let (http, rtmp) = (config(&[b"h2", b"http/1.1"])?, config(&[])?);
        Ok(Arc::new(Tls { source, clock, provider, resolver, http, rtmp, tried: Mutex::new(tried) }))
    }

    /// For HTTPS: ALPN `h2` and `http/1.1`.
    pub fn http(&self) -> Arc<ServerConfig> {
        self.http.clone()
    }

    /// For RTMPS: no ALPN.
    pub fn rtmp(&self) -> Arc<ServerConfig> {
        self.rtmp.clone()
    }

    /// The certificate file in use, for messages and for clients in tests that must trust it.
    pub fn certificate_path(&self) -> PathBuf {
        paths(&self.source).0
    }

    /// Loads the files again, changed or not (SIGHUP). Blocking file IO.
    ///
    /// # Errors
    /// As [`Tls::load`]; the certificate in use stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let result = prepare(&self.source, self.clock.now()).and_then(|files| {
            *self.tried.lock().unwrap_or_else(PoisonError::into_inner) = [stamp(&files.0), stamp(&files.1)];
            read_pair(&files, &self.provider)
        });
        match result {
            Ok(pair) => {
                self.resolver.0.store(Arc::new(pair));
                tracing::info!(certificate = %paths(&self.source).0.display(), "certificate loaded");
                metrics::counter!("boothcast_tls_reloads_total", "result" => "ok").increment(1);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "certificate not loaded, the one before stays in use");
                metrics::counter!("boothcast_tls_reloads_total", "result" => "failed").increment(1);
                Err(error)
            }
        }
    }

    /// Loads the files again when they changed since they were last tried. Blocking file IO.
    pub fn poll(&self) {
        let (certificate, key) = paths(&self.source);
        let now = [stamp(&certificate), stamp(&key)];
        let changed = *self.tried.lock().unwrap_or_else(PoisonError::into_inner) != now;
        if changed || (matches!(self.source, Source::SelfSigned { .. }) && self.self_signed_is_due()) {
            // The pair may be half replaced: a failure is logged and the next change is tried again.
            let _ = self.reload();
        }
    }

    fn self_signed_is_due(&self) -> bool {
        let (certificate, _) = paths(&self.source);
        let Source::SelfSigned { names, .. } = &self.source else { return false };
        read(&certificate).map_or(true, |pem| !still_good(&pem, &all_names(names), self.clock.now()))
    }

    /// Starts the task that follows the files.
    pub fn watch(self: &Arc<Tls>, group: &Group) {
        let tls = self.clone();
        group.spawn_until_cancelled("tls files", async move {
            loop {
                tls.clock.sleep_until(tls.clock.now() + POLL).await;
                let poller = tls.clone();
                if let Err(error) = tokio::task::spawn_blocking(move || poller.poll()).await {
                    tracing::error!(%error, "looking at the certificate's files failed");
                }
            }
        });
    }
}

fn paths(source: &Source) -> (PathBuf, PathBuf) {
    match source {
        Source::Files { certificate, key } => (certificate.clone(), key.clone()),
        Source::SelfSigned { dir, .. } => (dir.join("self-signed.crt"), dir.join("self-signed.key")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let fail = |error| TlsError::File { path: path.into(), error };
    let mut data = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_PEM_BYTES + 1).read_to_end(&mut data).map_err(fail)?;
    if data.len() as u64 > MAX_PEM_BYTES {
        return Err(TlsError::TooLarge(path.into()));
    }
    Ok(data)
}

fn read_pair(files: &(PathBuf, PathBuf), provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    use rustls_pki_types::pem::Error as Pem;
    let (certificate, key) = files;
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Pem { path: certificate.clone(), error })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificate.clone()));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| match error {
        Pem::NoItemsFound => TlsError::NoKey(key.clone()),
        error => TlsError::Pem { path: key.clone(), error },
    })?;
    CertifiedKey::from_der(chain, private, provider).map_err(|error| TlsError::Pair {
        certificate: certificate.clone(),
        key: key.clone(),
        error,
    })
}

/// Makes sure that the files of `source` exist; for a self-signed pair, that it is valid and has the right names.
fn prepare(source: &Source, now: Ts) -> Result<(PathBuf, PathBuf), TlsError> {
    let files = paths(source);
    if let Source::SelfSigned { dir, names } = source {
        let names = all_names(names);
        let good = files.1.exists() && read(&files.0).is_ok_and(|pem| still_good(&pem, &names, now));
        if !good {
            std::fs::create_dir_all(dir).map_err(|error| TlsError::File { path: dir.clone(), error })?;
            let (certificate, key) = self_signed(&names, now)?;
            // The key first: a certificate that is there has its key.
            write_private(&files.1, key.as_bytes())?;
            write_private(&files.0, certificate.as_bytes())?;
            tracing::info!(certificate = %files.0.display(), names = names.join(" "), "self-signed certificate made");
        }
    }
    Ok(files)
}

/// The names that a self-signed certificate always has, then those asked for.
fn all_names(more: &[String]) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    for name in std::iter::once(&host).chain(more) {
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic());
        if plain && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// What stands before the certificate in its file. RFC 7468 §2 lets text stand there; it saves an X.509 reader.
fn preface(names: &[String], until: Ts) -> String {
    format!("Boothcast self-signed\nnames: {}\nuntil: {}\n", names.join(" "), until.to_scale(1))
}

fn still_good(pem: &[u8], names: &[String], now: Ts) -> bool {
    let Ok(text) = std::str::from_utf8(pem) else { return false };
    let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
    let until = field("until").and_then(|s| s.parse().ok()).map(|s| Ts::from_scale(s, 1));
    field("names") == Some(names.join(" ").as_str()) && until.is_some_and(|u| u - now > SELF_SIGNED_MARGIN)
}

fn self_signed(names: &[String], now: Ts) -> Result<(String, String), TlsError> {
    let fail = |error| TlsError::SelfSigned { names: names.join(" "), error };
    let until = now + SELF_SIGNED_VALIDITY - BACKDATE;
    let date =
        |t: Ts| time::OffsetDateTime::from_unix_timestamp(t.to_scale(1)).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let key = rcgen::KeyPair::generate().map_err(fail)?;
    let mut params = rcgen::CertificateParams::new(names).map_err(fail)?;
    params.not_before = date(now - BACKDATE);
    params.not_after = date(until);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Boothcast self-signed");
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).map_err(fail)?;
    let mut pem = preface(names, until);
    let _ = write!(pem, "{}", certificate.pem());
    Ok((pem, key.serialize_pem()))
}

/// Writes beside the file and renames, so that a reader or a crash never sees half of it; readable by the daemon alone.
fn write_private(path: &Path, data: &[u8]) -> Result<(), TlsError> {
    let fail = |error| TlsError::File { path: path.into(), error };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(fail)?;
    file.write_all(data).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&new, path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::SystemClock;

    fn der(tls: &Tls) -> Vec<u8> {
        tls.resolver.0.load().cert[0].to_vec()
    }

    fn clock() -> SharedClock {
        Arc::new(SystemClock::new())
    }

    #[test]
    fn a_self_signed_pair_is_made_once_and_renewed_for_new_names_or_before_it_ends() {
        let dir = tempfile::tempdir().expect("tempdir");
        let source = |names: &[&str]| Source::SelfSigned {
            dir: dir.path().join("tls"),
            names: names.iter().map(|s| s.to_string()).collect(),
        };
        let first = der(&Tls::load(source(&[]), clock()).expect("made"));
        assert_eq!(first, der(&Tls::load(source(&[]), clock()).expect("kept")));
        let named = der(&Tls::load(source(&["booth.example", "192.0.2.7"]), clock()).expect("renewed"));
        assert_ne!(first, named);
        let late = clock().now() + SELF_SIGNED_VALIDITY - Dur::from_secs(20 * 24 * 3600);
        let names = all_names(&["booth.example".into(), "192.0.2.7".into()]);
        let pem = std::fs::read(dir.path().join("tls/self-signed.crt")).expect("written");
        assert!(still_good(&pem, &names, clock().now()));
        assert!(!still_good(&pem, &names, late), "20 days are left");
        let mode = std::fs::metadata(dir.path().join("tls/self-signed.key")).expect("key").mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn changed_files_are_taken_and_bad_ones_are_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
        let write = || {
            let (c, k) = self_signed(&all_names(&[]), clock().now()).expect("pair");
            std::fs::write(&certificate, c).expect("write");
            std::fs::write(&key, k).expect("write");
        };
        write();
        let source = Source::Files { certificate: certificate.clone(), key: key.clone() };
        let tls = Tls::load(source.clone(), clock()).expect("loads");
        let first = der(&tls);
        tls.poll();
        assert_eq!(der(&tls), first);
        std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").expect("write");
        tls.poll();
        assert_eq!(der(&tls), first, "a broken certificate leaves the old one");
        assert!(matches!(tls.reload(), Err(TlsError::Pem { .. })));
        write();
        tls.poll();
        let second = der(&tls);
        assert_ne!(second, first);
        // A key of another certificate.
        let (_, other) = self_signed(&all_names(&[]), clock().now()).expect("pair");
        std::fs::write(&key, other).expect("write");
        tls.poll();
        assert_eq!(der(&tls), second);
        assert!(matches!(Tls::load(source.clone(), clock()), Err(TlsError::Pair { .. })));
        std::fs::write(&key, "").expect("write");
        assert!(matches!(Tls::load(source.clone(), clock()), Err(TlsError::NoKey(_))));
        std::fs::write(&key, vec![b'x'; MAX_PEM_BYTES as usize + 1]).expect("write");
        assert!(matches!(Tls::load(source.clone(), clock()), Err(TlsError::TooLarge(_))));
        std::fs::remove_file(&certificate).expect("remove");
        let error = Tls::load(source, clock()).err().expect("missing file").to_string();
        assert!(error.contains("c.pem"), "{error}");
    }
}
