//! What a setting is: its names, its default, what a value of it looks like.

/// One thing the gateway can be told.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the file, with its table: `http.port`.
    pub key: &'static str,
    /// Its name in the environment: `PORT`.
    pub env: &'static str,
    /// What a value looks like; ends the sentence "expected …".
    pub expects: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// The default as a user would write it; without one the setting may stay unset.
    pub default: Option<&'static str>,
    /// A value to show in the example file where there is no default.
    pub sample: &'static str,
    /// Whether it is never shown, has no flag (flags are visible to every user of the machine), and may be read from a
    /// file named by the environment: `JWT_SECRET_FILE`.
    pub secret: bool,
}

impl Setting {
    /// A plain setting without a default.
    pub(super) const fn new(key: &'static str, env: &'static str, expects: &'static str, doc: &'static str) -> Self {
        Self { key, env, expects, doc, default: None, sample: "", secret: false }
    }

    /// With this default.
    pub(super) const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }

    /// With this value in the example file.
    pub(super) const fn sample(mut self, text: &'static str) -> Self {
        self.sample = text;
        self
    }

    /// Never shown.
    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Its flag without the dashes: the environment name in lower case, `data-dir` for `DATA_DIR`.
    pub fn flag(&self) -> Option<String> {
        (!self.secret).then(|| self.env.to_ascii_lowercase().replace('_', "-"))
    }

    /// The environment name of a file that holds the value: `JWT_SECRET_FILE`.
    pub fn file_env(&self) -> Option<String> {
        self.secret.then(|| format!("{}_FILE", self.env))
    }
}
