//! What leaves the process: payloads packed, encrypted and authenticated, so that whoever can write into a
//! tier can neither read an answer nor make one up. Nothing is unpacked or parsed before it is authenticated.
//!
//! ```text
//! version: u8   nonce: 12 bytes   AES-256-GCM of ( packing: u8   length: u32   payload, perhaps by zstd )   tag: 16 bytes
//! ```
//!
//! Each cache key has an encryption key of its own, derived from the secret by keyed BLAKE3: a random nonce
//! then need only be new among the few times that one answer was sealed. Version, scope and cache key are
//! authenticated with it: a sealed payload is worth nothing under any other.

use super::CacheKey;
use super::layout;
use super::payload::{Moment, Payload};
use super::secret::Secret;
use crate::domain::Scope;
use bytes::Bytes;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use zstd::bulk::Compressor;

/// Of the layout, here and in [`super::layout`].
pub(super) const VERSION: u8 = 4;

/// The largest payload that is sealed, and the most that an opened one may claim to be: as much as a
/// recording may hold.
pub const LARGEST: usize = 64 << 20;

/// Shorter payloads hardly ever get smaller.
const WORTH_PACKING: usize = 256;
/// zstd's own default: a few hundred megabytes a second.
const LEVEL: i32 = 3;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// `packing` and `length`.
const PREFIX: usize = 5;

/// Seals and opens, with one secret.
pub struct Seal {
    root: [u8; 32],
    random: SystemRandom,
    packer: Mutex<Compressor<'static>>,
}

impl Seal {
    pub fn new(secret: &Secret) -> Self {
        let root = blake3::derive_key("pannier 2026-11 cache entries outside of the process", secret.bytes());
        let packer = Compressor::new(LEVEL).expect("zstd knows its own default level");
        Seal { root, random: SystemRandom::new(), packer: Mutex::new(packer) }
    }

    /// `payload` for the tiers. `None` where it is larger than [`LARGEST`].
    pub fn seal(&self, key: &CacheKey, scope: &Scope, payload: &Payload, now: Moment) -> Option<Bytes> {
        let mut plain = Vec::new();
        layout::write(payload, now, &mut plain)?;
        if plain.len() > LARGEST {
            return None;
        }
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + PREFIX + plain.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        self.pack(payload, &plain, &mut sealed);
        let (_, secret_part) = sealed.split_at_mut(1 + NONCE_LEN);
        let tag = self
            .key_of(key, scope)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                bound_to(key, scope),
                secret_part,
            )
            .ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(sealed.into())
    }

    /// What was sealed under this very key, in this scope, by this secret. `None` for everything else.
    ///
    /// It may be over: its age is that which the wall's clock tells.
    pub fn open(&self, key: &CacheKey, scope: &Scope, sealed: &[u8], now: Moment) -> Option<Payload> {
        let (&version, rest) = sealed.split_first()?;
        let (nonce, secret_part) = rest.split_first_chunk::<NONCE_LEN>()?;
        if version != VERSION || secret_part.len() > LARGEST + PREFIX + AES_256_GCM.tag_len() {
            return None;
        }
        let mut buffer = secret_part.to_vec();
        let plain = self
            .key_of(key, scope)
            .open_in_place(Nonce::assume_unique_for_key(*nonce), bound_to(key, scope), &mut buffer)
            .ok()?;
        let length = plain.len();
        buffer.truncate(length);
        layout::read(&unpack(buffer.into())?, now)
    }

    /// Numbers of a vector are as good as random: only text is worth the time.
    fn pack(&self, payload: &Payload, plain: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let length = (plain.len() as u32).to_le_bytes();
        if matches!(payload, Payload::Answer(_)) && plain.len() >= WORTH_PACKING {
            out.push(ZSTD);
            out.extend_from_slice(&length);
            let packed = self.packer.lock().unwrap_or_else(PoisonError::into_inner).compress(plain);
            if let Ok(packed) = packed
                && packed.len() < plain.len() - plain.len() / 8
            {
                out.extend_from_slice(&packed);
                return;
            }
            out.truncate(start);
        }
        out.push(PLAIN);
        out.extend_from_slice(&length);
        out.extend_from_slice(plain);
    }

    fn key_of(&self, key: &CacheKey, scope: &Scope) -> LessSafeKey {
        let derived = blake3::keyed_hash(&self.root, &binding(key, scope));
        let unbound = UnboundKey::new(&AES_256_GCM, derived.as_bytes()).expect("AES-256 takes 32 bytes");
        LessSafeKey::new(unbound)
    }
}

/// Shows no key.
impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// What a sealed payload is bound to: version, scope, cache key.
fn binding(key: &CacheKey, scope: &Scope) -> [u8; 65] {
    let mut binding = [VERSION; 65];
    binding[1..33].copy_from_slice(&scope.0);
    binding[33..].copy_from_slice(&key.0);
    binding
}

fn bound_to(key: &CacheKey, scope: &Scope) -> Aad<[u8; 65]> {
    Aad::from(binding(key, scope))
}

