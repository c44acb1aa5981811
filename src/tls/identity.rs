//! A certificate chain with its private key: from files or values, checked against each other.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SigningKey};

use super::failure;
use super::pem::{read_certificates, read_private_key};
use crate::error::{Error, Result, TlsError};

/// The certificate of one side.
#[derive(Debug)]
pub(super) enum Identity {
    Files {
        chain: PathBuf,
        key: PathBuf,
    },
    Values {
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    },
}

impl Identity {
    /// Reads the files, and checks that the key is that of the first certificate.
    pub(super) fn load(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>> {
        let (chain_name, key_name) = self.names();
        let (chain, key) = match self {
            Self::Files { chain, key } => (read_certificates(chain)?, read_private_key(key)?),
            Self::Values { chain, key } => (chain.clone(), key.clone_key()),
        };
        if chain.is_empty() {
            return Err(TlsError::new("a certificate chain needs at least one certificate").into());
        }
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| {
                let what = format!(
                    "{key_name} is of no kind that the crypto provider can use (RSA needs 2048 \
                     bits or more)"
                );
                Error::from(TlsError::new(what).caused_by(error))
            })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Arc::new(certified))
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                let what = match place_in_chain(&certified.cert, &*certified.key) {
                    Some(n) => format!(
                        "{key_name} belongs to certificate {n} of {chain_name}: the one that the \
                         key is of must stand first, those of its issuers after it"
                    ),
                    None => format!(
                        "{key_name} is not the key of the certificate in {chain_name}: give the \
                         two that were made together"
                    ),
                };
                Err(TlsError::new(what).into())
            }
            Err(error) => {
                let what = format!("the first certificate of {chain_name} cannot be used");
                Err(failure::unusable(what, error))
            }
        }
    }

    /// The files that it is read from.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let files = match self {
            Self::Files { chain, key } => Some([chain, key]),
            Self::Values { .. } => None,
        };
        files.into_iter().flatten()
    }

    /// The names of chain and key in messages.
    pub(super) fn names(&self) -> (String, String) {
        match self {
            Self::Files { chain, key } => (chain.display().to_string(), key.display().to_string()),
            Self::Values { .. } => ("the chain".to_owned(), "the private key".to_owned()),
        }
    }
}

/// Returns the number of the certificate, counted from 1, that the key belongs to.
fn place_in_chain(chain: &[CertificateDer<'_>], key: &dyn SigningKey) -> Option<usize> {
    let key = key.public_key()?;
    let has_key = |certificate: &CertificateDer<'_>| {
        ParsedCertificate::try_from(certificate)
            .is_ok_and(|parsed| parsed.subject_public_key_info() == key)
    };
    chain.iter().position(has_key).map(|n| n + 1)
}
