//! What is masked in a text, and how.

use std::ops::RangeInclusive;

const REDACTED: &str = "[redacted]";

/// How many characters stay readable at the end of a card number or an IBAN.
const LEFT: usize = 4;

/// Beginnings of keys that services give out: their kind stays readable, the rest does not.
const KEYS: [&str; 22] = [
    "AIza",
    "AKIA",
    "EAA",
    "SG.",
    "eyJ",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "hf_",
    "npm_",
    "pk_live_",
    "rk_live_",
    "sk-",
    "sk_live_",
    "sk_test_",
    "whsec_",
    "xoxa-",
    "xoxb-",
    "xoxp-",
];

/// The fewest characters after such a beginning that make a key of it.
const KEY_LENGTH: usize = 8;

/// The text with secrets masked; `None` when there are none.
pub(crate) fn text(text: &str, words: &[String]) -> Option<String> {
    let mut masked = String::new();
    let mut copied = 0;
    let mut at = 0;
    let mut before = None;
    while let Some(char) = text[at..].chars().next() {
        let rest = &text[at..];
        // Nothing begins in the middle of a word.
        let begins = !before.is_some_and(char::is_alphanumeric);
        let found = if begins { find(before, rest, words) } else { None };
        let length = match found {
            Some((length, mask)) => {
                masked.push_str(&text[copied..at]);
                masked.push_str(&mask);
                copied = at + length;
                length
            }
            None => char.len_utf8(),
        };
        before = text[at..at + length].chars().next_back();
        at += length;
    }
    (copied > 0).then(|| masked + &text[copied..])
}

/// What begins here: its length in bytes, and what to write instead.
fn find(before: Option<char>, rest: &str, words: &[String]) -> Option<(usize, String)> {
    let whole = |length| (length, REDACTED.to_owned());
    let bearer = || bearer(rest).map(|(kept, length)| (length, format!("{}{REDACTED}", &rest[..kept])));
    let key = || key(rest).map(|(kept, length)| (length, format!("{}{REDACTED}", &rest[..kept])));
    let number = || card(before, rest).or_else(|| iban(rest)).map(|length| (length, stars(&rest[..length])));
    words.iter().find_map(|word| spoken(rest, word)).map(whole).or_else(bearer).or_else(key).or_else(number)
}

/// 13 to 19 digits, in groups or not, with a sound check digit (ISO/IEC 7812, Luhn). A number with a plus before it or
/// an `@` behind it is a phone number or an address.
fn card(before: Option<char>, rest: &str) -> Option<usize> {
    if before == Some('+') {
        return None;
    }
    longest(rest, 13..=19, |char| char.is_ascii_digit(), luhn).filter(|length| !rest[*length..].starts_with('@'))
}

fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| (u32::from(digit - b'0'), at % 2 == 1))
        .map(|(digit, doubled)| if doubled { digit * 2 / 10 + digit * 2 % 10 } else { digit })
        .sum();
    sum.is_multiple_of(10) && digits.bytes().any(|digit| digit != b'0')
}

/// Two letters, two digits, 11 to 30 more, with sound check digits (ISO 13616).
fn iban(rest: &str) -> Option<usize> {
    let head = rest.as_bytes().get(..4)?;
    if !(head[..2].iter().all(u8::is_ascii_alphabetic) && head[2..].iter().all(u8::is_ascii_digit)) {
        return None;
    }
    longest(rest, 15..=34, |char| char.is_ascii_alphanumeric(), checks_out)
}

/// The code with its head moved to its end, letters as 10 to 35, is 1 modulo 97.
fn checks_out(code: &str) -> bool {
    let moved = code[4..].bytes().chain(code[..4].bytes());
    let remainder = moved.fold(0, |remainder, byte| match byte {
        b'0'..=b'9' => (remainder * 10 + u32::from(byte - b'0')) % 97,
        letter => (remainder * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    remainder == 1
}

/// The length of the longest sound code here. What stands behind a code in groups looks like more groups of it.
fn longest(
    rest: &str,
    sizes: RangeInclusive<usize>,
    belongs: fn(char) -> bool,
    sound: fn(&str) -> bool,
) -> Option<usize> {
    let (code, _) = grouped(rest, *sizes.end(), belongs);
    (*sizes.start()..=code.len()).rev().find_map(|size| {
        let (code, length) = grouped(rest, size, belongs);
        (ends(&rest[length..]) && sound(&code)).then_some(length)
    })
}

/// Up to `most` characters of a kind, with single blanks or dashes between them: the characters, and the length.
fn grouped(rest: &str, most: usize, belongs: fn(char) -> bool) -> (String, usize) {
    let mut code = String::new();
    let mut length = 0;
    let mut gap = true;
    for (at, char) in rest.char_indices() {
        if belongs(char) && code.len() < most {
            code.push(char);
            length = at + char.len_utf8();
            gap = false;
        } else if matches!(char, ' ' | '-') && !gap {
            gap = true;
        } else {
            break;
        }
    }
    (code, length)
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
    let kind = KEYS.iter().find(|kind| rest.starts_with(**kind))?;
    let secret = run(&rest[kind.len()..], |char| char.is_ascii_alphanumeric() || "-_.=".contains(char));
    (secret >= KEY_LENGTH).then_some((kind.len(), kind.len() + secret))
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
