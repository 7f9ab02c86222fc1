//! DTLS and SRTP of one peer (RFC 5764), without IO: the handshake, then keys for media and a pipe for data channels.

use super::crypto::{Identity, sha256};
use super::instant::Anchor;
use crate::media::Ts;
use crate::wire::rtp::Header;
use ::rtc::dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use ::rtc::dtls::endpoint::{Endpoint, EndpointEvent};
use ::rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use ::rtc::dtls::state::State;
use ::rtc::shared::error::Error;
use ::rtc::shared::{TransportContext, TransportProtocol};
use ::rtc::srtp::config::{Config, LABEL_EXTRACTOR_DTLS_SRTP};
use ::rtc::srtp::context::Context;
use ::rtc::srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use ::rtc::srtp::protection_profile::ProtectionProfile;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Packets behind the newest that are still decrypted: a retransmission after 200 ms at 20 Mbps.
const REPLAY_WINDOW: usize = 1024;

/// Sources of one peer: a picture, sound and the retransmissions of each, with room. Each one costs a replay window, so
/// that they are counted before anything is decrypted.
const MAX_SOURCES: usize = 16;

/// DTLS knows its peer by an address; ours may change its address, so it gets a fixed one (TEST-NET-1).
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// What came of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is done: media can flow.
    Connected,
    /// Data for SCTP.
    Data(Bytes),
    /// The peer closed.
    Closed,
}

/// One peer's DTLS association and SRTP keys.
pub struct Secure {
    endpoint: Endpoint,
    /// For the handshake that we begin.
    client: Option<Arc<HandshakeConfig>>,
    provider: Arc<dyn ::rtc::crypto::RTCCryptoProvider>,
    anchor: Anchor,
    keys: Option<Keys>,
    sources: BTreeSet<u32>,
    closed: bool,
}

struct Keys {
    local: Context,
    remote: Context,
}

impl Secure {
    /// For a peer whose certificate has `fingerprint`; `active` where we open the handshake.
    ///
    /// # Errors
    /// In words, when the crypto library refuses the configuration.
    pub fn new(identity: &Identity, anchor: Anchor, fingerprint: [u8; 32], active: bool) -> Result<Secure, String> {
        let provider = identity.provider.clone();
        let hashing = provider.clone();
        let verify = move |chain: &[Vec<u8>], _: &[rustls_pki_types::CertificateDer<'static>]| {
            let found = chain.first().and_then(|der| sha256(&*hashing, der));
            if found == Some(fingerprint) { Ok(()) } else { Err(Error::ErrNoMatchingCertificateFingerprint) }
        };
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider.clone())
            .with_certificates(vec![identity.certificate.clone()])
            .with_srtp_protection_profiles(vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // Certificates are self-signed; the fingerprint, which came over HTTPS, is what is verified.
            .with_insecure_skip_verify(true)
            .with_verify_peer_certificate(Some(Arc::new(verify)))
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .build(active, None)
            .map_err(|e| e.to_string())?;
        let config = Arc::new(config);
        let (client, server) = if active { (Some(config), None) } else { (None, Some(config)) };
        let local = TransportContext::default().local_addr;
        Ok(Secure {
            endpoint: Endpoint::new(local, TransportProtocol::UDP, server),
            client,
            provider,
            anchor,
            keys: None,
            sources: BTreeSet::new(),
            closed: false,
        })
    }

    /// The way to the peer is there: begins the handshake where that is ours.
    pub fn start(&mut self, now: Ts) {
        if let Some(config) = self.client.take()
            && let Err(error) = self.endpoint.connect(self.anchor.instant(now), PEER, config, None)
        {
            tracing::debug!(%error, "DTLS handshake not begun");
        }
    }

