//! Answers of plugins, laid out in linear memory as the canonical ABI of `wit/v1` wants them.

use std::fmt::Write as _;

/// The constants of a module, from [`Memory::BASE`] on.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    bytes: Vec<u8>,
}

/// A text in memory.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// Where it lies.
    pub at: u32,
    /// Its bytes.
    pub len: u32,
}

impl Text {
    /// The two arguments that hand it to a function.
    pub fn args(self) -> String {
        format!("(i32.const {}) (i32.const {})", self.at, self.len)
    }
}

/// `plugin-error`.
#[derive(Clone, Copy, Debug)]
pub enum Failure<'a> {
    /// The configuration is unusable.
    Config(&'a str),
    /// Try again later.
    Retryable(&'a str),
    /// Give up.
    Fatal(&'a str),
}

/// `result<verdict, plugin-error>`.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// Unchanged.
    Pass,
    /// Changed.
    Modify(MessagePatch<'a>),
    /// Unchanged, and the last word.
    Accept,
    /// Dropped, by code and detail.
    Drop(&'a str, Option<&'a str>),
    /// Again after so many milliseconds.
    Defer(u32),
    /// An error.
    Fail(Failure<'a>),
}

/// `message-patch`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePatch<'a> {
    /// Another text.
    pub text: Option<&'a str>,
    /// Another chat.
    pub chat: Option<&'a str>,
    /// Labels to set.
    pub labels: &'a [(&'a str, &'a str)],
    /// Labels to take away.
    pub unlabel: &'a [&'a str],
    /// Endpoints to go to.
    pub route_to: Option<&'a [&'a str]>,
}

/// `result<outcome, plugin-error>`.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// Unchanged.
    Pass,
    /// Changed.
    Modify(DeliveryPatch<'a>),
    /// Not sent.
    Cancel(&'a str),
    /// An error.
    Fail(Failure<'a>),
}

/// `delivery-patch`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeliveryPatch<'a> {
    /// Another body.
    pub body: Option<Body<'a>>,
    /// Its content type.
    pub content_type: Option<&'a str>,
    /// Headers to set.
    pub headers: &'a [(&'a str, &'a str)],
    /// Headers to take away.
    pub unset: &'a [&'a str],
    /// Appended to the path.
    pub path_suffix: Option<&'a str>,
}

/// `body`.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// A record under construction: words of 4 bytes.
#[derive(Default)]
struct Words(Vec<u32>);

impl Words {
    fn pair(&mut self, (at, len): (u32, u32)) {
        self.0.extend([at, len]);
    }

    fn option(&mut self, value: Option<(u32, u32)>) {
        self.0.push(u32::from(value.is_some()));
        self.pair(value.unwrap_or_default());
    }
}

impl Memory {
    /// Where the constants begin; below is nothing, so that address 0 is no text.
    pub const BASE: u32 = 1024;

    /// The first address after the constants, with room for an answer to be read past a short case.
    pub fn end(&self) -> usize {
        Self::BASE as usize + self.bytes.len() + 256
    }

    /// Bytes at an address that `align` divides.
    pub fn block(&mut self, bytes: &[u8], align: usize) -> u32 {
        let at = self.bytes.len().next_multiple_of(align);
        self.bytes.resize(at, 0);
        self.bytes.extend_from_slice(bytes);
        Self::BASE + u32::try_from(at).unwrap_or_default()
    }

    /// A text.
    pub fn text(&mut self, text: &str) -> Text {
        let (at, len) = self.data(text.as_bytes());
        Text { at, len }
    }

    /// A list of texts.
    pub fn texts(&mut self, texts: &[&str]) -> (u32, u32) {
        let mut words = Words::default();
        for text in texts {
            let text = self.data(text.as_bytes());
            words.pair(text);
        }
        (self.words(&words), u32::try_from(texts.len()).unwrap_or_default())
    }

    /// `plugin-info`.
    pub fn info(&mut self, texts: &[Text; 3], wants: (u32, u32)) -> u32 {
        let mut words = Words::default();
        for text in texts {
            words.pair((text.at, text.len));
        }
        words.pair(wants);
        self.words(&words)
    }

