//! The choice of cryptography for TLS: a value, or the enabled features. Never a process default.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use crate::error::Result;
#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
use crate::error::TlsError;

/// Returns the crypto provider of the enabled features: AWS-LC with `aws-lc-rs`, else ring with
/// `ring`.
///
/// Configurations use it unless `provider(..)` sets another one. If both features are on it is
/// AWS-LC: `ring` is a default feature, so the other one was enabled on purpose. rustls' process
/// default is neither read nor set.
///
/// # Errors
///
/// [`Error::Tls`](crate::Error::Tls) if neither feature is on.
///
/// # Examples
///
/// ```
/// # #[cfg(any(feature = "ring", feature = "aws-lc-rs"))] {
/// let provider = soloio::tls::default_provider()?;
/// assert!(!provider.cipher_suites.is_empty());
/// # }
/// # Ok::<_, soloio::Error>(())
/// ```
pub fn default_provider() -> Result<Arc<CryptoProvider>> {
    #[cfg(feature = "aws-lc-rs")]
    return Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Ok(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
    return Err(TlsError::new(
        "there is no crypto provider: enable the feature `ring` or `aws-lc-rs` of soloio, \
         or give the configuration one with `provider(..)`",
    )
    .into());
}
