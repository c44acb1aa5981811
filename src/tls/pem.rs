//! Certificates and private keys from PEM (RFC 7468), with errors that name the file and the fault.
//!
//! A file of keys is a secret: no error shows a byte of its contents. A label is shown only if it
//! is one of [`KNOWN`], in the text of that list.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::pki_types::pem::{Error as Fault, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;

use super::failure;
use crate::error::{Error, Result, TlsError};

/// More than any bundle of certificates has; a larger file is not a bundle.
const FILE_MAX: u64 = 16 << 20;

/// Reads a certificate chain, or any number of certificates, from a PEM file.
///
/// Sections of other kinds are ignored, so that a file with both chain and key works. It blocks
/// while it reads.
///
/// # Errors
///
/// [`Error::Tls`](crate::Error::Tls), which names the file: it cannot be read, is empty, is not
/// PEM, is damaged, or has sections but no certificate.
///
/// # Examples
///
/// ```
/// let error = soloio::tls::read_certificates("/nowhere/cert.pem").unwrap_err();
/// assert!(error.to_string().starts_with("/nowhere/cert.pem cannot be read: "));
/// ```
pub fn read_certificates(path: impl AsRef<Path>) -> Result<Vec<CertificateDer<'static>>> {
    Pem::read(path.as_ref())?.certificates()
}

/// Reads the first private key of a PEM file: PKCS #8, PKCS #1 (RSA) or SEC 1 (EC), not encrypted.
///
/// It blocks while it reads.
///
/// # Errors
///
/// [`Error::Tls`](crate::Error::Tls), which names the file: it cannot be read, is empty, is not
/// PEM, is damaged, is encrypted, or has sections but no private key.
///
/// # Examples
///
/// ```
/// let error = soloio::tls::read_private_key("/nowhere/key.pem").unwrap_err();
/// assert!(error.to_string().starts_with("/nowhere/key.pem cannot be read: "));
/// ```
pub fn read_private_key(path: impl AsRef<Path>) -> Result<PrivateKeyDer<'static>> {
    Pem::read(path.as_ref())?.private_key()
}

/// The same as [`read_certificates`], for text in memory.
///
/// # Errors
///
/// As [`read_certificates`], with `the PEM text` instead of a file's name.
pub fn certificates_from_pem(pem: impl AsRef<[u8]>) -> Result<Vec<CertificateDer<'static>>> {
    Pem::of(pem.as_ref()).certificates()
}

/// The same as [`read_private_key`], for text in memory.
///
/// # Errors
///
/// As [`read_private_key`], with `the PEM text` instead of a file's name.
pub fn private_key_from_pem(pem: impl AsRef<[u8]>) -> Result<PrivateKeyDer<'static>> {
    Pem::of(pem.as_ref()).private_key()
}

/// The labels that errors may show (RFC 7468, and those of OpenSSL and OpenSSH).
const KNOWN: &str = "ATTRIBUTE CERTIFICATE|CERTIFICATE|CERTIFICATE REQUEST|CMS|DH PARAMETERS|\
    DSA PRIVATE KEY|EC PARAMETERS|EC PRIVATE KEY|ENCRYPTED PRIVATE KEY|NEW CERTIFICATE REQUEST|\
    OPENSSH PRIVATE KEY|PKCS7|PRIVATE KEY|PUBLIC KEY|RSA PRIVATE KEY|RSA PUBLIC KEY|\
    TRUSTED CERTIFICATE|X509 CERTIFICATE|X509 CRL";

/// Returns a label in the form that errors show.
fn shown(label: &str) -> &'static str {
    let known = KNOWN.split('|').find(|known| *known == label);
    known.unwrap_or("(a label that is not known)")
}

/// The longest name of a file, and the shortest text that is taken for the body of a key.
const NAME_MAX: usize = 255;
const BODY_MIN: usize = 40;

