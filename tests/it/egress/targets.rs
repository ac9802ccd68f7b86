//! Where nobody may make the gateway go, in every spelling that leads there.

use std::net::Ipv4Addr;

/// IPv4 addresses of each kind that is not public: this machine, its networks, its clouds' metadata, and the reserved.
const V4: &[[u8; 4]] = &[
    [127, 0, 0, 1],
    [127, 255, 255, 254],
    [0, 0, 0, 0],
    [0, 1, 2, 3],
    [10, 0, 0, 1],
    [10, 255, 255, 255],
    [172, 16, 0, 1],
    [172, 31, 255, 254],
    [192, 168, 0, 1],
    [169, 254, 0, 1],
    [169, 254, 169, 254],
    [169, 254, 170, 2],
    [100, 64, 0, 1],
    [100, 127, 255, 254],
    [100, 100, 100, 200],
    [168, 63, 129, 16],
    [192, 0, 0, 192],
    [192, 0, 2, 1],
    [192, 88, 99, 1],
    [198, 18, 0, 1],
    [198, 51, 100, 1],
    [203, 0, 113, 1],
    [224, 0, 0, 1],
    [239, 255, 255, 255],
    [240, 0, 0, 1],
    [255, 255, 255, 255],
];

/// Hosts that are names of this machine, or addresses of it in letters and digits of other alphabets.
const NAMES: &[&str] = &[
    "localhost",
    "LOCALHOST",
    "LocalHost",
    "localhost.",
    "shop.localhost",
    "a.b.localhost.",
    "ｌｏｃａｌｈｏｓｔ",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "%6cocalhost",
    "lo\u{ad}calhost",
    "①②⑦.⓪.⓪.①",
    "１２７.0.0.1",
    "127。0。0。1",
    "127．0．0．1",
    "%31%32%37.0.0.1",
    "127%2e0.0.1",
    "１６９.254.169.254",
];

/// IPv6 addresses of each kind that is not public.
const V6: &[&str] = &[
    "::",
    "::1",
    "0:0:0:0:0:0:0:1",
    "0000:0000:0000:0000:0000:0000:0000:0001",
    "::0.0.0.1",
    "::ffff:0:127.0.0.1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "ff02::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "3ffe::1",
    "3fff::1",
    "5f00::1",
];

/// What stands around the host `@` of a URL without leading anywhere else.
const AROUND: &[&str] = &[
    "HTTP://@",
    "http:@",
    "http:/@",
    "http:\\\\@",
    "http:///@",
    "  http://@  ",
    "ht\ttp://@",
    "http://@/?url=https://example.org/",
    "http://@/#@example.org",
    "http://@?@example.org",
    "http://@\\@example.org/",
    "http://@/@example.org/",
    "https://@/",
];

/// The same, but not even the form of an address that is taken.
const MALFORMED: &[&str] = &[
    "http://user@@/",
    "http://:secret@@/",
    "http://example.org@@/",
    "http://example.org:80@@/",
    "http://example.org%40x:y@@/",
    "ftp://@/",
    "gopher://@/_PING",
    "file:///etc/passwd",
    "file://@/etc/passwd",
    "unix:/run/docker.sock",
    "jar:http://@/",
    "dict://@/stats",
    "//@/",
    "@/",
    "http://",
];
/// Hosts that are none.
const NO_HOSTS: &[&str] = &[
    "[fe80::1%25lo]",
    "[::1%lo]",
    "[::1%251]",
    "[::1",
    "::1",
    "[127.0.0.1]",
    "127.0.0.1 .example.org",
    "127.0.0.256",
    "0x7f.0.0.0x100",
    "1.2.3.4.5",
];

/// Addresses that may not be dialled, all of them in the form of one that might. What leads to this machine leads to
/// `port`.
pub(super) fn forbidden(port: u16) -> Vec<String> {
    let spelled = V4.iter().flat_map(|octets| spellings((*octets).into()));
    let hosts = spelled.chain(NAMES.iter().map(|&name| name.to_owned())).chain(V6.iter().map(|v6| format!("[{v6}]")));
    let mut urls: Vec<_> = hosts.map(|host| format!("http://{host}:{port}/hook")).collect();
    for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"] {
        urls.extend(AROUND.iter().map(|around| around.replacen('@', &format!("{host}:{port}"), 1)));
        urls.extend([0, 1, 22, 25, 80, 443, 2375, 6379, 65_535].map(|odd| format!("http://{host}:{odd}/")));
    }
    urls
}

/// Addresses of a form that is not taken.
pub(super) fn malformed(port: u16) -> Vec<String> {
    let here = format!("127.0.0.1:{port}");
    // The host stands at the last `@`.
    let put = |around: &&str| match around.rsplit_once('@') {
        Some((before, after)) => format!("{before}{here}{after}"),
        None => (*around).to_owned(),
    };
    let hosts = NO_HOSTS.iter().map(|host| format!("http://{host}:{port}/"));
    MALFORMED.iter().map(put).chain(hosts).collect()
}

/// An IPv4 address as people and machines write it, and in the IPv6 addresses that networks translate to it.
fn spellings(v4: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = v4.octets();
    let number = u32::from(v4);
    let (high, low) = (number >> 16, number & 0xffff);
    vec![
        v4.to_string(),
        format!("{v4}."),
        number.to_string(),
        format!("{number:#x}"),
        format!("0{number:o}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("{a:#X}.{b}.{c}.{d}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("000{a:o}.{b}.{c}.{d}"),
        format!("{a}.{b}.{low}"),
        format!("{a}.{}", number & 0x00ff_ffff),
        format!("[::ffff:{v4}]"),
        format!("[::{v4}]"),
        format!("[0:0:0:0:0:ffff:{high:x}:{low:x}]"),
        format!("[64:ff9b::{high:x}:{low:x}]"),
        format!("[64:ff9b:1:{high:x}:{:x}:{:x}:0:0]", low >> 8, (low & 0xff) << 8),
        format!("[2002:{high:x}:{low:x}::1]"),
        format!("[2001:0:4136:e378:8000:63bf:{:x}:{:x}]", high ^ 0xffff, low ^ 0xffff),
        format!("[fe80::5efe:{high:x}:{low:x}]"),
    ]
}

#[test]
fn there_are_many_and_no_two_alike() {
    let all: Vec<_> = forbidden(1).into_iter().chain(malformed(1)).collect();
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert!(different.len() > 500 && different.len() == all.len(), "{} of {}", different.len(), all.len());
}
