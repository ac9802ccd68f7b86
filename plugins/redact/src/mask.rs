//! What is masked in a text, and how.

use std::ops::RangeInclusive;

const REDACTED: &str = "[redacted]";

/// How many characters stay readable at the end of a card number or an IBAN.
const LEFT: usize = 4;

/// How long an IBAN is, by country: two letters, two digits.
const IBANS: &[u8] =
    b"AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22\
    GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20\
    MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26\
    UA29VA22VG24XK20YE30";

/// The longest code there is.
const LONGEST: usize = 34;

/// How many characters the groups of a code have at least, but for the last.
const GROUP: usize = 4;

/// The fewest characters after its beginning that make a key.
const KEY_LENGTH: usize = 8;

/// The text with secrets masked; `None` when there are none.
pub(crate) fn text(text: &str, words: &[String]) -> Option<String> {
    let mut masked = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(char) = text[at..].chars().next() {
        let rest = &text[at..];
        let plus = text[..at].ends_with('+');
        let Some((length, mask)) = find(rest, plus, words) else {
            // Nothing begins in the middle of a word.
            at += run(rest, char::is_alphanumeric).max(char.len_utf8());
            continue;
        };
        masked.push_str(&text[copied..at]);
        masked.push_str(&mask);
        at += length;
        copied = at;
    }
    (copied > 0).then(|| masked + &text[copied..])
}

/// What begins here: its length in bytes, and what to write instead.
fn find(rest: &str, plus: bool, words: &[String]) -> Option<(usize, String)> {
    let behind = |(kept, length): (usize, usize)| (length, format!("{}{REDACTED}", &rest[..kept]));
    let starred = |length| (length, stars(&rest[..length]));
    let spoken = words.iter().find_map(|word| spoken(rest, word)).map(|length| (length, REDACTED.to_owned()));
    spoken.or_else(|| match rest.as_bytes().first()? {
        b'0'..=b'9' if !plus => card(rest).map(starred),
        b'A'..=b'Z' | b'a'..=b'z' => bearer(rest).or_else(|| key(rest)).map(behind).or_else(|| iban(rest).map(starred)),
        _ => None,
    })
}

/// 13 to 19 digits, in groups or not, with a sound check digit (ISO/IEC 7812, Luhn). What has an `@` behind it is an
/// address, as what has a plus before it is a phone number.
fn card(rest: &str) -> Option<usize> {
    longest(rest, 13..=19, u8::is_ascii_digit, luhn).filter(|length| !rest[*length..].starts_with('@'))
}

fn luhn(digits: &[u8]) -> bool {
    let digits = || digits.iter().rev().map(|digit| u32::from(digit - b'0')).enumerate();
    let sum: u32 = digits().map(|(at, digit)| if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { digit }).sum();
    sum.is_multiple_of(10) && digits().any(|(_, digit)| digit != 0)
}

/// As many characters as the country's have, with sound check digits (ISO 13616).
fn iban(rest: &str) -> Option<usize> {
    let head = rest.as_bytes().first_chunk::<4>().filter(|head| head[2..].iter().all(u8::is_ascii_digit))?;
    let known = IBANS.chunks_exact(4).find(|known| known[..2].eq_ignore_ascii_case(&head[..2]))?;
    let size = usize::from(known[2] - b'0') * 10 + usize::from(known[3] - b'0');
    longest(rest, size..=size, u8::is_ascii_alphanumeric, checks_out)
}

