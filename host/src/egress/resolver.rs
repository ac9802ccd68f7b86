//! Names to addresses, asked at the moment of dialling and judged before any is dialled.
//!
//! The filter stands in the only resolver that dialling knows, so there is no gap between checking an address and
//! connecting to it: what was judged is what is dialled, also when the name changes its answer every second.
//!
//! Invariant: one forbidden answer refuses the whole name. A name with mixed answers is an attack or a mistake.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::sync::Semaphore;
use url::{Host, Url};

use super::address::AddressRule;
use super::error::EgressError;

/// Lookups running at once. Each holds a thread until the system's resolver answers, which may be long after the
/// request that asked has given up; names whose servers do not answer must leave threads for the others.
const LOOKUPS: usize = 128;

/// Resolves and judges. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct VettedResolver {
    rule: AddressRule,
    lookups: Arc<Semaphore>,
}

impl VettedResolver {
    pub(super) fn new(rule: AddressRule) -> Self {
        Self { rule, lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    /// The address, judged, when the host is written as one; `None` when it is a name.
    pub(super) fn literal(&self, url: &Url) -> Result<Option<IpAddr>, EgressError> {
        let literal = match url.host() {
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            Some(Host::Domain(name)) => name.parse().ok(),
            None => return Err(EgressError::Malformed("its address has no host".to_owned())),
        };
        self.judge(url.host_str().unwrap_or_default(), literal.as_slice())?;
        Ok(literal)
    }

    /// The addresses behind a name, all of them permitted.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, EgressError> {
        let addresses = self.look_up(host).await.map_err(|reason| unresolved(host, reason))?;
        if addresses.is_empty() {
            return Err(unresolved(host, "it has no address".to_owned()));
        }
        self.judge(host, &addresses)?;
        Ok(addresses)
    }

    fn judge(&self, host: &str, addresses: &[IpAddr]) -> Result<(), EgressError> {
        match addresses.iter().find(|address| !self.rule.permits(**address)) {
            Some(&address) => Err(EgressError::Forbidden { host: host.to_owned(), address }),
            None => Ok(()),
        }
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(|error| error.to_string())?;
        let host = asked(host).to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the caller: a caller that gives up must not free the place of a thread
            // that still waits.
            let _permit = permit;
            (host.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        });
        asked.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

/// What the system is asked for: names of this machine (RFC 6761) are its own matter and not that of a name server, which
/// might say anything.
fn asked(host: &str) -> &str {
    let name = host.strip_suffix('.').unwrap_or(host);
    if name == "localhost" || name.ends_with(".localhost") { "localhost" } else { host }
}

fn unresolved(host: &str, reason: String) -> EgressError {
    EgressError::Unresolved { host: host.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(allow: &[&str], loopback: bool) -> VettedResolver {
        let allow: Vec<String> = allow.iter().map(|&entry| entry.to_owned()).collect();
        VettedResolver::new(AddressRule::parse(&allow, loopback).unwrap())
    }

    #[tokio::test]
    async fn refuses_a_name_that_leads_to_this_machine() {
        for name in ["localhost", "localhost.", "shop.localhost", "a.b.localhost."] {
            let error = resolver(&[], false).addresses(name).await.unwrap_err();
            assert!(matches!(error, EgressError::Forbidden { address, .. } if address.is_loopback()), "{error}");
            assert!(error.to_string().starts_with(name) && error.to_string().contains("WEBHOOK_ALLOW"), "{error}");
        }
        assert_eq!(asked("notlocalhost"), "notlocalhost");
    }

    #[tokio::test]
    async fn gives_the_addresses_of_a_permitted_name() {
        assert!(resolver(&[], true).addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    }

    #[tokio::test]
    async fn says_that_a_name_does_not_resolve() {
        // A label of more than 63 bytes fails in the system's resolver, before any question leaves the machine.
        let name = format!("{}.invalid", "x".repeat(64));
        let error = resolver(&[], true).addresses(&name).await.unwrap_err();
        assert!(matches!(error, EgressError::Unresolved { .. }), "{error}");
    }

    #[test]
    fn one_forbidden_answer_refuses_the_name() {
        let mixed = ["8.8.8.8".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        let error = resolver(&[], false).judge("mixed.example", &mixed).unwrap_err();
        assert!(matches!(error, EgressError::Forbidden { address, .. } if address == mixed[1]), "{error}");
        assert!(resolver(&["10.0.0.0/8"], false).judge("mixed.example", &mixed).is_ok());
    }

    #[test]
    fn judges_literal_hosts_and_leaves_names_to_the_lookup() {
        let resolver = resolver(&[], false);
        let judged = |url: &str| resolver.literal(&Url::parse(url).unwrap());
        assert!(matches!(judged("http://0x7f000001/"), Err(EgressError::Forbidden { .. })));
        assert!(matches!(judged("http://[::1]:8080/"), Err(EgressError::Forbidden { .. })));
        assert_eq!(judged("https://8.8.8.8/").unwrap(), Some("8.8.8.8".parse().unwrap()));
        assert_eq!(judged("https://example.org/").unwrap(), None);
        assert!(matches!(judged("unix:/run/hook"), Err(EgressError::Malformed(_))));
    }
}
