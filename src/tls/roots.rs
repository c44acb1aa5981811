//! The certificate authorities that the system trusts: their places, and the environment variables
//! for them.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` have the same meaning as for OpenSSL, with one difference: if
//! only one of them is set, only that place is used, where OpenSSL still uses the default place of
//! the other. Without them the first bundle in the usual places is used, and only if there is none,
//! the usual folders of single files.

use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::pem::Pem;
use crate::error::{Result, TlsError};

/// Bundles, the most common first: Debian, Arch and Alpine; Fedora and RHEL; openSUSE; older RHEL;
/// macOS, OpenBSD and FreeBSD; FreeBSD's package.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// Folders with a file for each certificate: Linux; Fedora; Android; FreeBSD.
const FOLDERS: &[&str] = &[
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/system/etc/security/cacerts",
    "/usr/share/certs/trusted",
];

/// Returns the certificates that the system trusts.
///
/// If `SSL_CERT_FILE` or `SSL_CERT_DIR` is set and not empty, they are those of that file and those
/// folders (separated by `:`). Otherwise they are those of the first bundle or folder in the usual
/// places of Linux distributions and BSDs. On macOS, with the feature `native-certs`, they are
/// those of the keychain.
///
/// Client configurations trust them by default; [`client_config`] with `system_roots()` adds them.
/// It blocks while it reads.
///
/// [`client_config`]: super::client_config
///
/// # Errors
///
/// [`Error::Tls`](crate::Error::Tls) if no certificate was found: it names the searched places and
/// a remedy. An invalid certificate is ignored as long as there are others, except in a file that
/// `SSL_CERT_FILE` names.
///
/// # Examples
///
/// ```
/// match soloio::tls::system_roots() {
///     Ok(roots) => println!("{} certificate authorities", roots.len()),
///     Err(error) => println!("{error}"),
/// }
/// ```
pub fn system_roots() -> Result<RootCertStore> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    let (file, folders) = (set("SSL_CERT_FILE"), set("SSL_CERT_DIR"));
    if file.is_some() || folders.is_some() {
        return from_environment(file.as_deref(), folders.as_deref());
    }
    #[cfg(all(feature = "native-certs", target_os = "macos"))]
    return from_keychain().or_else(|error| from_usual_places(BUNDLES, FOLDERS).map_err(|_| error));
    #[cfg(not(all(feature = "native-certs", target_os = "macos")))]
    from_usual_places(BUNDLES, FOLDERS)
}

/// Reads the files and folders of the two variables, and no others.
fn from_environment(file: Option<&OsStr>, folders: Option<&OsStr>) -> Result<RootCertStore> {
    let mut found = Found::default();
    let mut named = Vec::new();
    if let Some(file) = file {
        let certificates = Pem::read(Path::new(file))
            .and_then(|pem| pem.certificates())
            .map_err(|error| TlsError::new("SSL_CERT_FILE").caused_by(error))?;
        found.add(certificates);
        named.push(format!("SSL_CERT_FILE={}", file.to_string_lossy()));
    }
    if let Some(folders) = folders {
        for folder in env::split_paths(folders).filter(|path| !path.as_os_str().is_empty()) {
            found.add_folder(&folder);
        }
        named.push(format!("SSL_CERT_DIR={}", folders.to_string_lossy()));
    }
    found.or_else(|| {
        let named = named.join(" and ");
        TlsError::new(format!(
            "no usable root certificate in what the environment names, {named}: \
             correct it or unset it"
        ))
    })
}

/// Reads the first bundle that has a certificate, else the first such folder.
fn from_usual_places(bundles: &[&str], folders: &[&str]) -> Result<RootCertStore> {
    let mut found = Found::default();
    for path in bundles {
        if found.roots.is_empty() {
            found.add_file(Path::new(path));
        }
    }
    for path in folders {
        if found.roots.is_empty() {
            found.add_folder(Path::new(path));
        }
    }
    found.or_else(|| {
        TlsError::new(format!(
            "no root certificates found on this system (looked for {} and in {}): install the \
             package `ca-certificates`, name a file in SSL_CERT_FILE, or give the configuration \
             one with `ca_file(..)`",
            bundles.join(", "),
            folders.join(", ")
        ))
    })
}