    /// `result<_, plugin-error>`, all being well.
    pub fn done(&mut self) -> u32 {
        self.words(&Words(vec![0; 4]))
    }

    /// Any result whose error is a `plugin-error`.
    pub fn failure(&mut self, failure: &Failure<'_>) -> u32 {
        let (case, text) = match failure {
            Failure::Config(text) => (0, text),
            Failure::Retryable(text) => (1, text),
            Failure::Fatal(text) => (2, text),
        };
        let mut words = Words(vec![1, case]);
        let text = self.data(text.as_bytes());
        words.pair(text);
        self.words(&words)
    }

    /// `result<verdict, plugin-error>`.
    pub fn verdict(&mut self, verdict: &Verdict<'_>) -> u32 {
        let mut words = Words(vec![0]);
        match verdict {
            Verdict::Fail(failure) => return self.failure(failure),
            Verdict::Pass => words.0.push(0),
            Verdict::Modify(patch) => {
                words.0.push(1);
                let optional = [patch.text, patch.chat].map(|text| text.map(|text| self.data(text.as_bytes())));
                for text in optional {
                    words.option(text);
                }
                let lists = [self.pairs(patch.labels), self.texts(patch.unlabel)];
                for list in lists {
                    words.pair(list);
                }
                words.option(patch.route_to.map(|names| self.texts(names)));
            }
            Verdict::Accept => words.0.push(2),
            Verdict::Drop(code, detail) => {
                words.0.push(3);
                words.pair(self.data(code.as_bytes()));
                words.option(detail.map(|detail| self.data(detail.as_bytes())));
            }
            Verdict::Defer(ms) => words.0.extend([4, *ms]),
        }
        self.words(&words)
    }

    /// `result<outcome, plugin-error>`.
    pub fn outcome(&mut self, outcome: &Outcome<'_>) -> u32 {
        let mut words = Words(vec![0]);
        match outcome {
            Outcome::Fail(failure) => return self.failure(failure),
            Outcome::Pass => words.0.push(0),
            Outcome::Modify(patch) => {
                words.0.push(1);
                let body = patch.body.map(|body| match body {
                    Body::Text(text) => (0, self.data(text.as_bytes())),
                    Body::Binary(bytes) => (1, self.data(bytes)),
                });
                words.0.push(u32::from(body.is_some()));
                let (case, body) = body.unwrap_or_default();
                words.0.push(case);
                words.pair(body);
                words.option(patch.content_type.map(|text| self.data(text.as_bytes())));
                let lists = [self.pairs(patch.headers), self.texts(patch.unset)];
                for list in lists {
                    words.pair(list);
                }
                words.option(patch.path_suffix.map(|text| self.data(text.as_bytes())));
            }
            Outcome::Cancel(reason) => {
                words.0.push(2);
                words.pair(self.data(reason.as_bytes()));
            }
        }
        self.words(&words)
    }

    /// The constants as a string of WebAssembly text.
    pub fn escaped(&self) -> String {
        self.bytes.iter().fold(String::with_capacity(self.bytes.len() * 3), |mut text, byte| {
            let _infallible = write!(text, "\\{byte:02x}");
            text
        })
    }

    fn pairs(&mut self, pairs: &[(&str, &str)]) -> (u32, u32) {
        let mut words = Words::default();
        for (name, value) in pairs {
            let (name, value) = (self.data(name.as_bytes()), self.data(value.as_bytes()));
            words.pair(name);
            words.pair(value);
        }
        (self.words(&words), u32::try_from(pairs.len()).unwrap_or_default())
    }

    fn data(&mut self, bytes: &[u8]) -> (u32, u32) {
        (self.block(bytes, 1), u32::try_from(bytes.len()).unwrap_or_default())
    }

    /// A record, with zeros after it up to the longest case of its variant.
    fn words(&mut self, words: &Words) -> u32 {
        const LONGEST: usize = 72;
        let mut bytes: Vec<u8> = words.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(bytes.len().max(LONGEST), 0);
        self.block(&bytes, 8)
    }
}