fn unpack(plain: Bytes) -> Option<Bytes> {
    let (&packing, rest) = plain.split_first()?;
    let (length, packed) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > LARGEST {
        return None;
    }
    let unpacked = match packing {
        PLAIN => plain.slice_ref(packed),
        ZSTD => zstd::bulk::decompress(packed, length).ok()?.into(),
        _ => return None,
    };
    (unpacked.len() == length).then_some(unpacked)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use std::time::Duration;

    const KEY: CacheKey = CacheKey([7; 32]);
    const SCOPE: Scope = Scope([9; 32]);

    fn seal() -> Seal {
        Seal::new(&Secret::of([1; 32]))
    }

    fn sealed(payload: &Payload) -> Vec<u8> {
        seal().seal(&KEY, &SCOPE, payload, Moment::now()).unwrap().to_vec()
    }

    fn opens(bytes: &[u8]) -> bool {
        seal().open(&KEY, &SCOPE, bytes, Moment::now()).is_some()
    }

    #[test]
    fn what_was_sealed_is_opened_whole() {
        for payload in [samples::answer(), samples::streamed(), samples::long(), samples::vector()] {
            let opened = seal().open(&KEY, &SCOPE, &sealed(&payload), Moment::now()).unwrap();
            samples::assert_same(&payload, &opened);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for payload in [samples::streamed(), samples::vector()] {
            let mut bytes = sealed(&payload);
            assert!(opens(&bytes));
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(!opens(&bytes), "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(opens(&bytes));
        }
    }

    #[test]
    fn every_truncation_and_every_addition_is_noticed() {
        for payload in [samples::streamed(), samples::vector()] {
            let mut bytes = sealed(&payload);
            for length in 0..bytes.len() {
                assert!(!opens(&bytes[..length]), "{length}");
                assert!(!opens(&bytes[bytes.len() - length..]), "the last {length}");
            }
            bytes.push(0);
            assert!(!opens(&bytes));
        }
    }

    #[test]
    fn another_key_scope_or_secret_opens_nothing() {
        let bytes = sealed(&samples::answer());
        let now = Moment::now();
        assert!(seal().open(&CacheKey([8; 32]), &SCOPE, &bytes, now).is_none());
        assert!(seal().open(&KEY, &Scope([8; 32]), &bytes, now).is_none());
        assert!(Seal::new(&Secret::of([2; 32])).open(&KEY, &SCOPE, &bytes, now).is_none());
    }

    /// Seals `plain` as it is, as only a holder of the secret could.
    fn forge(plain: &[u8]) -> Vec<u8> {
        let nonce = [3; NONCE_LEN];
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let key = seal().key_of(&KEY, &SCOPE);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, bound_to(&KEY, &SCOPE), &mut sealed[1 + NONCE_LEN..])
            .unwrap();
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// The layout of version 1, and whoever says that it is of this one.
    #[test]
    fn what_an_older_pannier_sealed_is_a_miss() {
        let mut plain = vec![PLAIN, 54, 0, 0, 0, 2];
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        for number in [now, 3_600_000, 1000] {
            plain.extend_from_slice(&number.to_le_bytes());
        }
        plain.extend_from_slice(&[[0, 7, 0, 0, 0].as_slice(), &[0; 24]].concat());
        let mut binding = [1; 65];
        binding[1..33].copy_from_slice(&SCOPE.0);
        binding[33..].copy_from_slice(&KEY.0);
        let key = blake3::keyed_hash(&seal().root, &binding);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_bytes()).unwrap());
        let nonce = Nonce::assume_unique_for_key([3; NONCE_LEN]);
        key.seal_in_place_append_tag(nonce, Aad::from(binding), &mut plain).unwrap();
        for version in [1, VERSION] {
            assert!(!opens(&[&[version], [3; NONCE_LEN].as_slice(), &plain].concat()), "{version}");
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        let mut written = Vec::new();
        layout::write(&samples::long(), Moment::now(), &mut written).unwrap();
        let claims = |length: usize, packing: u8, packed: &[u8]| {
            let mut plain = vec![packing];
            plain.extend_from_slice(&(length as u32).to_le_bytes());
            plain.extend_from_slice(packed);
            opens(&forge(&plain))
        };
        let packed = zstd::bulk::compress(&written, LEVEL).unwrap();
        assert!(claims(written.len(), PLAIN, &written) && claims(written.len(), ZSTD, &packed));
        for length in [0, 1, written.len() - 1, written.len() + 1, LARGEST, LARGEST + 1, u32::MAX as usize] {
            assert!(!claims(length, PLAIN, &written), "{length}");
            assert!(!claims(length, ZSTD, &packed), "{length}");
        }
        let bomb = zstd::bulk::compress(&vec![0; LARGEST + 1], LEVEL).unwrap();
        assert!(!claims(LARGEST, ZSTD, &bomb) && !claims(LARGEST + 1, ZSTD, &bomb));
        assert!(!claims(written.len(), 2, &written));
    }

    #[test]
    fn text_is_packed_and_vectors_are_not() {
        let long = samples::long();
        assert!(sealed(&long).len() * 2 < long.weight(), "{}", sealed(&long).len());
        let Payload::Vector(vector) = samples::vector() else { unreachable!() };
        let size = sealed(&samples::vector()).len();
        assert!(size < vector.numbers.len() + 80, "{size}");
    }

    #[test]
    fn the_same_answer_is_never_sealed_alike_and_shows_nothing() {
        let payload = samples::answer();
        let (one, other) = (sealed(&payload), sealed(&payload));
        assert_ne!(one, other);
        let shows = |needle: &[u8]| one.windows(needle.len()).any(|window| window == needle);
        assert!(!shows(b"Paris") && !shows(b"llama3"));
    }

    #[test]
    fn what_is_over_is_opened_as_old() {
        let payload = samples::answer();
        let bytes = sealed(&payload);
        let now = Moment::now();
        let later = Moment { wall: now.wall + payload.ttl() + Duration::from_secs(1), ..now };
        let opened = seal().open(&KEY, &SCOPE, &bytes, later).unwrap();
        assert!(!opened.is_fresh(later.instant));
    }
}