#[cfg(all(feature = "native-certs", target_os = "macos"))]
fn from_keychain() -> Result<RootCertStore> {
    let mut loaded = rustls_native_certs::load_native_certs();
    let mut found = Found::default();
    found.add(loaded.certs);
    found.or_else(|| {
        let error = TlsError::new("the keychain gave no usable root certificate");
        match loaded.errors.pop() {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    })
}

/// The certificates found so far.
struct Found {
    roots: RootCertStore,
    /// All certificates in it: a folder often has the bundle beside its parts.
    seen: HashSet<CertificateDer<'static>>,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            roots: RootCertStore::empty(),
            seen: HashSet::new(),
        }
    }
}

impl Found {
    /// Adds the usable ones, once each: system bundles have certificates that no verifier accepts.
    fn add(&mut self, certificates: Vec<CertificateDer<'static>>) {
        let fresh = certificates
            .into_iter()
            .filter(|one| self.seen.insert(one.clone()));
        self.roots.add_parsable_certificates(fresh);
    }

    fn add_file(&mut self, path: &Path) {
        if let Ok(pem) = Pem::read(path) {
            self.add(pem.usable_certificates());
        }
    }

    /// Adds the files of a folder. A file with several names, as in OpenSSL's folders of hashes,
    /// counts once.
    fn add_folder(&mut self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| fs::canonicalize(entry.ok()?.path()).ok())
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        files.dedup();
        for path in files {
            self.add_file(&path);
        }
    }

    fn or_else(self, none: impl FnOnce() -> TlsError) -> Result<RootCertStore> {
        if self.roots.is_empty() {
            return Err(none().into());
        }
        Ok(self.roots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    /// A root; no certificate is issued with it here.
    fn root(name: &str) -> String {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").pem()
    }

    fn write(path: &Path, text: &str) {
        let mut file = File::create(path).expect("a file");
        file.write_all(text.as_bytes()).expect("a file");
    }

    #[test]
    fn the_first_bundle_counts_then_the_first_folder() {
        let dir = env::temp_dir().join(format!("soloio-roots-{}", std::process::id()));
        fs::create_dir_all(dir.join("folder")).expect("a folder");
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let (none, empty, bundle) = (dir.join("none"), dir.join("empty"), dir.join("bundle"));
        let folder = dir.join("folder");
        let [none, empty, bundle, folder] = [none, empty, bundle, folder].map(|path| text(&path));
        write(Path::new(&empty), "");
        write(Path::new(&bundle), &(root("one") + &root("two")));
        let found = from_usual_places(&[&none, &empty, &bundle], &[&folder]).expect("two");
        assert_eq!(found.len(), 2);

        // An invalid certificate, and a section that was cut off, do not affect the others.
        let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cut_off = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        let text = [hollow, &root("one"), cut_off, &root("two"), cut_off].concat();
        write(Path::new(&bundle), &text);
        let found = from_usual_places(&[&none, &empty, &bundle], &[&folder]).expect("two");
        assert_eq!(found.len(), 2);

        let error = from_usual_places(&[&none, &empty], &[&none, &folder]).expect_err("nothing");
        let error = error.to_string();
        for part in [
            &none[..],
            &folder,
            "`ca-certificates`",
            "SSL_CERT_FILE",
            "ca_file",
        ] {
            assert!(error.contains(part), "{error}");
        }
        // Under two names, as in OpenSSL's folders; beside it another file, and a folder.
        let file = Path::new(&folder).join("three.pem");
        write(&file, &root("three"));
        std::os::unix::fs::symlink(&file, Path::new(&folder).join("1234.0")).expect("a link");
        write(&Path::new(&folder).join("README"), "hello");
        fs::create_dir(Path::new(&folder).join("more")).expect("a folder");
        let found = from_usual_places(&[&none, &empty], &[&none, &folder]).expect("one");
        assert_eq!(found.len(), 1);
        fs::remove_dir_all(&dir).expect("it was there");
    }
}
