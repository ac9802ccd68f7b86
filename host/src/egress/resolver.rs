//! Names to addresses, asked at the moment of dialling and judged before the connector sees one.
//!
//! The filter stands inside the connector's own resolver, so there is no gap between checking an address and
//! connecting to it: what was judged is what is dialled, also when the name changes its answer every second.
//!
//! Invariant: one forbidden answer refuses the whole name. A name with mixed answers is an attack or a mistake.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use url::{Host, Url};

use super::EgressError;
use super::address::AddressRule;

/// Lookups running at once. Each holds a thread until the system's resolver answers, which may be long after the
/// request that asked has given up.
const LOOKUPS: usize = 32;

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

    /// Judges the host when it is written as an address: the connector dials such a host without asking a resolver.
    /// `None` when it is a name.
    pub(super) fn judge_literal(&self, url: &Url) -> Option<Result<(), EgressError>> {
        let literal = match url.host()? {
            Host::Ipv4(v4) => IpAddr::V4(v4),
            Host::Ipv6(v6) => IpAddr::V6(v6),
            Host::Domain(name) => name.parse().ok()?,
        };
        Some(self.judge(url.host_str().unwrap_or_default(), &[literal]))
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
        let host = host.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the caller: a caller that gives up must not free the place of a thread
            // that still waits.
            let _permit = permit;
            (host.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        });
        asked.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

impl Resolve for VettedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str()).await?;
            // Port 0 stands for the port of the URL.
            let dialled: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(dialled)
        })
    }
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
        let error = resolver(&[], false).addresses("localhost").await.unwrap_err();
        assert!(matches!(error, EgressError::Forbidden { address, .. } if address.is_loopback()), "{error}");
        assert!(error.to_string().contains("WEBHOOK_ALLOW"), "{error}");
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
        let judged = |url: &str| resolver.judge_literal(&Url::parse(url).unwrap());
        assert!(matches!(judged("http://0x7f000001/"), Some(Err(EgressError::Forbidden { .. }))));
        assert!(matches!(judged("http://[::1]:8080/"), Some(Err(EgressError::Forbidden { .. }))));
        assert!(matches!(judged("https://8.8.8.8/"), Some(Ok(()))));
        assert!(judged("https://example.org/").is_none());
    }
}