/// The code with its head moved to its end, letters as 10 to 35, is 1 modulo 97.
fn checks_out(code: &[u8]) -> bool {
    let moved = code[4..].iter().chain(&code[..4]);
    let remainder = moved.fold(0, |remainder, byte| match byte {
        b'0'..=b'9' => (remainder * 10 + u32::from(byte - b'0')) % 97,
        letter => (remainder * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    remainder == 1
}

/// The length of the longest sound code here, which may be written in groups: with single blanks or dashes in it. What
/// stands behind a code looks like more groups of it.
fn longest(
    rest: &str,
    sizes: RangeInclusive<usize>,
    belongs: impl Fn(&u8) -> bool,
    sound: impl Fn(&[u8]) -> bool,
) -> Option<usize> {
    let mut code = [0; LONGEST];
    let mut lengths = [0; LONGEST];
    let mut size = 0;
    let mut group = 0;
    for (at, byte) in rest.bytes().enumerate() {
        if belongs(&byte) && size < *sizes.end() {
            code[size] = byte;
            lengths[size] = at + 1;
            size += 1;
            group += 1;
        } else if matches!(byte, b' ' | b'-') && group >= GROUP {
            group = 0;
        } else {
            break;
        }
    }
    let readings = (*sizes.start()..=size).rev().map(|size| (&code[..size], lengths[size - 1]));
    readings.filter(|(_, length)| ends(&rest[*length..])).find_map(|(code, length)| sound(code).then_some(length))
}

/// `Bearer` and a token: what stays, and the whole length.
fn bearer(rest: &str) -> Option<(usize, usize)> {
    let word = rest.get(..6).filter(|word| word.eq_ignore_ascii_case("bearer"))?;
    let blanks = rest[word.len()..].len() - rest[word.len()..].trim_start_matches([' ', ':']).len();
    let kept = word.len() + blanks;
    let token = run(&rest[kept..], |char| char.is_ascii_alphanumeric() || "-._~+/=".contains(char));
    let is_token = rest[kept..kept + token].bytes().any(|byte| byte.is_ascii_digit() || byte == b'.');
    (blanks > 0 && token >= KEY_LENGTH && is_token).then_some((kept, kept + token))
}

/// A key of a well-known kind: what stays, and the whole length.
fn key(rest: &str) -> Option<(usize, usize)> {
    let kind = kinds(*rest.as_bytes().first()?).iter().find(|kind| rest.starts_with(**kind))?;
    let secret = run(&rest[kind.len()..], |char| char.is_ascii_alphanumeric() || "-_.=".contains(char));
    (secret >= KEY_LENGTH).then_some((kind.len(), kind.len() + secret))
}

/// How keys that services give out begin, by their first letter.
fn kinds(first: u8) -> &'static [&'static str] {
    match first {
        b'A' => &["AIza", "AKIA"],
        b'E' => &["EAA"],
        b'S' => &["SG."],
        b'e' => &["eyJ"],
        b'g' => &["ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "glpat-"],
        b'h' => &["hf_"],
        b'n' => &["npm_"],
        b'p' => &["pk_live_"],
        b'r' => &["rk_live_"],
        b's' => &["sk-", "sk_live_", "sk_test_"],
        b'w' => &["whsec_"],
        b'x' => &["xoxa-", "xoxb-", "xoxp-"],
        _ => &[],
    }
}

/// A word of the operator's, whole and in any case: its length here.
fn spoken(rest: &str, word: &str) -> Option<usize> {
    let mut here = rest.char_indices();
    for wanted in word.trim().chars() {
        let (_, char) = here.next()?;
        if char != wanted && !char.to_lowercase().eq(wanted.to_lowercase()) {
            return None;
        }
    }
    let length = here.next().map_or(rest.len(), |(at, _)| at);
    ends(&rest[length..]).then_some(length)
}

/// The length of the characters of a kind that this begins with.
fn run(rest: &str, belongs: impl Fn(char) -> bool) -> usize {
    rest.find(|char| !belongs(char)).unwrap_or(rest.len())
}

/// Whether a word may end before this.
fn ends(rest: &str) -> bool {
    !rest.chars().next().is_some_and(char::is_alphanumeric)
}

/// Stars, but for what separates groups and for the last characters.
fn stars(code: &str) -> String {
    let mut hidden = code.chars().filter(char::is_ascii_alphanumeric).count().saturating_sub(LEFT);
    let star = |char: char| {
        let hides = hidden > 0 && char.is_ascii_alphanumeric();
        hidden -= usize::from(hides);
        if hides { '*' } else { char }
    };
    code.chars().map(star).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(plain: &str) -> String {
        text(plain, &["Project Falcon".to_owned(), "Ümit".to_owned()]).unwrap_or_else(|| plain.to_owned())
    }

    #[test]
    fn masks_card_numbers_with_a_sound_check_digit() {
        for (plain, expected) in [
            ("4111111111111111", "************1111"),
            ("pay 4111 1111 1111 1111, now", "pay **** **** **** 1111, now"),
            ("378282246310005.", "***********0005."),
            ("5555-5555-5555-4444", "****-****-****-4444"),
            ("4222222222222 4", "*********2222 4"),
            ("4111 1111 1111 1111 12/27", "**** **** **** 1111 12/27"),
            ("6011000990139424\n", "************9424\n"),
            ("٤ 4111111111111111 ö", "٤ ************1111 ö"),
        ] {
            assert_eq!(masked(plain), expected);
        }
    }

    #[test]
    fn leaves_other_numbers() {
        for plain in [
            "4111111111111112",
            "0000000000000000",
            "411111111111",
            "+6281381393739",
            "6281381393739@s.whatsapp.net",
            "x4111111111111111",
            "4111111111111111x",
            "41111111111111111111111",
            "1643723400000",
        ] {
            assert_eq!(masked(plain), plain);
        }
    }

    #[test]
    fn masks_ibans_with_sound_check_digits() {
        for (plain, expected) in [
            ("DE89370400440532013000", "******************3000"),
            ("to DE89 3704 0044 0532 0130 00 please", "to **** **** **** **** **30 00 please"),
            ("GB29 NWBK 6016 1331 9268 19", "**** **** **** **** **68 19"),
            ("de89370400440532013000!", "******************3000!"),
            ("XX89370400440532013000", "XX89370400440532013000"),
            ("DE88370400440532013000", "DE88370400440532013000"),
            ("DE8937040044053201300", "DE8937040044053201300"),
        ] {
            assert_eq!(masked(plain), expected);
        }
    }

    #[test]
    fn masks_keys_and_leaves_their_kind() {
        for (plain, expected) in [
            ("sk_live_51Hxyzabcdef", "sk_live_[redacted]"),
            ("key=ghp_abcdefgh12345678;", "key=ghp_[redacted];"),
            ("Authorization: Bearer abc.def-123456", "Authorization: Bearer [redacted]"),
            ("bearer: 0123456789", "bearer: [redacted]"),
            ("eyJhbGciOi.eyJzdWIi.SflKx", "eyJ[redacted]"),
            ("the bearer certificate", "the bearer certificate"),
            ("bearers 12345678", "bearers 12345678"),
            ("task_live_12345678", "task_live_12345678"),
            ("sk_live_short", "sk_live_short"),
        ] {
            assert_eq!(masked(plain), expected);
        }
    }

    #[test]
    fn masks_whole_words_of_the_operator_in_any_case() {
        assert_eq!(masked("PROJECT falcon, ümit & Project Falcons"), "[redacted], [redacted] & Project Falcons");
    }

    #[test]
    fn masks_everything_there_is() {
        assert_eq!(masked("4111111111111111 sk_live_abcdefgh ÜMIT"), "************1111 sk_live_[redacted] [redacted]");
    }
}
