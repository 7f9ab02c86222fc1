//! Secrets: how they are made, hashed, derived and kept out of sight.
//!
//! Stream keys and API tokens are random with at least 160 bits, so they are stored as a keyed hash (HMAC-SHA-256, RFC 2104)
//! and found by it: there is nothing to guess, and a slow hash such as Argon2, made for passwords that people choose,
//! would only slow each publish down. The key of the hash lies beside the database in a file of its own
//! ([`Vault::open`]), so that neither a copy of the database alone nor of the file alone opens anything.
//!
//! Tokens that must be shown again (preview) are not stored at all: they are derived from the same key, the event and a
//! nonce, and a new nonce ends the old token. Secrets of room links are shown again, too, and each can end alone: they are
//! stored sealed with a key that is derived from the same one (ChaCha20-Poly1305, RFC 8439), beside the hash by which they
//! are found.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::SysRng;
use rand::{Rng, TryRng};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;

/// Text that nobody sees by accident: `Debug` shows no character of it, and it cannot be serialised.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(SecretString::from(text.into()))
    }

    /// The text, for the one answer or comparison that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Compares in a time that does not depend on where they differ.
    pub fn matches(&self, other: &str) -> bool {
        self.expose().as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.matches(other.expose())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Lower-case base 32 without the letters that are read for others (Crockford's alphabet): no character needs escaping in a URL,
/// an RTMP path or an SRT stream id, and a double click selects all of it.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut bits, mut held) = (0u32, 0u32);
    for &byte in bytes {
        held = held << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits) & 31) as usize]));
    }
    text
}

/// Random bytes from the thread's generator, a ChaCha that is seeded by the system and seeded anew as it goes.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Characters of an id: 80 bits, so that ids made by different daemons do not meet.
const ID_LEN: usize = 16;

/// A new id: no secret, but not to be guessed in passing either.
pub(super) fn new_id() -> String {
    base32(&random::<10>())
}

pub(super) fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(|b| ALPHABET.contains(&b))
}

/// A new stream key: 160 bits, 32 characters.
pub(super) fn new_stream_key() -> Secret {
    Secret::new(base32(&random::<20>()))
}

/// A new API token: 200 bits behind a prefix by which secret scanners know it.
pub(super) fn new_api_token() -> Secret {
    Secret::new(format!("bct_{}", base32(&random::<25>())))
}

/// A new secret of a room link: 160 bits, 32 characters.
pub(super) fn new_link_secret() -> Secret {
    Secret::new(base32(&random::<20>()))
}

/// A new secret by which a person takes up a lost connection: 160 bits.
pub fn new_resume_token() -> Secret {
    Secret::new(base32(&random::<20>()))
}

/// A new signing secret of a webhook, in the form of Standard Webhooks: 256 bits in base64 behind a prefix.
pub(super) fn new_webhook_secret() -> Secret {
    Secret::new(format!("{WEBHOOK_SECRET}{}", STANDARD.encode(random::<32>())))
}

/// How a webhook's signing secret begins.
pub const WEBHOOK_SECRET: &str = "whsec_";

/// A new nonce for a derived token.
pub(super) fn new_nonce() -> [u8; 16] {
    random()
}

/// What a keyed hash is for. A hash made for one purpose is never equal to one made for another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    StreamKey,
    ApiToken,
    Preview,
    RoomLink,
    Seal,
    Check,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Purpose::StreamKey => b"boothcast stream key\0",
            Purpose::ApiToken => b"boothcast api token\0",
            Purpose::Preview => b"boothcast preview token\0",
            Purpose::RoomLink => b"boothcast room link\0",
            Purpose::Seal => b"boothcast sealing key\0",
            Purpose::Check => b"boothcast check\0",
        }
    }
}

/// Bytes of the server's key.
const KEY_LEN: usize = 32;
/// Its file in the state directory.
const KEY_FILE: &str = "secret.key";

