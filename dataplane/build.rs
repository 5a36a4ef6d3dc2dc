//! Compiles the check that runs before anything else and says so when the CPU lacks what this was built for.

use std::env;

/// Features that decide between x86-64 levels, with the names that the C compiler has for them.
const FEATURES: [(&str, &str); 14] = [
    ("sse4.2", "SSE4_2"),
    ("popcnt", "POPCNT"),
    ("avx2", "AVX2"),
    ("bmi1", "BMI"),
    ("bmi2", "BMI2"),
    ("lzcnt", "LZCNT"),
    ("movbe", "MOVBE"),
    ("f16c", "F16C"),
    ("fma", "FMA"),
    ("avx512f", "AVX512F"),
    ("avx512bw", "AVX512BW"),
    ("avx512dq", "AVX512DQ"),
    ("avx512cd", "AVX512CD"),
    ("avx512vl", "AVX512VL"),
];

fn main() {
    println!("cargo:rerun-if-changed=src/cpu_floor.c");
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        return;
    }
    let built_for = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let mut floor = cc::Build::new();
    // The check itself must run on any 64-bit CPU.
    floor.file("src/cpu_floor.c").flag("-march=x86-64").opt_level(1).warnings(true).cargo_metadata(false);
    for (rust, c) in FEATURES {
        if built_for.split(',').any(|feature| feature == rust) {
            floor.define(&format!("NEEDS_{c}"), None);
        }
    }
    floor.compile("weir_cpu_floor");
    println!("cargo:rustc-link-search=native={}", env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Nothing refers to it, so the linker would leave it out.
    println!("cargo:rustc-link-lib=static:+whole-archive=weir_cpu_floor");
}
