//! What a URL says of TLS.
//!
//! The driver knows `disable`, `prefer` and `require`. rustls verifies the certificate's chain, time and
//! host name in each handshake, so that `require` is here what `verify-full` is elsewhere; only
//! `disable`, and `prefer` where the server has no TLS, go without.

use std::{borrow::Cow, path::PathBuf};

use percent_encoding::percent_decode_str;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::ConnectError;

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// Those that the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    System,
    /// Those in a file (PEM), and no others.
    File(PathBuf),
}

/// Takes out of a URL what the driver does not know: `sslmode=verify-full` and `verify-ca`, which are
/// `require` to it, and `sslrootcert`, with which TLS is required, too. A key-value string stays as it
/// is; the driver refuses what it does not know.
pub(super) fn take(url: &str) -> Result<(Cow<'_, str>, Roots), ConnectError> {
    let Some((before, query)) = split(url) else {
        return Ok((url.into(), Roots::System));
    };
    let (mut mode, mut roots, mut rest) = (None, None, Vec::new());
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = || percent_decode_str(value).decode_utf8_lossy().into_owned();
        let taken = match &*percent_decode_str(name).decode_utf8_lossy() {
            "sslmode" => mode.replace(value()),
            "sslrootcert" => roots.replace(value()),
            _ => {
                rest.push(pair.to_owned());
                None
            }
        };
        if taken.is_some() {
            return Err(ConnectError::Tls("sslmode or sslrootcert is given twice"));
        }
    }
    let mode = match mode.as_deref() {
        Some("verify-full" | "verify-ca" | "require") => Some("require"),
        None if roots.is_some() => Some("require"),
        None | Some("prefer" | "disable") => mode.as_deref(),
        Some(_) => {
            return Err(ConnectError::Tls(
                "sslmode is none of disable, prefer, require, verify-ca and verify-full",
            ));
        }
    };
    if roots.is_some() && mode != Some("require") {
        return Err(ConnectError::Tls(
            "sslrootcert needs sslmode=verify-full (or require, which verifies as much)",
        ));
    }
    rest.extend(mode.map(|mode| format!("sslmode={mode}")));
    let roots = match roots {
        Some(file) if file != "system" => Roots::File(file.into()),
        _ => Roots::System,
    };
    Ok((format!("{before}?{}", rest.join("&")).into(), roots))
}

/// A URL before and after its `?`. Where the user and password end is where the driver says: at the
/// first `@`.
fn split(url: &str) -> Option<(&str, &str)> {
    let scheme = SCHEMES.iter().find(|scheme| url.starts_with(**scheme))?;
    let host = url.find('@').map_or(scheme.len(), |at| at + 1);
    let query = host + url[host..].find('?')?;
    Some((&url[..query], &url[query + 1..]))
}

impl Roots {
    /// What makes TLS of a connection, should there be any.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, ConnectError> {
        match self {
            Self::System => of_the_system(),
            Self::File(path) => {
                let failed = |error: String| {
                    ConnectError::Certificates(format!("{}: {error}", path.display()))
                };
                let mut roots = RootCertStore::empty();
                let found = CertificateDer::pem_file_iter(path);
                for certificate in found.map_err(|error| failed(error.to_string()))? {
                    let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                    let added = roots.add(certificate);
                    added.map_err(|error| failed(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(failed("there is none in it".to_owned()));
                }
                let config = ClientConfig::builder().with_root_certificates(roots);
                Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
            }
        }
    }
}

fn of_the_system() -> Result<MakeRustlsConnect, ConnectError> {
    let (connector, unreadable) = MakeRustlsConnect::with_native_certs()
        .map_err(|errors| ConnectError::Certificates(format!("the system's: {errors:?}")))?;
    for error in unreadable {
        tracing::debug!(%error, "a root certificate is left out");
    }
    Ok(connector)
}

#[cfg(test)]
mod tests {
    use tokio_postgres::{Config, config::SslMode};

    use super::*;

    fn read(url: &str) -> Result<(SslMode, Roots), String> {
        let (url, roots) = take(url).map_err(|error| error.to_string())?;
        let config: Config = url
            .parse()
            .map_err(|error| ConnectError::Url(error).to_string())?;
        assert_eq!(config.get_user(), Some("kim"));
        assert_eq!(config.get_dbname(), Some("audit"));
        Ok((config.get_ssl_mode(), roots))
    }

    #[test]
    fn modes_that_the_driver_does_not_know_are_not_weakened() {
        let ca = || Roots::File("/etc/our ca.pem".into());
        for (query, expected) in [
            ("", (SslMode::Prefer, Roots::System)),
            ("?sslmode=disable", (SslMode::Disable, Roots::System)),
            ("?sslmode=prefer", (SslMode::Prefer, Roots::System)),
            ("?sslmode=require", (SslMode::Require, Roots::System)),
            ("?sslmode=verify-ca", (SslMode::Require, Roots::System)),
            ("?sslmode=verify-full", (SslMode::Require, Roots::System)),
            ("?sslmode=verify%2Dfull", (SslMode::Require, Roots::System)),
            (
                "?connect_timeout=3&sslmode=verify-full&keepalives=1",
                (SslMode::Require, Roots::System),
            ),
            ("?sslrootcert=system", (SslMode::Require, Roots::System)),
            (
                "?sslmode=verify-full&sslrootcert=/etc/our%20ca.pem",
                (SslMode::Require, ca()),
            ),
            ("?sslrootcert=/etc/our%20ca.pem", (SslMode::Require, ca())),
        ] {
            for url in ["postgres://kim@db", "postgresql://kim:p%40ss?w&rd@db:7"] {
                let url = format!("{url}/audit{query}");
                assert_eq!(read(&url), Ok(expected.clone()), "{url}");
            }
        }
    }

    #[test]
    fn contradictions_and_misspellings_are_refused_without_the_password() {
        for (query, told) in [
            ("sslmode=verify-full&sslmode=disable", "given twice"),
            ("sslmode=disable&sslmode=verify-full", "given twice"),
            ("sslrootcert=system&sslmode=prefer", "sslrootcert needs"),
            ("sslrootcert=/ca.pem&sslmode=disable", "sslrootcert needs"),
            ("sslmode=verify_full", "is none of"),
            ("sslmode=Verify-Full", "is none of"),
            ("sslmode=", "is none of"),
            ("sslmode", "is none of"),
            ("sslcert=/me.pem", "invalid connection string"),
        ] {
            let url = format!("postgres://kim:hunter2@db/audit?{query}");
            let error = read(&url).expect_err(&url);
            assert!(
                error.contains(told) && !error.contains("hunter2"),
                "{error}"
            );
        }
        // What would be read as an option named by a part of the password.
        let error = read("postgres://kim:a@hunter?2=@db/audit").expect_err("no option");
        assert!(!error.contains("hunter"), "{error}");
        // In a key-value string nothing is taken out, and nothing weakened.
        let error = read("host=db user=kim dbname=audit sslmode=verify-full").expect_err("kept");
        assert!(error.contains("`sslmode`"), "{error}");
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        for path in ["/nowhere/ca.pem", "/dev/null"] {
            let error = Roots::File(path.into()).connector().err();
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(path), "{error}");
        }
    }
}
