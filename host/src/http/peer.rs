//! Who is at the other end: the socket's address, or what a trusted proxy says about it. Pure.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

/// The address the connection came from. Put into every request by the accept loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The client's address. `X-Forwarded-For` is read from the right, as long as each hop is a proxy we trust; what a
/// client wrote itself stands further left and is never believed.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let trusts = |address: IpAddr| trusted.iter().any(|proxy| proxy.to_canonical() == address.to_canonical());
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
    let mut client = peer;
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !trusts(client) {
            break;
        }
        let Ok(address) = hop.trim().parse() else { break };
        client = address;
    }
    client
}

/// Whether the client itself speaks TLS, as far as a trusted proxy tells.
pub(super) fn is_secure(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> bool {
    let proxied = trusted.iter().any(|proxy| proxy.to_canonical() == peer.to_canonical());
    proxied && headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn believes_only_trusted_proxies() {
        let proxies: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let table: [(&str, &[&str], &str); 7] = [
            ("192.0.2.9", &[], "192.0.2.9"),
            ("192.0.2.9", &["198.51.100.1"], "192.0.2.9"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.66, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.66", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
        ];
        for (peer, lines, expected) in table {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let found = client(peer.parse().unwrap(), &headers, &proxies);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }
}
