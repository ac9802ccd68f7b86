//! A corpus of addresses from the registries, and of the forms attackers give them.

use url::{Host, Url};

use super::*;

const FORBIDDEN: &str = "
    # this network
    0.0.0.0 0.0.0.1 0.1.2.3 0.255.255.255
    # private
    10.0.0.0 10.0.0.1 10.255.255.255 172.16.0.0 172.16.0.1 172.20.10.1 172.31.255.255
    192.168.0.0 192.168.0.1 192.168.1.1 192.168.255.255
    # carrier-grade NAT
    100.64.0.0 100.64.0.1 100.100.100.200 100.127.255.255
    # loopback
    127.0.0.0 127.0.0.1 127.0.1.1 127.1.2.3 127.255.255.255
    # link-local, metadata
    169.254.0.0 169.254.0.1 169.254.169.254 169.254.170.2 169.254.170.23 169.254.255.255
    168.63.129.16
    # protocol assignments
    192.0.0.0 192.0.0.1 192.0.0.8 192.0.0.9 192.0.0.10 192.0.0.170 192.0.0.192 192.0.0.255
    # documentation
    192.0.2.0 192.0.2.1 192.0.2.255 198.51.100.0 198.51.100.7 198.51.100.255 203.0.113.0
    203.0.113.9 203.0.113.255
    # 6to4 relays
    192.88.99.0 192.88.99.1 192.88.99.255
    # benchmarking
    198.18.0.0 198.18.0.1 198.19.255.255
    # multicast
    224.0.0.0 224.0.0.1 224.0.0.251 232.1.1.1 239.255.255.250 239.255.255.255
    # reserved, broadcast
    240.0.0.0 240.0.0.1 250.1.2.3 255.255.255.254 255.255.255.255
    # unspecified, loopback
    :: ::1 ::2
    # compatible and mapped, private and public alike
    ::10.0.0.1 ::127.0.0.1 ::8.8.8.8 ::ffff:0.0.0.0 ::ffff:10.0.0.1 ::ffff:127.0.0.1
    ::ffff:169.254.169.254 ::ffff:192.168.1.1 ::ffff:8.8.8.8 ::ffff:7f00:1 ::ffff:0:127.0.0.1
    # NAT64
    64:ff9b:: 64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b::8.8.8.8 64:ff9b::169.254.169.254
    64:ff9b:1:: 64:ff9b:1::1 64:ff9b:1:ffff::10.0.0.1 64:ff9b:1:a9fe:a9:fe00::
    # discard only, unallocated
    100:: 100::1 100:0:0:1::1 200::1 400::1 1000::1 1fff:ffff::1 4000::1 5f00::1
    6000::1 8000::1 a000::1 c000::1 e000::1 fe00::1
    # protocol assignments: Teredo, port control, benchmarking, ORCHID, drones
    2001:: 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:1::1 2001:1::2 2001:2:: 2001:2::1
    2001:3::1 2001:4:112::1 2001:10::1 2001:1f::1 2001:20::1 2001:2f::1 2001:30::1 2001:1ff::1
    # documentation
    2001:db8:: 2001:db8::1 2001:db8:ffff:ffff::1 3fff::1 3fff:fff::1
    # 6to4
    2002:: 2002:7f00:1:: 2002:a00:1::1 2002:c0a8:101::1 2002:a9fe:a9fe:: 2002:808:808::1
    # the old test network
    3ffe::1 3ffe:ffff::1
    # unique local
    fc00:: fc00::1 fd00::1 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd12:3456:789a::1 fdff:ffff::1
    # link-local and site-local
    fe80:: fe80::1 fe80::a9fe:a9fe febf::1 fec0:: fec0::1 feff::1
    # multicast
    ff00:: ff01::1 ff02::1 ff02::fb ff05::2 ff0e::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
";

const PUBLIC: &str = "
    1.0.0.1 1.1.1.1 8.8.8.8 9.9.9.9 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255
    100.128.0.0 126.255.255.255 128.0.0.1 151.101.1.69 168.63.129.15 169.253.255.255 169.255.0.0
    172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0
    192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0
    203.0.112.255 203.0.114.0 223.255.255.255 2001:200::1 2001:470::1 2001:4860:4860::8888
    2001:db7::1 2001:db9::1 2003::1 2400:cb00::1 2606:4700:4700::1111 2620:fe::fe 2a00:1450::1
    2a03:2880::1 3000::1 3ffd::1
";

