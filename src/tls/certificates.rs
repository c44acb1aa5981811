//! A server's certificates: selected by the name that a client sends, and reloaded when their files
//! have changed.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{DnsName, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::failure;
use super::identity::Identity;
use crate::error::{Error, Result, TlsError};
use crate::shown::shown;
use crate::sys::clock::{self, Nanos};

/// Selects the certificate by the name that the client sends.
#[derive(Debug)]
struct Certificates {
    /// By lower-case name; `*.` and a name means any single label before it.
    hosts: HashMap<String, Arc<CertifiedKey>>,
    fallback: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    fn load(identities: &Identities, provider: &CryptoProvider) -> Result<Self> {
        if identities.all().next().is_none() {
            let what = "a server needs a certificate: call `certificate_files(chain, key)`";
            return Err(TlsError::new(what).into());
        }
        let fallback = identities.fallback.as_ref();
        let fallback = fallback
            .map(|identity| identity.load(provider))
            .transpose()?;
        let mut by_name = HashMap::new();
        for (name, identity) in &identities.hosts {
            // Clients send names without the dot of the root.
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let (chain, _) = identity.names();
            let certified = identity.load(provider)?;
            check_host(&name, &chain, &certified)?;
            if by_name.insert(name.clone(), certified).is_some() {
                return Err(TlsError::new(format!("the host {name} has two certificates")).into());
            }
        }
        Ok(Self {
            hosts: by_name,
            fallback,
        })
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.hosts.get(&name).or_else(|| {
            let (_, rest) = name.split_once('.')?;
            self.hosts.get(&format!("*.{rest}"))
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let by_name = hello.server_name().and_then(|name| self.find(name));
        by_name.or(self.fallback.as_ref()).cloned()
    }
}

/// The sources of the certificates.
#[derive(Default)]
pub(super) struct Identities {
    pub(super) fallback: Option<Identity>,
    pub(super) hosts: Vec<(String, Identity)>,
}

impl Identities {
    fn all(&self) -> impl Iterator<Item = &Identity> {
        let hosts = self.hosts.iter().map(|(_, identity)| identity);
        self.fallback.iter().chain(hosts)
    }

    /// Returns values that change whenever a file does; `None` for a missing file.
    fn stamps(&self) -> Vec<Option<[i128; 3]>> {
        let stamp = |path: &PathBuf| {
            let found = fs::metadata(path).ok()?;
            let changed =
                i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
            Some([i128::from(found.ino()), i128::from(found.len()), changed])
        };
        self.all().flat_map(Identity::files).map(stamp).collect()
    }

    pub(super) fn resolver(
        self,
        reload: Option<Reload>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ResolvesServerCert>> {
        let stamps = self.stamps();
        let certificates = Arc::new(Certificates::load(&self, provider)?);
        let Some(reload) = reload else {
            return Ok(certificates);
        };
        let next_check = clock::after(reload.every);
        Ok(Arc::new(Reloading {
            identities: self,
            reload,
            provider: provider.clone(),
            loaded: Mutex::new(Loaded {
                certificates,
                stamps,
                next_check,
            }),
        }))
    }
}

/// The interval of the checks for changes, and the receiver of errors.
pub(super) struct Reload {
    pub(super) every: Duration,
    pub(super) on_error: Box<dyn Fn(&Error) + Send + Sync>,
}

/// Certificates that are reloaded when their files have changed.
struct Reloading {
    identities: Identities,
    reload: Reload,
    provider: Arc<CryptoProvider>,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    certificates: Arc<Certificates>,
    /// Taken before the files were read: a change in between is found by the next check.
    stamps: Vec<Option<[i128; 3]>>,
    next_check: Nanos,
}

impl Loaded {
    fn refresh(&mut self, from: &Reloading) -> Result<()> {
        if clock::now() < self.next_check {
            return Ok(());
        }
        self.next_check = clock::after(from.reload.every);
        let stamps = from.identities.stamps();
        if stamps != self.stamps {
            self.stamps = stamps;
            let read = Certificates::load(&from.identities, &from.provider)?;
            self.certificates = Arc::new(read);
        }
        Ok(())
    }
}

shown!([] Reloading, "Reloading", this => every: this.reload.every, ..);

impl ResolvesServerCert for Reloading {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let refreshed = loaded.refresh(self);
        let certificates = loaded.certificates.clone();
        drop(loaded);
        if let Err(error) = refreshed {
            (self.reload.on_error)(&error);
        }
        certificates.resolve(hello)
    }
}

/// Refuses a certificate that is not for the name: every client that sends the name would refuse
/// it.
fn check_host(name: &str, chain: &str, certified: &CertifiedKey) -> Result<()> {
    // Replaces the star by a label that no certificate has.
    let one = match name.strip_prefix("*.") {
        Some(rest) => format!("in-place-of-the-star.{rest}"),
        None => name.to_owned(),
    };
    let Ok(dns) = DnsName::try_from(one) else {
        // One that is longer than any host's name may be a key.
        let mut what = match name.len() {
            ..=253 => format!("{name:?} is no host name that a client can ask for"),
            length => format!("a host name of {length} bytes is longer than any"),
        };
        if name.parse::<IpAddr>().is_ok() {
            what += ": a client that connects to an address asks for no name, and gets the \
                     certificate of `certificate_files(..)`";
        }
        return Err(TlsError::new(what).into());
    };
    let failed = |error| {
        let what = format!("the certificate in {chain} is not for the host {name}");
        failure::unusable(what, error)
    };
    let certificate = certified.end_entity_cert().map_err(failed)?;
    let certificate = ParsedCertificate::try_from(certificate).map_err(failed)?;
    verify_server_name(&certificate, &ServerName::DnsName(dns)).map_err(failed)
}