/// Why the server's key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The state directory or the file in it.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not what this program wrote.
    #[error("{}: has not the {KEY_LEN} bytes of a key; restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system has no randomness to give.
    #[error("the system's random number generator failed: {0}")]
    Random(String),
}

/// The server's key, which hashes and derives.
pub(super) struct Vault {
    key: Zeroizing<[u8; KEY_LEN]>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault([redacted])")
    }
}

/// Makes the state directory, readable by its owner alone, when it is missing.
pub(super) fn make_dir(dir: &Path) -> Result<(), VaultError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| VaultError::Io { path: dir.to_owned(), error })
}

impl Vault {
    /// Reads the key from `dir`, or makes one there. Two processes that do so at once end up with the same key.
    pub(super) fn open(dir: &Path) -> Result<Vault, VaultError> {
        let path = dir.join(KEY_FILE);
        let io = |error| VaultError::Io { path: path.clone(), error };
        if !path.try_exists().map_err(io)? {
            let mut key = Zeroizing::new([0u8; KEY_LEN]);
            SysRng.try_fill_bytes(key.as_mut()).map_err(|e| VaultError::Random(e.to_string()))?;
            // Written whole under another name and linked: the file never exists half, and the first link wins.
            let fresh = dir.join(format!(".{KEY_FILE}.{}", new_id()));
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(io)?;
            file.write_all(key.as_ref()).and_then(|()| file.sync_all()).map_err(io)?;
            let linked = std::fs::hard_link(&fresh, &path);
            std::fs::remove_file(&fresh).map_err(io)?;
            match linked {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io(error)),
                _ => {}
            }
        }
        let mut file = OpenOptions::new().read(true).open(&path).map_err(io)?;
        let mut key = Zeroizing::new([0u8; KEY_LEN]);
        let mut rest = [0u8; 1];
        let whole = file.read_exact(key.as_mut()).and_then(|()| file.read(&mut rest));
        match whole {
            Ok(0) => Ok(Vault { key }),
            Ok(_) => Err(VaultError::Damaged { path }),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(VaultError::Damaged { path }),
            Err(error) => Err(io(error)),
        }
    }

    pub(super) fn hash(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; 32] {
        let mut message: Vec<&[u8]> = vec![purpose.label()];
        message.extend_from_slice(parts);
        hmac_sha256(self.key.as_ref(), &message)
    }

    /// Seals a secret under a new nonce, tied to the row `id` that it is stored in; none when the cipher fails, which it does
    /// for no secret of ours.
    pub(super) fn seal(&self, id: &str, secret: &Secret) -> Option<Vec<u8>> {
        // 2^32 random nonces of 96 bits could be used before two might meet (RFC 8439 §4); there are some thousand links.
        let nonce: [u8; NONCE_LEN] = random();
        let mut text = secret.expose().as_bytes().to_vec();
        let key = self.sealing_key()?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(id.as_bytes()), &mut text).ok()?;
        Some([nonce.as_slice(), &text].concat())
    }

    /// What was sealed for the row `id`; none when it was not, or was changed since.
    pub(super) fn open_sealed(&self, id: &str, sealed: &[u8]) -> Option<Secret> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let plain = self.sealing_key()?.open_in_place(nonce, Aad::from(id.as_bytes()), &mut text).ok()?;
        std::str::from_utf8(plain).ok().map(Secret::new)
    }

    fn sealing_key(&self) -> Option<LessSafeKey> {
        let key = Zeroizing::new(self.hash(Purpose::Seal, &[]));
        UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).ok().map(LessSafeKey::new)
    }

    /// The preview token of an event: 130 bits.
    pub(super) fn preview_token(&self, event: &str, nonce: &[u8]) -> Secret {
        let mac = self.hash(Purpose::Preview, &[event.as_bytes(), b"\0", nonce]);
        Secret::new(base32(&mac[..16]))
    }
}

