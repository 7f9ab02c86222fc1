//! The daemon's DTLS certificate, keyed hashes, and random tokens.

use ::rtc::crypto::{HashAlgorithm, HmacAlgorithm, RTCCryptoProvider, SignatureScheme, default_provider};
use ::rtc::dtls::crypto::Certificate;
use ::rtc::peer_connection::certificate::RTCCertificate;
use rand::RngExt;
use std::sync::Arc;

/// What every session shares: one certificate for the life of the daemon, made at start. Browsers bind to it by the
/// fingerprint in the answer, so nobody needs to know it beforehand.
#[derive(Clone)]
pub struct Identity {
    /// Hashes, ciphers and random numbers: ring.
    pub provider: Arc<dyn RTCCryptoProvider>,
    /// The certificate with its key.
    pub certificate: Certificate,
    /// Its SHA-256.
    pub fingerprint: [u8; 32],
}

impl Identity {
    /// Makes a certificate.
    ///
    /// # Errors
    /// In words, when the crypto library cannot.
    pub fn new() -> Result<Identity, String> {
        let provider = default_provider().map_err(|e| e.to_string())?;
        let params = rcgen::CertificateParams::new(vec!["boothcast".to_owned()]).map_err(|e| e.to_string())?;
        let scheme = SignatureScheme::EcdsaP256Sha256;
        let certificate = RTCCertificate::generate(provider.crypto(), scheme, params).map_err(|e| e.to_string())?;
        let certificate = certificate.dtls_certificate;
        let der = certificate.certificate.first().ok_or("no certificate")?;
        let fingerprint = sha256(&*provider, der.as_ref()).ok_or("no hash")?;
        Ok(Identity { provider, certificate, fingerprint })
    }

    /// HMAC-SHA-1 under `key`, for STUN.
    pub fn hmac(&self, key: &str) -> impl FnOnce(&[&[u8]]) -> Option<[u8; 20]> {
        move |parts| {
            let mut out = [0; 20];
            let mut mac = self.provider.crypto().new_hmac(HmacAlgorithm::Sha1, key.as_bytes()).ok()?;
            mac.sign(parts, &mut out).ok()?;
            Some(out)
        }
    }
}

/// SHA-256.
pub fn sha256(provider: &dyn RTCCryptoProvider, data: &[u8]) -> Option<[u8; 32]> {
    provider.crypto().hash(HashAlgorithm::Sha256, data).ok()?.try_into().ok()
}

/// `length` random characters that ICE and URLs take.
pub fn token(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
}

/// A random number that is not 0.
pub fn random() -> u32 {
    rand::rng().random_range(1..u32::MAX)
}
