//! Servers that speak TLS, with certificates of authorities that the tests make themselves.

mod proxy;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use proxy::{Protocol, TlsProxy};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tokio_rustls::rustls::{ServerConfig, pki_types::PrivateKeyDer};
use uuid::Uuid;

use crate::tokens::pem;

/// An authority that certifies servers, and that nobody knows who is not told.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let name = format!("Authority {}", Uuid::new_v4().simple());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let own = params.self_signed(&key).unwrap();
        Self {
            pem: pem("CERTIFICATE", own.der()),
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes its certificate to a file of this folder, for those who are to trust it.
    pub fn write_to(&self, dir: &Path) -> PathBuf {
        let path = dir.join(format!("{}.pem", Uuid::new_v4().simple()));
        fs::write(&path, &self.pem).unwrap();
        path
    }

    /// What a server of this name needs.
    pub fn certify(&self, name: &str) -> Arc<ServerConfig> {
        self.certify_until(name, 2999)
    }

    /// The same until the end of a year.
    pub fn certify_until(&self, name: &str, year: i32) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.unwrap())
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
