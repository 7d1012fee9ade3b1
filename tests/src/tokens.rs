//! Tokens, made by hand: what signs them here has nothing in common with what checks them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
        RsaEncoding, RsaKeyPair,
    },
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// The secret that HS256 tokens are signed with.
pub const SECRET: &str = "a secret of the end-to-end tests, of 32 bytes or more";
/// The issuer of good tokens.
pub const ISSUER: &str = "https://login.example";
/// Their audience.
pub const AUDIENCE: &str = "audit-export";

/// A token of somebody with this role in the organisation.
pub fn member_of(org: &str, role: &str) -> String {
    Key::shared().token(&claims(json!({"orgs": {org: role}})))
}

/// A platform token.
pub fn platform(scope: &str) -> String {
    Key::shared().token(&claims(json!({"scope": scope})))
}

/// Good claims with some added or replaced; null takes one away.
pub fn claims(changes: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "exp": seconds_from_now(600)});
    let all = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => all.remove(name),
            value => all.insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// A time as tokens have it.
pub fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

/// A key that signs tokens.
pub struct Key {
    /// Its id in the key set and in the tokens' header; none for the shared secret.
    pub kid: Option<String>,
    pair: Pair,
}

enum Pair {
    Secret(Vec<u8>),
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Key {
    /// The shared secret.
    pub fn shared() -> Self {
        Self::secret(SECRET)
    }

    /// Another secret.
    pub fn secret(secret: impl Into<Vec<u8>>) -> Self {
        Self {
            kid: None,
            pair: Pair::Secret(secret.into()),
        }
    }

    /// A new key for RS256.
    pub fn rs256(kid: &str) -> Self {
        Self::new(
            kid,
            Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        )
    }

    /// A new key for ES256.
    pub fn es256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self::new(kid, Pair::Ec(pair.unwrap()))
    }

    /// A new key for `EdDSA`.
    pub fn eddsa(kid: &str) -> Self {
        Self::new(kid, Pair::Ed(Ed25519KeyPair::generate().unwrap()))
    }

    fn new(kid: &str, pair: Pair) -> Self {
        let kid = Some(kid.to_owned());
        Self { kid, pair }
    }

    /// The public half, as it stands in a key set (RFC 7517).
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Secret(_) => panic!("a secret has no public half"),
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
                let exponent = public.exponent().big_endian_without_leading_zero().to_vec();
                json!({"kty": "RSA", "alg": "RS256", "n": b64(modulus), "e": b64(exponent)})
            }
            Pair::Ec(pair) => {
                // 0x04, then 32 bytes each of x and y (SEC 1, 2.3.3).
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])})
            }
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key())}),
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public half as its SubjectPublicKeyInfo (RFC 5280).
    pub fn public_der(&self) -> Vec<u8> {
        let der = match &self.pair {
            Pair::Secret(_) => panic!("a secret has no public half"),
            Pair::Rsa(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()),
            Pair::Ec(pair) => pair.public_key().as_der(),
            Pair::Ed(pair) => pair.public_key().as_der(),
        };
        der.unwrap().as_ref().to_vec()
    }

    /// The same in the form that is most often handed around (RFC 7468).
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public_der())
    }

    fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Secret(_) => "HS256",
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
        }
    }

    /// A token.
    pub fn token(&self, claims: &Value) -> String {
        let mut header = json!({"typ": "JWT", "alg": self.algorithm()});
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        self.token_with(&header, claims)
    }

    /// A token with a header that may say anything.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_of(header.to_string(), claims.to_string())
    }

    /// A token whose header and claims need not even be JSON.
    pub fn token_of(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        self.token_signed(header, claims, sign)
    }

    /// A good signature of an RSA key by another of its algorithms (RFC 7518 §3.3, §3.5).
    pub fn token_by(&self, algorithm: &str, claims: &Value) -> String {
        let encoding: &'static dyn RsaEncoding = match algorithm {
            "RS384" => &RSA_PKCS1_SHA384,
            "RS512" => &RSA_PKCS1_SHA512,
            "PS256" => &RSA_PSS_SHA256,
            "PS384" => &RSA_PSS_SHA384,
            "PS512" => &RSA_PSS_SHA512,
            other => panic!("{other}"),
        };
        let header = json!({"alg": algorithm, "kid": self.kid});
        self.token_signed(header.to_string(), claims.to_string(), |pair, message| {
            let Pair::Rsa(pair) = pair else {
                panic!("not an RSA key");
            };
            sign_rsa(pair, encoding, message)
        })
    }

    fn token_signed(
        &self,
        header: impl AsRef<[u8]>,
        claims: impl AsRef<[u8]>,
        sign: impl Fn(&Pair, &[u8]) -> Vec<u8>,
    ) -> String {
        let message = format!("{}.{}", b64(header), b64(claims));
        let signature = sign(&self.pair, message.as_bytes());
        format!("{message}.{}", b64(signature))
    }
}

fn sign(pair: &Pair, message: &[u8]) -> Vec<u8> {
    match pair {
        Pair::Secret(secret) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::sign(&key, message).as_ref().to_vec()
        }
        Pair::Rsa(pair) => sign_rsa(pair, &RSA_PKCS1_SHA256, message),
        Pair::Ec(pair) => {
            let signature = pair.sign(&SystemRandom::new(), message);
            signature.unwrap().as_ref().to_vec()
        }
        Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
    }
}

fn sign_rsa(pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
        .unwrap();
    signature
}

/// DER as text (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