/// Returns true if a path may be the body of a key, given in place of a path: several lines, more
/// than a name has, or base64 alone, as each key has it.
fn is_contents(path: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| path.as_bytes().iter().any(kind);
    let of_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\\ ".contains(&byte);
    let is_base64 = path.len() >= BODY_MIN
        && path.bytes().all(of_base64)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit);
    let is_long = path.split('/').any(|name| name.len() > NAME_MAX);
    is_base64 || is_long || has(u8::is_ascii_control)
}

/// The contents of a file, and its name in messages.
pub(super) struct Pem {
    name: String,
    bytes: Vec<u8>,
}

impl Pem {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        if name.contains("-----BEGIN") {
            let what = "PEM text was given in place of the path of a PEM file";
            return Err(TlsError::new(what).into());
        }
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
        let pem = Self { name, bytes };
        match read {
            Ok(length) if length as u64 == FILE_MAX => {
                Err(pem.error("is larger than 16 MiB, which no file of certificates is"))
            }
            Ok(_) => Ok(pem),
            Err(error) => {
                let name = if is_contents(&pem.name) {
                    "a file (its path is not shown: it looks like the contents of a file)"
                } else {
                    &pem.name
                };
                let error = TlsError::new(format!("{name} cannot be read")).caused_by(error);
                Err(error.into())
            }
        }
    }

    fn of(bytes: &[u8]) -> Self {
        Self {
            name: "the PEM text".to_owned(),
            bytes: bytes.to_vec(),
        }
    }

    /// Returns every certificate, in the order of the file; at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let mut found = Vec::new();
        for section in self.sections()? {
            if section.label == "CERTIFICATE" {
                let certificate = CertificateDer::from_pem_slice(section.text)
                    .map_err(|fault| self.damaged(&section, &fault))?;
                if let Err(error) = ParsedCertificate::try_from(&certificate) {
                    let what = format!(
                        "{}: the certificate that begins in line {} is PEM, but what it holds is \
                         no X.509 certificate",
                        self.name, section.line
                    );
                    return Err(failure::unusable(what, error));
                }
                found.push(certificate);
            }
        }
        if found.is_empty() {
            return Err(self.lacks("certificate"));
        }
        Ok(found)
    }

    /// Returns the valid certificates; other sections of the file are no error.
    pub(super) fn usable_certificates(&self) -> Vec<CertificateDer<'static>> {
        let (sections, _) = self.scan();
        let certificates = sections
            .iter()
            .filter(|section| section.label == "CERTIFICATE")
            .filter_map(|section| CertificateDer::from_pem_slice(section.text).ok());
        certificates.collect()
    }

    /// Returns the first private key.
    fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        for section in self.sections()? {
            if section.is_encrypted() {
                return Err(self.error(
                    ": the private key is encrypted, and a program cannot be asked for a \
                     passphrase: decrypt it with `openssl pkey -in FILE -out PLAIN`",
                ));
            }
            if let "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" = section.label {
                return PrivateKeyDer::from_pem_slice(section.text)
                    .map_err(|fault| self.damaged(&section, &fault));
            }
        }
        Err(self.lacks("private key"))
    }

    /// Returns the sections of a file without a fault.
    fn sections(&self) -> Result<Vec<Section<'_>>> {
        match self.scan() {
            (sections, None) => Ok(sections),
            (_, Some(flaw)) => Err(self.error(&flaw)),
        }
    }

    /// Returns the sections, and the first fault.
    fn scan(&self) -> (Vec<Section<'_>>, Option<String>) {
        let (mut sections, mut flaw, mut at) = (Vec::new(), None, 0);
        let mut open: Option<Section<'_>> = None;
        for (n, bytes) in self
            .bytes
            .split_inclusive(|byte| *byte == b'\n')
            .enumerate()
        {
            let (start, line) = (at, n + 1);
            at += bytes.len();
            let text = std::str::from_utf8(bytes).unwrap_or_default();
            // A byte order mark, which editors on Windows add.
            let text = text.trim_start_matches('\u{feff}').trim();
            let begin = text.strip_prefix("-----BEGIN ");
            if begin.is_some_and(|rest| rest.contains("-----END ")) {
                flaw.get_or_insert_with(|| {
                    format!(
                        ": BEGIN and END stand in one line, line {line}: the line breaks were lost"
                    )
                });
            } else if let Some(label) = begin.and_then(label) {
                let skipped = bytes.iter().take_while(|byte| **byte != b'-').count();
                let text = &self.bytes[start + skipped..];
                if let Some(before) = open.replace(Section { label, line, text }) {
                    flaw.get_or_insert_with(|| before.cut_off());
                }
            } else if let Some(end) = text.strip_prefix("-----END ").and_then(label) {
                if let Some(mut section) = open.take_if(|section| section.label == end) {
                    let left = self.bytes.len() - at;
                    section.text = &section.text[..section.text.len() - left];
                    sections.push(section);
                }
            }
        }
        (
            sections,
            flaw.or_else(|| open.map(|section| section.cut_off())),
        )
    }

    fn error(&self, what: &str) -> Error {
        let gap = if what.starts_with(':') { "" } else { " " };
        TlsError::new([&self.name, gap, what].concat()).into()
    }

    fn damaged(&self, section: &Section<'_>, fault: &Fault) -> Error {
        let (name, line) = (&self.name, section.line);
        let label = shown(section.label);
        let what = format!("{name}: the section BEGIN {label} in line {line} is damaged");
        // Not the fault's own text, which quotes the line.
        let cause = match fault {
            Fault::Base64Decode(_) => "it is not base64",
            Fault::SectionTooLarge => "it is too large",
            _ => "its lines are not those of a section",
        };
        TlsError::new(what).caused_by(cause).into()
    }

    /// The error of a file without the wanted section: lists the sections that it has.
    fn lacks(&self, wanted: &str) -> Error {
        let sections = match self.sections() {
            Ok(sections) => sections,
            Err(error) => return error,
        };
        let labels: Vec<&str> = sections.iter().map(|it| shown(it.label)).collect();
        let is_key = |label: &&str| label.ends_with("PRIVATE KEY");
        let swapped = match wanted {
            "certificate" if labels.iter().any(is_key) => "a private key and no certificate",
            "private key" if labels.contains(&"CERTIFICATE") => "a certificate and no private key",
            _ => "",
        };
        let command = if wanted == "certificate" {
            "x509"
        } else {
            "pkey"
        };
        let what = if self.bytes.trim_ascii().is_empty() {
            format!("is empty, but should hold a {wanted} in PEM")
        } else if !swapped.is_empty() {
            format!("holds {swapped}: were the two files swapped?")
        } else if !labels.is_empty() {
            format!("holds no {wanted}, but: {}", labels.join(", "))
        } else if self.bytes.first() == Some(&0x30) {
            format!(
                "is not PEM, but looks like DER: convert it with `openssl {command} -inform DER`"
            )
        } else {
            "is not PEM: it has no line `-----BEGIN ...-----`".to_owned()
        };
        self.error(&what)
    }
}

/// One section, with its BEGIN and END lines.
struct Section<'a> {
    label: &'a str,
    line: usize,
    text: &'a [u8],
}

impl Section<'_> {
    /// True for PKCS #8, and for OpenSSL's older form with headers (RFC 1421).
    fn is_encrypted(&self) -> bool {
        let header = |line: &[u8]| line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
        let mut lines = self.text.split(|byte| *byte == b'\n');
        self.label == "ENCRYPTED PRIVATE KEY" || lines.any(|line| header(line.trim_ascii()))
    }

    fn cut_off(&self) -> String {
        let (label, line) = (shown(self.label), self.line);
        format!(": the section BEGIN {label} in line {line} has no END {label}: it was cut off")
    }
}

/// Returns the label in the rest of a line such as `-----BEGIN CERTIFICATE-----`: at most 64
/// characters of RFC 7468, which are printable ASCII without two dashes in a row.
fn label(rest: &str) -> Option<&str> {
    let label = rest.strip_suffix("-----")?;
    let printable = label.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    (printable && label.len() <= 64 && !label.contains("--")).then_some(label)
}
