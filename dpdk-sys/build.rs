//! Finds libdpdk by pkg-config, generates the bindings and compiles the shim.
//!
//! pkg-config is run by hand because its cflags must be passed on whole: the `pkg-config` crate's parsed result loses
//! `-include rte_config.h` and `-march`, and without them the headers describe another ABI than the library has.

use std::{env, path::PathBuf, process::Command};

/// The oldest release that the bindings are written for.
const OLDEST: (u32, u32) = (22, 11);

fn main() {
    for path in ["build.rs", "src/shim.h", "src/shim.c"] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    println!("cargo:rustc-check-cfg=cfg(dpdk_missing)");

    let version = match pkg_config(&["--modversion"]) {
        Ok(version) => version.join(""),
        Err(why) if env::var_os("CARGO_FEATURE_REQUIRED").is_some() => {
            panic!(
                "libdpdk was not found ({why}): install it (Debian, Ubuntu: apt-get install libdpdk-dev) or build without the feature `dpdk`"
            )
        }
        Err(why) => {
            println!("cargo:warning=libdpdk was not found ({why}): the bindings and their tests are left out");
            println!("cargo:rustc-cfg=dpdk_missing");
            // A file that is never there: ask again at the next build, when it may have been installed.
            println!("cargo:rerun-if-changed=src/libdpdk-was-missing");
            return;
        }
    };
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    assert!(found >= OLDEST, "libdpdk {version} is older than {}.{}", OLDEST.0, OLDEST.1);

    let cflags = pkg_config(&["--cflags"]).expect("pkg-config found the version, so it knows the cflags");
    generate(&cflags);
    compile_shim(&cflags);
    link();
}

fn pkg_config(query: &[&str]) -> Result<Vec<String>, String> {
    let answer =
        Command::new("pkg-config").args(query).arg("libdpdk").output().map_err(|e| format!("pkg-config: {e}"))?;
    if !answer.status.success() {
        return Err("pkg-config does not know libdpdk".into());
    }
    Ok(String::from_utf8_lossy(&answer.stdout).split_whitespace().map(str::to_owned).collect())
}

fn generate(cflags: &[String]) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    bindgen::Builder::default()
        .header("src/shim.h")
        .clang_args(cflags)
        .allowlist_function("rte_(eal_(init|cleanup)|dev_(probe|remove)|eth_.*|pktmbuf_(pool_create|clone|free_bulk)|mempool_(avail_count|in_use_count|free)|thread_(un)?register|get_tsc_hz|version|strerror|log_set_(global_level|level_pattern)|openlog_stream)")
        .allowlist_function("weir_.*")
        .allowlist_var("WEIR_.*|RTE_(EAL_PMD_PATH|MAX_ETHPORTS|MAX_LCORE|PKTMBUF_HEADROOM|ETHER_HDR_LEN)")
        .allowlist_type("rte_eth_(conf|dev_info|rxconf|txconf|stats|link|rss_conf|rss_reta_entry64|xstat|xstat_name)|rte_ether_addr")
        // Reached by offset only (WEIR_MBUF_*): its anonymous unions have other names in each release.
        .opaque_type("rte_mbuf")
        .opaque_type("rte_mempool")
        // Packed and aligned structures that Rust cannot express, none of which we touch.
        .opaque_type("rte_(arp_hdr|arp_ipv4|gtp_psc_.*|l2tpv2_.*)")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_debug(false)
        .derive_default(true)
        .generate_comments(false)
        .layout_tests(true)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .generate()
        .expect("bindgen understands DPDK's headers (it needs libclang: apt-get install libclang-dev)")
        .write_to_file(out)
        .expect("OUT_DIR can be written");
}

fn compile_shim(cflags: &[String]) {
    let mut shim = cc::Build::new();
    shim.file("src/shim.c").opt_level(2).warnings(true).flag_if_supported("-Wno-deprecated-declarations");
    for flag in cflags {
        shim.flag(flag);
    }
    shim.compile("weir_dpdk_shim");
}

fn link() {
    // The shim comes first, the libraries after it; the linker drops the ones that nobody asks for (--as-needed).
    for flag in pkg_config(&["--libs"]).expect("pkg-config found the version, so it knows the libraries") {
        if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={folder}");
        } else if let Some(library) = flag.strip_prefix("-l") {
            println!("cargo:rustc-link-lib=dylib={library}");
        }
    }
}
