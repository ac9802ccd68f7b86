//! Running plugins.

use std::path::{Path, PathBuf};

use super::value::{count, folder};
use super::{ConfigError, Setting, Values};

/// Running plugins.
#[derive(Clone, Debug)]
pub struct PluginConfig {
    /// The program that compiles components, called with `plugin-compiler`; this one when not set. `PLUGIN_COMPILER`.
    pub compiler: Option<PathBuf>,
    /// Longest component, in MiB. Default 32.
    pub max_component_mib: usize,
    /// Calls running at once. Default 64.
    pub concurrency: usize,
    /// Warm instances kept in all, for plugins that are slow to start. Default 64.
    pub warm: usize,
    /// Where compiled code is kept: `DATA_DIR/plugins`. Can be deleted at any time.
    pub cache_dir: PathBuf,
}

impl PluginConfig {
    pub(super) fn read(values: &Values, data_dir: &Path) -> Result<Self, ConfigError> {
        Ok(Self {
            compiler: values.optional(&COMPILER, folder)?,
            max_component_mib: values.required(&MAX_COMPONENT, |text| count(text).filter(|mib| *mib <= 256))?,
            concurrency: values.required(&CONCURRENCY, |text| count(text).filter(|calls| *calls <= 512))?,
            warm: values.required(&WARM, |text| text.parse().ok().filter(|instances| *instances <= 512))?,
            cache_dir: data_dir.join("plugins"),
        })
    }

    /// Longest component, in bytes.
    pub fn max_component(&self) -> usize {
        self.max_component_mib << 20
    }
}

pub(super) const SETTINGS: &[&Setting] = &[&COMPILER, &MAX_COMPONENT, &CONCURRENCY, &WARM];

static COMPILER: Setting = Setting::new(
    "plugin.compiler",
    "PLUGIN_COMPILER",
    "the path of a wagate program of this version",
    "Program that compiles components in a process of its own, called with `plugin-compiler`. This one unless set.",
)
.sample("/usr/local/bin/wagate");

static MAX_COMPONENT: Setting = Setting::new(
    "plugin.max_component_mib",
    "PLUGIN_MAX_COMPONENT_MIB",
    "a number of MiB from 1 to 256",
    "Longest component that can be installed, in MiB.",
)
.default("32");

static CONCURRENCY: Setting = Setting::new(
    "plugin.concurrency",
    "PLUGIN_CONCURRENCY",
    "a number from 1 to 512",
    "Calls into plugins running at once; each binding of a plugin gets a quarter of them at most.",
)
.default("64");

static WARM: Setting = Setting::new(
    "plugin.warm",
    "PLUGIN_WARM",
    "a number from 0 to 512",
    "Instances kept warm in all, for plugins in languages that are slow to start; 0 starts one for each call.",
)
.default("64");
