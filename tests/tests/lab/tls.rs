//! TLS against foreign peers: OpenSSL, GnuTLS and curl in front, OpenSSL behind, wrk under a rotation.

use crate::{
    control::{apply, weirgate},
    expect,
    world::{Lab, run, wait_for},
};
use libtest_mimic::Failed;
use std::process::{Child, Command, Stdio};

/// What is shown with the lab that has a daemon.
pub(crate) const CHECKS: [(&str, fn(&Lab) -> Result<(), Failed>); 5] = [
    ("tls::foreign_clients_are_served", foreign_clients),
    ("tls::clients_show_who_they_are", mutual),
    ("tls::endpoints_speak_it_too", foreign_endpoint),
    ("tls::what_is_passed_through_goes_by_its_name", passthrough),
    ("tls::certificates_rotate_under_load", rotation),
];

/// Makes an authority, and certificates of it, in the lab's folder.
fn authority(lab: &Lab) -> Result<(), Failed> {
    let (key, pem) = (lab.file("ca.key"), lab.file("ca.pem"));
    let new =
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
    run(&[&new[..], &["-subj", "/CN=lab authority", "-keyout", &key, "-out", &pem]].concat()).map(|_| ())
}

/// A certificate and its key, `NAME.pem` and `NAME.key`, put there whole: beside first, then renamed.
fn issue(lab: &Lab, name: &str, kind: &[&str], alternatives: &str) -> Result<(), Failed> {
    let next = |end: &str| lab.file(&format!("{name}.next.{end}"));
    let (key, request, pem, extensions) = (next("key"), next("csr"), next("pem"), next("ext"));
    let new = ["openssl", "req", "-nodes", "-subj", "/CN=lab", "-keyout", &key, "-out", &request, "-newkey"];
    run(&[&new[..], kind].concat())?;
    std::fs::write(&extensions, format!("subjectAltName={alternatives}\n"))?;
    let (ca, ca_key) = (lab.file("ca.pem"), lab.file("ca.key"));
    let sign = ["openssl", "x509", "-req", "-days", "30", "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
    run(&[&sign[..], &["-in", &request, "-out", &pem, "-extfile", &extensions]].concat())?;
    std::fs::rename(&key, lab.file(&format!("{name}.key")))?;
    std::fs::rename(&pem, lab.file(&format!("{name}.pem")))?;
    Ok(())
}

const EC: [&str; 3] = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const NAMES: &str = "DNS:shop.lab,DNS:*.wild.lab,IP:10.77.0.10";

/// The web over TLS. `more` goes into the listener's `tls`, `tls` into the backend.
fn web(lab: &Lab, more: &str, endpoint: &str, tls: &str) -> String {
    let file = |name: &str| lab.file(name);
    let (cert, key, ca) = (file("shop.pem"), file("shop.key"), file("ca.pem"));
    let (rsa, rsa_key) = (file("rsa.pem"), file("rsa.key"));
    format!(
        "apiVersion: weirgate/v1\nkind: GatewayConfig\nsecrets:\n- {{name: shop, file: {{cert: {cert}, key: {key}}}, watch: true}}\n\
         - {{name: rsa, file: {{cert: {rsa}, key: {rsa_key}}}}}\n- {{name: lab, file: {{ca: {ca}}}}}\nlisteners:\n\
         - {{name: web, port: 443, protocol: HTTPS, tls: {{certificateRefs: [shop, rsa]{more}}}}}\nroutes:\n\
         - kind: HTTPRoute\n  name: all\n  parentRefs: [{{name: web}}]\n  rules:\n  - backendRefs: [{{name: some}}]\n\
         backends:\n- {{name: some, discovery: {{static: [\"{endpoint}\"]}}{tls}}}\n"
    )
}

fn begins(lab: &Lab) -> Result<(), Failed> {
    authority(lab)?;
    issue(lab, "shop", &EC, NAMES)?;
    issue(lab, "rsa", &["rsa:2048"], NAMES)
}

const HOSTS: [&str; 4] = ["--resolve", "shop.lab:443:10.77.0.10", "--resolve", "a.wild.lab:443:10.77.0.10"];

fn curl(lab: &Lab, arguments: &[&str]) -> Result<String, Failed> {
    let ca = lab.file("ca.pem");
    lab.client(&[&["curl", "-sS", "--max-time", "20", "--cacert", &ca][..], &HOSTS, arguments].concat())
}

fn foreign_clients(lab: &Lab) -> Result<(), Failed> {
    begins(lab)?;
    apply(lab, &web(lab, "", "10.77.0.11:8080", ""))?;
    for version in ["--tlsv1.3", "--tls-max"] {
        let value = if version == "--tls-max" { &["1.2"][..] } else { &[] };
        for url in ["https://shop.lab/", "https://a.wild.lab/"] {
            let said = curl(lab, &[&[version], value, &[url]].concat())?;
            expect(said.starts_with("backend-"), "an answer", &said)?;
        }
    }
    // Much of it, and whole.
    let sum = curl(lab, &["-o", "/dev/null", "-w", "%{http_code} %{size_download}", "https://shop.lab/64k"])?;
    expect(sum.starts_with("200 ") || sum.starts_with("404 "), "an answer", &sum)?;
    let said = curl(lab, &["-o", "/dev/null", "-w", "%{http_code}", "-H", "host: other.lab", "https://shop.lab/"])?;
    expect(said == "421", "a misdirected request", &said)?;
    let ca = lab.file("ca.pem");
    let s_client = "printf 'GET / HTTP/1.1\\r\\nhost: shop.lab\\r\\nconnection: close\\r\\n\\r\\n' | \
                    openssl s_client -connect 10.77.0.10:443 -servername shop.lab -verify_return_error -ign_eof";
    let suites = [
        ("-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
        ("-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
        ("-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
        ("-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
    ];
    for (options, suite) in suites {
        let command = format!("{s_client} -CAfile {ca} {options} 2>&1");
        let said = lab.client(&["sh", "-c", &command])?;
        expect(said.contains(suite) && said.contains("backend-"), suite, &said)?;
    }
    // A session goes on, in both versions.
    for version in ["-tls1_3", "-tls1_2"] {
        let session = lab.file("session");
        let first = format!("{s_client} -CAfile {ca} {version} -sess_out {session} >/dev/null 2>&1");
        let again = format!("{s_client} -CAfile {ca} {version} -sess_in {session} 2>&1");
        let said = lab.client(&["sh", "-c", &format!("{first}; {again}")])?;
        expect(said.contains("Reused, ") && said.contains("backend-"), "a resumed session", &said)?;
    }
    let gnutls = format!(
        "printf 'GET / HTTP/1.1\\r\\nhost: shop.lab\\r\\nconnection: close\\r\\n\\r\\n' | \
         gnutls-cli --x509cafile={ca} --sni-hostname=shop.lab --verify-hostname=shop.lab --port=443 10.77.0.10 2>&1"
    );
    let said = lab.client(&["sh", "-c", &gnutls])?;
    expect(said.contains("Handshake was completed") && said.contains("backend-"), "GnuTLS to be served", &said)?;
    let old = "openssl s_client -connect 10.77.0.10:443 -tls1_1 -cipher DEFAULT@SECLEVEL=0 </dev/null 2>&1; true";
    let said = lab.client(&["sh", "-c", old])?;
    expect(said.contains("SSL alert number") && said.contains("no peer certificate"), "TLS 1.1 to be refused", &said)
}

fn mutual(lab: &Lab) -> Result<(), Failed> {
    begins(lab)?;
    issue(lab, "client", &EC, "URI:spiffe://lab.example/ns/client")?;
    apply(lab, &web(lab, ", frontendValidation: {caRefs: [lab], mode: Required}", "10.77.0.11:8080", ""))?;
    let (pem, key) = (lab.file("client.pem"), lab.file("client.key"));
    let said = curl(lab, &["--cert", &pem, "--key", &key, "https://shop.lab/"])?;
    expect(said.starts_with("backend-"), "an answer", &said)?;
    let ca = lab.file("ca.pem");
    lab.client_fails(&["curl", "-sS", "--max-time", "20", "--cacert", &ca, HOSTS[0], HOSTS[1], "https://shop.lab/"])
}

/// Ends with this.
struct Ended(Child);
impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn foreign_endpoint(lab: &Lab) -> Result<(), Failed> {
    begins(lab)?;
    issue(lab, "upstream", &EC, "DNS:upstream.lab,URI:spiffe://lab.example/ns/upstream")?;
    issue(lab, "client", &EC, "URI:spiffe://lab.example/ns/gateway")?;
    let file = |name: &str| lab.file(name);
    let (pem, key, ca) = (file("upstream.pem"), file("upstream.key"), file("ca.pem"));
    let mut server = Command::new("ip");
    server.args([
        "netns",
        "exec",
        &lab.namespace("backend"),
        "openssl",
        "s_server",
        "-accept",
        "10.77.0.11:8443",
        "-www",
    ]);
    server.args(["-cert", &pem, "-key", &key, "-CAfile", &ca, "-Verify", "1", "-verify_return_error"]);
    let _server = Ended(server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let own = format!(
        "- {{name: own, file: {{cert: {}, key: {}}}}}\nlisteners:",
        lab.file("client.pem"),
        lab.file("client.key")
    );
    let cases = [
        ("sni: upstream.lab, caRef: lab, clientCertRef: own", "200"),
        (
            "sni: upstream.lab, caRef: lab, clientCertRef: own, subjectAltNames: [\"spiffe://lab.example/ns/upstream\"]",
            "200",
        ),
        (
            "sni: upstream.lab, caRef: lab, clientCertRef: own, subjectAltNames: [\"spiffe://lab.example/ns/other\"]",
            "503",
        ),
        ("sni: other.lab, caRef: lab, clientCertRef: own", "503"),
    ];
    for (tls, status) in cases {
        let config = web(lab, "", "10.77.0.11:8443", &format!(", tls: {{{tls}}}")).replace("listeners:", &own);
        apply(lab, &config)?;
        let answers = || curl(lab, &["-o", "/dev/null", "-w", "%{http_code}", "https://shop.lab/"]);
        wait_for(&format!("{status} with {tls}"), || Ok(answers()? == status))?;
    }
    Ok(())
}

fn passthrough(lab: &Lab) -> Result<(), Failed> {
    begins(lab)?;
    let (pem, key) = (lab.file("shop.pem"), lab.file("shop.key"));
    let mut server = Command::new("ip");
    server.args([
        "netns",
        "exec",
        &lab.namespace("backend"),
        "openssl",
        "s_server",
        "-accept",
        "10.77.0.12:8444",
        "-www",
    ]);
    server.args(["-cert", &pem, "-key", &key]);
    let _server = Ended(server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    apply(
        lab,
        "apiVersion: weirgate/v1\nkind: GatewayConfig\nlisteners:\n\
         - {name: web, port: 443, protocol: TLS, tls: {mode: Passthrough}}\nroutes:\n\
         - {kind: TLSRoute, name: wild, parentRefs: [{name: web}], hostnames: ['*.wild.lab'], rules: [{backendRefs: [{name: some}]}]}\n\
         backends:\n- {name: some, discovery: {static: ['10.77.0.12:8444']}}\n",
    )?;
    wait_for("the endpoint itself to answer", || {
        let said = curl(lab, &["-o", "/dev/null", "-w", "%{http_code}", "https://a.wild.lab/"]);
        Ok(said.is_ok_and(|said| said == "200"))
    })?;
    let ca = lab.file("ca.pem");
    lab.client_fails(&["curl", "-sS", "--max-time", "20", "--cacert", &ca, HOSTS[0], HOSTS[1], "https://shop.lab/"])
}

/// The pair is another one again and again, while wrk asks: nothing fails, and the last one is what is shown.
fn rotation(lab: &Lab) -> Result<(), Failed> {
    begins(lab)?;
    apply(lab, &web(lab, "", "10.77.0.11:8080", ""))?;
    let wrk = ["wrk", "-t1", "-c16", "-d600s", "-H", "Host: shop.lab", "https://10.77.0.10/"];
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.namespace("client")]).args(wrk);
    let mut load = Ended(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?);
    let rotations = std::env::var("WEIRGATE_ROTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let shown = || {
        let command = "openssl s_client -connect 10.77.0.10:443 -servername shop.lab -sigalgs ecdsa_secp256r1_sha256 </dev/null \
                       2>/dev/null | openssl x509 -noout -serial";
        lab.client(&["sh", "-c", command])
    };
    for _ in 0..rotations {
        issue(lab, "shop", &EC, NAMES)?;
        let serial = run(&["openssl", "x509", "-noout", "-serial", "-in", &lab.file("shop.pem")])?;
        wait_for("the new certificate to be shown", || Ok(shown()? == serial))?;
    }
    // What is no pair is refused, and the last one stays.
    let serial = shown()?;
    std::fs::copy(lab.file("rsa.key"), lab.file("shop.key"))?;
    wait_for("the broken pair to be told", || {
        let (_, said) = weirgate(lab, &["cert", "list"])?;
        Ok(said.contains("shop") && said.contains("does not"))
    })?;
    expect(shown()? == serial, "the last sound certificate", "another")?;
    run(&["kill", "-INT", &load.0.id().to_string()])?;
    let mut said = String::new();
    std::io::Read::read_to_string(&mut load.0.stdout.take().ok_or("wrk's output")?, &mut said)?;
    let fine = said.contains("requests in") && !said.contains("Non-2xx") && !said.contains("Socket errors");
    expect(fine, "no failed request", &said)
}