/// Hosts as a user writes them; each must be read as a literal address, and a forbidden one.
const DISGUISED: &str = "
    2130706433 017700000001 0x7f000001 0x7f.1 0177.0.0.1 127.1 127.0.1 0 0x0 127.0.0.1.
    127.0.0.1%2e %31%32%37.0.0.1 ①②⑦.⓪.⓪.① 127。0。0。1 127.0.0.1 2852039166 0xa9fea9fe
    0xa9.0xfe.0xa9.0xfe 0251.0376.0251.0376 169.254.43518 169.16689662 0300.0250.1.1 10.1 0xa000001
    012.0.0.1 [::] [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:0001] [::127.0.0.1]
    [64:ff9b::169.254.169.254] [2002:7f00:1::] [fd00:ec2::254] [FE80::1] [::ffff:a9fe:a9fe]
    [0000:0000:0000:0000:0000:ffff:7f00:0001] [2001:0:7f00:1::] [100::1] [ff02::1]
";

/// Metadata services, plain and inside other forms.
const METADATA_WRITTEN: &str = "
    169.254.169.254 169.254.170.2 168.63.129.16 100.100.100.200 192.0.0.192 fd00:ec2::254 fd00:ec2::23
    fd20:ce::254 ::ffff:169.254.169.254 ::169.254.169.254 64:ff9b::169.254.169.254 64:ff9b::a9fe:a9fe
    2002:a9fe:a9fe::1 64:ff9b:1:a9fe:a9:fe00:: 64:ff9b:1:ffff::a9fe:a9fe 2001:0:4136:e378:8000:63bf:5601:5601
    fd99:6464::169.254.169.254
";

/// The entries of a table above, comments left out.
fn entries(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace)
}

fn rule(allow: &[&str], loopback: bool) -> AddressRule {
    let allow: Vec<String> = allow.iter().map(|&entry| entry.to_owned()).collect();
    AddressRule::parse(&allow, loopback).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

#[test]
fn refuses_everything_that_is_not_public_unicast() {
    let rule = rule(&[], false);
    let let_through: Vec<_> = entries(FORBIDDEN).filter(|text| rule.permits(address(text))).collect();
    assert_eq!(let_through, Vec::<&str>::new());
    assert!(entries(FORBIDDEN).count() > 150);
}

#[test]
fn permits_public_addresses_up_to_the_edges_of_the_special_networks() {
    let rule = rule(&[], false);
    let refused: Vec<_> = entries(PUBLIC).filter(|text| !rule.permits(address(text))).collect();
    assert_eq!(refused, Vec::<&str>::new());
    assert!(entries(PUBLIC).count() > 40);
}

#[test]
fn sees_through_every_way_of_writing_an_address_in_a_url() {
    let rule = rule(&[], false);
    for host in entries(DISGUISED) {
        let url = Url::parse(&format!("http://{host}/hook")).unwrap_or_else(|e| panic!("{host}: {e}"));
        let literal: IpAddr = match url.host() {
            Some(Host::Ipv4(v4)) => v4.into(),
            Some(Host::Ipv6(v6)) => v6.into(),
            other => panic!("{host} was read as {other:?}"),
        };
        assert!(!rule.permits(literal), "{host} is {literal}");
    }
}

#[test]
fn an_allowed_network_opens_that_network_and_nothing_else() {
    let rule = rule(&["10.1.0.0/16", " 192.168.7.9 ", "fd12::/16", ""], false);
    for open in ["10.1.0.0", "10.1.255.255", "192.168.7.9", "fd12::1", "8.8.8.8"] {
        assert!(rule.permits(address(open)), "{open}");
    }
    for closed in ["10.2.0.1", "10.0.255.255", "192.168.7.8", "fd13::1", "127.0.0.1", "::ffff:10.1.0.1"] {
        assert!(!rule.permits(address(closed)), "{closed}");
    }
}

#[test]
fn metadata_services_stay_forbidden_however_wide_the_allow_list() {
    let rule = rule(&["0.0.0.0/0", "::/0"], true);
    assert!(rule.permits(address("10.0.0.1")) && rule.permits(address("fd00::1")));
    for text in entries(METADATA_WRITTEN) {
        assert!(!rule.permits(address(text)), "{text}");
    }
}

#[test]
fn the_loopback_rule_opens_this_machine_only() {
    let rule = rule(&[], true);
    for open in ["127.0.0.1", "127.255.255.255", "::1"] {
        assert!(rule.permits(address(open)), "{open}");
    }
    for closed in ["0.0.0.0", "::", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "192.168.0.1"] {
        assert!(!rule.permits(address(closed)), "{closed}");
    }
}

#[test]
fn names_the_entry_that_is_no_network() {
    for bad in ["10.0.0.0/33", "10.0.0", "localhost", "fe80::1%eth0", "10.0.0.0/8/8", "any"] {
        let allow = ["10.0.0.0/8".to_owned(), bad.to_owned()];
        assert_eq!(AddressRule::parse(&allow, false).unwrap_err(), bad);
    }
}