    /// Takes a DTLS datagram.
    ///
    /// # Errors
    /// In words, when the peer is not who it said: the session is over.
    pub fn read(&mut self, now: Ts, data: &[u8]) -> Result<Vec<Event>, String> {
        if self.closed {
            return Ok(Vec::new());
        }
        let read = self.endpoint.read(self.anchor.instant(now), PEER, None, BytesMut::from(data));
        let events = match read {
            Ok(events) => events,
            Err(error @ Error::ErrNoMatchingCertificateFingerprint) => return Err(error.to_string()),
            // Anybody can send rubbish with the peer's address (RFC 6347 §4.1.2.7): the session goes on without it.
            Err(error) => {
                tracing::debug!(%error, "DTLS datagram left out");
                return Ok(Vec::new());
            }
        };
        let mut out = Vec::new();
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    let state = self.endpoint.get_connection_state(PEER).ok_or("no DTLS state")?;
                    self.keys = Some(Keys::new(state, &*self.provider).map_err(|e| e.to_string())?);
                    out.push(Event::Connected);
                }
                EndpointEvent::ApplicationData(data) => out.push(Event::Data(data.freeze())),
                EndpointEvent::PeerClosed => {
                    self.closed = true;
                    out.push(Event::Closed);
                }
                _ => {}
            }
        }
        Ok(out)
    }

    /// Sends data of SCTP.
    pub fn write(&mut self, now: Ts, data: &[u8]) {
        if !self.closed
            && let Err(error) = self.endpoint.write(self.anchor.instant(now), PEER, data)
        {
            tracing::debug!(%error, "DTLS data left out");
        }
    }

    /// Says goodbye.
    pub fn close(&mut self, now: Ts) {
        if !std::mem::replace(&mut self.closed, true) {
            // What cannot be said is found out by silence.
            let _ = self.endpoint.close(self.anchor.instant(now));
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.poll_transmit().map(|t| t.message)
    }

    /// When [`Secure::timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Ts> {
        self.endpoint.poll_timeout(&PEER).map(|at| self.anchor.ts(at))
    }

    /// Repeats what was lost in the handshake.
    pub fn timeout(&mut self, now: Ts) {
        if self.endpoint.poll_timeout(&PEER).is_some()
            && let Err(error) = self.endpoint.handle_timeout(PEER, self.anchor.instant(now))
        {
            tracing::debug!(%error, "DTLS handshake");
        }
    }

    /// An RTP packet, decrypted; none where it is forged, repeated, too old or of one source too many.
    pub fn open_rtp(&mut self, data: &[u8]) -> Option<BytesMut> {
        let ssrc = Header::parse(data)?.0.ssrc;
        let keys = self.keys.as_mut()?;
        if !self.sources.contains(&ssrc) && self.sources.len() >= MAX_SOURCES {
            return None;
        }
        let packet = keys.remote.decrypt_rtp(data).ok();
        self.sources.insert(ssrc);
        packet
    }

    /// RTCP, decrypted; none as for RTP.
    pub fn open_rtcp(&mut self, data: &[u8]) -> Option<BytesMut> {
        let ssrc = u32::from_be_bytes(data.get(4..8)?.try_into().ok()?);
        let keys = self.keys.as_mut()?;
        if !self.sources.contains(&ssrc) && self.sources.len() >= MAX_SOURCES {
            return None;
        }
        let packet = keys.remote.decrypt_rtcp(data).ok();
        self.sources.insert(ssrc);
        packet
    }

    /// An RTP packet, encrypted. `plain` begins with `header` as [`Header::write`] writes it.
    pub fn seal_rtp(&mut self, header: &Header, plain: &[u8]) -> Option<BytesMut> {
        let keys = self.keys.as_mut()?;
        let header = ::rtc::rtp::Header {
            version: 2,
            marker: header.marker,
            payload_type: header.payload,
            sequence_number: header.sequence,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
            ..Default::default()
        };
        keys.local.encrypt_rtp_with_header(plain, &header).ok()
    }

    /// RTCP, encrypted.
    pub fn seal_rtcp(&mut self, plain: &[u8]) -> Option<BytesMut> {
        self.keys.as_mut()?.local.encrypt_rtcp(plain).ok()
    }
}

impl Keys {
    /// RFC 5764 §4.2.
    fn new(state: &State, provider: &dyn ::rtc::crypto::RTCCryptoProvider) -> Result<Keys, Error> {
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            _ => return Err(Error::ErrNoSuchSrtpProfile),
        };
        let mut config = Config { profile, ..Default::default() };
        let material = state.export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], config.keying_material_len())?;
        config.set_session_keys_from_keying_material(material.as_ref(), state.is_client())?;
        let keys = &config.keys;
        let crypto = provider.crypto();
        Ok(Keys {
            local: Context::new(&keys.local_master_key, &keys.local_master_salt, profile, None, None, crypto)?,
            remote: Context::new(
                &keys.remote_master_key,
                &keys.remote_master_salt,
                profile,
                Some(srtp_replay_protection(REPLAY_WINDOW)),
                Some(srtcp_replay_protection(REPLAY_WINDOW)),
                crypto,
            )?,
        })
    }
}