/// HMAC-SHA-256 (RFC 2104) over the parts in a row.
fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    // SHA-256 has 32 bytes.
    let mut mac = [0; 32];
    mac.copy_from_slice(context.sign().as_ref());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn hmac_is_the_one_of_rfc_4231() {
        let cases: [(&[u8], &[u8], &str); 3] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, message, mac) in cases {
            assert_eq!(hex(&hmac_sha256(key, &[message])), mac);
            let (a, b) = message.split_at(3);
            assert_eq!(hex(&hmac_sha256(key, &[a, b])), mac);
        }
    }

    #[test]
    fn ids_and_keys_have_their_form_and_never_repeat() {
        let made: std::collections::HashSet<String> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| is_id(id)));
        for wrong in
            ["", "0123456789abcde", "0123456789abcdefg", "0123456789ABCDEF", "../../etc/passwd", "0123456789abcde/"]
        {
            assert!(!is_id(wrong), "{wrong}");
        }
        let key = new_stream_key();
        assert_eq!(key.expose().len(), 32);
        assert!(key.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(key, new_stream_key());
        assert_eq!(new_api_token().expose().len(), 44);
        assert_eq!(base32(&[0xff; 5]), "zzzzzzzz");
        assert_eq!(base32(&[0x00, 0x01]), "000g");
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("open sesame");
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "[redacted] Some(\n    [redacted],\n)");
        assert!(secret.matches("open sesame") && !secret.matches("open sesam") && !secret.matches(""));
    }

    #[test]
    fn the_key_is_made_once_and_kept_from_others() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("tempdir");
        let dir = root.path().join("a/b");
        make_dir(&dir).expect("made");
        let vaults: Vec<[u8; 32]> = std::thread::scope(|s| {
            let open = || Vault::open(&dir).expect("opens").hash(Purpose::Check, &[]);
            let threads: Vec<_> = (0..8).map(|_| s.spawn(open)).collect();
            threads.into_iter().map(|t| t.join().expect("joins")).collect()
        });
        assert!(vaults.windows(2).all(|w| w[0] == w[1]));
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(KEY_FILE))), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&dir).expect("dir").count(), 1, "no leftovers");
        std::fs::write(dir.join(KEY_FILE), [1; 31]).expect("written");
        assert!(matches!(Vault::open(&dir), Err(VaultError::Damaged { .. })));
        std::fs::write(dir.join(KEY_FILE), [1; 33]).expect("written");
        assert!(matches!(Vault::open(&dir), Err(VaultError::Damaged { .. })));
    }

    #[test]
    fn what_is_sealed_opens_in_its_own_row_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        let vault = Vault::open(dir.path()).expect("opens");
        let secret = new_link_secret();
        assert_eq!(secret.expose().len(), 32);
        let sealed = vault.seal("a", &secret).expect("seals");
        assert!(!sealed.windows(8).any(|w| secret.expose().as_bytes().starts_with(w)));
        assert_ne!(vault.seal("a", &secret).expect("seals"), sealed, "a nonce of its own");
        assert_eq!(vault.open_sealed("a", &sealed), Some(secret));
        assert_eq!(vault.open_sealed("b", &sealed), None);
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert_eq!(vault.open_sealed("a", &changed), None, "byte {i}");
            assert_eq!(vault.open_sealed("a", &sealed[..i]), None, "{i} bytes");
        }
        let other = tempfile::tempdir().expect("tempdir");
        assert_eq!(Vault::open(other.path()).expect("opens").open_sealed("a", &sealed), None);
    }

    #[test]
    fn purposes_and_events_do_not_share_hashes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let vault = Vault::open(dir.path()).expect("opens");
        assert_ne!(vault.hash(Purpose::StreamKey, &[b"x"]), vault.hash(Purpose::ApiToken, &[b"x"]));
        let token = vault.preview_token("a", &[1; 16]);
        assert_eq!(token.expose().len(), 26);
        assert_ne!(token, vault.preview_token("b", &[1; 16]));
        assert_ne!(token, vault.preview_token("a", &[2; 16]));
        assert_eq!(token, vault.preview_token("a", &[1; 16]));
    }
}
