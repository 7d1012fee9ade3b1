//! What stands in a key set, and which of it checks signatures of tokens.

use std::sync::Arc;

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};

/// The most keys that a set may have, usable or not.
pub(super) const MAX_KEYS: usize = 256;
/// The least bits of an RSA key (RFC 7518 §3.3), and the most that are worth the work.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key and the one algorithm that it is for.
pub(in crate::auth) struct Key {
    id: Option<String>,
    pub(in crate::auth) decoding: DecodingKey,
    pub(in crate::auth) algorithm: Algorithm,
}

/// The keys of a set that check signatures.
#[derive(Default)]
pub(super) struct Keys(Vec<Arc<Key>>);

impl Keys {
    /// Leaves out what else may stand in a set: it is none of ours, and does not spoil it.
    pub(super) fn usable(set: Vec<serde_json::Value>) -> Self {
        let read = |value| usable(serde_json::from_value(value).ok()?).map(Arc::new);
        Self(set.into_iter().filter_map(read).collect())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The only key of the algorithm that the token can mean, by its id where it names one.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        let mut fitting = self.0.iter().filter(|key| {
            key.algorithm == algorithm && (kid.is_none() || key.id.as_deref() == kid)
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Some(Arc::clone(key)),
            _ => None,
        }
    }
}

fn usable(jwk: Jwk) -> Option<Key> {
    let algorithm = algorithm_of(&jwk)?;
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    let fits = match decoding.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => RSA_BITS.contains(&bits(n)),
        DecodingKeyKind::SecretOrDer(_) => true,
    };
    fits.then_some(Key {
        id: jwk.common.key_id,
        decoding,
        algorithm,
    })
}

/// The one algorithm that a key is for: by its kind, and by what it says of itself.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    let common = &jwk.common;
    let is_for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let verifies = match &common.key_operations {
        Some(operations) => operations.contains(&KeyOperations::Verify),
        None => true,
    };
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        // A shared secret has no place among public keys.
        _ => return None,
    };
    let says_so = common.key_algorithm.is_none_or(|own| own == name);
    (is_for_signatures && verifies && says_so).then_some(algorithm)
}

/// How long a number is.
fn bits(big_endian: &[u8]) -> usize {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    let digits = &big_endian[zeros..];
    let leading = digits.first().map_or(0, |byte| byte.leading_zeros());
    8 * digits.len() - leading as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_number_does_not_count_zeros_before_it() {
        for (number, expected) in [
            (&[][..], 0),
            (&[0, 0], 0),
            (&[1], 1),
            (&[0, 0x80], 8),
            (&[0, 1, 0], 9),
            (&[0xff; 256], 2048),
            (&[0x7f; 256], 2047),
        ] {
            assert_eq!(bits(number), expected, "{number:?}");
        }
    }
}
