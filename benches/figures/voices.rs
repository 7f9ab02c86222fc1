//! What speaks in the benches of interpreting: knocks and hums as Opus, made beforehand.

use bytes::Bytes;

/// Opus packets of 20 ms.
const PER_SECOND: usize = 50;
/// Samples of 48 kHz in a packet.
const SAMPLES: usize = 960;
/// A knock begins in the middle of every so many packets.
const KNOCK_EVERY: usize = 25;

/// A second of a voice, again and again.
pub struct Voice {
    packets: Vec<Bytes>,
}

impl Voice {
    /// Somebody who speaks all the time: a hum with overtones that rises and falls, in breath noise.
    pub fn speaking(number: u32) -> Voice {
        let pitch = 110.0 + 7.0 * f64::from(number);
        let mut noise = 0x2545_f491u32.wrapping_add(number);
        Voice::made(10, move |i| {
            let t = i as f64 / 48_000.0;
            let syllable = 0.55 + 0.45 * (2.0 * std::f64::consts::PI * 4.0 * t).sin();
            let hum = (1..=12).map(|k| (2.0 * std::f64::consts::PI * pitch * f64::from(k) * t).sin() / f64::from(k));
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let breath = f64::from(noise >> 8) / f64::from(1 << 24) - 0.5;
            (0.15 * syllable * hum.sum::<f64>() + 0.01 * breath) as f32
        })
    }

    /// Silence, and a knock of 30 ms twice a second.
    pub fn knocking() -> Voice {
        let period = KNOCK_EVERY * SAMPLES;
        Voice::made(10, move |i| {
            let at = i % period;
            let sounds = (SAMPLES / 2..SAMPLES / 2 + 1440).contains(&at);
            if sounds { 0.4 * (2.0 * std::f64::consts::PI * 1500.0 * at as f64 / 48_000.0).sin() as f32 } else { 0.0 }
        })
    }

    fn made(seconds: usize, mut sample: impl FnMut(usize) -> f32) -> Voice {
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
        encoder.set_bitrate(opus::Bitrate::Bits(48_000)).unwrap();
        let packet = |n: usize| {
            let pcm: Vec<f32> = (0..SAMPLES).map(|i| sample(n * SAMPLES + i)).collect();
            Bytes::from(encoder.encode_vec_float(&pcm, 1275).unwrap())
        };
        Voice { packets: (0..seconds * PER_SECOND).map(packet).collect() }
    }

    /// The packet with this number.
    pub fn packet(&self, number: usize) -> Bytes {
        self.packets[number % self.packets.len()].clone()
    }

    /// Whether a knock begins in this packet.
    pub fn knocks(number: usize) -> bool {
        number.is_multiple_of(KNOCK_EVERY)
    }
}

/// Hears knocks begin in Opus packets.
pub struct Ear {
    decoder: opus::Decoder,
    /// Samples since the last loud one.
    quiet: usize,
}

impl Ear {
    pub fn new() -> Ear {
        let decoder = opus::Decoder::new(48_000, opus::Channels::Mono).unwrap();
        Ear { decoder, quiet: usize::MAX / 2 }
    }

    /// Whether one begins in this packet.
    pub fn hears(&mut self, packet: &[u8]) -> bool {
        let mut pcm = [0f32; 5760];
        let count = self.decoder.decode_float(packet, &mut pcm, false).unwrap();
        let mut begins = false;
        for s in &pcm[..count] {
            if s.abs() > 0.05 {
                begins |= self.quiet > 48_000 / 10;
                self.quiet = 0;
            } else {
                self.quiet += 1;
            }
        }
        begins
    }
}
