//! extism takes a core module: the linker does not make it a component.

fn main() {
    println!("cargo::rustc-link-arg-cdylib=--skip-wit-component");
}
