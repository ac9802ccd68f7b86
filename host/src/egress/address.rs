//! Which addresses may be dialled: public unicast ones, and private networks the operator allowed.
//!
//! Pure, because a mistake here lets a user of the gateway read what only the gateway's machine can reach.
//! The tables follow the special-purpose registries of IANA (RFC 6890 and its updates).
//!
//! Invariant: an address in `METADATA`, written in any form that a network translates to it, is never dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 networks that are not public unicast.
const SPECIAL_V4: &[Ipv4Net] = &[
    v4([0, 0, 0, 0], 8),       // this network; 0.0.0.0 reaches this machine
    v4([10, 0, 0, 0], 8),      // private
    v4([100, 64, 0, 0], 10),   // carrier-grade NAT
    v4([127, 0, 0, 0], 8),     // loopback
    v4([169, 254, 0, 0], 16),  // link-local
    v4([172, 16, 0, 0], 12),   // private
    v4([192, 0, 0, 0], 24),    // protocol assignments
    v4([192, 0, 2, 0], 24),    // documentation
    v4([192, 88, 99, 0], 24),  // 6to4 relays
    v4([192, 168, 0, 0], 16),  // private
    v4([198, 18, 0, 0], 15),   // benchmarking
    v4([198, 51, 100, 0], 24), // documentation
    v4([203, 0, 113, 0], 24),  // documentation
    v4([224, 0, 0, 0], 4),     // multicast
    v4([240, 0, 0, 0], 4),     // reserved, broadcast
];

/// The only IPv6 network with public unicast addresses. Loopback, mapped and compatible IPv4, NAT64, unique local,
/// link-local, site-local, segment routing and multicast all lie outside it.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// IPv6 networks inside [`GLOBAL_V6`] that are not public unicast.
const SPECIAL_V6: &[Ipv6Net] = &[
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments: Teredo, benchmarking, ORCHID
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), // 6to4: wraps any IPv4 address
    v6([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16), // the old test network
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation
];

/// Where clouds hand a machine its credentials. No allow-list opens these.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), // AWS, Azure, Google, many others
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),   // AWS ECS
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),  // AWS EKS
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure, a public address
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), // AWS EKS
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google
];

/// The operator's rule.
#[derive(Clone, Debug, Default)]
pub(super) struct AddressRule {
    allow: Vec<IpNet>,
    loopback: bool,
}

impl AddressRule {
    /// Public addresses, the networks in `allow`, and with `loopback` also 127.0.0.0/8 and `::1`. An entry is a
    /// network (`10.0.0.0/8`) or one address; the first that is neither is the error.
    pub(super) fn parse(allow: &[String], loopback: bool) -> Result<Self, String> {
        let entries = allow.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty());
        let networks = entries.map(|entry| network(entry).ok_or_else(|| entry.to_owned()));
        Ok(Self { allow: networks.collect::<Result<_, _>>()?, loopback })
    }

    /// Whether `address` may be dialled.
    pub(super) fn permits(&self, address: IpAddr) -> bool {
        if is_metadata(address) {
            return false;
        }
        is_public(address)
            || self.loopback && address.is_loopback()
            || self.allow.iter().any(|network| network.contains(&address))
    }
}

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}

fn network(entry: &str) -> Option<IpNet> {
    entry.parse().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from))
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|network| network.contains(&v4)),
        IpAddr::V6(v6) => GLOBAL_V6.contains(&v6) && !SPECIAL_V6.iter().any(|network| network.contains(&v6)),
    }
}

/// Whether it is one of those that no allow-list opens.
pub(super) fn is_metadata(address: IpAddr) -> bool {
    METADATA.contains(&address)
        || matches!(address, IpAddr::V6(v6) if carried(v6).into_iter().flatten().any(|v4| METADATA.contains(&v4.into())))
}

/// The IPv4 addresses an IPv6 address may lead to through a mapping, a translator or a tunnel.
///
/// RFC 6052 lets an operator's own NAT64 prefix put the four octets at several places; the last 32 bits cover
/// `::a.b.c.d`, `::ffff:a.b.c.d` and every /96 translator, `2002:` and `64:ff9b:1::/48` have theirs in the front.
fn carried(v6: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    let o = v6.octets();
    let s = v6.segments();
    let at = |a: usize, b: usize, c: usize, d: usize| Ipv4Addr::new(o[a], o[b], o[c], o[d]);
    let last = at(12, 13, 14, 15);
    [
        Some(last),
        (s[0] == 0x2002).then(|| at(2, 3, 4, 5)),
        (s[0] == 0x64 && s[1] == 0xff9b && s[2] == 1).then(|| at(6, 7, 9, 10)),
        (s[0] == 0x2001 && s[1] == 0).then(|| Ipv4Addr::from(!u32::from(last))),
    ]
}

#[cfg(test)]
mod tests;
