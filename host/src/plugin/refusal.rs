//! Why a component or a configuration is refused, in words for whoever wants to install it.

/// Why a component cannot be installed, or a binding cannot be saved. Each says what is wrong and what to do.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are no WebAssembly.
    #[error(
        "this is not WebAssembly; upload the .wasm file your build made, or paste a script as {{\"script\": \"…\"}}"
    )]
    NotWasm,
    /// A module of the core specification.
    #[error(
        "this is a core WebAssembly module, not a component; link it with wasm-component-ld or run `wasm-tools component new` on it"
    )]
    CoreModule,
    /// It begins like a component and goes wrong.
    #[error("the component is damaged or not valid: {0}; build it again")]
    Invalid(String),
    /// Too long.
    #[error(
        "the component has {size} bytes, the limit is {limit}; strip debug information (wasm-tools strip), or raise PLUGIN_MAX_COMPONENT_MIB"
    )]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Built for another version of the contract.
    #[error("the component was built for {found}; this gateway runs {known}: build it with the files in wit/v1")]
    Contract {
        /// The package it names.
        found: String,
        /// The package this gateway knows.
        known: &'static str,
    },
    /// It wants something the gateway does not have.
    #[error(
        "the component imports {0}, which this gateway does not offer; use the capabilities of wit/v1, or WASI 0.2 without files and sockets"
    )]
    UnknownImport(String),
    /// It imports capabilities that it is not granted.
    #[error(
        "the component imports {0}; grant that, or say accept_ungranted=true, for a toolchain that imports what is never called: calls of it are denied then"
    )]
    Ungranted(String),
    /// An import or export by a known name that is not what the contract says.
    #[error("the component does not fit the contract: {0}; build it with the files in wit/v1")]
    Unfit(String),
    /// It describes and configures nothing.
    #[error(
        "the component does not export wagate:plugin/lifecycle; build it for one of the worlds in wit/v1/world.wit"
    )]
    NoLifecycle,
    /// It has no hook.
    #[error("the component exports neither message-filter nor webhook-transform, so there is nothing to run it for")]
    NoHook,
    /// It cannot be compiled.
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    /// Its instances would need more than one may have.
    #[error(
        "an instance of the component needs more than it may have: {0}; give it less memory, smaller tables or fewer modules"
    )]
    TooNeedy(String),
    /// Compiling takes more than it may.
    #[error("compiling the component takes more than {0}; make it smaller")]
    TooCostly(String),
    /// `describe` failed or said what cannot be.
    #[error("the plugin does not describe itself: {0}")]
    Describe(String),
    /// `init` refused the configuration.
    #[error("the plugin refuses this configuration: {0}")]
    Config(String),
    /// `init` failed for another reason.
    #[error("the plugin does not start with this configuration: {0}")]
    Init(String),
    /// Not the plugin's fault.
    #[error("the plugin cannot be looked at just now: {0}; try again")]
    Unavailable(String),
}

impl Refusal {
    /// A short name that programs can go by.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWasm => "not_wasm",
            Self::CoreModule => "core_module",
            Self::Invalid(_) => "invalid_component",
            Self::TooLarge { .. } => "component_too_large",
            Self::Contract { .. } => "wrong_contract",
            Self::UnknownImport(_) => "unknown_import",
            Self::Ungranted(_) => "ungranted_import",
            Self::Unfit(_) => "contract_mismatch",
            Self::NoLifecycle => "no_lifecycle",
            Self::NoHook => "no_hook",
            Self::Compile(_) => "compile_failed",
            Self::TooNeedy(_) => "instance_too_large",
            Self::TooCostly(_) => "compile_too_costly",
            Self::Describe(_) => "describe_failed",
            Self::Config(_) => "config_refused",
            Self::Init(_) => "init_failed",
            Self::Unavailable(_) => "plugin_unavailable",
        }
    }

    /// Whether the gateway is at fault, not the component: a 5xx, where all others are a 4xx.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
